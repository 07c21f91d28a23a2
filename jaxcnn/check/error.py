"""A difference as a number, a bound and a verdict."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Error:
    """A difference relative to the largest entry of what was expected, and the largest that may be.

    A `note` stands in the place of a number: of what does not apply (size 0) or what could not be run (infinite size).
    """

    size: float
    bound: float
    note: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.size <= self.bound)

    def __str__(self) -> str:
        mark = "" if self.ok else " ✗"
        return f"{self.note or format(self.size, '.1e')}{mark}"


def not_applicable(note: str) -> Error:
    return Error(0.0, 0.0, note)


def wide(array: Any) -> np.ndarray:
    """In NumPy, at double precision."""
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def compare(got: Iterable[Any], expected: Iterable[Any], bound: float) -> Error:
    """The largest difference over all leaves, each relative to the largest entry of its expected leaf."""
    sizes = [0.0]
    for a, b in zip(map(wide, got), map(wide, expected), strict=True):
        if a.shape != b.shape:
            return Error(math.inf, bound, f"shape {a.shape}, not {b.shape}")
        sizes.append(float(differences(a, b).max(initial=0)) / largest(b))
    return Error(max(sizes), bound)


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b|, 0 where both are NaN or the same infinity, infinite where one alone is."""
    with np.errstate(invalid="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
    return np.asarray(np.nan_to_num(difference, nan=math.inf))


def largest(array: np.ndarray) -> float:
    """The largest finite entry, what errors are relative to; 1 where there is none."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0)) or 1.0


def attempt(run: Callable[[], Error]) -> Error:
    """A comparison that cannot be run is a finding too."""
    try:
        return run()
    except Exception as failure:
        return Error(math.inf, 0.0, describe(failure)[:100])


def describe(failure: Exception) -> str:
    """In one line."""
    return " ".join(f"{type(failure).__name__}: {failure}".split())
