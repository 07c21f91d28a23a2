"""`jaxcnn.check` finds what is wrong with a rule, and passes what is right."""

import json
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn.check import __main__ as command
from jaxcnn.check import assert_vjp, check_vjp, rows, shrink, vjp_cases, without_rules


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
    report = check_vjp(RIGHT, *ARGS, reference=lambda x, w, b: x @ w + b[None], devices={"twice": jax.devices()[0]})
    assert report.ok, report
    assert [a.name for a in report.arguments] == ["x", "w", "b"]
    assert all(a.autodiff.size < 1e-6 and a.finite.size < 1e-8 for a in report.arguments)
    assert [(r.source, r.type, r.bytes) for r in report.hand.residuals] == [
        ("x", "float32[5, 3]", 60),
        ("w", "float32[3, 4]", 48),
    ]
    assert report.hand.residual_bytes == 4 * (15 + 12)
    assert report.hand.milliseconds > 0
    assert report.hand.programs["here"].flops >= 2 * 3 * 5 * 3 * 4
    assert report.smallest is None
    assert list(report.hand.programs) == ["here", "twice"]


@pytest.mark.parametrize(
    ("backward", "wrong", "kind", "smallest"),
    [
        (
            lambda kept, dz: (1.01 * dz @ kept[1].T, kept[0].T @ dz, dz.sum(0)),
            "x",
            "scaled by a constant  1.01 times",
            {"x": "float32[1, 1]", "w": "float32[1, 1]", "b": "float32[1]"},
        ),
        (
            lambda kept, dz: (dz @ kept[1].T, kept[0].T @ dz[:, ::-1], dz.sum(0)),
            "w",
            "flipped  backwards along axis 1",
            {"x": "float32[1, 1]", "w": "float32[1, 2]", "b": "float32[2]"},
        ),
    ],
)
def test_a_wrong_rule_is_pinned_to_its_argument(backward, wrong, kind, smallest, monkeypatch):
    monkeypatch.setattr(shrink, "SECONDS", 600.0)  # on a busy machine too
    report = check_vjp(affine(backward), *ARGS)
    assert not report.ok
    assert [a.name for a in report.arguments if not a.ok] == [wrong]
    bad = next(a for a in report.arguments if a.name == wrong)
    assert not bad.autodiff.ok
    assert not bad.finite.ok
    text = str(report)
    assert "WRONG" in text.splitlines()[0]
    assert re.search(rf"^ +{wrong} .*✗", text, re.M)
    assert kind in text
    assert [f"{wrong}{list(cell.index)}" in text for cell in bad.worst_cells] == [True] * 3
    assert all(abs(cell.finite - cell.autodiff) < 1e-4 < abs(cell.hand - cell.autodiff) for cell in bad.worst_cells)
    assert report.smallest.types == smallest
    as_json = json.loads(report.to_json())
    assert not as_json["ok"]
    assert [a["name"] for a in as_json["arguments"] if not a["ok"]] == [wrong]


def test_assert_vjp():
    assert_vjp(jnp.sin, ARGS[2], order=1)
    halved = jax.custom_vjp(jnp.sin)
    halved.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x) / 2,))
    with pytest.raises(AssertionError, match="sin: WRONG"):
        assert_vjp(halved, ARGS[2], order=1)


def test_vjp_cases():
    """A mark with a test for each row and dtype, named after the function."""
    mark = vjp_cases(
        (partial(jnp.sum, axis=0), [ARGS[0]]), (jnp.sin, [1.0], {"order": 1}), dtypes=["float64", "bfloat16"]
    )
    assert [case.id for case in mark.args[1]] == ["sum-float64", "sum-bfloat16", "sin-float64", "sin-bfloat16"]
    mark.args[1][2].values[0]()
    with pytest.raises(ValueError, match=r"vjp_cases: rows expects \(fn, args\)"):
        vjp_cases((jnp.sin,))
    with pytest.raises(TypeError, match="vjp_cases: args of sin expects a list or tuple, got ArrayImpl"):
        vjp_cases((jnp.sin, ARGS[0]))
    with pytest.raises(TypeError, match="vjp_cases: options of sin expects a dict, got int"):
        vjp_cases((jnp.sin, [ARGS[0]], 2))


def test_vjp_cases_cast_every_float_but_static_ones():
    seen = []

    @partial(jax.custom_vjp, nondiff_argnums=(2,))
    def scaled(x, y, slope):
        seen.append((x.dtype.name, y.dtype.name, slope))
        return x * y

    scaled.defvjp(lambda x, y, slope: (x * y, (x, y)), lambda slope, kept, dz: (dz * kept[1], (dz * kept[0]).sum()))
    (case,) = vjp_cases((scaled, (ARGS[2], 0.5, 0.25), {"order": 1}), dtypes=["bfloat16"]).args[1]
    case.values[0]()
    assert seen[0] == ("bfloat16", "bfloat16", 0.25)


@pytest.mark.parametrize(
    ("backward", "kind", "said"),
    [
        (lambda kept, dz: (dz @ kept[1].T, (kept[0].T @ dz).T, dz.sum(0)), "transposed", "of w, "),
        (lambda kept, dz: (dz @ kept[1].T, kept[0].T @ dz, dz), "wrong shape", "of b, "),
        (lambda kept, dz: (dz @ kept[1].T, kept[0].T @ dz), "wrong structure", "tuple"),
        (lambda kept, dz: 1 / 0, "fails", "ZeroDivisionError"),
    ],
)
def test_a_rule_without_gradients_is_reported(backward, kind, said):
    report = check_vjp(affine(backward), *ARGS)
    assert not report.ok
    assert report.fault.kind == kind
    assert said in report.fault.detail
    assert "the rule" in str(report)
    assert not json.loads(report.to_json())["ok"]


def test_a_function_without_autodiff_is_held_against_differences():
    """A while loop has no reverse mode."""

    def power(x, rate):
        root = jax.custom_vjp(
            lambda x: jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, x))[1]
        )
        root.defvjp(lambda x: (root(x), x), lambda x, dy: (rate * x**3 * dy,))
        return root(x)

    right, wrong = (check_vjp(partial(power, rate=rate), ARGS[2]) for rate in (4, 2))
    assert right.ok, right
    assert right.arguments[0].autodiff.note == "no autodiff"
    assert not wrong.ok
    assert "0.5 = 1/2 times" in str(wrong)


def test_options(unchecked_types):
    with pytest.raises(ValueError, match="check_vjp: order expects 1 or 2, got 3"):
        check_vjp(jnp.sin, 1.0, order=3)
    with pytest.raises(ValueError, match="check_vjp: args expects at least one array of floats, got none"):
        check_vjp(jnp.sin, jnp.arange(3))
    with pytest.raises(ValueError, match=r"check_vjp: reference expects results of the shapes of fn's, \[\(4,\)\]"):
        check_vjp(jnp.sin, ARGS[2], reference=jnp.sum)
    with pytest.raises(TypeError, match=r"check_vjp: x expects one of float64, .*, got float8_e4m3fn"):
        check_vjp(jnp.sin, jnp.ones(3, jnp.float8_e4m3fn))
    with pytest.raises(TypeError, match="check_vjp: fn expects a function, got 3"):
        check_vjp(3, ARGS[2])
    with pytest.raises(TypeError, match="check_vjp: reference expects a function or None, got 3"):
        check_vjp(jnp.sin, ARGS[2], reference=3)
    with pytest.raises(TypeError, match="check_vjp: tolerance expects a float, got 'x'"):
        check_vjp(jnp.sin, ARGS[2], tolerance="x")
    with pytest.raises(TypeError, match=r"check_vjp: devices expects a jax.Device for 'cpu', got list"):
        check_vjp(jnp.sin, ARGS[2], devices={"cpu": jax.devices()})


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
    assert re.search(r"^ +reverse over reverse +differs +the gradients are right", str(report), re.M)


def test_a_wrong_value_is_found():
    sine = jax.custom_vjp(jnp.sin)
    sine.defvjp(lambda x: (jnp.sin(x).at[1].add(0.5), x), lambda x, dy: (jnp.cos(x) * dy,))
    report = check_vjp(sine, jnp.zeros(3), order=1)
    assert not report.ok
    row = r"^ +value +differs +the forward pass returns something else than the function: 0.5 and not 0 at \[1\]$"
    assert re.search(row, str(report), re.M)


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


def test_the_smallest_case_can_be_rebuilt():
    """With the integers that it needs, and what keys hold."""
    picked = lambda x, at, key: x[at] * 2.0
    doubled = jax.custom_vjp(picked)
    doubled.defvjp(
        lambda x, at, key: (picked(x, at, key), (x, at)),
        lambda kept, dy: (jnp.zeros_like(kept[0]).at[kept[1]].add(3 * dy), None, None),
    )
    args = jnp.array([0.1, 0.7, 3.0], jnp.bfloat16), jnp.array([2, 1]), jax.random.key(5)
    report = check_vjp(doubled, *args, order=1)
    assert report.smallest.types == {"x": "bfloat16[1]", "at": "int32[1]", "key": "key<fry>[]"}
    assert report.smallest.values == {"x": "[0.100097656]", "at": "[0]", "key": "[0, 5]"}
    assert re.search(r"^ +at +int32\[1\] +\[0\]$", str(report), re.M)


def test_a_report_has_a_hash_and_names_the_path_that_fails(tmp_path):
    report = check_vjp(jnp.sin, ARGS[2], order=1)
    assert len({report, report}) == 1
    with pytest.raises(FileNotFoundError) as failure:
        report.draw(tmp_path / "none" / "a.png")
    assert failure.value.filename == str(tmp_path / "none" / "a.png")


def test_kinks_are_reported_as_such():
    report = check_vjp(jaxcnn.relu, jnp.array([0.0, 1.0, -1.0]), reference=jaxcnn.reference.relu)
    assert report.ok, report
    assert report.arguments[0].finite.note == "at a kink"


@pytest.mark.parametrize("scale", [1e6, 1e-4])
def test_a_curve_is_no_kink(scale):
    """Large values lose digits to rounding, and at a small one a curve bends within a step."""
    cube = jax.custom_vjp(lambda x: x**3)
    cube.defvjp(lambda x: (x**3, x), lambda x, dy: (3 * x**2 * dy,))
    report = check_vjp(cube, scale * jnp.array([1.0, 2, -3]), order=1)
    assert report.ok, report
    assert not report.arguments[0].finite.note
    doubled = jax.custom_vjp(lambda x: x**3)
    doubled.defvjp(lambda x: (x**3, x), lambda x, dy: (6 * x**2 * dy,))
    report = check_vjp(doubled, scale * jnp.array([1.0, 2, -3]), order=1)
    assert not report.arguments[0].finite.ok
    assert report.arguments[0].diagnoses[0].kind == "scaled by a constant"


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


def test_command(capsys, tmp_path):
    assert command.main(["relu", "--json", "--size", "5", "--dtype", "bfloat16", "--out", str(tmp_path / "new")]) == 0
    out, err = capsys.readouterr()
    (report,) = json.loads(out)
    assert report["ok"]
    assert report["arguments"][0]["type"] == "bfloat16[4, 5, 7, 6]"
    assert err == "1 of 1 rules are right\n"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["relu.json", "relu.png"]


def test_names_and_patterns():
    names = list(rows.rows())
    assert command.find("relu", names) == ["relu"]
    assert command.find("gelu", names) == ["gelu", "gelu, exact"]
    assert command.find("gelu, exact", names) == ["gelu, exact"]
    assert command.find("softmax_c", names) == [name for name in names if name.startswith("softmax_c")]
    assert command.find("*elu", names) == ["relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "gelu, exact"]
    assert not command.find("*tron", names)


def test_command_fails_on_a_wrong_rule(capsys, monkeypatch):
    monkeypatch.setattr(jaxcnn, "relu", lambda x: 1.5 * x)
    assert command.main(["relu", "--size", "5"]) == 1
    assert "0 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["convolve"], "no op called 'convolve'; did you mean 'conv' or "),
        (
            ["relo", "zzz"],
            "no op called 'relo'; did you mean 'relu' or 'relu6' or 'prelu'?; no op called 'zzz'; there are 'conv', ",
        ),
        ([""], "argument NAME: expects a name or pattern, got ''"),
        (["relu", "--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
        (["relu", "--size", "2"], "argument --size: expects an int of at least 5, got 2"),
        (["relu", "--out", __file__], f"argument --out: {__file__}: File exists"),
    ],
)
def test_command_line_errors(argv, said, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(argv)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m jaxcnn.check: error: ")
    assert said in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written(capsys, monkeypatch):
    monkeypatch.setattr(command, "main", lambda: print("1 of 1 rules are right") or 0)
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert command.run() == 2
    said = "python -m jaxcnn.check: error: cannot write the output: No space left on device\n"
    assert capsys.readouterr().err == said


def test_static_arguments_stay_as_they_are():
    @partial(jax.custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, dy: (n * jax.lax.stop_gradient(x) ** (n - 1) * dy,))
    report = check_vjp(power, ARGS[2], 3)
    assert report.arguments[0].autodiff.ok and not report.arguments[0].autodiff.note
    assert not report.properties["reverse over reverse"].ok

    @partial(jax.custom_vjp, nondiff_argnums=(0, 2, 3))
    def apply(fn, x, slope, mode):
        return fn(x) * slope if mode == "scale" and isinstance(slope, float) else 0 * x

    apply.defvjp(lambda fn, x, slope, mode: (apply(fn, x, slope, mode), x), lambda *_: (_[-1] * _[1] * jnp.cos(_[3]),))
    for report in (
        check_vjp(apply, jnp.sin, ARGS[2], 0.5, "scale"),
        check_vjp(partial(apply, jnp.sin), ARGS[2], 0.5, "scale"),
    ):
        assert report.ok, report
        assert [a.autodiff.note for a in report.arguments] == [""]
    with pytest.raises(TypeError, match="check_vjp: fn expects floats that it hands on to nondiff_argnums"):
        check_vjp(lambda x, slope: apply(jnp.sin, x, slope, "scale"), ARGS[2], 0.5)


def test_no_autodiff_is_said_in_the_first_line():
    root = jax.custom_vjp(lambda x: jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, x))[1])
    root.defvjp(lambda x: (root(x), x), lambda x, dy: (4 * x**3 * dy,))
    report = check_vjp(root, ARGS[2])
    assert report.ok
    assert "ok, by finite differences alone: NO AUTODIFF, ValueError: Reverse-mode" in str(report).splitlines()[0]
    assert "Reverse-mode" in json.loads(report.to_json())["no_autodiff"]


def test_random_draws_of_another_dtype_are_no_error():
    fn = lambda key, x: jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)
    args = jax.random.key(3), jnp.ones((7, 5))
    report = check_vjp(fn, *args, order=1)
    assert report.ok, report
    wrong = jax.custom_vjp(fn)
    wrong.defvjp(
        lambda key, x: (fn(key, x), key), lambda key, dy: (None, 1.1 * jax.vjp(partial(fn, key), dy)[1](dy)[0])
    )
    assert "1.1 = 11/10 times" in str(check_vjp(wrong, *args, order=1))


def test_a_function_without_any_gradient_is_reported():
    fn = lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1]
    report = check_vjp(fn, jnp.ones(4))
    assert report.fault.kind == "fails"
    assert "Reverse-mode" in str(report)
