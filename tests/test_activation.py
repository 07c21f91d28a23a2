"""What is peculiar to activations: kinks and extreme inputs as in jax.nn, slopes, masks, and PyTorch's values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.activation import POINTWISE
from compare import assert_close, assert_rule, pullback

import jaxcnn
from jaxcnn import reference

KINKS = [-6.0, -3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0]
EXTREMES = [-np.inf, -1e30, -1e4, -1e-40, 1e-40, 1e4, 1e6 + 0.3, 1e30, np.inf, np.nan]


def every(ops, **options):
    """All pointwise activations of one array, by name."""
    return lambda x: {op: getattr(ops, op)(x, **options.get(op, {})) for op in POINTWISE}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_wide_range(dtype):
    """Values and gradients from −40 to 40, between the kinks."""
    assert_rule(every(jaxcnn, **POINTWISE), every(reference, **POINTWISE), [np.linspace(-40, 40, 2000)], dtype)


@pytest.mark.usefixtures("optimized")  # without, tanh itself is coarser
@pytest.mark.parametrize("op", POINTWISE)
def test_kinks_and_extremes(op):
    """As jax.nn, NaN for NaN; where that gives a NaN of its own (inf · 0), a number will do."""
    x = jnp.array(KINKS + EXTREMES, jnp.float32)
    hand, twin = (pullback(getattr(ops, op))(jnp.ones_like(x), x) for ops in (jaxcnn, reference))
    for ours, theirs in zip(jax.tree.leaves(hand), jax.tree.leaves(twin)):
        known = ~np.isnan(theirs)
        np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-5, atol=1e-7)
        assert np.isfinite(ours[: len(KINKS)]).all()
    assert np.isnan(hand[0][-1])


def test_gradient_at_kinks():
    """The decisions that the docstrings state."""
    x = jnp.array([-3.0, -1.0, 0.0, 1.0, 3.0, 6.0])
    _, vjp = jax.vjp(every(jaxcnn, leaky_relu={"negative_slope": 0.5}, elu={"alpha": 2.0}, celu={"alpha": 2.0}), x)
    at = {
        op: dict(zip(x.tolist(), vjp({o: jnp.full_like(x, o == op) for o in POINTWISE})[0].tolist()))
        for op in ("relu6", "leaky_relu", "elu", "celu", "hard_sigmoid", "hard_swish", "hard_tanh")
    }
    assert (at["relu6"][0], at["relu6"][6]) == (0, 0)
    assert (at["leaky_relu"][-1], at["leaky_relu"][0]) == (0.5, 1)
    assert (at["elu"][0], at["celu"][0]) == (2, 1)
    assert (at["hard_sigmoid"][-3], at["hard_sigmoid"][3]) == (0, 0)
    assert (at["hard_swish"][-3], at["hard_swish"][3]) == (0, 1)
    assert (at["hard_tanh"][-1], at["hard_tanh"][1]) == (1, 1)


@pytest.mark.parametrize("slope", [-0.5, 0.0, 3])
def test_leaky_relu_of_any_slope(slope):
    """Its gradient does not go by the sign of y."""
    call = lambda ops: lambda x: ops.leaky_relu(x, negative_slope=slope)
    assert_rule(call(jaxcnn), call(reference), [np.linspace(-2, 2, 8)])


def test_second_derivative_at_zero(x64):
    """Of the smooth ones: a forward rule that autodiff passes through must be differentiable there."""
    smooth = ("gelu", "silu", "mish", "sigmoid", "tanh", "softplus")
    for op in smooth:
        second = lambda ops, op=op: jax.grad(jax.grad(lambda x: jnp.sin(getattr(ops, op)(x))))(jnp.zeros(()))
        np.testing.assert_allclose(second(jaxcnn), second(reference), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_prelu_sums_in_float32(dtype):
    ones = jnp.ones((4096, 1), dtype)
    _, (_, dslope) = pullback(jaxcnn.prelu)(ones, -ones, jnp.ones(1, dtype))
    assert dslope.item() == -4096
    assert dslope.dtype == dtype


def test_prelu_promotes():
    with jax.numpy_dtype_promotion("standard"):
        x, slope = jnp.ones((3, 2), jnp.bfloat16), jnp.ones(2)
        y, (dx, dslope) = pullback(jaxcnn.prelu)(jnp.ones((3, 2)), x, slope)
    assert (y.dtype, dx.dtype, dslope.dtype) == (jnp.float32, jnp.bfloat16, jnp.float32)


INF, NAN = np.inf, np.nan
ROWS = [[1e4, -1e4, 0.0], [0.0, -INF, 1.0], [-INF] * 3, [INF, 0.0, 1.0], [NAN, 0.0, 1.0], [1e6, 1e6 + 1, 0.0]]
WHERE = [[True, True, False], [True, False, True], [False] * 3, [False, True, True], [False, True, True], [True] * 3]


@pytest.mark.parametrize("where", [None, np.array(WHERE)], ids=["all", "some"])
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_extreme_rows(op, where):
    """What jax.nn gives; finite gradients where it has NaN for an entry that does not count."""
    x = jnp.array(ROWS, jnp.float32)
    dy = jnp.asarray(np.random.default_rng(0).normal(size=x.shape), jnp.float32)
    where = None if where is None else jnp.asarray(where)
    run = lambda ops: pullback(lambda x: getattr(ops, op)(x, where=where))(dy, x)
    hand, twin = run(jaxcnn), run(reference)
    np.testing.assert_allclose(hand[0], twin[0], rtol=1e-5)
    known = ~np.isnan(twin[1][0])
    np.testing.assert_allclose(hand[1][0][known], twin[1][0][known], rtol=1e-5, atol=1e-6)
    if where is not None:
        assert not np.asarray(hand[1][0])[~np.asarray(where)].any()


TORCH = {
    "relu": ({}, {}),
    "relu6": ({}, {}),
    "leaky_relu": ({"negative_slope": 0.2}, {"negative_slope": 0.2}),
    "elu": ({"alpha": 0.8}, {"alpha": 0.8}),
    "selu": ({}, {}),
    "celu": ({"alpha": 0.8}, {"alpha": 0.8}),
    "gelu": ({}, {"approximate": "tanh"}),
    "gelu, exact": ({"approximate": False}, {}),
    "silu": ({}, {}),
    "mish": ({}, {}),
    "sigmoid": ({}, {}),
    "hard_sigmoid": ({}, {}),
    "hard_swish": ({}, {}),
    "tanh": ({}, {}),
    "hard_tanh": ({}, {}),
    "softplus": ({}, {"threshold": 1e9}),
    "softmax": ({"axis": 1}, {"dim": 1}),
    "log_softmax": ({}, {"dim": -1}),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch(name, x64):
    """Value and gradient; theirs are spelt hardsigmoid, hardswish, hardtanh."""
    torch = pytest.importorskip("torch")
    op, (ours, theirs) = name.split(",")[0], TORCH[name]
    x, dy = np.random.default_rng(0).normal(size=(2, 5, 6, 4)) * 4
    y, (dx,) = pullback(lambda x: getattr(jaxcnn, op)(x, **ours))(dy, x)
    leaf = torch.tensor(x, requires_grad=True)
    result = getattr(torch.nn.functional, op.replace("hard_", "hard"))(leaf, **theirs)
    result.backward(torch.tensor(dy))
    coarse = op in ("celu", "hard_sigmoid")  # their gradient has constants of float32
    assert_close((y, dx), (result.detach(), leaf.grad), 1e-6 if coarse else 1e-12)


def test_prelu_of_torch(x64):
    torch = pytest.importorskip("torch")
    x, dy = np.random.default_rng(0).normal(size=(2, 2, 3, 5, 4))
    slope = np.array([0.25, -0.5, 2.0])
    y, gradients = pullback(lambda x, slope: jaxcnn.prelu(x, slope, channel_axis=1))(dy, x, slope)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, slope)]
    result = torch.nn.functional.prelu(*leaves)
    result.backward(torch.tensor(dy))
    assert_close((y, gradients), (result.detach(), tuple(leaf.grad for leaf in leaves)), 1e-12)
