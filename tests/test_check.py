"""`jaxcnn.check` finds what is wrong with a rule, and passes what is right."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn.check import __main__ as command
from jaxcnn.check import assert_vjp, check_vjp, without_rules


def affine(backward):
    """x·w + b with a backward pass to be tried."""

    @jax.custom_vjp
    def affine(x, w, b):
        return x @ w + b[None]

    affine.defvjp(lambda x, w, b: (x @ w + b[None], (x, w)), backward)
    return affine


ARGS = [jnp.asarray(np.random.default_rng(0).normal(size=s), jnp.float32) for s in ((5, 3), (3, 4), (4,))]
RIGHT = affine(lambda kept, dz: (dz @ kept[1].T, kept[0].T @ dz, dz.sum(0)))


def test_a_right_rule_passes():
    report = check_vjp(RIGHT, *ARGS)
    assert report.ok, report
    assert [a.name for a in report.arguments] == ["x", "w", "b"]
    assert all(a.autodiff.size < 1e-6 and a.finite.size < 1e-8 for a in report.arguments)
    assert report.hand.residual_bytes == 4 * (15 + 12)
    assert report.hand.milliseconds > 0
    assert_vjp(RIGHT, *ARGS, reference=lambda x, w, b: x @ w + b[None])


@pytest.mark.parametrize(
    ("backward", "wrong"),
    [
        (lambda kept, dz: (1.01 * dz @ kept[1].T, kept[0].T @ dz, dz.sum(0)), "x"),
        (lambda kept, dz: (dz @ kept[1].T, kept[0].T @ dz[::-1], dz.sum(0)), "w"),
        (lambda kept, dz: (dz @ kept[1].T, kept[0].T @ dz, dz[0]), "b"),
    ],
)
def test_a_wrong_rule_is_pinned_to_its_argument(backward, wrong):
    report = check_vjp(affine(backward), *ARGS)
    assert not report.ok
    assert [a.name for a in report.arguments if not a.ok] == [wrong]
    bad = next(a for a in report.arguments if a.name == wrong)
    assert not bad.autodiff.ok
    assert not bad.finite.ok
    text = str(report)
    assert "WRONG" in text.splitlines()[0]
    assert re.search(rf"^ +{wrong} .*✗", text, re.M)
    with pytest.raises(AssertionError, match="WRONG"):
        assert_vjp(affine(backward), *ARGS)


def test_a_wrong_second_order_is_found():
    """The first gradient is right at this point and wrong in its dependence on it."""

    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, dy: (3 * jax.lax.stop_gradient(x) ** 2 * dy,))
    report = check_vjp(cube, ARGS[0])
    assert report.arguments[0].ok
    assert not report.properties["reverse over reverse"].ok
    assert not report.properties["forward over reverse"].ok


def test_a_rule_that_does_not_vmap_is_found():
    @jax.custom_vjp
    def double(x):
        return 2 * x

    def backward(_, dy):
        return (2 * jax.pure_callback(np.asarray, dy, dy),)

    double.defvjp(lambda x: (2 * x, None), backward)
    report = check_vjp(double, ARGS[0])
    assert report.arguments[0].autodiff.ok
    assert "Error" in report.properties["under vmap"].note


def test_a_wrong_dtype_is_found():
    fn = lambda x, w: jaxcnn.dense(x, w).astype(jnp.float32)
    report = check_vjp(fn, ARGS[0].astype(jnp.bfloat16), ARGS[1].astype(jnp.bfloat16))
    assert report.ok, report
    assert [a.gradient_type for a in report.arguments] == ["bfloat16[5, 3]", "bfloat16[3, 4]"]


def test_trees_and_other_leaves():
    fn = lambda params, labels, scale: (
        jaxcnn.softmax_cross_entropy_with_integer_labels(jaxcnn.dense(params["x"], params["layer"][0]), labels) * scale
    )
    report = check_vjp(fn, {"x": ARGS[0], "layer": [ARGS[1]]}, jnp.arange(5) % 4, jnp.float32(2))
    assert report.ok, report
    assert [a.name for a in report.arguments] == ["params['layer'][0]", "params['x']", "scale"]


def test_kinks_are_reported_as_such():
    report = check_vjp(jaxcnn.relu, jnp.array([0.0, 1.0, -1.0]), reference=jaxcnn.reference.relu)
    assert report.ok, report
    assert report.arguments[0].finite.note == "at a kink"


def test_without_rules():
    """Also inside jit, scan and remat; the value stays."""

    def fn(x):
        y = jax.jit(jaxcnn.relu)(x)
        y, _ = jax.lax.scan(lambda y, _: (jax.checkpoint(jaxcnn.relu)(y), None), y, length=2)
        return jaxcnn.dense(y, ARGS[1])

    plain = without_rules(fn)
    np.testing.assert_array_equal(plain(ARGS[0]), fn(ARGS[0]))
    assert "custom_vjp" in str(jax.make_jaxpr(fn)(ARGS[0]))
    assert "custom_vjp" not in str(jax.make_jaxpr(plain)(ARGS[0]))
    assert jax.jvp(plain, (ARGS[0],), (ARGS[0],))[1].shape == (5, 4)


def test_command(capsys):
    assert command.main(["relu", "dense"]) == 0
    assert "2 of 2 rules are right" in capsys.readouterr().out


def test_command_fails_on_a_wrong_rule(capsys, monkeypatch):
    monkeypatch.setattr(jaxcnn, "relu", lambda x: 1.5 * x)
    assert command.main(["relu"]) == 1
    assert "0 of 1" in capsys.readouterr().out


def test_command_line_errors():
    run = subprocess.run([sys.executable, "-m", "jaxcnn.check", "convolve"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "no op called convolve" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
