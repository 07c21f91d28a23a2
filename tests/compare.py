"""The one body of checks: a call's value and gradients against those of another function of the same arrays."""

import jax
import jax.numpy as jnp
import numpy as np

# Relative to the largest entry of what is expected.
TOLERANCE = {"float64": 1e-12, "float32": 5e-5, "bfloat16": 5e-2, "float16": 1e-2}


def pullback(fn):
    """(cotangent, *arrays) -> (value, gradients), compiled."""

    @jax.jit
    def run(cotangent, *arrays):
        value, vjp = jax.vjp(fn, *arrays)
        return value, vjp(cotangent)

    return run


def cotangent_of(fn, arrays, seed=1):
    """Random: a sum as the loss hides wrong rules."""
    shape = jax.eval_shape(fn, *arrays)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape.shape), shape.dtype)


def assert_close(got, expected, tolerance):
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        scale = np.abs(b[np.isfinite(b)]).max(initial=0) or 1.0
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def assert_rule(hand, twin, arrays, dtype="float64"):
    """Value and gradients of `hand` in `dtype` against those of `twin` in float64."""
    with jax.enable_x64(True):
        wide = [jnp.asarray(a, dtype).astype(jnp.float64) for a in arrays]
        cotangent = cotangent_of(twin, wide).astype(dtype)
        expected = pullback(twin)(cotangent.astype(jnp.float64), *wide)
        narrow = [jnp.asarray(a, dtype) for a in arrays]
        got = pullback(hand)(cotangent, *narrow)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(got))
    assert_close(got, expected, TOLERANCE[dtype])
