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

PARTS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)  # of a step
UNEVEN = 0.2  # part of a bend that may be of higher order
ROUNDING = 4 * float(np.finfo(np.float64).eps)
MOVED = 4096  # cells of an argument at most: the more, the likelier is one next to a kink


class Slopes(NamedTuple):
    """Of values at (−h, −h/2, −h/4, 0, h/4, h/2, h) from a point, the last axis of `values`."""

    values: np.ndarray
    step: float

    @property
    def middle(self) -> np.ndarray:
        """From both sides; of a curve from two steps, which leaves no error of the second order."""
        whole, half = ((self.values[..., -1 - i] - self.values[..., i]) / (2 * self.step / 2**i) for i in (0, 1))
        return np.where(self.is_curve, (4 * half - whole) / 3, whole)

    @property
    def bend(self) -> np.ndarray:
        """How far the slopes of the two sides differ."""
        return self._bend(0)

    @property
    def is_curve(self) -> np.ndarray:
        """Where they come together as the step shrinks: half the step, half the bend. At a kink it stays."""
        whole, half, quarter = map(self._bend, range(3))
        return (np.abs(2 * half - whole) <= UNEVEN * whole) & (np.abs(4 * quarter - whole) <= UNEVEN * whole)

    @property
    def rounding(self) -> np.ndarray:
        """Of the slope."""
        return ROUNDING * np.abs(self.values).max(-1) / self.step

    def _bend(self, i: int) -> np.ndarray:
        behind, here, ahead = (self.values[..., k] for k in (i, 3, -1 - i))
        return np.abs(ahead - 2 * here + behind) / (self.step / 2**i)


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

    def value_at(part, moved):
        steps = (part * step.size * v if i in moved else 0.0 for i, v in enumerate(directions))
        return float(value(*map(jnp.add, floats, steps)))

    def error(moved):
        at = [value_at(part, moved) for part in PARTS]
        if math.isfinite(at[3]) and not math.isfinite(at[0] + at[-1]):
            return not_applicable("at the edge of the domain")
        sides = Slopes(np.asarray([at]), step.size)
        along = [(gradients[i], directions[i]) for i in moved]
        exact = float(dot(*map(list, zip(*along))))
        if not math.isfinite(exact):
            return Error(math.inf, step.bound, "the gradient is not finite")
        if not math.isfinite(at[3]):
            return not_applicable("the value is not finite")
        scale = max(abs(exact), math.sqrt(sum(float(jnp.sum(jnp.abs(g) ** 2)) for g, _ in along))) or 1.0
        off, bend, rounding = (part.item() / scale for part in (abs(sides.middle - exact), sides.bend, sides.rounding))
        bound = max(step.bound, rounding)
        if bound > max(step.bound, tolerance.KINK):
            return not_applicable("lost in rounding")
        # one kink among many cells bends little
        if not sides.is_curve and (bend > tolerance.KINK or bound < off < 2 * bend):
            return not_applicable("at a kink")
        return Error(off, bound)

    return [error([i]) for i in range(len(floats))], error(range(len(floats)))


def slopes(point: Point, argument: int, cells: Sequence[int]) -> Slopes:
    """In the given cells (of the flat argument), one at a time; needs x64 enabled."""
    floats, dy = widen(point.floats), widen(point.dy)
    step = _step(point)
    if isinstance(step, Error):
        raise ValueError(step.note)

    def moved(cell: Any, length: float) -> jax.Array:
        here = jnp.arange(floats[argument].size).reshape(floats[argument].shape) == cell
        leaf = jnp.where(here, floats[argument] + length, floats[argument])
        return dot(dy, point.hand(*floats[:argument], leaf, *floats[argument + 1 :]))

    run = jax.jit(lambda cells: jax.lax.map(lambda cell: [moved(cell, k * step.size) for k in PARTS], cells))
    return Slopes(np.stack(run(jnp.asarray(cells)), -1), step.size)


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
