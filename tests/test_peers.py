"""The conventions of other libraries, by the recipes in our docstrings, against the libraries themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close

import jaxcnn


@pytest.fixture(autouse=True)
def their_promotion():
    """They mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def draw(*shapes):
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def kernel_from_torch(v, groups=1):
    return jnp.moveaxis(jnp.concatenate(jnp.split(v, groups), 1), (0, 1), (-2, -1))


TORCH = [  # x, kernel, options
    ((2, 3, 7), (3, 4, 3), {}),
    ((2, 4, 7), (4, 3, 3), {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2}),
    ((2, 3, 5), (3, 2, 4), {"stride": 2, "dilation": 3, "padding": 2, "output_padding": 2}),
    ((2, 3, 4, 5), (3, 4, 3, 2), {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)}),
    ((2, 6, 4, 3), (6, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 3}),
    ((2, 4, 4, 3), (4, 1, 2, 2), {"stride": 3, "groups": 4}),
    ((1, 4, 3, 2, 3), (4, 3, 2, 3, 2), {"stride": (1, 2, 3), "dilation": (2, 1, 1), "groups": 2, "padding": 1}),
    ((1, 2, 2, 3, 2), (2, 3, 3, 3, 3), {"stride": 2, "dilation": 3, "output_padding": (2, 1, 0)}),
]


@pytest.mark.parametrize(("shape", "kernel", "options"), TORCH)
def test_conv_transpose_of_torch(shape, kernel, options):
    """Value and gradients."""
    torch = pytest.importorskip("torch")
    x, v, b = draw(shape, kernel, (kernel[1] * options.get("groups", 1),))
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, v, b)]
    z = getattr(torch.nn.functional, f"conv_transpose{len(shape) - 2}d")(*theirs, **options)
    (dz,) = draw(tuple(z.shape))
    z.backward(torch.tensor(dz))
    options = {"padding": 0, **options}
    groups, strides = options.get("groups", 1), options.pop("stride", 1)

    def ours(x, v, b):
        return jaxcnn.conv_transpose(x, kernel_from_torch(v, groups), b, strides=strides, channel_axis=1, **options)

    value, vjp = jax.vjp(ours, x, v, b)
    assert_close((value, vjp(dz)), (z.detach(), tuple(a.grad for a in theirs)), 1e-5)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 3, 11), (4, 3, 3), {"stride": 2, "padding": 3, "dilation": 2}),
        ((2, 6, 9, 7), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2), "groups": 2}),
        ((2, 3, 9, 7), (6, 1, 3, 3), {"groups": 3, "stride": 2}),
        ((1, 4, 5, 6, 4), (6, 2, 2, 3, 2), {"stride": (1, 2, 3), "groups": 2, "padding": 1}),
    ],
)
def test_conv_of_torch(shape, kernel, options):
    torch = pytest.importorskip("torch")
    x, v, b = draw(shape, kernel, kernel[:1])
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, v, b)]
    z = getattr(torch.nn.functional, f"conv{len(shape) - 2}d")(*theirs, **options)
    (dz,) = draw(tuple(z.shape))
    z.backward(torch.tensor(dz))
    options = {"padding": 0, **options}
    strides = options.pop("stride", 1)

    def ours(x, v, b):
        w = jnp.moveaxis(v, (1, 0), (-2, -1))
        return jaxcnn.conv(x, w, b, strides=strides, channel_axis=1, **options)

    value, vjp = jax.vjp(ours, x, v, b)
    assert_close((value, vjp(dz)), (z.detach(), tuple(a.grad for a in theirs)), 1e-5)


# x, kernel (*window, c, k), strides, dilation: windows larger and smaller than the stride, even and odd.
LAX = [
    ((2, 5, 3), (3, 3, 2), (1,), (1,)),
    ((2, 5, 3), (4, 3, 2), (2,), (1,)),
    ((2, 5, 3), (2, 3, 2), (3,), (1,)),
    ((2, 5, 3), (3, 3, 2), (4,), (2,)),
    ((2, 4, 5, 3), (3, 4, 3, 2), (2, 3), (1, 1)),
    ((2, 4, 5, 3), (2, 5, 3, 4), (3, 2), (2, 1)),
    ((1, 3, 2, 4, 2), (3, 2, 1, 2, 3), (1, 2, 3), (1, 1, 1)),
    ((1, 2, 2, 3, 2), (2, 3, 2, 2, 3), (3, 2, 1), (2, 1, 2)),
]


def extents(kernel, dilation):
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]


def padding_from_lax(padding, kernel, strides, dilation):
    """SAME is the same, VALID is with output_padding max(s − e, 0), pairs are (e − 1 − lo, e − 1 − hi)."""
    extent = extents(kernel, dilation)
    if padding == "VALID":
        return {"padding": padding, "output_padding": [max(s - e, 0) for s, e in zip(strides, extent)]}
    if padding == "SAME":
        return {"padding": padding}
    return {"padding": [(e - 1 - lo, e - 1 - hi) for e, (lo, hi) in zip(extent, padding)]}


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "pairs"])
@pytest.mark.parametrize(("shape", "kernel", "strides", "dilation"), LAX)
class TestLax:
    def operands(self, shape, kernel, transpose_kernel):
        """x, their kernel v, and w."""
        x, v = draw(shape, kernel)
        spatial = range(len(shape) - 2)
        return (x, np.swapaxes(v, -2, -1), v) if transpose_kernel else (x, v, jnp.flip(v, spatial))

    def pairs(self, padding, shape):
        return [(1, 2), (3, 0), (0, 1)][: len(shape) - 2] if padding == "pairs" else padding

    def test_conv_transpose(self, shape, kernel, strides, dilation, padding, transpose_kernel):
        x, v, w = self.operands(shape, kernel, transpose_kernel)
        padding = self.pairs(padding, shape)
        theirs = jax.lax.conv_transpose(
            x, v, strides, padding, rhs_dilation=dilation, transpose_kernel=transpose_kernel
        )
        options = padding_from_lax(padding, kernel, strides, dilation)
        assert_close(jaxcnn.conv_transpose(x, w, strides=strides, dilation=dilation, **options), theirs, 1e-5)

    def test_flax(self, shape, kernel, strides, dilation, padding, transpose_kernel):
        linen = pytest.importorskip("flax.linen")
        x, v, w = self.operands(shape, kernel, transpose_kernel)
        padding, (b,) = self.pairs(padding, shape), draw(kernel[-1:])
        layer = linen.ConvTranspose(
            kernel[-1], kernel[:-2], strides, padding, kernel_dilation=dilation, transpose_kernel=transpose_kernel
        )
        theirs = layer.apply({"params": {"kernel": v, "bias": b}}, x)
        options = padding_from_lax(padding, kernel, strides, dilation)
        assert_close(jaxcnn.conv_transpose(x, w, b, strides=strides, dilation=dilation, **options), theirs, 1e-5)


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield pytest.importorskip("keras")


def apply_keras(layer, x, *weights):
    layer.build(x.shape)
    layer.set_weights(weights)
    return layer(x)


KERAS = [  # keras has no strides with dilation, and wants output_padding below the strides
    (shape, kernel, strides, dilation, output_padding)
    for shape, kernel, strides, dilation in [
        *(case for case in LAX if {1} in map(set, case[2:])),
        ((2, 5, 3), (1, 3, 2), (3,), (1,)),
        ((2, 5, 3), (3, 3, 2), (1,), (2,)),
        ((2, 5, 3), (5, 3, 2), (4,), (1,)),
    ]
    for output_padding in (None, *range(min(strides)))
]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("shape", "kernel", "strides", "dilation", "output_padding"), KERAS)
def test_conv_transpose_of_keras(keras, shape, kernel, strides, dilation, output_padding, padding):
    (x, v, b), dims = draw(shape, (*kernel[:-2], kernel[-1], kernel[-2]), kernel[-1:]), len(strides)
    layer = getattr(keras.layers, f"Conv{dims}DTranspose")(
        kernel[-1], kernel[:-2], strides, padding, output_padding=output_padding, dilation_rate=dilation
    )
    theirs = apply_keras(layer, x, v, b)
    if output_padding is None:
        options = padding_from_lax(padding.upper(), kernel, strides, dilation)
    elif padding == "valid":
        options = {"padding": "valid", "output_padding": output_padding}
    else:
        lows = [max(e // 2 - (output_padding + 1) // 2, 0) for e in extents(kernel, dilation)]
        pads = [(lo, 2 * (e // 2) - output_padding - lo) for lo, e in zip(lows, extents(kernel, dilation))]
        options = {"padding": pads}
    ours = jaxcnn.conv_transpose(x, jnp.swapaxes(v, -2, -1), b, strides=strides, dilation=dilation, **options)
    assert_close(ours, theirs, 1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2])
class TestDepthwise:
    def test_keras(self, keras, padding, strides):
        x, v, b = draw((2, 7, 8, 3), (3, 2, 3, 4), (12,))
        layer = keras.layers.DepthwiseConv2D((3, 2), strides, padding, depth_multiplier=4)
        ours = jaxcnn.depthwise_conv(x, v.reshape(3, 2, 1, 12), b, strides=strides, padding=padding)
        assert_close(ours, apply_keras(layer, x, v, b), 1e-5)

    def test_keras_separable(self, keras, padding, strides):
        x, v, w_point, b = draw((2, 7, 8, 3), (3, 2, 3, 4), (1, 1, 12, 5), (5,))
        layer = keras.layers.SeparableConv2D(5, (3, 2), strides, padding, depth_multiplier=4)
        ours = jaxcnn.separable_conv(x, v.reshape(3, 2, 1, 12), w_point, b, strides=strides, padding=padding)
        assert_close(ours, apply_keras(layer, x, v, w_point, b), 1e-5)

    def test_flax(self, padding, strides):
        linen = pytest.importorskip("flax.linen")
        x, w, b = draw((2, 7, 8, 3), (3, 2, 1, 12), (12,))
        layer = linen.Conv(12, (3, 2), strides, padding.upper(), feature_group_count=3)
        ours = jaxcnn.depthwise_conv(x, w, b, strides=strides, padding=padding)
        assert_close(ours, layer.apply({"params": {"kernel": w, "bias": b}}, x), 1e-5)


TORCH_POOLS = [  # x, options of both
    ((2, 3, 11), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((2, 3, 7, 9), {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0), "ceil_mode": True}),
    ((2, 3, 8, 7), {"kernel_size": 2}),
    ((2, 3, 2, 9), {"kernel_size": (3, 2), "stride": 3, "ceil_mode": True}),
    ((1, 2, 5, 6, 7), {"kernel_size": 3, "stride": (2, 1, 2), "padding": 1, "ceil_mode": True}),
]


def assert_torch(ours, theirs, x):
    """Value and gradient; where the value comes with indices, these too."""
    torch = pytest.importorskip("torch")
    leaf = torch.tensor(x, requires_grad=True)
    y = theirs(leaf)
    y, *indices = y if isinstance(y, tuple) else (y,)
    (dy,) = draw(tuple(y.shape))
    y.backward(torch.tensor(dy))
    value, vjp, *found = jax.vjp(ours, x, has_aux=bool(indices))
    assert_close((value, vjp(dy)), (y.detach(), (leaf.grad,)), 1e-6)
    assert_close(found, indices, 0)


@pytest.mark.parametrize(("shape", "options"), TORCH_POOLS)
@pytest.mark.parametrize("kind", ["max", "avg", "avg without padding", "avg divided"])
def test_pools_of_torch(shape, options, kind):
    functional = pytest.importorskip("torch").nn.functional
    dims = len(shape) - 2
    if kind == "avg divided" and dims == 1:
        pytest.skip("PyTorch has no divisor in one dimension")
    names = {"kernel_size": "window", "stride": "strides"}
    ours = {names.get(name, name): value for name, value in options.items()}
    ours = {"channel_axis": 1, "padding": 0, **ours}
    (x,) = draw(shape)
    if kind == "max":
        theirs = getattr(functional, f"max_pool{dims}d")
        assert_torch(
            lambda x: jaxcnn.max_pool_with_indices(x, **ours), lambda x: theirs(x, return_indices=True, **options), x
        )
        assert_torch(lambda x: jaxcnn.max_pool(x, **ours), lambda x: theirs(x, **options), x)
        return
    more = {"avg": {}, "avg without padding": {"count_include_pad": False}, "avg divided": {"divisor_override": 5}}
    theirs = getattr(functional, f"avg_pool{dims}d")
    assert_torch(lambda x: jaxcnn.avg_pool(x, **ours, **more[kind]), lambda x: theirs(x, **options, **more[kind]), x)


@pytest.mark.parametrize(
    ("shape", "output_shape"), [((2, 3, 7), (3,)), ((2, 3, 5, 6), (7, 4)), ((1, 2, 4, 5, 6), (2, 5, 3))]
)
def test_adaptive_pools_of_torch(shape, output_shape):
    functional = pytest.importorskip("torch").nn.functional
    (x,) = draw(shape)
    for kind in ("avg", "max"):
        ours, theirs = (
            getattr(jaxcnn, f"adaptive_{kind}_pool"),
            getattr(functional, f"adaptive_{kind}_pool{x.ndim - 2}d"),
        )
        assert_torch(
            lambda x, ours=ours: ours(x, output_shape, channel_axis=1),
            lambda x, theirs=theirs: theirs(x, output_shape),
            x,
        )


def test_max_unpool_of_torch():
    torch = pytest.importorskip("torch")
    (x,) = draw((2, 3, 7, 9))
    y, indices = torch.nn.functional.max_pool2d(torch.tensor(x), 2, return_indices=True)
    places = jnp.asarray(indices.numpy(), jnp.int32)
    assert_torch(
        lambda y: jaxcnn.max_unpool(y, places, output_shape=(7, 9), channel_axis=1),
        lambda y: torch.nn.functional.max_unpool2d(y, indices, 2, output_size=(7, 9)),
        y.numpy(),
    )
