"""One argument's gradient: its errors, and, where it is wrong, what is wrong with it."""

import dataclasses
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check import tolerance
from jaxcnn.check.diagnosis import Diagnosis, Evidence, name_kind
from jaxcnn.check.error import Error, differences, largest, not_applicable, wide
from jaxcnn.check.finite import slopes
from jaxcnn.check.gradients import Gradients, against_autodiff, bound_of
from jaxcnn.check.point import Point, type_of, widen
from jaxcnn.check.report import Argument, Cell

SHOWN = 3  # worst cells in a report
PROBED = 24  # wrong cells whose slopes are looked at
FEW = 512  # cells of an argument that differences alone can fill
AUTODIFF = "autodiff of the primal"  # a kind of wrong that is not the rule's
UNLIKE_VALUE = "not the derivative of the value"
ADVICE = "is there a stop_gradient in fn?"
NUMERIC_BOUND = 1e-4  # of a gradient by differences, cell by cell


def examine(point: Point, found: Gradients, argument: int, finite: Error) -> Argument:
    name, leaf = point.names[argument], point.floats[argument]
    autodiff = against_autodiff(point, found, argument)
    if autodiff.ok and autodiff.note and finite.note:
        autodiff = Error(math.inf, 0.0, f"{autodiff.note}, and nothing else to compare with")
    if found.hand is None:
        return Argument(name, type_of(leaf), "none", autodiff, finite)
    hand, expected, bound = found.hand[argument], None, bound_of(point, argument)
    if found.expected is not None and not (autodiff.ok and autodiff.note):
        expected = wide(found.expected[argument])
    diagnoses: list[Diagnosis] = []
    cells: list[Cell] = []
    if hand.dtype != leaf.dtype:
        diagnoses.append(Diagnosis("wrong dtype", f"{hand.dtype.name}, and the argument is {leaf.dtype.name}"))
        bound = max(bound, tolerance.FIRST.get(hand.dtype.name, 0))
    if expected is not None and finite.ok and not autodiff.ok and _is_confirmed(point, found, argument, bound):
        autodiff = not_applicable("wrong, not the rule")
        _, cells = _pin_down(point, found, argument, wide(hand), expected, bound)
        diagnoses.append(Diagnosis(AUTODIFF, "where it differs from the rule, finite differences confirm the rule"))
    elif autodiff.ok and not finite.ok:
        unlike, cells = _seen_by_differences(point, found, argument, finite.bound, expected)
        diagnoses.append(unlike)
    elif expected is not None and not autodiff.ok:
        kind, cells = _pin_down(point, found, argument, wide(hand), expected, bound)
        diagnoses += [] if kind is None else [kind]
    if expected is None and not finite.ok:
        expected = _by_differences(point, argument)
    arrays = wide(hand), expected
    return Argument(name, type_of(leaf), type_of(hand), autodiff, finite, tuple(diagnoses), tuple(cells), *arrays)


def explain_fault(message: str, parameters: list[str]) -> Diagnosis:
    """From what JAX says of a rule that gives no gradients: "... output[1] ... float32[4,3] ... float32[3,4] ..."."""
    shapes = [shape.split(",") for shape in re.findall(r"of type \w+\[([\d,]*)\]", message)]
    position = re.search(r"output\[(\d+)\]", message)
    where = int(position[1]) if position else len(parameters)
    whose = f"of {parameters[where]}, " if where < len(parameters) else ""
    if "container (pytree) structure" in message:
        kind = "wrong structure"
    elif len(shapes) == 2:
        kind = "transposed" if sorted(shapes[0]) == sorted(shapes[1]) else "wrong shape"
    else:
        kind = "fails"
    return Diagnosis(kind, whose + message)


def _seen_by_differences(
    point: Point, found: Gradients, argument: int, bound: float, expected: np.ndarray | None
) -> tuple[Diagnosis, list[Cell]]:
    """What the tolerance of autodiff hides: the rule run in float64 against autodiff, else against differences."""
    with jax.enable_x64(True):
        got = wide(point.pull_hand(widen(point.dy), *widen(point.floats))[0][argument])
    if not np.isfinite(got).all():
        return Diagnosis("not finite", "NaN or infinite, and differences are not"), []
    if expected is not None and not found.is_other_wide:
        kind, cells = _pin_down(point, found, argument, got, expected, bound)
        if kind is not None:
            return kind, cells
    numeric = _by_differences(point, argument)
    if numeric is None:
        return Diagnosis(UNLIKE_VALUE, f"finite differences disagree; {ADVICE}"), []
    kind, cells = _pin_down(point, found, argument, got, numeric, max(bound, NUMERIC_BOUND))
    autodiff = [None if expected is None else expected[cell.index].item() for cell in cells]
    cells = [dataclasses.replace(cell, autodiff=value) for cell, value in zip(cells, autodiff)]
    if kind is None:
        return Diagnosis(UNLIKE_VALUE, f"finite differences disagree, and no single cell shows why; {ADVICE}"), []
    if expected is None:
        return kind, cells
    return Diagnosis(UNLIKE_VALUE, f"the rule is as autodiff, but by differences {kind}; {ADVICE}"), cells


def _by_differences(point: Point, argument: int) -> np.ndarray | None:
    leaf = point.floats[argument]
    if leaf.size > FEW or jnp.iscomplexobj(leaf):
        return None
    try:
        with jax.enable_x64(True), np.errstate(invalid="ignore"):
            return slopes(point, argument, range(leaf.size)).middle.reshape(leaf.shape)
    except Exception:  # the report says already that differences cannot be had
        return None


def _pin_down(
    point: Point, found: Gradients, argument: int, got: np.ndarray, expected: np.ndarray, bound: float
) -> tuple[Diagnosis | None, list[Cell]]:
    """The kind of wrong, and the worst cells with what each oracle says of them."""
    expected = np.where(np.isnan(expected), got, expected)
    off = differences(got, expected)
    wrong = off > bound * largest(expected)
    if not wrong.any():
        return None, []
    worst = np.argsort(-off, axis=None, kind="stable")[:SHOWN]
    probed = _some(np.flatnonzero(wrong), PROBED)
    middle, at_kink = _slopes(point, found, argument, [*worst.tolist(), *probed.tolist()], largest(expected))
    evidence = Evidence(
        got,
        expected,
        bound,
        wrong,
        bool(np.all(at_kink[len(worst) :])),
        {name: wide(e) for name, e in zip(point.names, found.expected or []) if name != point.names[argument]},
        _terms(point, found, got.shape),
    )
    cells = [
        Cell(
            tuple(map(int, np.unravel_index(cell, got.shape))),
            got.flat[cell].item(),
            expected.flat[cell].item(),
            None if kink or not np.isfinite(slope) else float(slope),
        )
        for cell, slope, kink in zip(worst, middle, at_kink)
    ]
    return name_kind(evidence), cells


def _is_confirmed(point: Point, found: Gradients, argument: int, bound: float) -> bool:
    """Whether differences say of every cell where the rule and autodiff differ that the rule is right."""
    hand, expected = (wide(gradients[argument]) for gradients in (found.hand, found.expected))  # type: ignore[index]
    allowed = bound * largest(expected)
    differing = _some(np.flatnonzero(differences(hand, expected) > allowed), FEW)
    middle, at_kink = _slopes(point, found, argument, differing.tolist(), largest(expected))
    off = differences(middle, hand.flat[differing])
    return len(differing) > 0 and bool(np.all((off <= max(allowed, NUMERIC_BOUND * largest(hand))) & ~at_kink))


def _some(cells: np.ndarray, count: int) -> np.ndarray:
    """So many of them at most, evenly spread."""
    return cells[np.linspace(0, len(cells) - 1, min(count, len(cells))).astype(int)]


def _slopes(
    point: Point, found: Gradients, argument: int, cells: list[int], scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """The central slope in each cell, and whether those to both sides differ."""
    unknown = np.full(len(cells), np.nan), np.zeros(len(cells), bool)
    if jnp.iscomplexobj(point.floats[argument]) or found.is_other_wide:
        return unknown
    try:
        with jax.enable_x64(True), np.errstate(invalid="ignore"):
            sides = slopes(point, argument, cells)
            return sides.middle, (sides.bend > tolerance.KINK * scale) & ~sides.is_curve
    except Exception:  # where differences cannot be had, the others still speak
        return unknown


def _terms(point: Point, found: Gradients, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Arrays of this shape that a missing term may be made of; the cotangent also with one or two factors."""
    leaves = [*zip(point.names, point.floats), *(("the value", leaf) for leaf in found.value or [])]
    arrays = {name: wide(leaf) for name, leaf in leaves if leaf.shape == shape}
    terms = dict(arrays)
    for dy in (wide(leaf) for leaf in point.dy if leaf.shape == shape):
        for count in (0, 1, 2):
            for names in itertools.combinations_with_replacement(arrays, count):
                terms[" · ".join(("the cotangent", *names))] = math.prod((arrays[name] for name in names), start=dy)
    return terms
