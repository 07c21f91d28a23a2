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


@pytest.mark.parametrize("where", ["classes", "examples", None])
@pytest.mark.parametrize("smoothing", [0, 0.3])
def test_smoothing_and_where_of_optax(smoothing, where):
    """The cross-entropy with smoothed labels; an example without any class counts nothing."""
    generator = np.random.default_rng(0)
    logits, labels = jnp.asarray(generator.normal(size=(4, 3, 7)), jnp.float32), generator.integers(0, 7, (4, 3))
    right = jax.nn.one_hot(labels, 7)
    mask = (right > 0) | (generator.uniform(size=(4, 3, 7)) < 0.5)
    mask = {"classes": mask.at[0, 0].set(False), "examples": mask[..., 1], None: None}[where]
    full = mask[..., None] & (right >= 0) if where == "examples" else mask
    with jax.numpy_dtype_promotion("standard"):
        q = optax.smooth_labels(right, smoothing, where=full)
    theirs = lambda x: jnp.nan_to_num(optax.softmax_cross_entropy(x, jnp.nan_to_num(q), where=full))
    loss = lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(
        x, jnp.asarray(labels), label_smoothing=smoothing, where=mask
    )
    np.testing.assert_allclose(loss(logits), theirs(logits), rtol=2e-5, atol=1e-6)
    if smoothing == 0:
        same = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels), where=mask)
        np.testing.assert_allclose(loss(logits), same, rtol=2e-5, atol=1e-6)


def test_where_ignores():
    """Illegal labels and NaN in examples that do not count; NaN and inf in classes that do not."""
    logits = jnp.array([[0.0, 1.0, 2.0], [np.nan, np.inf, 1.0], [1.0, np.nan, 2.0]])
    labels, where = jnp.array([0, -1, 2]), jnp.array([[True] * 3, [False] * 3, [True, False, True]])
    for options in ({}, {"label_smoothing": 0.1}):
        loss = lambda x, options=options: jaxcnn.softmax_cross_entropy_with_integer_labels(
            x, labels, where=where, **options
        )
        value, dx = gradient(loss, logits)
        second = jax.grad(lambda x, loss=loss: (jax.grad(lambda x: loss(x).sum())(x) ** 2).sum())(logits)
        assert np.isfinite(value).all()
        assert np.isfinite(dx).all()
        assert np.isfinite(second).all()
        assert value[1] == 0
        assert not dx[1].any()
        assert dx[2, 1] == 0
    value, dx = gradient(
        lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, labels, where=labels >= 0), logits[:, ::2]
    )
    assert value[1] == 0
    assert not dx[1].any()


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("sigmoid_binary_cross_entropy", "sigmoid_binary_cross_entropy", {}),
        ("focal_loss", "sigmoid_focal_loss", {}),
        ("focal_loss", "sigmoid_focal_loss", {"alpha": 0.25, "gamma": 1.5}),
        ("squared_error", "squared_error", {}),
        ("huber_loss", "huber_loss", {"delta": 0.4}),
    ],
)
def test_elementwise_losses_of_optax(name, theirs, options, x64):
    """Values and gradients of both arguments, over the whole range of logits."""
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.uniform(-40, 40, 500))
    y = jnp.asarray(generator.choice([0, 0.1, 0.5, 1], 500))
    inside = (y > 0) & (y < 1)  # their focal loss drops a term of the gradient of a label 0 or 1
    for scale in (1, 1e-2):  # alone, no large entry hides what is wrong with the small ones
        dl = jnp.asarray(generator.normal(size=500))
        hand = jax.vjp(lambda x, y: getattr(jaxcnn, name)(x, y, **options), scale * x, y)
        twin = jax.vjp(lambda x, y: getattr(optax, theirs)(x, y, **options), scale * x, y)
        np.testing.assert_allclose(hand[0], twin[0], rtol=1e-10, atol=1e-25)
        np.testing.assert_allclose(hand[1](dl)[0], twin[1](dl)[0], rtol=1e-8, atol=1e-25)
        np.testing.assert_allclose(hand[1](dl)[1][inside], twin[1](dl)[1][inside], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_extreme_binary_logits(gamma, dtype):
    """Finite values and gradients at ±1e4, for every label."""
    grid = np.meshgrid([-1e4, -100, 0, 100, 1e4], [0, 0.3, 1])
    x, y = (jnp.asarray(a.reshape(-1), dtype) for a in grid)
    for loss in (jaxcnn.sigmoid_binary_cross_entropy, lambda x, y: jaxcnn.focal_loss(x, y, alpha=0.25, gamma=gamma)):
        value, vjp = jax.vjp(loss, x, y)
        for array in (value, *vjp(jnp.ones_like(value))):
            assert np.isfinite(array.astype(jnp.float32)).all()


def test_losses_of_torch(x64):
    """Value and gradients; their huber_loss is ours, their binary cross-entropy takes logits."""
    torch = pytest.importorskip("torch")
    functional, generator = torch.nn.functional, np.random.default_rng(0)
    x, t, dl = generator.normal(size=(3, 5, 7)) * 3
    y, labels = generator.uniform(size=(5, 7)), generator.integers(0, 7, 5)
    pairs = [
        (jaxcnn.sigmoid_binary_cross_entropy, functional.binary_cross_entropy_with_logits, y, {}),
        (jaxcnn.squared_error, functional.mse_loss, t, {}),
        (jaxcnn.huber_loss, functional.huber_loss, t, {"delta": 0.7}),
    ]
    for ours, theirs, other, options in pairs:
        value, vjp = jax.vjp(lambda x, other, f=ours, o=options: f(x, other, **o), x, other)
        leaves = [torch.tensor(a, requires_grad=True) for a in (x, other)]
        result = theirs(*leaves, reduction="none", **options)
        result.backward(torch.tensor(dl))
        for a, b in zip((value, *vjp(jnp.asarray(dl))), (result.detach(), *(leaf.grad for leaf in leaves))):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    value, dx = gradient(
        lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, jnp.asarray(labels), label_smoothing=0.1), x
    )
    leaf = torch.tensor(x, requires_grad=True)
    result = functional.cross_entropy(leaf, torch.tensor(labels), reduction="none", label_smoothing=0.1)
    result.sum().backward()
    np.testing.assert_allclose(value, result.detach(), rtol=1e-12)
    np.testing.assert_allclose(dx, leaf.grad, atol=1e-14)


def test_infinite_logits_of_a_wrong_answer():
    logits, labels = jnp.array([jnp.inf, jnp.inf, -jnp.inf]), jnp.array([0.0, 0.5, 1.0])
    for loss in (jaxcnn.sigmoid_binary_cross_entropy, jaxcnn.focal_loss):
        np.testing.assert_array_equal(loss(logits, labels), jnp.full(3, jnp.inf))
