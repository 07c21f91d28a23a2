"""Every algorithm on every window that it fits, whatever the choice would pick."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases import AVG_POOL, CONV, MAX_POOL
from compare import assert_close, assert_rule

from jaxcnn import algorithms, taps
from jaxcnn.algorithms import columns, native
from jaxcnn.window import Convolution, Window

FITS = [case for case in CONV if "groups" not in case.options and "channel_axis" not in case.options]
FITS = [case for case in FITS if len(case.shapes[0]) == len(case.shapes[1]) and 0 not in case.shapes[0]]


def convolution(shape, kernel, options):
    geometry = {"strides": 1, "padding": "SAME", **options}
    window = Window.of("test", shape[1:-1], kernel[:-2], **geometry)
    return Convolution(window, 1, None, jnp.dtype("float64"), jnp.dtype("float64"))


@pytest.mark.parametrize("case", FITS, ids=str)
@pytest.mark.parametrize("chunk", [1, 4e6], ids=["one example at a time", "all at once"])
def test_columns(case, chunk, x64, monkeypatch):
    monkeypatch.setattr(columns, "CHUNK", chunk)
    conv = convolution(case.shapes[0], case.shapes[1], case.options)
    if 0 in conv.window.output:
        pytest.skip("the sum is empty: no algorithm is asked")
    x = jnp.asarray(case.draw()[0])
    dz = jnp.asarray(np.random.default_rng(1).normal(size=(len(x), *conv.window.output, case.shapes[1][-1])))
    run = lambda algorithm: jax.jit(lambda x, dz: algorithm.kernel_gradient(x, dz, conv))(x, dz)
    assert_close(run(columns), run(native), 1e-12)


def test_columns_in_chunks_with_a_rest(x64, monkeypatch):
    """7 examples in chunks of 3: one, then two chunks."""
    conv = convolution((7, 5, 6, 2), (3, 2, 2, 3), {"strides": (2, 1)})
    monkeypatch.setattr(columns, "CHUNK", columns.size(3, 2, conv))
    generator = np.random.default_rng(0)
    x, dz = (jnp.asarray(generator.normal(size=shape)) for shape in ((7, 5, 6, 2), (7, *conv.window.output, 3)))
    assert_close(columns.kernel_gradient(x, dz, conv), native.kernel_gradient(x, dz, conv), 1e-12)


def test_the_choice_picks_columns_on_cpu_alone():
    """A large batch loops over matrix products on cpu; elsewhere it is one convolution."""
    conv = convolution((32, 26, 26, 32), (3, 3, 32, 64), {"padding": "VALID"})
    conv = conv._replace(accumulate=jnp.dtype("float32"), result=jnp.dtype("float32"))
    program = jax.jit(lambda x, dz: algorithms.kernel_gradient(x, dz, conv))
    x, dz = jnp.zeros((32, 26, 26, 32)), jnp.zeros((32, 24, 24, 64))
    for platform, convolutions in (("cpu", 0), ("cuda", 1), ("tpu", 1)):
        text = jax.export.export(program, platforms=[platform])(x, dz).mlir_module()
        assert text.count("stablehlo.convolution") == convolutions, platform


POOLS = [case for case in [*MAX_POOL, *AVG_POOL] if case.options.get("ties", "first") == "first"]


@pytest.mark.parametrize("case", [case for case in POOLS if len(case.shapes[0]) > 3], ids=str)
def test_pools_one_dimension_after_the_other(case, monkeypatch):
    """As windows of many taps are, here also those of few, with ties, strides, dilation and padding."""
    monkeypatch.setattr(taps, "FUSE", 1)
    assert_rule(lambda x: case.hand(x), case.twin, case.draw())
