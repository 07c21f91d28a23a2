"""Geometries that nobody chose: the rules against autodiff, and the adjoint identities of the three maps."""

import jax
import jax.numpy as jnp
import numpy as np
from compare import assert_rule
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxcnn
from jaxcnn import algorithms, reference
from jaxcnn.window import Convolution, Window

few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def geometries(draw):
    """Spatial shape and options of a window in 1 to 3 dimensions."""
    dims = draw(st.integers(1, 3))
    largest = {1: 12, 2: 8, 3: 5}[dims]
    each = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * dims))
    shape, pads = each(1, largest), tuple(zip(each(-2, 4), each(-2, 4)))
    pads = tuple((max(lo, -(n // 2)), max(hi, -(n // 2))) for n, (lo, hi) in zip(shape, pads))
    padding = draw(st.sampled_from(["VALID", "SAME", "SAME_LOWER", pads]))
    options = {"strides": each(1, 4), "padding": padding, "dilation": each(1, 3)}
    return shape, each(1, {1: 6, 2: 4, 3: 2}[dims]), options


@st.composite
def transposed_geometries(draw):
    """The same for a transposed convolution: `output_padding` too, and no crop of more than there is."""
    shape, size, options = draw(geometries())
    steps = list(zip(shape, size, options["strides"], options["dilation"]))
    if options["padding"] in ("SAME", "SAME_LOWER"):
        return shape, size, options
    more = draw(st.tuples(*(st.integers(0, max(s, d) - 1) for *_, s, d in steps)))
    if options["padding"] != "VALID":
        spans = [(o - 1) * s + (i - 1) * d + 1 for o, i, s, d in steps]
        options["padding"] = tuple((lo, min(hi, span - lo)) for (lo, hi), span in zip(options["padding"], spans))
    return shape, size, {**options, "output_padding": more}


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


@few
@given(
    geometries(),
    st.integers(0, 3),
    st.sampled_from([(1, 1, 1), (1, 3, 2), (2, 4, 2), (3, 3, 6)]),
    st.sampled_from([-1, 1]),
)
def test_conv(geometry, n, channels, channel_axis):
    (shape, size, options), (g, c, k) = geometry, channels
    x = normal(n, *shape, c) if channel_axis == -1 else normal(n, c, *shape)
    call = lambda ops: lambda x, w, b: ops.conv(x, w, b, groups=g, channel_axis=channel_axis, **options)
    assert_rule(call(jaxcnn), call(reference), [x, normal(*size, c // g, k), normal(k)])


@few
@given(transposed_geometries(), st.sampled_from([(1, 1, 1), (1, 3, 2), (2, 4, 2), (3, 3, 6)]))
def test_conv_transpose(geometry, channels):
    (shape, size, options), (g, c, k) = geometry, channels
    call = lambda ops: lambda x, w, b: ops.conv_transpose(x, w, b, groups=g, **options)
    assert_rule(call(jaxcnn), call(reference), [normal(2, *shape, c), normal(*size, c // g, k), normal(k)])


@few
@given(geometries(), st.sampled_from([(1, 2), (2, 4), (3, 3)]), st.booleans())
def test_depthwise_and_separable_conv(geometry, channels, separable):
    (shape, size, options), (c, depth) = geometry, channels
    arrays = [normal(2, *shape, c), normal(*size, 1, depth), *([normal(depth, 5), normal(5)] if separable else [])]
    name = "separable_conv" if separable else "depthwise_conv"
    call = lambda ops: lambda *arrays: getattr(ops, name)(*arrays, **options)
    assert_rule(call(jaxcnn), call(reference), arrays)


@few
@given(transposed_geometries(), st.sampled_from([(1, 2, 3), (2, 4, 2), (3, 3, 6)]))
def test_conv_transpose_is_the_adjoint_of_the_matching_conv(geometry, channels):
    """⟨conv(z, v), x⟩ = ⟨z, conv_transpose(x, w)⟩ with c and k exchanged within each group of v."""
    (shape, size, options), (g, c, k) = geometry, channels
    more = [min(m, s - 1) for m, s in zip(options.pop("output_padding", (0,) * len(shape)), options["strides"])]
    with jax.enable_x64(True):
        x, w = jnp.asarray(normal(2, *shape, c)), jnp.asarray(normal(*size, c // g, k))
        painted = jaxcnn.conv_transpose(x, w, groups=g, output_padding=more, **options)
        v = jnp.concatenate([jnp.swapaxes(part, -2, -1) for part in jnp.split(w, g, -1)], -1)
        z = jnp.asarray(normal(*painted.shape))
        read = jaxcnn.conv(z, v, groups=g, **options)
        assert read.shape == x.shape
        scale = 1 + jnp.linalg.norm(z) * jnp.linalg.norm(painted)
        assert abs(jnp.vdot(read, x) - jnp.vdot(z, painted)) < 1e-13 * scale


@few
@given(geometries(), st.sampled_from(["first", "all", "even"]), st.booleans(), st.booleans())
def test_max_pool(geometry, ties, grid, ceil_mode):
    shape, window, options = geometry
    ceil_mode = ceil_mode and isinstance(options["padding"], str)
    x = normal(2, *shape, 2)
    call = lambda ops: lambda x: ops.max_pool(x, window, ties=ties, ceil_mode=ceil_mode, **options)
    assert_rule(call(jaxcnn), call(reference), [np.round(x) if grid else x])


@few
@given(geometries(), st.booleans(), st.booleans())
def test_avg_pool(geometry, count_include_pad, ceil_mode):
    shape, window, options = geometry
    options["ceil_mode"] = ceil_mode and isinstance(options["padding"], str)
    call = lambda ops: lambda x: ops.avg_pool(x, window, count_include_pad=count_include_pad, **options)
    assert_rule(call(jaxcnn), call(reference), [normal(2, *shape, 2)])


@few
@given(geometries(), st.sampled_from([1, 2, 3, 2.5]), st.booleans(), st.booleans())
def test_lp_pool(geometry, p, grid, ceil_mode):
    shape, window, options = geometry
    options["ceil_mode"] = ceil_mode and isinstance(options["padding"], str)
    call = lambda ops: lambda x: ops.lp_pool(x, window, p=p, **options)
    x = normal(2, *shape, 2)
    assert_rule(call(jaxcnn), call(reference), [np.round(x) if grid else x])


@few
@given(geometries(), st.booleans())
def test_max_pool_with_indices(geometry, grid):
    shape, window, options = geometry
    call = lambda ops: lambda x: ops.max_pool_with_indices(x, window, **options)
    x = normal(2, *shape, 2)
    assert_rule(call(jaxcnn), call(reference), [np.round(x) if grid else x])


@few
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=2), st.booleans())
def test_adaptive_pools(sizes, grid):
    shape, output_shape = zip(*sizes)
    x = normal(2, *shape, 2)
    for name in ("adaptive_avg_pool", "adaptive_max_pool"):
        call = lambda ops, name=name: lambda x: getattr(ops, name)(x, output_shape)
        assert_rule(call(jaxcnn), call(reference), [np.round(x) if grid else x])


@few
@given(geometries())
def test_unfold_and_fold(geometry):
    shape, window, options = geometry
    unfold = lambda ops: lambda x: ops.unfold(x, window, **options)
    fold = lambda ops: lambda cols: ops.fold(cols, window, output_shape=shape, **options)
    x = normal(2, *shape, 2)
    assert_rule(unfold(jaxcnn), unfold(reference), [x])
    assert_rule(fold(jaxcnn), fold(reference), [normal(*jax.eval_shape(unfold(jaxcnn), x).shape)])


@few
@given(geometries(), st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap"]))
def test_pad(geometry, mode):
    shape, _, options = geometry
    padding = ((1, 2),) * len(shape) if isinstance(options["padding"], str) else options["padding"]
    call = lambda ops: lambda x: ops.pad(x, padding, mode=mode)
    assert_rule(call(jaxcnn), call(reference), [normal(2, *shape, 2)])


@few
@given(geometries(), st.sampled_from([(1, 2, 3), (2, 4, 2)]))
def test_adjoint_identities(geometry, channels):
    """⟨forward(x, w), dz⟩ = ⟨x, input_gradient(dz, w)⟩ = ⟨w, kernel_gradient(x, dz)⟩."""
    (shape, size, options), (g, c, k) = geometry, channels
    window = Window.of("test", shape, size, **options)
    with jax.enable_x64(True):
        conv = Convolution(window, g, None, jnp.dtype("float64"), jnp.dtype("float64"))
        x, w, dz = (jnp.asarray(normal(*s)) for s in ((2, *shape, c), (*size, c // g, k), (2, *window.output, k)))

        @jax.jit
        def products(x, w, dz):
            forward = jnp.vdot(algorithms.forward(x, w, conv), dz)
            by_input = jnp.vdot(x, algorithms.input_gradient(dz, w, conv))
            return forward, by_input, jnp.vdot(w, algorithms.kernel_gradient(x, dz, conv))

        forward, by_input, by_kernel = products(x, w, dz)
        scale = 1 + jnp.linalg.norm(x) * jnp.linalg.norm(w) * jnp.linalg.norm(dz)
        assert abs(forward - by_input) < 1e-13 * scale
        assert abs(forward - by_kernel) < 1e-13 * scale
