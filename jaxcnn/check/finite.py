"""Finite differences in float64: the oracle that knows no rules."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check import tolerance
from jaxcnn.check.error import Error, not_applicable
from jaxcnn.check.point import Draw, Point, dot, widen
from jaxcnn.check.primal import equations

MOVED = 4096  # cells of an argument at most: the more, the likelier is one next to a kink


class Slopes(NamedTuple):
    """Of ⟨dy, fn⟩ in single cells of an argument, to either side."""

    behind: np.ndarray
    ahead: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        return (self.behind + self.ahead) / 2


def narrowest(fn: Callable, args: list[Any]) -> str:
    """The coarsest dtype that fn rounds its float64 arguments to on the way."""
    program = jax.make_jaxpr(fn)(*args)
    kinds = {var.aval.dtype.name for var in program.jaxpr.outvars}
    for equation in equations(program):
        incoming, outgoing = (_float_types(variables) for variables in (equation.invars, equation.outvars))
        holds_programs = any(True for _ in equations(list(equation.params.values())))  # which are looked at too
        if incoming & {"float64", "complex128"} and not holds_programs:
            kinds |= outgoing
    coarsest = max(kinds & set(tolerance.FIRST), key=tolerance.FIRST.__getitem__, default="float64")
    return {"complex128": "float64", "complex64": "float32"}.get(coarsest, coarsest)


def directional(point: Point, draw: Draw) -> tuple[list[Error], Error]:
    """Central differences along a random direction against ⟨gradient, direction⟩: each argument alone, then all."""
    floats, dy = widen(point.floats), widen(point.dy)
    step = _step(point)
    if isinstance(step, Error):
        return [step] * len(floats), step
    value = jax.jit(lambda *floats: dot(dy, point.hand(*floats)))
    gradients, _ = point.pull_hand(dy, *floats)
    directions = [_thin(direction, draw) for direction in draw.like(floats)]

    def error(moved):
        ahead, here, behind = (
            float(value(*(x + length * v if i in moved else x for i, (x, v) in enumerate(zip(floats, directions)))))
            for length in (step.size, 0.0, -step.size)
        )
        if math.isfinite(here) and not math.isfinite(ahead + behind):
            return not_applicable("at the edge of the domain")
        along = [(gradients[i], directions[i]) for i in moved]
        exact = float(dot(*map(list, zip(*along))))
        if not math.isfinite(exact):
            return Error(math.inf, step.bound, "the gradient is not finite")
        scale = max(abs(exact), math.sqrt(sum(float(jnp.sum(jnp.abs(g) ** 2)) for g, _ in along))) or 1.0
        off = abs((ahead - behind) / (2 * step.size) - exact) / scale
        bend = abs(ahead - 2 * here + behind) / (step.size * scale)
        if bend > tolerance.KINK or step.bound < off < 2 * bend:  # one kink among many cells bends little
            return not_applicable("at a kink")
        return Error(off, step.bound)

    return [error([i]) for i in range(len(floats))], error(range(len(floats)))


def slopes(point: Point, argument: int, cells: Sequence[int]) -> Slopes:
    """In the given cells (of the flat argument), one at a time; needs x64 enabled."""
    floats, dy = widen(point.floats), widen(point.dy)
    step = _step(point)
    if isinstance(step, Error):
        raise ValueError(step.note)

    def moved(cell: Any, length: float) -> jax.Array:
        flat = floats[argument].reshape(-1).at[cell].add(length).reshape(floats[argument].shape)
        return dot(dy, point.hand(*floats[:argument], flat, *floats[argument + 1 :]))

    run = jax.jit(lambda cells: jax.lax.map(lambda cell: [moved(cell, k * step.size) for k in (-1, 0, 1)], cells))
    behind, here, ahead = map(np.asarray, run(jnp.asarray(cells)))
    return Slopes((here - behind) / step.size, (ahead - here) / step.size)


def _thin(direction: jax.Array, draw: Draw) -> jax.Array:
    """Zero in all but MOVED cells, drawn at random."""
    if direction.size <= MOVED:
        return direction
    moved = jnp.zeros(direction.size, bool).at[draw.generator.permutation(direction.size)[:MOVED]].set(True)
    return jnp.where(moved.reshape(direction.shape), direction, 0)


def _step(point: Point) -> tolerance.Step | Error:
    kind = narrowest(point.hand, widen(point.floats))
    if kind not in tolerance.STEPS:
        return not_applicable(f"computed in {kind}")
    size, bound = tolerance.STEPS[kind]
    return tolerance.Step(size, max(bound, point.tolerance))


def _float_types(variables: Any) -> set[str]:
    types = (getattr(var.aval, "dtype", None) for var in variables)
    return {kind.name for kind in types if kind is not None and jnp.issubdtype(kind, jnp.inexact)}
