"""The gradients of both sides, or why there are none."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.check import tolerance
from jaxcnn.check.error import Error, compare, describe, not_applicable, wide
from jaxcnn.check.point import Point, widen

Leaves = list[Any]


class Gradients(NamedTuple):
    """Gradients and values by the rule, and by autodiff in float64 where the function allows it.

    `fault` says why the rule gives none, `unknown` why autodiff gives none (a while loop, a callback). `is_other_wide`
    where the function is another one in float64, as one that draws random numbers of the default dtype.
    """

    hand: Leaves | None
    value: Leaves | None
    fault: str
    expected: Leaves | None
    expected_value: Leaves | None
    unknown: str
    is_other_wide: bool = False


def gradients_of(point: Point) -> Gradients:
    by_rule = _run(point.pull_hand, point.dy, point.floats)
    with jax.enable_x64(True):
        by_autodiff = _run(point.pull_twin, widen(point.dy), widen(point.floats))
    is_other = _far(by_autodiff[1], by_rule[1])
    if by_autodiff[2] or is_other:  # some functions take no float64
        narrow = _run(point.pull_twin, point.dy, point.floats)
        is_other = is_other and _far(by_autodiff[1], narrow[1])
        by_autodiff = narrow if by_autodiff[2] or is_other else by_autodiff
    return Gradients(*by_rule, *by_autodiff, is_other)


def bound_of(point: Point, argument: int) -> float:
    return max(point.tolerance, tolerance.first(point.floats[argument], *point.dy))


def against_autodiff(point: Point, found: Gradients, argument: int) -> Error:
    """Cells where the value is finite and autodiff alone gives NaN are left to the finite differences."""
    bound = bound_of(point, argument)
    if found.hand is None:
        return Error(math.inf, bound, "fails")
    if found.expected is None or found.expected_value is None:
        return not_applicable("no autodiff")
    hand, expected = wide(found.hand[argument]), wide(found.expected[argument])
    is_smooth = all(np.isfinite(wide(value)).all() for value in found.expected_value)
    unknown = np.isnan(expected) & np.isfinite(hand) & is_smooth
    if unknown.any() and unknown.all():
        return not_applicable("autodiff gives NaN")
    return compare([hand[~unknown]], [expected[~unknown]], bound)


def of_value(point: Point, found: Gradients) -> Error:
    """What the rule's forward pass returns, against fn or its reference."""
    if found.value is None or found.expected_value is None:
        return not_applicable("no autodiff" if found.value else "fails")
    return compare(found.value, found.expected_value, max(point.tolerance, tolerance.first(*point.floats, *point.dy)))


def _far(wider: Leaves | None, narrow: Leaves | None) -> bool:
    """Further than rounding explains, where both are finite."""
    if wider is None or narrow is None:
        return False
    pairs = [(a, b, np.isfinite(a) & np.isfinite(b)) for a, b in zip(map(wide, wider), map(wide, narrow))]
    return not compare([b[both] for _, b, both in pairs], [a[both] for a, _, both in pairs], tolerance.GROSS).ok


def _run(pulled: Any, dy: Leaves, floats: Leaves) -> tuple[Leaves | None, Leaves | None, str]:
    try:
        return *pulled(dy, *floats), ""
    except Exception as failure:
        return None, None, describe(failure)
