"""The comparison itself."""

import inspect
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check.primal import is_literal, without_rules
from jaxcnn.check.report import FINITE_TOLERANCE, SECOND_TOLERANCE, TOLERANCE, Argument, Cost, Error, Report

STEP = 1e-5
KINK = 1e-2  # the two one-sided slopes differ by more than this part of the gradient
REPETITIONS = 20


def check_vjp(fn: Callable, *args: Any, reference: Callable | None = None, seed: int = 0) -> Report:
    """Compares the gradient rule of fn with autodiff of a reference and with finite differences.

    Every leaf of floats among the arguments is differentiated, against one random cotangent. The reference and the
    differences are computed in float64 from the same numbers, so the errors are those of the rule and of its dtype.
    Finite differences want inputs of scale 1; at a kink or tie, where the slopes of the two sides differ, they say
    nothing, and the report says so.

    Args:
      fn: any differentiable function of arrays or pytrees, returning arrays or pytrees.
      args: where to compare.
      reference: a function of the same arguments to differentiate by autodiff; None means the primal of fn itself,
        every `jax.custom_vjp` in it forgotten.
      seed: of the cotangents and directions.

    Returns:
      A report; `report.ok` is the verdict and `print(report)` the table.

    >>> @jax.custom_vjp
    ... def square(x):
    ...     return x**2
    >>> square.defvjp(lambda x: (x**2, x), lambda x, dy: (3 * x * dy,))  # should be 2
    >>> report = check_vjp(square, jnp.array([1.0, 2.0]))
    >>> report.ok, round(report.arguments[0].autodiff.size, 3)
    (False, 0.5)
    """
    draw = _Draw(seed)
    paths, floats, hand = _on_floats(fn, args)
    _, _, twin = _on_floats(reference or without_rules(fn), args)
    dy = draw.like(jax.eval_shape(hand, *floats))
    bounds = [_bound(leaf, *dy) for leaf in floats]
    bound = max(bounds, default=0.0)

    with jax.enable_x64(True):
        wide, wide_dy = _widen(floats), _widen(dy)
        expected, expected_value = jax.jit(_pull(twin))(wide_dy, *wide)
        alone, jointly = _finite_differences(hand, wide, wide_dy, draw)
        second = _second_order(hand, twin, wide, wide_dy, draw)

    pull = jax.jit(_pull(hand))
    gradients, value = pull(dy, *floats)
    names = list(inspect.signature(fn).parameters)
    arguments = tuple(
        Argument(_name(names, path), _type(leaf), _type(gradient), _error([gradient], [right], limit), difference)
        for path, leaf, gradient, right, limit, difference in zip(paths, floats, gradients, expected, bounds, alone)
    )
    properties = {
        "value": _error(value, expected_value, bound),
        "all arguments jointly": jointly,
        "without jit": _attempt(lambda: _error(_pull(hand)(dy, *floats)[0], gradients, bound)),
        "under vmap": _attempt(lambda: _vmap_error(pull, floats, draw.like(dy), dy, bound)),
        **second,
    }
    name = getattr(fn, "__name__", type(fn).__name__)
    return Report(name, arguments, properties, *_costs([hand, twin], dy, floats))


def assert_vjp(fn: Callable, *args: Any, reference: Callable | None = None, seed: int = 0) -> None:
    """`check_vjp` for tests: raises AssertionError with the report where anything is wrong."""
    report = check_vjp(fn, *args, reference=reference, seed=seed)
    if not report.ok:
        raise AssertionError(str(report))


class _Draw:
    """Normal random numbers of scale 1."""

    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)

    def like(self, leaves: list[Any]) -> list[jax.Array]:
        return [jnp.asarray(self.generator.normal(size=leaf.shape), leaf.dtype) for leaf in leaves]


def _on_floats(fn: Callable, args: Any) -> tuple[list[Any], list[jax.Array], Callable]:
    """The paths and values of the float leaves of args, and fn as a function from these to its own float leaves."""
    located, structure = jax.tree_util.tree_flatten_with_path(args)
    leaves = [jnp.asarray(leaf) for _, leaf in located]
    where = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]

    def flat(*floats):
        filled = list(leaves)
        for i, leaf in zip(where, floats):
            filled[i] = leaf
        return [leaf for leaf in jax.tree.leaves(fn(*jax.tree.unflatten(structure, filled))) if _is_float(leaf)]

    return [located[i][0] for i in where], [leaves[i] for i in where], flat


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _pull(fn: Callable) -> Callable:
    """(cotangents, *floats) -> (gradients, values)"""

    def pull(dy, *floats):
        value, vjp = jax.vjp(fn, *floats)
        return list(vjp([d.astype(leaf.dtype) for d, leaf in zip(dy, value)])), value

    return pull


def _widen(leaves: list[jax.Array]) -> list[jax.Array]:
    return [leaf.astype(jnp.float64) for leaf in leaves]


def _dot(left: list[jax.Array], right: list[jax.Array]) -> jax.Array:
    return sum((jnp.vdot(a, b) for a, b in zip(left, right)), jnp.zeros(()))


def _finite_differences(hand, floats, dy, draw) -> tuple[list[Error], Error]:
    """Directional central differences against ⟨gradient, direction⟩: each argument alone, and all at once."""
    value = jax.jit(lambda *floats: _dot(dy, hand(*floats)))
    gradients, results = jax.jit(_pull(hand))(dy, *floats)
    if any(result.dtype != jnp.float64 for result in results):
        unfit = Error(0.0, 0.0, "not computed in float64")
        return [unfit] * len(floats), unfit
    directions = draw.like(floats)

    def error(moved):
        ahead, here, behind = (
            float(value(*(x + step * v if i in moved else x for i, (x, v) in enumerate(zip(floats, directions)))))
            for step in (STEP, 0.0, -STEP)
        )
        along = [(gradients[i], directions[i]) for i in moved]
        exact = sum(float(jnp.vdot(g, v)) for g, v in along)
        scale = max(abs(exact), math.sqrt(sum(float(jnp.vdot(g, g)) for g, _ in along))) or 1.0
        if abs(ahead - 2 * here + behind) > KINK * STEP * scale:
            return Error(0.0, FINITE_TOLERANCE, "at a kink")
        return Error(abs((ahead - behind) / (2 * STEP) - exact) / scale, FINITE_TOLERANCE)

    return [error([i]) for i in range(len(floats))], error(range(len(floats)))


def _second_order(hand, twin, floats, dy, draw) -> dict[str, Error]:
    """The derivative of the gradients with respect to cotangents and arguments, by reverse and by forward mode."""
    direction, tangents = draw.like(floats), (draw.like(dy), *draw.like(floats))
    gradients = lambda fn: lambda dy, *floats: _pull(fn)(dy, *floats)[0]

    def reverse(fn):
        weighted = lambda *point: _dot(direction, gradients(fn)(*point))
        return jax.tree.leaves(jax.jit(jax.grad(weighted, tuple(range(1 + len(floats)))))(dy, *floats))

    def forward(fn):
        return jax.jit(lambda *point: jax.jvp(gradients(fn), point, tangents)[1])(dy, *floats)

    return {
        "reverse over reverse": _attempt(lambda: _error(reverse(hand), reverse(twin), SECOND_TOLERANCE)),
        "forward over reverse": _attempt(lambda: _error(forward(hand), forward(twin), SECOND_TOLERANCE)),
    }


def _vmap_error(pull, floats, other_dy, dy, bound) -> Error:
    """Two different examples at once against one after the other."""
    examples = [(dy, *floats), (other_dy, *(leaf / 2 for leaf in floats))]
    together = jax.vmap(pull)(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *examples))[0]
    apart = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(pull(*example)[0] for example in examples))
    return _error(together, apart, bound)


def _error(got: Any, expected: Any, bound: float) -> Error:
    """The largest difference over all leaves, each relative to the largest entry of its expected leaf."""
    sizes = [0.0]
    for a, b in zip(got, expected):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            return Error(math.inf, bound, f"shape {a.shape}, not {b.shape}")
        with np.errstate(invalid="ignore"):
            difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
        finite = np.abs(b[np.isfinite(b)])
        scale = float(finite.max(initial=0)) or 1.0
        sizes.append(float(np.nan_to_num(difference, nan=math.inf).max(initial=0)) / scale)
    return Error(max(sizes), bound)


def _attempt(compare: Callable[[], Error]) -> Error:
    """A transformation that does not work is a finding too."""
    try:
        return compare()
    except Exception as failure:
        return Error(math.inf, 0.0, f"{type(failure).__name__}: {str(failure).splitlines()[0][:80]}")


def _bound(leaf: jax.Array, *results: jax.Array) -> float:
    """What rounding allows to the gradient of the leaf: the tolerance of the coarsest dtype on the way."""
    return max(TOLERANCE[array.dtype.name] for array in (leaf, *results))


def _type(leaf: jax.Array) -> str:
    return f"{leaf.dtype.name}{list(leaf.shape)}"


def _name(parameters: list[str], path: Any) -> str:
    position, *rest = path
    variadic = position.idx >= len(parameters)
    return (f"[{position.idx}]" if variadic else parameters[position.idx]) + jax.tree_util.keystr(tuple(rest))


def _costs(functions: list[Callable], dy, floats) -> list[Cost]:
    """Of the same pullback by each function, timed in turn."""
    programs = [jax.jit(_pull(fn)).lower(dy, *floats).compile() for fn in functions]
    times: list[list[float]] = [[] for _ in programs]
    start = time.perf_counter()
    while len(times[0]) < 3 or (len(times[0]) < 30 and time.perf_counter() - start < 2):
        for program, taken in zip(programs, times):
            before = time.perf_counter()
            jax.block_until_ready(program(dy, *floats))
            taken.append(time.perf_counter() - before)
    temporaries = [getattr(program.memory_analysis(), "temp_size_in_bytes", 0) for program in programs]
    return [
        Cost(_residual_bytes(fn, floats), temporary, 1e3 * float(np.median(taken)))
        for fn, temporary, taken in zip(functions, temporaries, times)
    ]


def _residual_bytes(fn: Callable, floats: list[jax.Array]) -> int:
    """What the forward pass hands to the backward pass, arguments that it keeps included."""
    program = jax.make_jaxpr(lambda *floats: jax.tree.leaves(jax.vjp(fn, *floats)[1]))(*floats).jaxpr
    kept = {var for var in program.outvars if not is_literal(var)}
    return sum(math.prod(var.aval.shape) * var.aval.dtype.itemsize for var in kept)
