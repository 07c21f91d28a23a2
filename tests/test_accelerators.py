"""The forms that GPUs and TPUs take: equal to those of a CPU, written as their compilers want them, and compiled."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from compare import assert_close, assert_rule, cotangent_of
from test_conventions import OPS

import jaxcnn
from jaxcnn import selection, switches, unpool
from jaxcnn.window import Window

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
COMPILE = """
from accelerators import ROWS, SIDES
from topology import compile_for, devices
import jax, jaxcnn, re

device, wanted = devices("tpu")[0], re.compile("LeNet|average 7|max 2x2, .32|^softmax, .10|^relu, |digits, .32")
rows = [row for row in ROWS if wanted.search(row.name) and row.dtype == "float32"]
assert len(rows) == 6, [row.name for row in rows]
for row in rows:
    hand = row.compile(device, SIDES["hand"])
    if row.kind != "training":
        autodiff = row.compile(device, SIDES["autodiff"])
        for cost in ("seconds", "bytes", "temporary_bytes"):
            costs = getattr(hand, cost), getattr(autodiff, cost)
            assert costs[0] <= 1.02 * costs[1], (row.name, cost, *costs)

images, kernel = (jax.ShapeDtypeStruct(shape, "bfloat16") for shape in ((8, 14, 14, 128), (3, 3, 128, 128)))
gradients = lambda dz, *arrays: jax.vjp(jaxcnn.conv, *arrays)[1](dz)
text = compile_for(device, gradients, images, images, kernel).text
assert len(re.findall(r" = bf16\\S+ convolution\\(", text)) == 2
"""


@pytest.mark.parametrize(
    ("dtype", "size", "options"),
    [
        ("float32", 2, {"strides": 2, "padding": 0}),
        ("bfloat16", 3, {"strides": 2, "padding": 1}),
        ("float32", 3, {"strides": (2, 1), "padding": ((2, -1), (-1, 2))}),
    ],
)
@pytest.mark.parametrize("sign", [1, -1], ids=["maximum", "minimum"])
def test_selection_is_the_maximum_of_the_switches(dtype, size, options, sign):
    """NaN among few and many, infinities, pads and crops. The minimum is that of −x."""
    window = Window.of("test", (9, 11), (size, size), **options)
    draw = np.random.default_rng(0)
    x = draw.permutation(2 * 9 * 11 * 3).reshape(2, 9, 11, 3) % 251 - 100.0
    for value, part in ((np.inf, 0.02), (-np.inf, 0.4), (np.nan, 0.05)):
        x[draw.random(x.shape) < part] = value
    x = jnp.asarray(x, dtype)

    @jax.jit
    def both(x, dy):
        y, found = switches.find_maximum(x, window, "first")
        spread = lambda dy: selection.spread(dy, sign * x, window, sign < 0)
        ours = sign * selection.find_maximum(sign * x, window, sign < 0)[0], spread(dy)
        several = jax.vmap(spread)(jnp.stack([dy, -dy]))
        return ours, (y, switches.spread(dy, found, window, "first")), several

    dy = jnp.asarray(draw.normal(size=(2, *window.output, 3)), dtype)
    (y, dx), (expected_y, expected_dx), several = both(x, dy)
    np.testing.assert_array_equal(np.asarray(y, np.float32), np.asarray(expected_y, np.float32))
    assert_close((dx, *several), (expected_dx, expected_dx, -expected_dx), 1e-6)


FORMS = (
    "max_unpool",
    "min_pool",
    "lp_pool",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "global_avg_pool",
    "global_max_pool",
    "unfold",
    "fold",
    "layer_norm",
    "group_norm",
    "rms_norm",
    "batch_norm_inference",
    "local_response_norm",
    "softmax",
)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("case", [case for case in CASES if case.op in FORMS], ids=str)
def test_forms_of_other_platforms(case, platform, monkeypatch):
    """On a CPU, as if it were another platform."""

    def of_platform(*arrays, default, **forms):
        return forms.get(platform, default)(*arrays)

    monkeypatch.setattr(jax.lax, "platform_dependent", of_platform)
    assert_rule(case.hand, case.twin, case.draw())
    monkeypatch.setattr(unpool, "PAIRS", 0)
    if case.op == "max_unpool":
        assert_rule(case.hand, case.twin, case.draw())


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
@pytest.mark.parametrize("pairs", [0, unpool.PAIRS], ids=["large", "small"])
def test_unpooling_scatters_on_a_cpu_alone(pairs, platform, monkeypatch):
    monkeypatch.setattr(unpool, "PAIRS", pairs)
    y, indices = jnp.ones((2, 3, 4, 3)), jnp.zeros((2, 3, 4, 3), jnp.int32)
    unpooled = lambda y: jaxcnn.max_unpool(y, indices, output_shape=(4, 5))
    program = jax.jit(lambda dx, y: (unpooled(y), jax.vjp(unpooled, y)[1](dx)))
    text = jax.export.export(program, platforms=[platform])(cotangent_of(unpooled, [y]), y).mlir_module()
    assert "stablehlo.scatter" not in text
    assert ("stablehlo.sort" in text) == (platform == "tpu" or pairs == 0)
    assert ("stablehlo.gather" in text) == (platform != "tpu")


def test_every_op_has_a_row(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from calls import CALLS
    from workloads import WORKLOADS

    assert {row.op for row in (*CALLS, *WORKLOADS)} == set(OPS)


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_convolutions_of_16_bits_stay_so(dtype, platform):
    """All three maps; for a CPU they are widened."""
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((2, 8, 8, 4), (2, 8, 8, 4), (3, 3, 4, 4))]

    def types(platform):
        program = jax.jit(lambda dz, x, w: jax.vjp(jaxcnn.conv, x, w)[1](dz))
        text = jax.export.export(program, platforms=[platform])(*arrays).mlir_module()
        return re.findall(r"stablehlo\.convolution.*: \(tensor<\S*x(\w+)>, tensor<\S*x(\w+)>\)", text)

    assert types(platform) == [("bf16", "bf16") if dtype == "bfloat16" else ("f16", "f16")] * 2
    assert ("f32", "f32") in types("cpu")


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_compiles_for_a_tpu():
    """A training step; a few ops cost no more than by autodiff, and 16-bit gradients are convolutions of 16 bits."""
    run = subprocess.run([sys.executable, "-c", COMPILE], cwd=BENCHMARKS, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
