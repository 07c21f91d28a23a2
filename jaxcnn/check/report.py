"""What a check found, and how it reads."""

from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = {"float64": 1e-9, "float32": 5e-5, "bfloat16": 5e-2, "float16": 1e-2}
FINITE_TOLERANCE = 1e-6
SECOND_TOLERANCE = 1e-9


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


@dataclass(frozen=True)
class Argument:
    """One differentiable argument (a leaf of one) and the error of its gradient."""

    name: str
    type: str
    gradient_type: str
    autodiff: Error
    finite: Error

    @property
    def ok(self) -> bool:
        return self.type == self.gradient_type and self.autodiff.ok and self.finite.ok


@dataclass(frozen=True)
class Cost:
    """Of forward and backward together, compiled; residuals are what the backward pass needs kept."""

    residual_bytes: int
    temporary_bytes: int
    milliseconds: float


@dataclass(frozen=True)
class Report:
    name: str
    arguments: tuple[Argument, ...]
    properties: dict[str, Error]
    hand: Cost
    autodiff: Cost

    @property
    def ok(self) -> bool:
        return all(argument.ok for argument in self.arguments) and all(error.ok for error in self.properties.values())

    def __str__(self) -> str:
        rows = [("gradient of", "is", "against autodiff", "against differences")]
        for a in self.arguments:
            kind = a.type if a.type == a.gradient_type else f"{a.gradient_type}, not {a.type} ✗"
            rows.append((a.name, kind, str(a.autodiff), str(a.finite)))
        costs = [("cost", "by hand", "by autodiff", "ratio")]
        for label, field, unit in (
            ("residuals", "residual_bytes", "B"),
            ("temporary memory", "temporary_bytes", "B"),
            ("time", "milliseconds", "ms"),
        ):
            hand, autodiff = getattr(self.hand, field), getattr(self.autodiff, field)
            ratio = f"{hand / autodiff:.2f}" if autodiff else "–"
            costs.append((label, _amount(hand, unit), _amount(autodiff, unit), ratio))
        properties = [(name, str(error)) for name, error in self.properties.items()]
        title = f"{self.name}: {'ok' if self.ok else 'WRONG'}"
        return "\n".join([title, *_table(rows), *_table(properties), *_table(costs)])


def _amount(value: int | float, unit: str) -> str:
    return f"{value:.3f} {unit}" if isinstance(value, float) else f"{value:,} {unit}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
