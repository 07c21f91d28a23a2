"""Dtypes: promotion, `preferred_element_type`, accumulation in float32, integers and complex numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, pullback

import jaxcnn
from jaxcnn import reference

pytestmark = pytest.mark.usefixtures("optimized")  # long sums of 16 bits take minutes without

X, W = (np.random.default_rng(0).normal(size=s) for s in ((2, 6, 5, 4), (3, 3, 4, 3)))
LAYERS = {
    "conv": lambda ops, **options: lambda x, w: ops.conv(x, w, w[0, 0, 0], strides=2, **options),
    "conv_transpose": lambda ops, **options: lambda x, w: ops.conv_transpose(x, w, w[0, 0, 0], strides=2, **options),
    "depthwise_conv": lambda ops, **options: lambda x, w: ops.depthwise_conv(x, w[:, :, :1, [0, 1, 2, 0]], **options),
    "separable_conv": lambda ops, **options: (
        lambda x, w: ops.separable_conv(x, w[:, :, None, :, 0], w[0, 0], w[0, 0, 0], strides=2, **options)
    ),
    "dense": lambda ops, **options: lambda x, w: ops.dense(x, w[0, 0], w[0, 0, 0], **options),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_preferred_element_type(layer, dtype):
    """The result is not rounded to 16 bits; the gradients have the dtype of their arguments."""
    x, w = jnp.asarray(X, dtype), jnp.asarray(W, dtype)
    fn = LAYERS[layer](jaxcnn, preferred_element_type=jnp.float32)
    z, (dx, dw) = pullback(fn)(jnp.ones(jax.eval_shape(fn, x, w).shape, jnp.float32), x, w)
    assert (z.dtype, dx.dtype, dw.dtype) == (jnp.float32, dtype, dtype)
    exact = LAYERS[layer](reference)(x.astype(jnp.float32), w.astype(jnp.float32))
    assert_close(z, exact, 1e-6)


@pytest.mark.parametrize("layer", LAYERS)
def test_integers(layer):
    x, w = (jnp.asarray(np.round(40 * a), jnp.int8) for a in (X, W))
    wide = LAYERS[layer](jaxcnn, preferred_element_type=jnp.int32)(x, w)
    assert wide.dtype == jnp.int32
    np.testing.assert_array_equal(wide, LAYERS[layer](reference)(x.astype(jnp.float32), w.astype(jnp.float32)))
    assert LAYERS[layer](jaxcnn)(x, w).dtype == jnp.int8
    assert LAYERS[layer](jaxcnn, preferred_element_type=jnp.float32)(x, w).dtype == jnp.float32


@pytest.mark.parametrize("layer", LAYERS)
def test_promotion(layer):
    """Of mixed arguments; each gradient keeps the dtype of its own."""
    x, w = jnp.asarray(X, jnp.bfloat16), jnp.asarray(W, jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        z, vjp = jax.vjp(LAYERS[layer](jaxcnn), x, w)
        dx, dw = vjp(jnp.ones_like(z))
        assert (z.dtype, dx.dtype, dw.dtype) == (jnp.float32, jnp.bfloat16, jnp.float32)
        pixels = jnp.asarray(np.round(50 + 9 * X), jnp.uint8)
        assert LAYERS[layer](jaxcnn)(pixels, w).dtype == jnp.float32
        assert jax.grad(lambda w: LAYERS[layer](jaxcnn)(pixels, w).sum())(w).shape == w.shape
    with pytest.raises(Exception, match="dtype_promotion=strict"):
        LAYERS[layer](jaxcnn)(x, w)


@pytest.mark.parametrize("layer", LAYERS)
def test_complex(layer, x64):
    x, w = (jax.lax.complex(jnp.asarray(a), jnp.asarray(a[::-1])) for a in (X, W))
    dz = jax.eval_shape(LAYERS[layer](jaxcnn), x, w)
    dz = jnp.asarray(np.random.default_rng(1).normal(size=(2, *dz.shape)))
    dz = jax.lax.complex(dz[0], dz[1])
    assert_close_complex(pullback(LAYERS[layer](jaxcnn))(dz, x, w), pullback(LAYERS[layer](reference))(dz, x, w))


def assert_close_complex(got, expected):
    for part in (jnp.real, jnp.imag):
        assert_close(jax.tree.map(part, got), jax.tree.map(part, expected), 1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_long_sums_accumulate_in_float32(dtype):
    """Naive 16-bit sums of ones stall at 256 (bfloat16) and 2048 (float16)."""
    ones = lambda *shape: jnp.ones(shape, dtype)
    z, (dx, dw, db) = pullback(jaxcnn.conv)(ones(1, 4096, 1), ones(1, 4096, 1), ones(1, 1, 1), ones(1))
    assert (dw.item(), db.item()) == (4096, 4096)
    z, (dx, dw) = pullback(jaxcnn.conv)(ones(1, 1, 4096), ones(1, 1, 4096), ones(1, 4096, 4096))
    assert float(z[0, 0, 0]) == float(dx[0, 0, 0]) == 4096
    z, (dx, dw, db) = pullback(jaxcnn.dense)(ones(4096, 1), ones(4096, 1), ones(1, 1), ones(1))
    assert (dw.item(), db.item()) == (4096, 4096)
    _, (dx,) = pullback(lambda x: jaxcnn.pad(x, [(4095, 0)], mode="edge"))(ones(4096, 1), ones(1, 1))
    assert dx.item() == 4096
    x, _ = pullback(lambda cols: jaxcnn.fold(cols, (4096,), output_shape=8191))(ones(8191, 1), ones(4096, 4096))
    assert x.max() == 4096


@pytest.mark.parametrize("precision", [None, "highest", jax.lax.Precision.HIGH, ("default", "highest")])
@pytest.mark.parametrize("layer", LAYERS)
def test_precision(layer, precision):
    x, w = jnp.asarray(X, jnp.float32), jnp.asarray(W, jnp.float32)
    program = jax.jit(LAYERS[layer](jaxcnn, precision=precision)).trace(x, w)
    text = program.lower(lowering_platforms=("tpu",)).as_text()
    pair = precision if isinstance(precision, (tuple, list)) else (precision, precision)
    names = ["DEFAULT" if p is None else jax.lax.Precision(p).name for p in pair]
    assert f"precision_config = [#stablehlo<precision {names[0]}>, #stablehlo<precision {names[1]}>]" in text or (
        f"precision = [{names[0]}, {names[1]}]" in text
    )
