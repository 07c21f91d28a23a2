"""What is peculiar to dropout: the mask, forward and backward the same, and the ends of the rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import pullback

import jaxcnn

X = jnp.asarray(np.random.default_rng(0).uniform(1, 2, size=(6, 8, 10)), jnp.float32)
KEYS = [jax.random.key(7), jax.random.PRNGKey(7)]


def test_values_of_flax():
    linen = pytest.importorskip("flax.linen")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = linen.Dropout(0.3, broadcast_dims=(1,), deterministic=False).apply({}, X, rng=KEYS[0])
    np.testing.assert_array_equal(jaxcnn.dropout(X, 0.3, KEYS[0], broadcast_dims=(1,)), theirs)


@pytest.mark.parametrize(("key", "wrap"), list(zip(KEYS, (jax.jit, jax.checkpoint))), ids=["typed, jit", "raw, remat"])
def test_one_mask_forward_and_backward(key, wrap):
    y, (dx,) = pullback(wrap(lambda x: jaxcnn.dropout(x, 0.3, key)))(X, X)
    np.testing.assert_array_equal(y, dx)
    kept = np.asarray(y) != 0
    assert 0.6 < kept.mean() < 0.8
    np.testing.assert_allclose(y[kept], X[kept] / 0.7, rtol=1e-6)


@pytest.mark.parametrize("split", [False, True], ids=["one key", "split keys"])
def test_vmap(split):
    keys = jax.random.split(KEYS[0], len(X)) if split else KEYS[0]
    fn = lambda x, key: jaxcnn.dropout(x, 0.5, key)
    y, (dx,) = pullback(lambda x: jax.vmap(fn, (0, 0 if split else None))(x, keys))(X, X)
    np.testing.assert_array_equal(y, dx)
    apart = [jax.jit(fn)(x, keys[i] if split else keys) for i, x in enumerate(X)]
    np.testing.assert_array_equal(y, jnp.stack(apart))
    masks = np.asarray(y) != 0
    assert (masks == masks[0]).all() != split


def test_key_among_the_arguments():
    """Differentiating a function that takes the key as well."""
    gradient = jax.jit(jax.grad(lambda x, key: jaxcnn.dropout(x, 0.5, key).sum()))
    np.testing.assert_array_equal(np.unique(gradient(X, KEYS[0])), [0, 2])


def test_broadcast_dims():
    y = jaxcnn.dropout(jnp.ones((3, 5, 40)), 0.5, KEYS[0], broadcast_dims=(0, -2))
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[:1, :1], y.shape))
    assert len(np.unique(y)) == 2


@pytest.mark.parametrize("rate", [0, 1, np.float32(1)])
def test_ends_of_the_rate(rate):
    """x itself, or zeros with a gradient and a second derivative of zero, also of inf and NaN."""
    x = X.at[0, 0, :2].set(jnp.array([jnp.inf, jnp.nan]))
    y, (dx,) = pullback(lambda x: jaxcnn.dropout(x, rate, KEYS[0]))(X, x)
    np.testing.assert_array_equal(y, jnp.zeros_like(x) if rate else x)
    np.testing.assert_array_equal(dx, jnp.zeros_like(x) if rate else X)
    second = jax.grad(lambda x: jax.grad(lambda x: (jaxcnn.dropout(x, rate, KEYS[0]) ** 2).sum())(x).sum())(X)
    np.testing.assert_array_equal(second, jnp.full_like(X, 0 if rate else 2))


def test_deterministic():
    assert jaxcnn.dropout(X, 0.5, None, deterministic=True) is X


def test_backward_keeps_the_key_alone():
    kept = jax.eval_shape(lambda x: jax.vjp(lambda x: jaxcnn.dropout(x, 0.5, KEYS[1]), x)[1], X)
    assert max((leaf.size for leaf in jax.tree.leaves(kept)), default=0) <= 2
