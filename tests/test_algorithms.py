"""Every algorithm on every window that it fits, whatever the choice would pick; batches and derivatives of the maps."""

import math
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases.conv import CONV
from cases.pool import AVG_POOL, MAX_POOL
from compare import assert_close, assert_rule

import jaxcnn
from jaxcnn import algorithms, memory, switches, taps, window_sums
from jaxcnn.algorithms import (
    accelerator,
    apart,
    blocks,
    choice,
    chunks,
    columns,
    depthwise,
    dilated,
    direct,
    exchanged,
    flat,
    fourier,
    grouped,
    lanes,
    matmul,
    native,
    phases,
    planes,
    products,
    shifts,
    tapwise,
    winograd,
)
from jaxcnn.window import Convolution, Window

MAPS = ("forward", "input_gradient", "kernel_gradient")


def convolution(x, w, *, groups=1, dtype="float64", **options):
    geometry = {"strides": 1, "padding": "SAME", **options}
    window = Window.of("test", x[1:-1], w[:-2], **geometry)
    return Convolution(window, groups, None, jnp.dtype(dtype), jnp.dtype(dtype))


def arrays(x, w, conv):
    """x, w and dz."""
    generator = np.random.default_rng(0)
    return [jnp.asarray(generator.normal(size=s)) for s in (x, w, (x[0], *conv.window.output, w[-1]))]


def arguments(name, x, w, dz):
    return {"forward": (x, w), "input_gradient": (dz, w), "kernel_gradient": (x, dz)}[name]


def assert_native(algorithm, name, x, w, conv):
    """The algorithm gives what the native form gives."""
    operands = arguments(name, *arrays(x, w, conv))
    got = jax.jit(lambda a, b: algorithm(a, b, conv))(*operands)
    assert_close(got, getattr(native, name)(*operands, conv), 1e-12)


PLAIN = [case for case in CONV if len(case.shapes[0]) == len(case.shapes[1]) and "channel_axis" not in case.options]
CONVOLUTIONS = [
    *((*case.shapes[:2], case.options) for case in PLAIN if len(case.shapes) == 2 and 0 not in case.shapes[0]),
    ((7, 9, 11, 3), (3, 3, 1, 6), {"groups": 3, "strides": 2}),
    ((5, 13, 11, 3), (3, 10, 1, 3), {"groups": 3, "dilation": (2, 1), "padding": ((3, 2), (4, 7))}),
    ((3, 40, 2), (11, 1, 4), {"groups": 2, "strides": 3}),
    ((3, 7, 5, 12), (3, 3, 2, 18), {"groups": 6, "strides": (1, 2)}),
    ((2, 13, 9, 2), (3, 5, 2, 3), {"strides": (4, 6), "dilation": (2, 3)}),
    (
        (2, 5, 6, 7, 2),
        (3, 2, 2, 2, 3),
        {"strides": (2, 1, 2), "dilation": (2, 3, 1), "padding": ((3, 1), (-1, 2), (0, 4))},
    ),
    ((2, 31, 2), (16, 2, 3), {"strides": 5, "padding": ((3, 8),)}),
    ((2, 9, 8, 2), (3, 2, 2, 3), {"strides": (5, 4), "dilation": (2, 3), "padding": ((-1, 3), (2, -2))}),
]
GEOMETRY = [(x, w, options) for x, w, options in CONVOLUTIONS if 0 not in convolution(x, w, **options).window.output]
over = partial(pytest.mark.parametrize, "x, w, options")
DENSE = [row for row in GEOMETRY if row[2].get("groups", 1) == 1]
GROUPED = [row for row in GEOMETRY if row[2].get("groups", 1) > 1]


@pytest.mark.parametrize("n, step", [(6, 2), (7, 3), (7, 6), (5, 1), (3, 8)])
def test_map_chunks(n, step):
    """Also where the chunks leave a rest, with several arrays and results."""
    x, y = jnp.arange(3.0 * n).reshape(n, 3), jnp.arange(1.0 * n)
    fn = lambda x, y: {"sum": x.sum(1) + y, "pair": [jnp.stack([x, -x], 2)]}
    jax.tree.map(np.testing.assert_array_equal, jax.jit(partial(memory.map_chunks, fn, step))(x, y), fn(x, y))


@pytest.mark.parametrize("name", MAPS)
def test_accelerator(name, x64):
    for x, w, options in [*DENSE[::6], *GROUPED[::3]]:
        conv = convolution(x, w, **options)
        operands = arguments(name, *arrays(x, w, conv))
        assert_close(getattr(accelerator, name)(*operands, conv), getattr(native, name)(*operands, conv), 1e-12)


@pytest.mark.parametrize("name", MAPS)
@over([row for row in DENSE if matmul.fits(convolution(*row[:2], **row[2]))])
def test_matmul(x, w, options, name, x64):
    assert_native(getattr(matmul, name), name, x, w, convolution(x, w, **options))


@over([row for row in GEOMETRY if convolution(*row[:2], **row[2]).window.taps * row[1][-2] < 100])
def test_direct(x, w, options, x64):
    conv = convolution(x, w, **options)
    assert_native(direct.forward, "forward", x, w, conv)
    if max(conv.window.strides) == 1:
        assert_native(direct.input_gradient, "input_gradient", x, w, conv)


@over([row for row in [*GROUPED, *DENSE[::4]] if apart.fits(convolution(*row[:2], **row[2]))])
def test_apart(x, w, options, x64):
    assert_native(apart.kernel_gradient, "kernel_gradient", x, w, convolution(x, w, **options))


@over(GEOMETRY)
def test_phases(x, w, options, x64):
    conv = convolution(x, w, **options)
    assert_native(partial(phases.input_gradient, forward=native.forward), "input_gradient", x, w, conv)


@pytest.mark.parametrize(
    "window, count",
    [((3, 2, 1), 2), ((4, 2, 1), 1), ((2, 3, 1), 2), ((1024, 256, 1), 1), ((3, 2, 2), 2), ((5, 1, 3), 1)],
)
def test_phases_of_one_form_share_a_convolution(window, count):
    assert len(phases.runs(*window)) == count


@pytest.mark.parametrize("name", MAPS)
@over([row for row in DENSE if blocks.fits(convolution(*row[:2], **row[2]))])
def test_blocks(x, w, options, name, x64):
    algorithm = partial(getattr(blocks, name), dense=getattr(native, name))
    assert_native(algorithm, name, x, w, convolution(x, w, **options))


@pytest.mark.parametrize("strip", [1, 2e6], ids=["one plane at a time", "at once"])
@pytest.mark.parametrize("name", ["forward", "kernel_gradient"])
@over([row for row in DENSE if len(row[0]) == 5])
def test_planes(x, w, options, name, strip, x64, monkeypatch):
    for constant in ("CHUNK", "LARGE"):
        monkeypatch.setattr(planes, constant, strip)
    forms = {"forward": [planes.forward, planes.forward_in_sums], "kernel_gradient": [planes.kernel_gradient]}
    for form in forms[name]:
        assert_native(partial(form, dense=getattr(native, name)), name, x, w, convolution(x, w, **options))


@pytest.mark.parametrize("name", ["forward", "kernel_gradient"])
@pytest.mark.parametrize(
    "first", [{}, {"strides": (2, 1, 1), "dilation": (2, 3, 4), "padding": ((3, -1), (0, 0), (0, 0))}]
)
def test_flat(first, name, x64):
    x, w = (2, 9, 4, 5, 3), (3, 1, 1, 3, 2)
    algorithm = partial(getattr(flat, name), dense=getattr(native, name))
    assert flat.fits(convolution(x, w, **first)) and not flat.fits(convolution(x, w, strides=2))
    assert_native(algorithm, name, x, w, convolution(x, w, **first))


@pytest.mark.parametrize("name", ["forward", "kernel_gradient"])
@over([row for row in DENSE if dilated.fits(convolution(*row[:2], **row[2]))])
def test_dilated(x, w, options, name, x64):
    algorithm = partial(getattr(dilated, name), dense=getattr(native, name))
    assert_native(algorithm, name, x, w, convolution(x, w, **options))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("width", [1, 4], ids=["as they are", "merged"])
@pytest.mark.parametrize("most", [1, 16], ids=["in a loop", "written out"])
@over(GROUPED)
def test_grouped(x, w, options, most, width, name, x64, monkeypatch):
    for constant in ("MOST", "MOST_OF_WIDE"):
        monkeypatch.setattr(grouped, constant, most)
    monkeypatch.setattr(grouped, "WIDTH", width)
    assert_native(
        partial(getattr(grouped, name), dense=getattr(native, name)), name, x, w, convolution(x, w, **options)
    )


@pytest.mark.parametrize("name", MAPS[:2])
@pytest.mark.parametrize(
    "constants", [{}, {"FUSE": 1, "SOME": 2}, {"FUSE": 1, "ALL": 99}], ids=["as it is", "by rows", "all rows"]
)
@over([row for row in GEOMETRY if row[2].get("groups", 1) == row[0][-1]])
def test_depthwise(x, w, options, constants, name, x64, monkeypatch):
    for constant, value in constants.items():
        monkeypatch.setattr(depthwise, constant, value)
    assert_native(getattr(depthwise, name), name, x, w, convolution(x, w, **options))


@pytest.mark.parametrize("few", [False, True], ids=["in one loop", "in several"])
@over(GROUPED)
def test_lanes(x, w, options, few, x64, monkeypatch):
    if few:
        for constant in ("TERMS", "CHUNK", "LARGE"):
            monkeypatch.setattr(lanes, constant, 2)
    conv = convolution(x, w, **options)
    assert_native(lanes.forward, "forward", x, w, conv)
    if max(conv.window.strides) == 1:
        assert_native(lanes.input_gradient, "input_gradient", x, w, conv)


@pytest.mark.parametrize("loops", [False, True], ids=["written out", "in loops"])
@over([row for row in GROUPED if math.prod(row[1][:-1]) * row[1][-1] // row[2]["groups"] <= lanes.MOST])
def test_lanes_of_the_kernel_gradient(x, w, options, loops, x64, monkeypatch):
    if loops:
        for constant, value in {"SUMS": 2, "CHUNK": 1, "ROWS": 2}.items():
            monkeypatch.setattr(lanes, constant, value)
        for module in (lanes, taps):
            monkeypatch.setattr(module, "UNROLL", 1)
    assert_native(lanes.kernel_gradient, "kernel_gradient", x, w, convolution(x, w, **options))


@pytest.mark.parametrize("name", MAPS)
@over([row for row in GROUPED if row[1][-2] == 1])
def test_fourier(x, w, options, name, x64):
    assert_native(getattr(fourier, name), name, x, w, convolution(x, w, **options))


@over([row for row in DENSE if products.fits(convolution(*row[:2], **row[2]), 0, 0)])
def test_products(x, w, options, x64, monkeypatch):
    monkeypatch.setattr(products, "CHUNK", 1)
    conv = convolution(x, w, **options)
    assert_native(products.input_gradient, "input_gradient", x, w, conv)
    if max(conv.window.strides) == 1:
        assert_native(products.forward, "forward", x, w, conv)


@over([row for row in DENSE if len(row[0]) == 4])
def test_taller(x, w, options, x64):
    """Also where the convolution is taller than its input already, or much less tall."""
    assert_native(native.taller, "forward", x, w, convolution(x, w, **options))


@pytest.mark.parametrize("tile", [winograd.SMALL, winograd.LARGE], ids=["small tiles", "large tiles"])
@pytest.mark.parametrize("chunk", [1, 26e6], ids=["one row of tiles at a time", "all at once"])
@over([row for row in DENSE if winograd.fits(convolution(*row[:2], **row[2]))])
def test_winograd(x, w, options, chunk, tile, x64, monkeypatch):
    monkeypatch.setattr(winograd, "choose", lambda *_: tile)
    for limit in ("CHUNK", "KERNEL_CHUNK"):
        monkeypatch.setattr(winograd, limit, chunk)
    for name in MAPS:
        assert_native(getattr(winograd, name), name, x, w, convolution(x, w, **options))


@pytest.mark.parametrize("chunk", [1, 4e6], ids=["one example at a time", "all at once"])
@over([row for row in DENSE if shifts.fits(convolution(*row[:2], **row[2]))])
def test_shifts(x, w, options, chunk, x64, monkeypatch):
    monkeypatch.setattr(shifts, "CHUNK", chunk)
    assert_native(shifts.kernel_gradient, "kernel_gradient", x, w, convolution(x, w, **options))


@pytest.mark.parametrize("chunk", [1, 4e6], ids=["one example at a time", "all at once"])
@over(DENSE)
def test_tapwise(x, w, options, chunk, x64, monkeypatch):
    monkeypatch.setattr(tapwise, "CHUNK", chunk)
    assert_native(tapwise.kernel_gradient, "kernel_gradient", x, w, convolution(x, w, **options))


@over([row for row in DENSE if len(row[0]) == 4])
def test_native_in_chunks(x, w, options, x64, monkeypatch):
    monkeypatch.setattr(native, "CHUNK", 1)
    monkeypatch.setattr(native, "LARGE", 1)
    conv = convolution(x, w, **options)
    assert_native(native.in_chunks, "forward", x, w, conv)
    assert_native(native.kernel_gradient_in_chunks, "kernel_gradient", x, w, conv)


@over([row for row in DENSE if exchanged.fits(convolution(*row[:2], **row[2]))])
def test_exchanged(x, w, options, x64):
    algorithm = partial(exchanged.kernel_gradient, dense=columns.kernel_gradient)
    assert_native(algorithm, "kernel_gradient", x, w, convolution(x, w, **options))


@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize("tile", [winograd.SMALL, winograd.LARGE], ids=["small tiles", "large tiles"])
def test_winograd_in_float32(tile, channels, monkeypatch):
    monkeypatch.setattr(winograd, "choose", lambda *_: tile)
    x, w = (4, 14, 13, channels), (3, 3, channels, 48)
    exact = convolution(x, w)
    draws = arrays(x, w, exact)
    for name in ("forward", "kernel_gradient"):
        operands = arguments(name, *draws)
        with jax.enable_x64(True):
            expected = getattr(native, name)(*(a.astype(jnp.float64) for a in operands), exact)
        single = jax.jit(partial(getattr(winograd, name), conv=convolution(x, w, dtype="float32")))
        assert_close(single(*operands), expected, 5e-6)


MANY = [((2, 13, 11, 2), (9, 8, 2, 3), {"strides": (2, 3), "dilation": (1, 2), "padding": ((3, 4), (5, 6))})]


@pytest.mark.parametrize("name", ["forward", "kernel_gradient"])
@over([*DENSE, *MANY])
def test_columns(x, w, options, name, x64, monkeypatch):
    """Of one example at a time; `test_chunks_with_a_rest` has more at a time."""
    monkeypatch.setattr(columns, "CHUNK", 1)
    assert_native(getattr(columns, name), name, x, w, convolution(x, w, **options))


@pytest.mark.parametrize("rows", [1, 3])
@over(DENSE)
def test_strips_of_an_example(x, w, options, rows, x64, monkeypatch):
    for module in (columns, shifts):
        monkeypatch.setattr(module, "rows_of_strip", lambda *_: rows)
    monkeypatch.setattr(shifts, "HALO", 0)
    conv = convolution(x, w, **options)
    of_strip = lambda x, w, conv: chunks.map_strips(lambda x, conv: native.forward(x, w, conv), x, conv, rows)
    assert_native(of_strip, "forward", x, w, conv)
    for algorithm in (columns, shifts):
        if algorithm is columns or shifts.fits(conv):
            assert_native(algorithm.kernel_gradient, "kernel_gradient", x, w, conv)


@pytest.mark.parametrize("examples, step", [(7, 3), (6, 3), (6, 4), (2, 5)])
def test_chunks_with_a_rest(examples, step, x64):
    """7 examples in chunks of 3: one, then two chunks. 6 in chunks of 4: two of 3."""
    x, dz, seen = jnp.arange(examples * 2.0).reshape(-1, 2), jnp.ones((examples, 3)), []
    total = chunks.sum_chunks(lambda x, dz: seen.append(len(x)) or x.T @ dz, x, dz, step)
    assert_close(total, x.T @ dz, 1e-12)
    assert set(seen) == {(7, 3): {1, 3}, (6, 3): {3}, (6, 4): {3}, (2, 5): {2}}[examples, step]


@pytest.mark.parametrize("name", MAPS)
@over(GEOMETRY)
def test_the_choice(x, w, options, name, x64):
    assert_native(getattr(algorithms, name), name, x, w, convolution(x, w, **options))


BATCHES = [
    ((2, 5, 6, 12), (3, 2, 12, 4), {}),
    ((2, 5, 6, 3), (3, 2, 3, 4), {}),
    ((2, 5, 6, 3), (3, 2, 1, 6), {"groups": 3, "strides": 2}),
    ((1, 6, 6, 2), (2, 2, 2, 3), {"strides": 2}),
]


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
@pytest.mark.parametrize("name", MAPS)
@over(BATCHES)
def test_vmap(x, w, options, name, axes, x64):
    conv = convolution(x, w, **options)
    operands = [
        array if axis is None else jnp.stack([array, 2 * array + 1, -array])
        for array, axis in zip(arguments(name, *arrays(x, w, conv)), axes)
    ]
    got = jax.jit(jax.vmap(partial(getattr(algorithms, name), conv=conv), axes))(*operands)
    assert_close(got, jax.vmap(partial(getattr(native, name), conv=conv), axes)(*operands), 1e-12)
    assert got.shape == jax.eval_shape(jax.vmap(partial(getattr(native, name), conv=conv), axes), *operands).shape


@pytest.mark.parametrize("name", MAPS)
@over(BATCHES)
def test_vmap_of_vmap(x, w, options, name, x64):
    conv = convolution(x, w, **options)
    a, b = arguments(name, *arrays(x, w, conv))
    a, b = jnp.stack([a, a + 1]), jnp.stack([b, b - 1, 2 * b])
    twice = lambda run: jax.vmap(jax.vmap(partial(run, conv=conv), (None, 0)), (0, None))
    assert_close(twice(getattr(algorithms, name))(a, b), twice(getattr(native, name))(a, b), 1e-12)


@pytest.mark.parametrize("name", MAPS)
@over(BATCHES)
def test_derivatives_of_the_maps(x, w, options, name, x64):
    """Forward and reverse mode, of one argument and of both, and the second derivative, also in a batch."""
    conv = convolution(x, w, **options)
    a, b = arguments(name, *arrays(x, w, conv))
    hand, plain = (partial(getattr(maps, name), conv=conv) for maps in (algorithms, native))
    loss = lambda run: lambda a, b: jnp.sum(jnp.sin(run(a, b)))
    for derivative in (
        lambda run: jax.jvp(lambda a: run(a, b), (a,), (a * a,)),
        lambda run: jax.jvp(run, (a, b), (a * a, b + 1)),
        lambda run: jax.grad(loss(run), (0, 1))(a, b),
        lambda run: jax.jvp(jax.grad(loss(run), (0, 1)), (a, b), (a * a, b + 1)),
        lambda run: jax.vmap(jax.grad(loss(run), 1), (0, None))(jnp.stack([a, a + 1]), b),
    ):
        assert_close(derivative(hand), derivative(plain), 1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_a_batch_does_not_grow_the_program(name):
    conv = convolution((1, 8, 8, 4), (3, 3, 4, 4), dtype="float32")
    operands = arguments(name, *arrays((1, 8, 8, 4), (3, 3, 4, 4), conv))

    def program(size):
        batch = [jnp.stack([array] * size) for array in operands]
        return jax.jit(jax.vmap(partial(getattr(algorithms, name), conv=conv))).lower(*batch).as_text()

    assert program(64).count("\n") == program(4).count("\n")


@pytest.mark.parametrize("name", MAPS)
@over([row for row in CONVOLUTIONS if row[0] in ((2, 7, 9, 6), (1, 8, 8, 3), (7, 9, 11, 3), (2, 6, 5, 4))])
def test_other_platforms_are_native(x, w, options, name):
    """Off the CPU each map is one convolution, whatever the choice takes on it."""
    conv = convolution(x, w, dtype="float32", **options)
    operands = arguments(name, *arrays(x, w, conv))
    program = jax.jit(lambda a, b: getattr(algorithms, name)(a, b, conv))
    for platform in ("cuda", "rocm", "tpu"):
        text = jax.export.export(program, platforms=[platform])(*operands).mlir_module()
        assert text.count("stablehlo.convolution") == 1, platform


def test_the_choice_goes_by_what_is_computed():
    """Classes of windows, on shapes that no table lists."""
    module = lambda algorithm: getattr(algorithm, "func", algorithm).__module__.rpartition(".")[-1]

    def chosen(name, x, w, **options):
        conv = convolution(x, w, dtype="float32", **options)
        shapes = arguments(name, x, w, (x[0], *conv.window.output, w[-1]))
        return module(getattr(choice, name)(*shapes, conv))

    since_011 = jax.__version_info__ >= (0, 11)
    for name in MAPS:
        assert chosen(name, (3, 17, 17, 40), (1, 1, 40, 24), strides=2) == "matmul"
        of_map = "native" if name == "forward" and since_011 else "matmul"
        assert chosen(name, (2, 30, 30, 3), (6, 6, 3, 20), strides=6, padding="VALID") == of_map
        of_map = "lanes" if name == "kernel_gradient" else "depthwise"
        assert chosen(name, (2, 30, 30, 24), (5, 5, 1, 24), groups=24) == of_map
        assert chosen(name, (2, 30, 30, 24), (3, 3, 3, 24), groups=8) == "lanes"
        assert chosen(name, (2, 30, 30, 24), (12, 12, 1, 24), groups=24) == "fourier"
        assert chosen(name, (2, 30, 30, 96), (3, 3, 48, 256), groups=2) == "grouped"
    assert chosen("forward", (2, 30, 30, 3), (3, 3, 3, 40), strides=2) == "direct"
    assert chosen("forward", (2, 30, 30, 24), (2, 2, 3, 32), groups=8) == "direct"
    assert chosen("input_gradient", (2, 30, 30, 24), (2, 2, 3, 32), groups=8) == "direct"
    assert chosen("forward", (2, 30, 30, 24), (3, 3, 3, 32), groups=8) == "lanes"
    assert chosen("input_gradient", (2, 30, 30, 24), (3, 3, 3, 32), groups=8) == "lanes"
    assert chosen("input_gradient", (2, 30, 30, 24), (5, 5, 3, 32), groups=8, strides=2) == "phases"
    assert chosen("input_gradient", (2, 30, 30, 24), (3, 3, 3, 32), groups=8, strides=2) == "phases"
    assert chosen("input_gradient", (2, 30, 30, 24), (3, 3, 3, 160), groups=8, strides=2) == "grouped"
    assert chosen("forward", (2, 30, 30, 24), (9, 9, 1, 24), groups=24) == "depthwise"
    assert chosen("forward", (2, 30, 30, 24), (3, 3, 24, 32), strides=3) == ("native" if since_011 else "columns")
    assert chosen("kernel_gradient", (2, 30, 30, 24), (3, 3, 24, 32), strides=3) == "columns"
    assert chosen("kernel_gradient", (2, 30, 30, 16), (3, 3, 2, 32), groups=8) == "lanes"
    assert chosen("kernel_gradient", (2, 30, 30, 24), (3, 3, 6, 32), groups=4) == "apart"
    assert chosen("kernel_gradient", (2, 30, 30, 96), (3, 3, 48, 256), groups=2, strides=2) == "apart"
    assert chosen("kernel_gradient", (2, 30, 30, 96), (1, 1, 48, 256), groups=2, strides=2) == "grouped"
    assert chosen("forward", (2, 30, 30, 24), (3, 3, 24, 32)) == "native"
    assert chosen("forward", (2, 30, 30, 40), (3, 3, 40, 32)) == "winograd"
    assert chosen("input_gradient", (2, 30, 30, 24), (3, 3, 24, 32), strides=2) == "phases"
    assert chosen("forward", (2, 6, 6, 40), (3, 3, 40, 32)) == "native"
    assert chosen("forward", (2, 900, 40), (3, 40, 40), dilation=4) == "native"
    assert chosen("forward", (2, 900, 40), (3, 40, 4), dilation=4) == "products"
    assert chosen("input_gradient", (2, 30, 30, 3), (3, 3, 3, 40), strides=2) == "products"
    assert chosen("forward", (2, 2, 3, 24), (3, 3, 24, 32)) == "columns"
    assert chosen("kernel_gradient", (3, 30, 30, 24), (3, 3, 24, 24)) == "shifts"
    assert chosen("kernel_gradient", (3, 30, 30, 70), (3, 3, 70, 40)) == "winograd"
    assert chosen("kernel_gradient", (1, 150, 150, 70), (3, 3, 70, 40)) == "winograd"
    assert chosen("forward", (2, 30, 30, 70), (3, 3, 70, 40), dilation=2) == "dilated"
    assert chosen("forward", (2, 13, 13, 70), (3, 3, 70, 40), dilation=6) == "native"
    assert chosen("kernel_gradient", (2, 30, 30, 70), (3, 3, 70, 40), dilation=2) == "dilated"
    assert chosen("forward", (1, 150, 150, 32), (3, 3, 32, 32)) == "winograd"
    assert chosen("kernel_gradient", (8, 30, 30, 8), (3, 3, 8, 128)) == "winograd"
    assert chosen("kernel_gradient", (8, 30, 30, 4), (3, 3, 4, 256)) == "columns"
    tiles = lambda n, size, c: winograd.choose(convolution((n, size, size, c), (3, 3, c, c)), n, c, c)
    assert tiles(16, 28, 64) is tiles(8, 56, 64) is winograd.LARGE
    assert tiles(16, 10, 64) is tiles(1, 28, 64) is tiles(16, 56, 512) is winograd.SMALL
    assert chosen("kernel_gradient", (3, 6, 6, 70), (3, 3, 70, 40)) == ("native" if since_011 else "shifts")
    assert chosen("kernel_gradient", (3, 30, 30, 24), (5, 5, 24, 8)) == "exchanged"
    assert chosen("kernel_gradient", (3, 13, 13, 70), (3, 3, 70, 70), dilation=6) == (
        "native" if since_011 else "apart"
    )
    assert chosen("kernel_gradient", (3, 30, 30, 70), (5, 1, 70, 70)) == "apart"
    assert chosen("kernel_gradient", (3, 30, 30, 70), (5, 5, 70, 140)) == "apart"
    assert chosen("kernel_gradient", (3, 30, 30, 40), (5, 1, 40, 50), strides=2) != "native"
    assert chosen("forward", (3, 9, 8, 8, 24), (3, 1, 1, 24, 32)) == "flat"
    assert chosen("kernel_gradient", (3, 9, 8, 8, 24), (3, 1, 1, 24, 32)) == "flat"
    assert chosen("kernel_gradient", (3, 30, 30, 16), (3, 3, 16, 200)) == "columns"
    assert chosen("kernel_gradient", (64, 30, 30, 24), (3, 3, 24, 32), strides=2) == "columns"
    assert chosen("kernel_gradient", (1, 9, 9, 24), (3, 3, 24, 32), strides=2) == "columns"
    assert chosen("kernel_gradient", (4, 32, 32, 24), (4, 4, 24, 32), strides=2) == "columns"
    assert chosen("kernel_gradient", (4, 32, 32, 64), (4, 4, 64, 32), strides=2) == "apart"
    assert chosen("kernel_gradient", (16, 32, 32, 64), (5, 5, 64, 128), strides=2) == "blocks"
    assert chosen("kernel_gradient", (16, 16, 16, 128), (5, 5, 128, 256), strides=2) == "apart"
    assert chosen("kernel_gradient", (4, 32, 32, 24), (4, 4, 24, 8), strides=2) == "columns"
    assert chosen("kernel_gradient", (2, 90, 90, 96), (4, 4, 96, 16), strides=2) == "tapwise"
    assert chosen("kernel_gradient", (2, 900, 40), (4, 40, 80), padding=2) == "columns"
    assert chosen("kernel_gradient", (2, 900, 40), (4, 40, 80), padding=1) == "native"
    assert chosen("kernel_gradient", (2, 900, 40), (3, 40, 40)) == "shifts"
    assert chosen("kernel_gradient", (2, 900, 40), (3, 40, 80), strides=2) == "apart"
    assert chosen("kernel_gradient", (2, 900, 2), (25, 2, 40), strides=4) == "columns"
    assert chosen("input_gradient", (2, 30, 30, 3), (3, 3, 3, 8)) == "products"
    assert chosen("forward", (2, 30, 30, 32), (5, 5, 32, 4)) == "native"
    assert chosen("forward", (2, 30, 30, 32), (5, 5, 32, 4), padding="VALID") == ("native" if since_011 else "products")
    assert chosen("kernel_gradient", (4, 900, 1), (80, 1, 32), strides=4) == "native"
    assert chosen("kernel_gradient", (1, 900, 1), (80, 1, 32), strides=4) == "columns"
    assert chosen("kernel_gradient", (4, 32, 32, 3), (5, 5, 3, 32)) == "columns"
    assert chosen("kernel_gradient", (4, 32, 32, 3), (5, 5, 3, 8)) == "native"
    assert chosen("kernel_gradient", (31, 9, 9, 3), (3, 3, 3, 16)) == "native"
    assert chosen("kernel_gradient", (32, 9, 9, 3), (3, 3, 3, 16)) == "shifts"
    assert chosen("kernel_gradient", (4, 32, 32, 4), (9, 9, 4, 64)) == "columns"
    conv = convolution((2, 90, 90, 3), (9, 9, 3, 8), dtype="float32", strides=4)
    by_example = choice.kernel_gradient((2, 90, 90, 3), (2, 23, 23, 8), conv) is native.kernel_gradient_in_chunks
    assert by_example == since_011
    conv = convolution((2, 30, 30, 256), (3, 3, 128, 256), dtype="float32", groups=2)
    wide = choice.kernel_gradient((2, 30, 30, 256), (2, 30, 30, 256), conv)
    assert wide.keywords["dense"] is not native.kernel_gradient


POOLS = [case for case in [*MAX_POOL, *AVG_POOL] if case.options.get("ties", "first") == "first"]


@pytest.mark.parametrize("case", [case for case in POOLS if case.op == "max_pool"], ids=str)
def test_pools_example_by_example(case, monkeypatch):
    """As large batches are pooled on a CPU, also in a batch of batches."""
    monkeypatch.setattr(switches, "PADDED", 1)
    monkeypatch.setattr(switches, "SPREAD", 1)
    x = case.draw()
    assert_rule(case.hand, case.twin, x)
    batch = jnp.stack([x[0], -x[0]])
    of_batch = lambda pool: jax.vmap(jax.grad(lambda x: jnp.sum(jnp.sin(pool(x)))))(batch)
    assert_close(of_batch(case.hand), of_batch(case.twin), 1e-5)


@pytest.mark.parametrize("case", [case for case in POOLS if case.op == "max_pool"], ids=str)
def test_pools_in_two_loops(case, monkeypatch):
    """As a GPU makes the maximum and its switch."""
    monkeypatch.setattr(switches, "UNROLL", 0)
    assert_rule(lambda x: case.hand(x), case.twin, case.draw())


@pytest.mark.parametrize("case", [case for case in POOLS if len(case.shapes[0]) > 3], ids=str)
def test_pools_one_dimension_after_the_other(case, monkeypatch):
    """As windows of many taps are, here also those of few, with ties, strides, dilation and padding."""
    monkeypatch.setattr(taps, "FUSE", 1)
    for constant in ("ONCE", "STRIDED", "CHUNK"):
        monkeypatch.setattr(window_sums, constant, 1)
    assert_rule(lambda x: case.hand(x), case.twin, case.draw())


@pytest.mark.parametrize(
    "op",
    [
        lambda x: jaxcnn.conv(x, jnp.ones((3, 3, 4, 32)), groups=8),
        lambda x: jaxcnn.depthwise_conv(x, jnp.ones((7, 7, 1, 32))),
        lambda x: jaxcnn.max_pool(x, 3, strides=1, padding=1),
    ],
    ids=["groups", "depthwise", "maxima"],
)
def test_a_loop_without_products_stays_on_all_cores(op):
    """XLA since JAX 0.12 makes a call for one core of such a loop, if it can."""
    step = lambda x, _: (x - jax.grad(lambda x: (op(x) ** 2).sum())(x), None)
    loop = jax.jit(lambda x: jax.lax.scan(step, x, length=3)[0])
    assert "small_call" not in loop.lower(jnp.ones((2, 14, 14, 32))).compile().as_text()
