"""A function at a point, seen as one from the floats among its arguments to the floats among its results."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check import tolerance
from jaxcnn.check.primal import static_positions, without_rules


class Point(NamedTuple):
    """What is compared, and where: `hand` and `twin` map `floats` to a list like the cotangents `dy`.

    Their pullbacks, (dy, *floats) -> (gradients, values), are compiled once for all that runs them.
    """

    names: list[str]
    floats: list[jax.Array]
    dy: list[jax.Array]
    hand: Callable
    twin: Callable
    pull_hand: Any
    pull_twin: Any
    tolerance: float


class Draw:
    """Normal random numbers of scale 1."""

    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)

    def like(self, leaves: list[Any]) -> list[jax.Array]:
        return [jnp.asarray(self._normal(leaf), leaf.dtype) for leaf in leaves]

    def _normal(self, leaf: Any) -> np.ndarray:
        real = self.generator.normal(size=leaf.shape)
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            return real + 1j * self.generator.normal(size=leaf.shape)
        return real


def locate(fn: Callable, reference: Callable | None, args: Any, draw: Draw, wider: float) -> Point:
    """Whatever is no float (integers, keys, strings, options) or stands in a static position stays as it is given."""
    located, structure = jax.tree.flatten_with_path(args)
    static = static_positions(fn) | static_positions(reference)
    is_static = [position.idx in static for (position, *_), _ in located]
    leaves = [leaf if fixed else _as_array(leaf) for fixed, (_, leaf) in zip(is_static, located)]
    where = [i for i, leaf in enumerate(leaves) if _is_float(leaf) and not is_static[i]]
    if not where:
        raise ValueError("check_vjp: args expects at least one array of floats, got none")

    def flat(fn):
        def on_floats(*floats):
            filled = list(leaves)
            for i, leaf in zip(where, floats):
                filled[i] = leaf
            results = jax.tree.leaves(fn(*jax.tree.unflatten(structure, filled)))
            return [leaf for leaf in map(_as_array, results) if _is_float(leaf)]

        return on_floats

    names, floats = _names(fn, [located[i][0] for i in where]), [leaves[i] for i in where]
    try:
        results = jax.eval_shape(flat(fn), *floats)
    except jax.errors.UnexpectedTracerError as failure:
        if "nondiff_argnums" not in str(failure):
            raise
        advice = "floats that it hands on to nondiff_argnums of a rule by functools.partial"
        raise TypeError(f"check_vjp: fn expects {advice}, got them as arguments") from failure
    if not results:
        raise ValueError("check_vjp: fn expects to return at least one array of floats, got none")
    for name, leaf in [*zip(names, floats), *(("a result of fn", leaf) for leaf in results)]:
        if leaf.dtype.name not in tolerance.FIRST:
            raise TypeError(f"check_vjp: {name} expects one of {', '.join(tolerance.FIRST)}, got {leaf.dtype.name}")
    if reference is not None:
        expected, got = ([leaf.shape for leaf in x] for x in (results, jax.eval_shape(flat(reference), *floats)))
        if got != expected:
            raise ValueError(f"check_vjp: reference expects results of the shapes of fn's, {expected}, got {got}")
    hand, twin = flat(fn), flat(reference or without_rules(fn))
    return Point(names, floats, draw.like(results), hand, twin, jax.jit(pull(hand)), jax.jit(pull(twin)), wider)


def title(fn: Callable) -> str:
    """What a function is called; a `functools.partial` as the function it is of."""
    if isinstance(fn, functools.partial):
        return title(fn.func)
    return getattr(fn, "__name__", type(fn).__name__)


def pull(fn: Callable) -> Callable:
    """(cotangents, *floats) -> (gradients, values)"""

    def pulled(dy, *floats):
        value, vjp = jax.vjp(fn, *floats)
        return list(vjp([d.astype(leaf.dtype) for d, leaf in zip(dy, value)])), value

    return pulled


def widen(leaves: list[jax.Array]) -> list[jax.Array]:
    return [leaf.astype(jnp.complex128 if jnp.iscomplexobj(leaf) else jnp.float64) for leaf in leaves]


def dot(left: list[jax.Array], right: list[jax.Array]) -> jax.Array:
    """Re Σ l·r, the pairing under which JAX's vjp is the adjoint, also of complex functions."""
    return sum((jnp.sum(a * b).real for a, b in zip(left, right)), jnp.zeros(()))


def type_of(leaf: Any) -> str:
    return f"{leaf.dtype.name}{list(leaf.shape)}"


def values_of(leaf: Any) -> str:
    """In one line; of a random key its data."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    array = array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16
    return " ".join(np.array2string(array, separator=", ", formatter={"all": str}).split())


def named_arrays(fn: Callable, args: Any) -> dict[str, Any]:
    """All arrays among the arguments."""
    located, _ = jax.tree.flatten_with_path(args)
    leaves = [_as_array(leaf) for _, leaf in located]
    names = _names(fn, [path for path, _ in located])
    return {name: leaf for name, leaf in zip(names, leaves) if hasattr(leaf, "dtype")}


def _as_array(leaf: Any) -> Any:
    numeric = isinstance(leaf, (float, complex, np.ndarray, np.generic))
    return jnp.asarray(leaf) if numeric and np.asarray(leaf).dtype.kind in "biufcV" else leaf


def _is_float(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def parameters(fn: Callable) -> list[str]:
    """Those by position."""
    try:
        signature = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # of functions written in C
        return []
    return [p.name for p in signature if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _names(fn: Callable, paths: list[Any]) -> list[str]:
    """Of leaves, by the parameters that they are given to."""
    fixed = parameters(fn)

    def name(path):
        position, *rest = path
        start = fixed[position.idx] if position.idx < len(fixed) else f"args[{position.idx}]"
        return start + jax.tree_util.keystr(tuple(rest))

    return [name(path) for path in paths]
