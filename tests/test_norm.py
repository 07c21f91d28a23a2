"""What is peculiar to normalisations: PyTorch's and ONNX's values, large means, masks, devices, the statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_rule, cotangent_of, pullback

import jaxcnn
from jaxcnn import reference

X = np.random.default_rng(0).normal(size=(4, 6, 5, 3))  # channels second
S, B, M = np.random.default_rng(1).normal(size=(3, 6))
V = np.random.default_rng(2).random(6) + 0.5

NORMS = {
    "batch_norm": lambda ops, x, **options: ops.batch_norm(x, None, None, **options),
    "layer_norm": lambda ops, x, **options: ops.layer_norm(x, None, None, **options),
    "rms_norm": lambda ops, x, **options: ops.rms_norm(x, None, **options),
    "group_norm": lambda ops, x, **options: ops.group_norm(x, None, None, groups=1, **options),
    "instance_norm": lambda ops, x, **options: ops.instance_norm(x, None, None, **options),
}
FIRST = {"channel_axis": 1}
TORCH = {  # PyTorch's call, ours, arrays
    "batch_norm": (
        lambda f, x, s, b: f.batch_norm(x, None, None, s, b, training=True),
        lambda x, s, b: jaxcnn.batch_norm(x, s, b, **FIRST)[0],
        (X, S, B),
    ),
    "batch_norm_inference": (
        lambda f, x, m, v, s, b: f.batch_norm(x, m, v, s, b, eps=0.01),
        lambda *arrays: jaxcnn.batch_norm_inference(*arrays, epsilon=0.01, **FIRST),
        (X, M, V, S, B),
    ),
    "layer_norm": (
        lambda f, x, s, b: f.layer_norm(x, (5, 3), s, b),
        lambda *arrays: jaxcnn.layer_norm(*arrays, axis=(2, 3)),
        (X, *X[0, :2]),
    ),
    "rms_norm": (
        lambda f, x, s: f.rms_norm(x, (5, 3), s, 0.01),
        lambda *arrays: jaxcnn.rms_norm(*arrays, axis=(2, 3), epsilon=0.01),
        (X, X[0, 0]),
    ),
    "group_norm": (
        lambda f, x, s, b: f.group_norm(x, 3, s, b),
        lambda *arrays: jaxcnn.group_norm(*arrays, groups=3, **FIRST),
        (X, S, B),
    ),
    "instance_norm": (
        lambda f, x, s, b: f.instance_norm(x, None, None, s, b),
        lambda *arrays: jaxcnn.instance_norm(*arrays, **FIRST),
        (X, S, B),
    ),
    **{
        f"local_response_norm, {size}": (
            lambda f, x, size=size: f.local_response_norm(x, size, 0.3, 0.6, 1.2),
            lambda x, size=size: jaxcnn.local_response_norm(x, size, alpha=0.3, beta=0.6, k=1.2, **FIRST),
            (X,),
        )
        for size in (1, 4, 5, 13)
    },
}


@pytest.mark.parametrize("name", TORCH)
def test_torch(name, x64):
    """Value and gradients."""
    torch = pytest.importorskip("torch")
    theirs, ours, arrays = TORCH[name]
    tensors = [torch.tensor(a, requires_grad=not ("inference" in name and a.ndim == 1)) for a in arrays]
    y = theirs(torch.nn.functional, *tensors)
    dy = np.random.default_rng(3).normal(size=y.shape)
    y.backward(torch.tensor(dy))
    value, gradients = pullback(ours)(dy, *map(jnp.asarray, arrays))
    assert_close(value, y.detach(), 1e-12)
    for got, tensor in zip(gradients, tensors):
        if tensor.requires_grad:
            assert_close(got, tensor.grad, 1e-12)


@pytest.mark.parametrize("unbiased", [True, False])
def test_running_statistics_of_torch_and_flax(unbiased, x64):
    """PyTorch's momentum is one less ours; its running variance is unbiased, Flax's is not."""
    torch = pytest.importorskip("torch")
    mean, var = torch.tensor(M), torch.tensor(V)
    torch.nn.functional.batch_norm(torch.tensor(X), mean, var, training=True, momentum=0.3)
    _, *statistics = jaxcnn.batch_norm(X, None, None, **FIRST)
    options = {"momentum": 0.7, "unbiased": unbiased, "count": 60}
    moved = jaxcnn.update_running_statistics(M, V, *statistics, **options)
    biased = 0.7 * V + 0.3 * X.var((0, 2, 3))
    assert_close(moved, (mean, var if unbiased else biased), 1e-12)
    one = jaxcnn.update_running_statistics(M, V, M, V, momentum=0.7, unbiased=True, count=1)
    assert_close(one, (M, V), 1e-12)


@pytest.mark.parametrize("size", [3, 4])
def test_local_response_norm_of_onnx(size, x64):
    """Its window is mirrored where the size is even."""
    squares = X**2
    total = np.stack([squares[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1].sum(1) for c in range(6)], 1)
    expected = X / (1 + 0.1 / size * total) ** 0.75
    flip = lambda x: x[:, ::-1]
    got = flip(jaxcnn.local_response_norm(jnp.asarray(flip(X)), size, alpha=0.1, **FIRST))
    assert_close(got, expected, 1e-12)


@pytest.mark.parametrize("noise", [1.0, 0.1])
@pytest.mark.parametrize("name", [name for name in NORMS if name != "rms_norm"])
def test_a_large_mean_does_not_lose_the_variance(name, noise):
    """1e6 + noise in float32: what is left is that the mean is rounded, to 0.06."""
    x = jnp.asarray(1e6 + noise * np.random.default_rng(0).normal(size=(8, 28, 28, 48)), jnp.float32)
    options = {"axis": (1, 2, 3)} if name == "layer_norm" else {}
    got = NORMS[name](jaxcnn, x, **options)
    with jax.enable_x64(True):
        exact = NORMS[name](reference, x.astype(jnp.float64), **options)
    if name == "batch_norm":
        np.testing.assert_allclose(got[1], exact[1], atol=0.04)
        np.testing.assert_allclose(got[2], exact[2], rtol=1e-4)
        got, exact = got[0], exact[0]
    error = np.asarray(got, np.float64) - np.asarray(exact)
    assert np.abs(error).max() < 0.04 / noise


EXTREME = np.array(
    [[1e4, -1e4, 1e4, 3.0], [np.inf, 1.0, 2.0, 0.0], [-np.inf, np.inf, 0.0, 1.0], [np.nan, 1.0, 2.0, 5.0]]
)
EXTREME = np.concatenate([EXTREME, [[1e-40, 2e-40, 0.0, -1e-40], [7.0] * 4, [1e30, -1e30, 1e30, 1e29]]])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", [*NORMS, "local_response_norm"])
def test_extreme_inputs(name, dtype):
    """Finite wherever autodiff of the reference is, and near it."""
    x = jnp.asarray(EXTREME, jnp.float32).astype(dtype)[:, :, None]
    x = x.reshape(7, 1, 4) if name in ("layer_norm", "rms_norm") else x
    x = jnp.moveaxis(x, 0, -1) if name == "batch_norm" else x
    run = NORMS.get(name, lambda ops, x: ops.local_response_norm(x, 3, channel_axis=1))
    dy = cotangent_of(lambda x: run(jaxcnn, x), [x])
    got, expected = (pullback(lambda x, ops=ops: run(ops, x))(dy, x) for ops in (jaxcnn, reference))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected)):
        a, b = (np.asarray(leaf.astype(jnp.float32)) for leaf in (a, b))
        finite = np.isfinite(b)
        np.testing.assert_allclose(a[finite], b[finite], rtol=2e-2, atol=2e-2)
        assert not (np.isnan(a) & ~np.isnan(b)).any()


@pytest.mark.parametrize("name", NORMS)
def test_masked_cells(name, x64):
    """They do not count, not even NaN; they are normalised, and get the direct term of the gradient alone."""
    x, keep = jnp.asarray(X), jnp.asarray(np.random.default_rng(4).random(X.shape) < 0.7)
    run = jax.jit(lambda x, keep: NORMS[name](jaxcnn, x, where=keep))
    poisoned = run(jnp.where(keep, x, jnp.nan), keep)
    clean = run(x, keep)
    pick = lambda y: jax.tree.map(lambda leaf: jnp.where(keep, leaf, 0) if leaf.shape == keep.shape else leaf, y)
    assert_close(pick(poisoned), pick(clean), 1e-13)
    first = lambda x: jax.tree.leaves(NORMS[name](jaxcnn, x, where=keep))[0]
    slopes = jax.jit(jax.jacrev(lambda x: first(x).reshape(-1)))(x).reshape(x.size, x.size)
    masked = ~np.asarray(keep).reshape(-1)
    direct = np.diag(np.diag(slopes))
    assert_close(slopes[:, masked], direct[:, masked], 1e-13)
    assert np.abs(slopes[:, ~masked] - direct[:, ~masked]).max() > 1e-3


@pytest.mark.parametrize("name", NORMS)
def test_nothing_counts(name):
    """Mean and variance are then 0, and nothing is NaN."""
    x = jnp.asarray(X, jnp.float32)
    run = lambda x: jax.tree.leaves(NORMS[name](jaxcnn, x, where=jnp.zeros(3, bool), epsilon=0.25))[0]
    y, (dx,) = pullback(run)(x, x)
    assert_close((y, dx), (2 * x, 2 * x), 1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_statistics_of_all_devices(masked, x64):
    """y, mean, var and dx as of the whole batch on one device; dscale and dbias in shares that add up to its."""
    x = jnp.moveaxis(jnp.asarray(X), 1, -1).reshape(2, 2, 5, 3, 6)
    where = jnp.asarray(np.random.default_rng(4).random((2, 2, 5, 3, 1)) < 0.5) if masked else None
    scale, bias = jnp.asarray(S), jnp.asarray(B)
    whole = lambda ops: lambda x, scale, bias, where: ops.batch_norm(x, scale, bias, where=where)
    shared = lambda ops: lambda x, scale, bias, where: ops.batch_norm(x, scale, bias, where=where, axis_name=["i"])
    dy = cotangent_of(lambda x, *rest: jax.vmap(whole(jaxcnn), (0, None, None, 0))(x, *rest), (x, scale, bias, where))

    def gradients(fn):
        def run(dy, x, scale, bias, where):
            y, vjp = jax.vjp(lambda *arrays: fn(*arrays, where), x, scale, bias)
            return y, vjp(dy)

        return run

    apart = lambda ops: jax.jit(jax.vmap(gradients(shared(ops)), (0, 0, None, None, 0), axis_name="i"))
    (y, mean, var), (dx, dscale, dbias) = apart(jaxcnn)(dy, x, scale, bias, where)
    flat = lambda a: None if a is None else a.reshape(4, *a.shape[2:])
    one = (flat(dy[0]), dy[1].sum(0), dy[2].sum(0))  # the mean of one device has the cotangents of both
    expected, (one_dx, one_dscale, one_dbias) = gradients(whole(jaxcnn))(one, flat(x), scale, bias, flat(where))
    assert_close((flat(y), mean[0], var[0], mean[1], var[1]), (*expected, *expected[1:]), 1e-12)
    assert_close((flat(dx), dscale.sum(0), dbias.sum(0)), (one_dx, one_dscale, one_dbias), 1e-12)


def test_statistics_of_all_devices_by_autodiff(x64):
    """The twin gives the same in each device."""
    x = jnp.moveaxis(jnp.asarray(X), 1, -1).reshape(2, 2, 5, 3, 6)
    each = lambda ops: (
        lambda *arrays: jax.vmap(
            pullback(lambda *a: ops.batch_norm(*a, axis_name="i")), (0, 0, None, None), axis_name="i"
        )(*arrays)
    )
    dy = (x[::-1], x[:, 0, 0, 0], x[:, 0, 0, 1])
    arrays = dy, x, jnp.asarray(S), jnp.asarray(B)
    assert_close(each(jaxcnn)(*arrays), each(reference)(*arrays), 1e-12)


def test_cotangents_of_the_statistics():
    """A loss of the returned mean and variance alone."""
    options = {"where": jnp.asarray(X > -0.5)}
    for part in (1, 2):
        hand, twin = (
            lambda x, ops=ops, part=part: ops.batch_norm(x, None, None, **options)[part] for ops in (jaxcnn, reference)
        )
        assert_rule(hand, twin, [X])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_parameters_in_float32(dtype):
    """As mixed precision has them: y is as narrow as x, statistics and gradients of parameters are not."""
    x, scale, bias = jnp.asarray(X, dtype), jnp.asarray(S, jnp.float32), jnp.asarray(B, jnp.float32)
    (y, mean, var), gradients = pullback(lambda *a: jaxcnn.batch_norm(*a, channel_axis=1))(
        (x, bias, scale), x, scale, bias
    )
    assert [a.dtype for a in (y, mean, var, *gradients)] == [dtype, *["float32"] * 2, dtype, *["float32"] * 2]
    assert jaxcnn.group_norm(x, scale, bias, groups=2, channel_axis=1).dtype == dtype


def test_residuals_are_the_input_and_its_statistics():
    x = jnp.asarray(X, jnp.float32)
    _, vjp = jax.vjp(lambda x: jaxcnn.instance_norm(x, None, None, channel_axis=1), x)
    assert sorted(leaf.size for leaf in jax.tree.leaves(vjp) if leaf.size > 1) == [24, 24, x.size]


def test_standardized_weights(x64):
    w = jaxcnn.weight_standardize(jnp.asarray(X), epsilon=0)
    assert_close((w.mean((0, 1, 2)) + 1, w.var((0, 1, 2))), (np.ones(3), np.ones(3)), 1e-12)
