"""Which kind of wrong a gradient is.

Each kind is one function from the evidence to a sentence, or to None where it does not fit; the first that fits is
told. Below, g is the gradient by the rule and e what it should be.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from jaxcnn.check.error import largest

FEW = 0.1  # of the cells
ALIKE = 0.3  # as cosine of an angle
FAR = 3  # cells of a shift
MOST = 0.7  # of a gradient that may be missing before the rest is unrelated
CROWDED = 0.35  # above this chance of falling into a place, being in it says nothing


@dataclass(frozen=True)
class Diagnosis:
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


class Evidence(NamedTuple):
    got: np.ndarray
    expected: np.ndarray
    bound: float
    wrong: np.ndarray  # the cells that are
    at_kinks: bool  # the slopes to both sides differ in every wrong cell that was looked at
    others: dict[str, np.ndarray]  # what the other gradients should be
    terms: dict[str, np.ndarray]  # arrays of this shape that a missing term may be made of

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.abs(a - b).max(initial=0) <= self.bound * max(largest(a), largest(b)))


def name_kind(evidence: Evidence) -> Diagnosis:
    details = ((kind, explain(evidence)) for kind, explain in KINDS.items())
    return next(Diagnosis(kind, detail) for kind, detail in details if detail)


def _not_finite(e: Evidence) -> str | None:
    bad = int((~np.isfinite(e.got) & np.isfinite(e.expected)).sum())
    return f"NaN or infinite in {_count(bad, e)}" if bad else None


def _zero(e: Evidence) -> str | None:
    """g = 0"""
    return "it is 0 everywhere" if not e.got.any() else None


def _not_zero(e: Evidence) -> str | None:
    """e = 0"""
    return "it should be 0 everywhere" if not e.expected.any() else None


def _sign(e: Evidence) -> str | None:
    """g = −e"""
    return "the negative of what it should be" if e.same(-e.got, e.expected) else None


def _conjugated(e: Evidence) -> str | None:
    return "the complex conjugate of what it should be" if e.same(np.conj(e.got), e.expected) else None


def _scaled(e: Evidence) -> str | None:
    """g = c·e"""
    factor = _ratio(e.got, e.expected, ())
    if not e.same(e.got, factor * e.expected):
        return None
    single = " (one cell: other kinds would look the same)" if np.count_nonzero(e.expected) == 1 else ""
    return f"{_number(factor.item())} times what it should be{single}"


def _ties(e: Evidence) -> str | None:
    return f"in {_count(int(e.wrong.sum()), e)}, and there the slopes to both sides differ" if e.at_kinks else None


def _borders(e: Evidence) -> str | None:
    """The least part of the border that holds all wrong cells, if chance alone would hardly put them there."""
    places = np.argwhere(e.wrong)
    for width, count in itertools.product((1, 2, 3), (1, 2, 3)):
        for end, axes in itertools.product(("start", "end", "ends"), itertools.combinations(range(e.got.ndim), count)):
            low, high = width * (end != "end"), width * (end != "start")
            sizes = [e.got.shape[axis] for axis in axes]
            inside = [(places[:, axis] >= low) & (places[:, axis] < size - high) for axis, size in zip(axes, sizes)]
            share = 1 - math.prod(max(size - low - high, 0) / size for size in sizes)
            luck = CROWDED if end == "ends" else CROWDED / 3
            outermost = [{"start": [0], "end": [size - 1], "ends": [0, size - 1]}[end] for size in sizes]
            is_reached = all(np.isin(cells, places[:, axis]).all() for axis, cells in zip(axes, outermost))
            if share < 1 and share ** len(places) <= luck and is_reached and not np.all(inside, axis=0).any():
                return f"within {_cells(width)} of the {end} of {_axes(axes)}"
    return None


def _shifted(e: Evidence) -> str | None:
    """g[i] = e[i − s] where both are"""
    allowed, corner = e.bound * max(largest(e.got), largest(e.expected)), (slice(4),) * e.got.ndim
    for step in _steps(e.got.shape):
        there = tuple(slice(max(s, 0), size + min(s, 0)) for s, size in zip(step, e.got.shape))
        here = tuple(slice(max(-s, 0), size + min(-s, 0)) for s, size in zip(step, e.got.shape))
        moved, stayed = e.got[there], e.expected[here]
        if np.abs(moved[corner] - stayed[corner]).max(initial=0) > allowed:  # of many steps most end here
            continue
        is_enough = max(map(abs, step)) <= 1 or 2 * moved.size >= e.got.size
        if is_enough and np.count_nonzero(moved) > 2 and e.same(moved, stayed) and not e.same(moved, e.expected[there]):
            cells = "one cell" if max(map(abs, step)) == 1 else _cells(max(map(abs, step)))
            return f"by {cells}, " + ", ".join(f"{s:+d} along axis {axis}" for axis, s in enumerate(step) if s)
    return None


def _transposed(e: Evidence) -> str | None:
    """g holds the cells of e in the order of other axes"""
    if e.got.ndim <= 5:
        for order in itertools.permutations(range(e.got.ndim)):
            if e.same(e.got.ravel(), np.transpose(e.expected, order).ravel()):
                return f"the cells of what it should be with the axes in the order {order}"
    return None


def _flipped(e: Evidence) -> str | None:
    for axes in _subsets(e.got.ndim):
        if e.same(np.flip(e.got, axes), e.expected):
            return "backwards along " + _axes(axes)
    return None


def _exchanged(e: Evidence) -> str | None:
    for name, other in e.others.items():
        if other.shape == e.got.shape and e.same(e.got, other):
            return f"the gradient of {name}"
    return None


def _scaled_along_an_axis(e: Evidence) -> str | None:
    """g = c·e, c constant along all axes but one"""
    for axis, size in enumerate(e.got.shape):
        factors = _ratio(e.got, e.expected, (axis,))
        if 1 < size < e.got.size and e.same(e.got, factors * e.expected):
            at = np.unique(np.argwhere(e.wrong)[:, axis])
            is_local = 2 * len(at) <= size
            told = factors.ravel()[at] if is_local else factors.ravel()
            shown = ", ".join([_number(factor) for factor in told[:4]] + ["…"] * (len(told) > 4))
            if is_local:
                return f"right but at {_places(at, axis, size)}, where it is {shown} times what it should be"
            return f"by factors that change along axis {axis}: {shown}"
    return None


def _some_cells(e: Evidence) -> str | None:
    count, places = int(e.wrong.sum()), np.argwhere(e.wrong)
    zero = ", where it is 0" if not e.got[e.wrong].any() else ""
    for axis, size in enumerate(e.got.shape):
        at = np.unique(places[:, axis])
        if count > 1 and 2 * len(at) <= size and (len(at) / size) ** (count / len(at)) <= CROWDED:
            return f"all wrong cells are at {_places(at, axis, size)}{zero}"
    return f"in {_count(count, e)}{zero}" if count <= FEW * e.got.size else None


def _missing_term(e: Evidence) -> str | None:
    """g = e − t, which leaves g and e alike"""
    likeness = _dot(e.got, e.expected) / math.sqrt(_dot(e.got, e.got) * _dot(e.expected, e.expected))
    if likeness < ALIKE:
        return None
    missing = e.expected - e.got
    share, term = math.sqrt(_dot(missing, missing) / _dot(e.expected, e.expected)), _term(missing, e)
    if share > MOST and not term:
        return None
    return f"it (or one too many) makes up {100 * share:.0f} % of the gradient{term}"


def _unrelated(e: Evidence) -> str:
    return "nothing like what it should be"


KINDS = {
    "not finite": _not_finite,
    "zero": _zero,
    "should be zero": _not_zero,
    "wrong sign": _sign,
    "conjugated": _conjugated,
    "scaled by a constant": _scaled,
    "wrong at ties or kinks only": _ties,
    "shifted": _shifted,
    "transposed": _transposed,
    "flipped": _flipped,
    "exchanged": _exchanged,
    "scaled along an axis": _scaled_along_an_axis,
    "wrong at borders only": _borders,
    "wrong in some cells only": _some_cells,
    "missing a term": _missing_term,
    "unrelated": _unrelated,
}


def _term(missing: np.ndarray, e: Evidence) -> str:
    """What the missing term is made of, if that can be seen: t = c·term, c constant along some axes."""
    tolerance = e.bound * largest(e.expected)
    for name, term in {"": np.ones_like(missing), **e.terms}.items():
        for kept in sorted(_subsets(missing.ndim, least=0), key=len):
            cells = missing.size / math.prod(missing.shape[axis] for axis in kept)
            factors = _ratio(missing, term, kept)
            if cells <= 2 or np.abs(missing - factors * term).max() > tolerance:
                continue
            along = _axes([axis for axis in range(missing.ndim) if axis not in kept])
            if not name:
                return f", and is constant along {along}"
            if not kept:
                return f", and is {_number(factors.item())} times {name}"
            return f", and is {name} times what is constant along {along}"
    return ""


def _ratio(of: np.ndarray, to: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
    """The least-squares factor between two arrays, one for each place along the axes that are kept."""
    summed = tuple(axis for axis in range(of.ndim) if axis not in kept)
    products = (of * np.conj(to)).sum(summed, keepdims=True)
    squares = (np.abs(to) ** 2).sum(summed, keepdims=True)
    return np.divide(products, squares, out=np.zeros_like(products), where=squares != 0)


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * np.conj(b)).real)


def _steps(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shifts by one cell along any axes, and by up to FAR along two of them, those along the fewest first."""
    reach = [min(FAR, size - 1) for size in shape]
    near = itertools.product(*(range(-min(1, far), min(1, far) + 1) for far in reach))
    far = (
        tuple(dict(zip(axes, by)).get(axis, 0) for axis in range(len(shape)))
        for axes in itertools.combinations(range(len(shape)), min(2, len(shape)))
        for by in itertools.product(*(range(-reach[axis], reach[axis] + 1) for axis in axes))
    )
    steps = {step for step in [*near, *far] if any(step)}
    return sorted(steps, key=lambda step: (np.count_nonzero(step), max(map(abs, step)), step))


def _subsets(count: int, least: int = 1) -> Iterator[tuple[int, ...]]:
    for size in range(least, count + 1):
        yield from itertools.combinations(range(count), size)


def _number(value: float | complex) -> str:
    """With the small fraction that it looks like."""
    if isinstance(value, complex):
        return f"{value:.4g}"
    if value == 0 or not math.isfinite(1 / value):
        return f"{value:.4g}"
    near = Fraction(value).limit_denominator(64) if abs(value) >= 1 else 1 / Fraction(1 / value).limit_denominator(64)
    is_fraction = near.denominator > 1 and abs(value - near) < 1e-4 * abs(value)
    return f"{value:.4g} = {near}" if is_fraction else f"{value:.4g}"


def _places(at: np.ndarray, axis: int, size: int) -> str:
    end = {(0,): ": its start", (size - 1,): ": its end", (0, size - 1): ": its ends"}.get(tuple(at.tolist()), "")
    return f"{', '.join(map(str, at))} of axis {axis} (of size {size}{end})"


def _count(cells: int, e: Evidence) -> str:
    return f"{cells} of {_cells(e.got.size)}"


def _cells(count: int) -> str:
    return f"{count} cell{'s' * (count != 1)}"


def _axes(axes: list[int] | tuple[int, ...]) -> str:
    return f"ax{'es' if len(axes) > 1 else 'is'} {', '.join(map(str, axes))}"
