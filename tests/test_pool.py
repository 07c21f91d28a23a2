"""What is peculiar to pools: ties, NaN, infinities, integers, 16 bits, residuals, and that nothing scatters."""

import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from compare import cotangent_of
from jax.test_util import check_grads

import jaxcnn
from jaxcnn import switches, window_sums


def gradient(pool, x, dy=None):
    y, vjp = jax.vjp(jax.jit(pool), x)
    return vjp(jnp.ones_like(y) if dy is None else dy)[0]


def line(*values, dtype=jnp.float32):
    return jnp.array(values, dtype)[None, :, None]


@pytest.mark.parametrize(
    ("ties", "expected"), [("first", [0, 2, 1, 1, 0]), ("all", [0, 2, 2, 2, 0]), ("even", [0, 1.5, 1, 1.5, 0])]
)
def test_ties(ties, expected):
    dx = gradient(lambda x: jaxcnn.max_pool(x, 2, strides=1, ties=ties), line(0, 1, 1, 1, 0))
    assert dx[0, :, 0].tolist() == expected


def test_first_is_row_major():
    x = jnp.array([[0.0, 5], [5, 0]])[None, ..., None]
    assert gradient(lambda x: jaxcnn.max_pool(x, 2), x)[0, ..., 0].tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("ties", ["first", "all", "even"])
def test_nan_propagates_and_takes_the_gradient(ties):
    x = line(1, jnp.nan, 3, 4, 5, 6)
    y, vjp = jax.vjp(lambda x: jaxcnn.max_pool(x, 3, ties=ties), x)
    assert np.isnan(y[0, 0, 0])
    assert y[0, 1, 0] == 6
    assert vjp(line(7, 8))[0][0, :, 0].tolist() == [0, 7, 0, 0, 0, 8]


@pytest.mark.parametrize("ties", ["first", "all", "even"])
def test_padding_never_takes_the_gradient(ties):
    """Not in a window of −inf, and a window of padding alone has none to give."""
    x = line(-jnp.inf, -jnp.inf)
    y, vjp = jax.vjp(lambda x: jaxcnn.max_pool(x, 2, strides=1, padding=[(3, 1)], ties=ties), x)
    assert y[0, :, 0].tolist() == [-np.inf] * 5
    dx = vjp(line(100, 200, 1, 2, 4))[0][0, :, 0].tolist()
    assert dx == {"first": [3, 4], "all": [3, 6], "even": [2, 5]}[ties]


@pytest.mark.parametrize("loops", ["one", "two"])
@pytest.mark.parametrize("window", [3, 5])
def test_the_first_maximum_of_any_numbers(loops, window, monkeypatch):
    """NaN, infinities, both zeros and ties, in windows of one pass and of several, as a CPU and as others find it."""
    if loops == "two":
        monkeypatch.setattr(switches, "UNROLL", 0)
    numbers = np.array([np.nan, np.inf, -np.inf, -np.inf, -0.0, 0.0, 1, 1, -2], np.float32)
    x = np.random.default_rng(0).choice(numbers, (4, 7, 8, 3))
    y, indices = map(np.asarray, jaxcnn.max_pool_with_indices(x, window, strides=2, padding=1))
    for n, p, q, c in np.ndindex(y.shape):
        rows, columns = (range(max(0, 2 * o - 1), min(size, 2 * o - 1 + window)) for o, size in ((p, 7), (q, 8)))
        cells = [(x[n, i, j, c], 8 * i + j) for i in rows for j in columns]
        value, index = max(cells, key=lambda cell: (np.isnan(cell[0]), cell[0], -cell[1]))
        assert indices[n, p, q, c] == index
        np.testing.assert_array_equal(y[n, p, q, c], value)
    np.testing.assert_array_equal(jaxcnn.max_pool(x, window, strides=2, padding=1), y)


def test_plus_infinity_and_negative_zero():
    x = line(-0.0, 0.0, jnp.inf, jnp.inf)
    y, vjp = jax.vjp(lambda x: jaxcnn.max_pool(x, 2), x)
    assert y[0, :, 0].tolist() == [0, np.inf]
    assert vjp(line(1, 2))[0][0, :, 0].tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_integers(dtype):
    x = line(3, 1, 0, 2, dtype=dtype)
    y = jaxcnn.max_pool(x, 3, strides=2, padding="SAME")
    assert y.dtype == dtype
    assert y[0, :, 0].tolist() == [3, 2]
    assert jaxcnn.max_pool(x, 1, padding=1)[0, 0, 0] == jnp.iinfo(dtype).min


def test_a_sum_is_made_once_for_the_sum_of_its_gradient():
    """XLA would make y anew for every tap that the gradient reads, as an array for each."""
    x = jnp.ones((4, 20, 20, 32))
    loss = lambda x: jnp.sum(jaxcnn.avg_pool(x, 3, strides=1, padding="SAME") ** 2)
    assert jax.jit(jax.grad(loss)).lower(x).compile().memory_analysis().temp_size_in_bytes < 1.5 * x.nbytes


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("n", [4, 7])
def test_sums_in_passes_over_a_few_examples_at_a_time(strides, n, x64, monkeypatch):
    """Or one, where no such number divides the batch."""
    for constant, value in {"ONCE": 4, "STRIDED": 4, "CHUNK": 5000}.items():
        monkeypatch.setattr(window_sums, constant, value)
    x = jax.random.normal(jax.random.key(0), (n, 12, 13, 2))
    pool = lambda ops: lambda x: ops.avg_pool(x, (4, 5), strides=strides, padding=2, count_include_pad=False)
    y, vjp = jax.vjp(pool(jaxcnn.reference), x)
    dy = cotangent_of(pool(jaxcnn), [x])
    assert np.allclose(jax.jit(pool(jaxcnn))(x), y, rtol=0, atol=1e-12)
    assert np.allclose(gradient(pool(jaxcnn), x, dy), vjp(dy)[0], rtol=0, atol=1e-12)
    of_each = jax.vmap(jax.grad(lambda x: jnp.sum(pool(jaxcnn)(x) ** 2)))(x[None])[0]
    assert np.allclose(of_each, 2 * vjp(y)[0], rtol=0, atol=1e-12)
    check_grads(jax.jit(pool(jaxcnn)), [x], 2, ["rev"])


@pytest.mark.parametrize("count_include_pad", [False, True])
def test_average_counts(count_include_pad):
    y = jaxcnn.avg_pool(line(2, 4, 6), 2, strides=2, padding=1, count_include_pad=count_include_pad)
    assert y[0, :, 0].tolist() == ([1, 5] if count_include_pad else [2, 5])
    overhang = jaxcnn.avg_pool(line(2, 4, 6), 2, ceil_mode=True, count_include_pad=count_include_pad)
    assert overhang[0, :, 0].tolist() == [3, 6]


def test_average_of_padding_alone_is_zero():
    pool = lambda x: jaxcnn.avg_pool(x, 1, padding=1, count_include_pad=False)
    assert pool(line(5))[0, :, 0].tolist() == [0, 5, 0]
    assert gradient(pool, line(5))[0, :, 0].tolist() == [1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_averages_accumulate_in_float32(dtype):
    """A constant image keeps its value, and a long sum of gradients does not stall."""
    x = jnp.full((1, 64, 64, 2), 1.01, dtype)
    assert (jaxcnn.avg_pool(x, 64) == x[0, 0, 0, 0]).all()
    pool = lambda x: jaxcnn.avg_pool(x, 4096, strides=1, padding=4095, divisor_override=1)
    dx = gradient(pool, jnp.ones((1, 1, 1), dtype))
    assert dx.item() == 4096


@pytest.mark.parametrize(
    ("window", "ties", "dtype", "words"),
    [
        (2, "first", "uint8", 1),
        ((3, 5), "first", "uint8", 1),
        ((17, 16), "first", "uint16", 1),
        (2, "all", "uint8", 1),
        (3, "even", "uint16", 1),
        (5, "all", "uint32", 1),
        (6, "even", "uint32", 2),
    ],
)
def test_keeps_small_integers(window, ties, dtype, words):
    """The residual is one integer for each output (for ties, one for every 32 taps), besides x for a TPU alone."""
    pool = lambda x: jaxcnn.max_pool(x, window, ties=ties)
    x = jnp.ones((2, 20, 24, 3))
    y, vjp = jax.eval_shape(lambda x: jax.vjp(pool, x), x)
    of_tpu = [("float32", x.shape)] * (ties == "first")
    assert [(kept.dtype, kept.shape) for kept in jax.tree.leaves(vjp)] == of_tpu + [(dtype, y.shape)] * words


def test_average_keeps_nothing():
    vjp = jax.eval_shape(lambda x: jax.vjp(lambda x: jaxcnn.avg_pool(x, 2), x)[1], jnp.ones((2, 4, 4, 3)))
    assert jax.tree.leaves(vjp) == []


def test_indices_are_those_of_the_first_maximum():
    """In the plane without padding, row-major; −1 where a window has no cell of the input."""
    x = jnp.array([[0.0, 5, 5], [7, 0, -jnp.inf], [7, 1, jnp.nan]])[None, ..., None]
    y, indices = jaxcnn.max_pool_with_indices(x, 2, strides=1, padding=[(0, 2), (0, 0)])
    assert indices.dtype == jnp.int32
    assert indices[0, ..., 0].tolist() == [[3, 1], [3, 8], [6, 8], [-1, -1]]
    np.testing.assert_array_equal(y[0, 2:, :, 0], [[7, jnp.nan], [-jnp.inf, -jnp.inf]])
    alone = jnp.full((1, 2, 2, 1), -jnp.inf)
    assert jaxcnn.max_pool_with_indices(alone, 2, padding=1)[1][0, ..., 0].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("channel_axis", [-1, 1])
def test_unpool_undoes_pool(channel_axis):
    """The maxima return to their cells; the gradient of pooling again is the cotangent."""
    shape = (2, 7, 9, 3) if channel_axis == -1 else (2, 3, 7, 9)
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    pool = lambda x: jaxcnn.max_pool_with_indices(x, 2, channel_axis=channel_axis)
    y, indices = pool(x)
    unpooled = jaxcnn.max_unpool(y, indices, output_shape=(7, 9), channel_axis=channel_axis)
    np.testing.assert_array_equal(unpooled, jnp.where(unpooled == 0, 0, x))
    assert jnp.count_nonzero(unpooled) == y.size
    dy = cotangent_of(lambda x: pool(x)[0], [x])
    (dx,) = jax.vjp(lambda x: pool(x)[0], x)[1](dy)
    np.testing.assert_array_equal(dx, jaxcnn.max_unpool(dy, indices, output_shape=(7, 9), channel_axis=channel_axis))


def test_the_last_of_several_stays():
    unpool = lambda y: jaxcnn.max_unpool(y, line(2, 0, 2, -1, 9, dtype=jnp.int32), output_shape=3)
    x, vjp = jax.vjp(unpool, line(1, 2, 3, 4, 5))
    assert x[0, :, 0].tolist() == [2, 0, 3]
    assert vjp(line(10, 20, 30))[0][0, :, 0].tolist() == [0, 10, 30, 0, 0]


@pytest.mark.parametrize("p", [1, 2, 3, 2.5])
def test_norm_of_zeros_has_no_gradient(p):
    x = line(0, 0, -3, 0)
    y, vjp = jax.vjp(lambda x: jaxcnn.lp_pool(x, 2, p=p), x)
    np.testing.assert_allclose(y[0, :, 0], [0, 3], rtol=1e-6)
    np.testing.assert_allclose(vjp(line(5, 7))[0][0, :, 0], [0, 0, -7, 0], rtol=1e-6)


def test_norm_is_of_absolute_values():
    np.testing.assert_allclose(jaxcnn.lp_pool(line(-1, -2), 2, p=3)[0, 0, 0], 9 ** (1 / 3), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_other_pools_of_integers(dtype):
    x = line(3, 1, 0, 2, dtype=dtype)
    for pool, expected in [
        (lambda x: jaxcnn.min_pool(x, 2), [1, 0]),
        (lambda x: jaxcnn.sum_pool(x, 2), [4, 2]),
        (lambda x: jaxcnn.adaptive_max_pool(x, (3,)), [3, 1, 2]),
        (lambda x: jaxcnn.max_pool_with_indices(x, 3, strides=1)[0], [3, 2]),
    ]:
        assert pool(x).dtype == dtype
        assert pool(x)[0, :, 0].tolist() == expected
    assert jaxcnn.min_pool(x, 1, padding=1)[0, 0, 0] == jnp.iinfo(dtype).max
    assert jaxcnn.global_max_pool(x).tolist() == [[3]]


def test_adaptive_windows_overlap_and_repeat():
    x = line(0, 1, 2, 3, 4)
    assert jaxcnn.adaptive_avg_pool(x, (3,))[0, :, 0].tolist() == [0.5, 2, 3.5]
    assert jaxcnn.adaptive_max_pool(x, (7,))[0, :, 0].tolist() == [0, 1, 2, 2, 3, 4, 4]
    pool = lambda x: jaxcnn.adaptive_max_pool(x, (3,))
    assert gradient(pool, line(0, 9, 2, 9, jnp.nan), line(1, 2, 4))[0, :, 0].tolist() == [0, 3, 0, 0, 4]


POOLS = {
    "min": lambda x: jaxcnn.min_pool(x, 3, strides=2),
    "with indices": lambda x: jaxcnn.max_pool_with_indices(x, 3, strides=2, padding=1)[0],
    "lp": lambda x: jaxcnn.lp_pool(x, 3, strides=2),
    "adaptive avg": lambda x: jaxcnn.adaptive_avg_pool(x, (5, 20)),
    "adaptive max": lambda x: jaxcnn.adaptive_max_pool(x, (5, 20)),
    "global avg": jaxcnn.global_avg_pool,
    "global max": jaxcnn.global_max_pool,
    "max": lambda x: jaxcnn.max_pool(x, 3, strides=2, padding="SAME"),
    "max all": lambda x: jaxcnn.max_pool(x, 2, ties="all"),
    "max even, dilated": lambda x: jaxcnn.max_pool(x, 2, dilation=2, strides=1, ties="even"),
    "max large": lambda x: jaxcnn.max_pool(x, 9, strides=1),
    "avg": lambda x: jaxcnn.avg_pool(x, 3, strides=1, padding="SAME"),
    "avg large": lambda x: jaxcnn.avg_pool(x, 9, strides=3),
}


def scatters(pool, platform):
    """Scatter operations in forward and backward, before and (on cpu) after the compiler's passes."""
    x = jnp.ones((2, 12, 13, 3))
    dy = cotangent_of(pool, [x])
    program = jax.jit(lambda x, dy: jax.vjp(pool, x)[1](dy))
    text = jax.export.export(program, platforms=[platform])(x, dy).mlir_module()
    if platform == "cpu":
        text += program.lower(x, dy).compile().as_text()
    return re.findall(r"stablehlo\.(?:select_and_)?scatter|(?:select-and-)?scatter\(", text)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm"])
@pytest.mark.parametrize("pool", POOLS)
def test_nothing_scatters(pool, platform):
    assert not scatters(POOLS[pool], platform)


def test_autodiff_scatters():
    """The test above can fail."""
    assert scatters(lambda x: jaxcnn.reference.max_pool(x, 3), "cpu")


def test_large_windows_make_no_large_programs():
    """The program for 1024 taps is no larger than that for 128."""
    sizes = []
    for window in (128, 1024):
        loss = lambda x, window=window: jaxcnn.max_pool(x, window, strides=1).sum()
        sizes.append(len(jax.jit(jax.grad(loss)).lower(jnp.ones((1, 1100, 2))).as_text()))
    assert sizes[1] < 1.2 * sizes[0]


@pytest.mark.parametrize("op", ["avg_pool", "sum_pool", "lp_pool", "max_pool"])
@pytest.mark.parametrize("strides", [1, 2])
def test_no_channels(op, strides):
    x = jnp.zeros((2, 5, 4, 0))
    assert gradient(lambda x: getattr(jaxcnn, op)(x, 2, strides=strides, padding=1), x).shape == x.shape
