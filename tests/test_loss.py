"""What is peculiar to the losses: extreme logits, labels out of range, and the same values as optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxcnn

EXTREME = [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [0.0, -np.inf, 1.0], [1e4, 1e4, -np.inf]]
LABELS = [0, 2, 2, 1]


def gradient(loss, logits):
    value, vjp = jax.vjp(loss, logits)
    return value, vjp(jnp.ones_like(value))[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_extreme_logits(dtype):
    logits, labels = jnp.array(EXTREME, dtype), jnp.array(LABELS)
    onehot = jax.nn.one_hot(labels, 3, dtype=dtype)
    p = jax.nn.softmax(logits.astype(jnp.float32), -1)
    for loss in (
        lambda x: jaxcnn.softmax_cross_entropy(x, onehot),
        lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, labels),
    ):
        value, dx = gradient(loss, logits)
        assert np.isfinite(value.astype(jnp.float32)).all()
        np.testing.assert_allclose(dx.astype(jnp.float32), p - onehot.astype(jnp.float32), atol=4e-3)


def test_large_logits_do_not_cancel():
    """In float32, p of logits around 1000 is as accurate as that of logits around 0."""
    logits = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32) + np.float32(1000)
    _, dx = gradient(
        lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, jnp.zeros(50, int)), jnp.asarray(logits)
    )
    shifted = np.exp(logits.astype(np.float64) - 1000)
    exact = shifted / shifted.sum(-1, keepdims=True) - np.eye(10)[0]
    np.testing.assert_allclose(dx, exact, rtol=1e-5)


def test_gradient_is_p_minus_y():
    logits = jnp.array([[1.0, 2.0, 0.5]])
    y = jnp.array([[0.2, 0.5, 0.3]])
    _, dx = gradient(lambda x: jaxcnn.softmax_cross_entropy(x, y), logits)
    np.testing.assert_allclose(dx, jax.nn.softmax(logits) - y, atol=1e-7)


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_label_out_of_range_is_not_finite(label):
    loss = lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, jnp.array([0, label]))
    value, dx = gradient(loss, jnp.ones((2, 3)))
    assert np.isfinite([value[0], *dx[0]]).all()
    assert np.isnan([value[1], *dx[1]]).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_labels_of_any_integer_dtype(dtype):
    """Also with more classes than the dtype can count."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 300)), jnp.float32)
    labels = np.array([0, 44, 127])
    narrow = gradient(lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, jnp.asarray(labels, dtype)), logits)
    wide = gradient(lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, jnp.asarray(labels)), logits)
    np.testing.assert_array_equal(narrow[1], wide[1])


def test_values_of_optax():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 7)), jnp.float32)
    probabilities = jax.nn.softmax(logits[::-1])
    labels = jnp.argmax(probabilities, -1)
    np.testing.assert_allclose(
        jaxcnn.softmax_cross_entropy(logits, probabilities),
        optax.softmax_cross_entropy(logits, probabilities),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        jaxcnn.softmax_cross_entropy_with_integer_labels(logits, labels),
        optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        rtol=1e-5,
    )
