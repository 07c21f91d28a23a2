"""Values and gradients against the notebooks' nest of loops in NumPy, which knows nothing of JAX."""

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases.conv import CONV, CONV_TRANSPOSE, DEPTHWISE, SEPARABLE
from cases.pool import AVG_POOL, MAX_POOL
from compare import assert_close, cotangent_of, pullback

from jaxcnn.arguments import to_ints
from jaxcnn.window import Window, to_pairs


def plain(case):
    """What the loops can do: one batch dimension, channels last, no overhang, few taps."""
    options = {"ceil_mode", "channel_axis", "divisor_override"} & set(case.options)
    size = case.options["window"] if "pool" in case.op else case.shapes[1][:-2]
    return not options and size not in (9, 70) and (isinstance(size, int) or len(size) == len(case.shapes[0]) - 2)


def geometry(case, size):
    default = {"strides": size, "padding": "VALID"} if "pool" in case.op else {"strides": 1, "padding": "SAME"}
    options = {name: case.options.get(name, default.get(name, 1)) for name in ("strides", "padding", "dilation")}
    window = Window.of("test", case.shapes[0][1:-1], size, **options)
    return window.size, {"strides": window.strides, "pads": window.pads, "dilation": window.dilation}


def transposed_geometry(case, size):
    """For a named padding the pads that crop to the library's length, which `test_window.py` settles."""
    default = {"strides": 1, "padding": "SAME", "dilation": 1, "output_padding": 0}
    options = {name: case.options.get(name, value) for name, value in default.items()}
    strides, dilation, more = (
        to_ints("test", name, options[name], len(size), minimum=0) for name in ("strides", "dilation", "output_padding")
    )
    if not isinstance(options["padding"], str):
        pads = to_pairs("test", options["padding"], len(size))
        return {"strides": strides, "pads": pads, "dilation": dilation, "output_padding": more}
    window = Window.of_transpose("test", case.shapes[0][1:-1], size, **options)
    return {"strides": strides, "pads": window.pads, "dilation": dilation}


def assert_loops(case, forward, backward):
    """Value and gradients of the case against loops of its arrays, and of these with the cotangent."""
    arrays = case.draw()
    dz = cotangent_of(case.hand, arrays)
    value, gradients = pullback(case.hand)(dz, *map(jnp.asarray, arrays))
    assert_close(value, forward(*arrays), 1e-12)
    assert_close(gradients, backward(*arrays, np.asarray(dz))[: len(gradients)], 1e-12)


@pytest.mark.parametrize("case", [case for case in [*CONV, *DEPTHWISE] if plain(case)], ids=str)
def test_conv(case, x64):
    _, steps = geometry(case, case.shapes[1][:-2])
    steps["groups"] = case.options.get("groups", 1) if case.op == "conv" else case.shapes[0][-1]
    forward = lambda x, w, b=None: oracle.conv(x, w, b, **steps)
    assert_loops(case, forward, lambda x, w, *b_dz: oracle.conv_grad(x, w, b_dz[-1], **steps))


@pytest.mark.parametrize(
    "case", [case for case in CONV_TRANSPOSE if plain(case) and 0 not in case.shapes[0][1:-1]], ids=str
)
def test_conv_transpose(case, x64):
    steps = transposed_geometry(case, case.shapes[1][:-2])
    steps["groups"] = case.options.get("groups", 1)
    forward = lambda x, w, b=None: oracle.conv_transpose(x, w, b, **steps)
    assert_loops(case, forward, lambda x, w, *b_dz: oracle.conv_transpose_grad(x, w, b_dz[-1], **steps))


@pytest.mark.parametrize("case", [case for case in SEPARABLE if plain(case)], ids=str)
def test_separable_conv(case, x64):
    _, steps = geometry(case, case.shapes[1][:-2])
    steps["groups"] = case.shapes[0][-1]
    position = (1,) * (len(case.shapes[1]) - 2)

    def forward(x, w_depth, w_point, b=None):
        w_point = w_point.reshape(*position, *w_point.shape[-2:])
        return oracle.conv(oracle.conv(x, w_depth, **steps), w_point, b)

    def backward(x, w_depth, w_point, *b_dz):
        h, kernel = oracle.conv(x, w_depth, **steps), w_point.reshape(*position, *w_point.shape[-2:])
        dh, dw_point, db = oracle.conv_grad(h, kernel, b_dz[-1])
        dx, dw_depth, _ = oracle.conv_grad(x, w_depth, dh, **steps)
        return dx, dw_depth, dw_point.reshape(w_point.shape), db

    assert_loops(case, forward, backward)


@pytest.mark.parametrize("case", [*filter(plain, MAX_POOL + AVG_POOL)], ids=str)
def test_pools(case, x64):
    (x,) = case.draw()
    size, steps = geometry(case, case.options["window"])
    dy = cotangent_of(case.hand, [x])
    value, (dx,) = pullback(case.hand)(dy, jnp.asarray(x))
    extra = {name: case.options[name] for name in ("ties", "count_include_pad") if name in case.options}
    forward_extra = {name: extra[name] for name in extra if name != "ties"}
    assert_close(value, getattr(oracle, case.op)(x, size, **steps, **forward_extra), 1e-12)
    assert_close(dx, getattr(oracle, f"{case.op}_grad")(x, dy, size, **steps, **extra), 1e-12)
