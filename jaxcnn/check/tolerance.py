"""How far a rule may be off, relative to the largest entry of what is expected: measured on rules known to be right."""

from typing import Any, NamedTuple

FIRST = {
    "float64": 1e-9,
    "float32": 5e-5,
    "bfloat16": 5e-2,
    "float16": 1e-2,
    "complex128": 1e-9,
    "complex64": 5e-5,
}
SECOND = 1e-9
GROSS = 0.2  # between the values in float64 and in a narrower dtype: what no rounding explains


class Step(NamedTuple):
    """Of finite differences, and the error that it leaves."""

    size: float
    bound: float


STEPS = {"float64": Step(1e-5, 1e-6), "float32": Step(1e-3, 1e-2)}  # by the narrowest dtype on the way
KINK = 1e-2  # the slopes of the two sides differ by more than this part of the gradient


def first(*arrays: Any) -> float:
    """What rounding allows a gradient: the tolerance of the coarsest dtype on the way."""
    return max(FIRST[array.dtype.name] for array in arrays)
