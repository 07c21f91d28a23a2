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
    """Random: a sum as the loss hides wrong rules. For integers, the empty cotangent that JAX wants."""
    generator = np.random.default_rng(seed)

    def draw(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.zeros(leaf.shape, jax.dtypes.float0)
        return jnp.asarray(generator.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(fn, *arrays))


def weigh(cotangent, value):
    """⟨cotangent, value⟩, of all that is no integer."""
    pairs = zip(jax.tree.leaves(cotangent), jax.tree.leaves(value))
    return sum(jnp.vdot(dy, y) for dy, y in pairs if dy.dtype != jax.dtypes.float0)


def assert_close(got, expected, tolerance):
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        scale = np.abs(b[np.isfinite(b)]).max(initial=0) or 1.0
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def assert_rule(hand, twin, arrays, dtype="float64"):
    """Value and gradients of `hand` in `dtype` against those of `twin` in float64; dtypes as those of `twin`."""
    with jax.enable_x64(True):
        narrow = [jnp.asarray(a, dtype) for a in arrays]
        wide = [a.astype(jnp.float64) for a in narrow]
        cotangent = cotangent_of(hand, narrow)
        widen = lambda dy: dy if dy.dtype == jax.dtypes.float0 else dy.astype(jnp.float64)
        expected = pullback(twin)(jax.tree.map(widen, cotangent), *wide)
        got = pullback(hand)(cotangent, *narrow)
        types = jax.eval_shape(twin, *narrow), tuple(narrow)
    assert [leaf.dtype for leaf in jax.tree.leaves(got)] == [leaf.dtype for leaf in jax.tree.leaves(types)]
    assert_close(got, expected, TOLERANCE[dtype])
