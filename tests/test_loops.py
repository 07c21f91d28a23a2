"""Values and gradients against the notebooks' nest of loops in NumPy, which knows nothing of JAX."""

import jax.numpy as jnp
import oracle
import pytest
from cases import AVG_POOL, CONV, MAX_POOL
from compare import assert_close, cotangent_of, pullback

from jaxcnn.window import Window


def plain(case):
    """What the loops can do: one batch dimension, channels last, no overhang, few taps."""
    options = {"ceil_mode", "channel_axis", "divisor_override"} & set(case.options)
    large = case.options.get("window") in (9, 70)
    return not options and not large and len(case.shapes[0]) in (4, 5) and case.shapes[0] != (2, 2, 5, 6, 3)


def geometry(case, size):
    default = {"strides": 1, "padding": "SAME"} if case.op == "conv" else {"strides": size, "padding": "VALID"}
    options = {name: case.options.get(name, default.get(name, 1)) for name in ("strides", "padding", "dilation")}
    window = Window.of("test", case.shapes[0][1:-1], size, **options)
    return window.size, {"strides": window.strides, "pads": window.pads, "dilation": window.dilation}


@pytest.mark.parametrize(
    "case", [case for case in CONV if plain(case) and len(case.shapes[0]) == len(case.shapes[1])], ids=str
)
def test_conv(case, x64):
    x, w, *b = case.draw()
    _, steps = geometry(case, w.shape[:-2])
    steps["groups"] = case.options.get("groups", 1)
    dz = cotangent_of(case.hand, case.draw())
    value, gradients = pullback(case.hand)(dz, *map(jnp.asarray, case.draw()))
    assert_close(value, oracle.conv(x, w, *b, **steps), 1e-12)
    assert_close(gradients, oracle.conv_grad(x, w, dz, **steps)[: len(gradients)], 1e-12)


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
