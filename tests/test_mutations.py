"""Each rule is broken on purpose, and the body of checks must notice: a suite that cannot fail proves nothing."""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from cases import SIMPLE
from compare import TOLERANCE, assert_close, assert_rule, cotangent_of, pullback

import jaxcnn
from jaxcnn.algorithms import choice, native
from jaxcnn.window import Window


def scale(gradient):
    return gradient * 1.001


def shift(gradient):
    """By one cell along the first axis that has two."""
    axis = next(axis for axis, size in enumerate(gradient.shape) if size > 1)
    return jnp.roll(gradient, 1, axis)


def drop(gradient):
    """The largest cell of many."""
    flat = gradient.reshape(-1)
    return flat.at[jnp.argmax(jnp.abs(flat))].set(0).reshape(gradient.shape)


def negate(gradient):
    return -gradient


ARGUMENTS = [
    pytest.param(case, argument, id=f"{case}-{argument}") for case in SIMPLE for argument in range(len(case.shapes))
]


@pytest.mark.parametrize(("case", "argument"), ARGUMENTS)
def test_a_broken_gradient_is_noticed(case, argument, x64, monkeypatch):
    module = sys.modules[getattr(jaxcnn, case.op).__module__]
    monkeypatch.setattr(module, "per_shard", lambda rule, _: rule, raising=False)  # which traces a rule once for all
    rule, forward, backward = (getattr(module, f"_{case.rule}{part}") for part in ("", "_fwd", "_bwd"))
    breaks = [lambda gradient: gradient, scale, shift, drop, negate]

    @jax.jit
    def run(which, cotangent, *arrays):
        def wrong(*args):
            gradients = list(backward(*args))
            gradients[argument] = jax.lax.select_n(which, *(break_it(gradients[argument]) for break_it in breaks))
            return tuple(gradients)

        rule.defvjp(forward, wrong)
        try:
            value, vjp = jax.vjp(lambda *arrays: case.hand(*arrays), *arrays)
            return value, vjp(cotangent)
        finally:
            rule.defvjp(forward, backward)

    arrays = [jnp.asarray(a) for a in case.draw()]
    cotangent = cotangent_of(case.twin, arrays)
    expected = pullback(case.twin)(cotangent, *arrays)
    assert_close(run(0, cotangent, *arrays), expected, TOLERANCE["float64"])
    for which in range(1, len(breaks)):
        with pytest.raises(AssertionError):
            assert_close(run(which, cotangent, *arrays), expected, TOLERANCE["float64"])


@pytest.mark.parametrize("name", ["input_gradient", "kernel_gradient"])
def test_a_wrong_pad_is_noticed(name, monkeypatch):
    """One cell moved from one end to the other keeps every shape; in the native form, whatever the choice would be."""
    monkeypatch.setattr(choice, name, lambda *_: getattr(native, name))
    right = getattr(Window, f"{name}_pads")
    moved = property(lambda window: tuple((lo + 1, hi - 1) for lo, hi in right.fget(window)))
    monkeypatch.setattr(Window, f"{name}_pads", moved)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        assert_rule(lambda *arrays: SIMPLE[0].hand(*arrays), SIMPLE[0].twin, SIMPLE[0].draw())


def moved_window(*args, of=Window.of_transpose, **options):
    window = of(*args, **options)
    return replace(window, pads=tuple((lo + 1, hi - 1) for lo, hi in window.pads))


def split_wrongly(w, groups):
    """The groups as the fast index of the output channels."""
    *window, c, k = w.shape
    return jnp.moveaxis(w.reshape(*window, c, k // groups, groups), -3, -1).reshape(*window, k // groups, groups * c)


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (Window, "of_transpose", moved_window),
        (sys.modules[jaxcnn.conv_transpose.__module__], "_exchange_channels", split_wrongly),
    ],
)
def test_a_wrong_part_of_conv_transpose_is_noticed(owner, name, wrong, monkeypatch):
    case = next(case for case in SIMPLE if case.op == "conv_transpose")
    monkeypatch.setattr(owner, name, wrong)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        assert_rule(lambda *arrays: case.hand(*arrays), case.twin, case.draw())
