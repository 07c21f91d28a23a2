"""What a check found."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.check import text
from jaxcnn.check.diagnosis import Diagnosis
from jaxcnn.check.error import Error


@dataclass(frozen=True)
class Cell:
    """Of a gradient: what the rule says, what autodiff says, and finite differences (None where they say nothing)."""

    index: tuple[int, ...]
    hand: float | complex
    autodiff: float | complex | None
    finite: float | None


@dataclass(frozen=True)
class Argument:
    """One differentiable argument (a leaf of one) and the error of its gradient."""

    name: str
    type: str
    gradient_type: str
    autodiff: Error
    finite: Error
    diagnoses: tuple[Diagnosis, ...] = ()
    worst_cells: tuple[Cell, ...] = ()
    hand: np.ndarray | None = field(default=None, repr=False, compare=False)
    expected: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        return self.type == self.gradient_type and self.autodiff.ok and self.finite.ok


@dataclass(frozen=True)
class Residual:
    """An array that the forward pass hands to the backward pass, and where it comes from."""

    type: str
    source: str
    bytes: int


@dataclass(frozen=True)
class Program:
    """Forward and backward together, compiled for one device; a time where it runs, else the compiler's estimate."""

    flops: float | None
    bytes: float | None
    temporary_bytes: int | None
    milliseconds: float | None
    estimated_milliseconds: float | None
    note: str = ""


@dataclass(frozen=True)
class Cost:
    """What one side costs: what it keeps, and its programs by the device that they are for ("here": this one)."""

    residuals: tuple[Residual, ...]
    programs: dict[str, Program]

    @property
    def residual_bytes(self) -> int:
        return sum(residual.bytes for residual in self.residuals)

    @property
    def milliseconds(self) -> float | None:
        return self.programs["here"].milliseconds


@dataclass(frozen=True)
class Smallest:
    """The smallest arguments, cut from those given, at which the rule is still wrong."""

    args: tuple[Any, ...] = field(repr=False, compare=False)
    types: dict[str, str]  # of every array, integers too
    values: dict[str, str]  # of those with few
    trials: int


@dataclass(frozen=True, repr=False, eq=False)
class Report:
    name: str
    fault: Diagnosis | None  # a rule that gives no gradients at all
    arguments: tuple[Argument, ...]
    properties: dict[str, Error]
    smallest: Smallest | None
    hand: Cost | None
    autodiff: Cost | None
    no_autodiff: str = ""  # why autodiff gives nothing to compare with
    findings: dict[str, Diagnosis] = field(default_factory=dict)  # of the properties that do not hold

    @property
    def ok(self) -> bool:
        return (
            self.fault is None
            and all(argument.ok for argument in self.arguments)
            and all(error.ok for error in self.properties.values())
        )

    def __repr__(self) -> str:
        return text.plain(self)

    def __rich__(self) -> Any:
        return text.rich(self)

    def show(self) -> None:
        """Prints the table, with colours where rich is installed and this is a terminal."""
        text.show(self)

    def to_json(self) -> str:
        """Everything but the arrays; what JSON has no numbers for (NaN, infinities) as strings."""
        fields = {"ok": self.ok, **dataclasses.asdict(self)}
        if fields["smallest"] is not None:
            del fields["smallest"]["args"]
        for argument, entry in zip(self.arguments, fields["arguments"]):
            entry["ok"] = argument.ok
            del entry["hand"], entry["expected"]
        for side in ("hand", "autodiff"):
            if (cost := getattr(self, side)) is not None:
                fields[side]["residual_bytes"] = cost.residual_bytes
        return json.dumps(_as_json(fields), allow_nan=False)

    def draw(self, path: str | Path) -> None:
        """Draws each gradient by the rule, by autodiff and their difference, cell by cell; needs matplotlib.

        The two longest axes make the tiles of a picture, the other axes arrange them; those with the largest errors
        come first.

        Raises:
          ImportError: matplotlib is not installed.
          ValueError: there are no gradients to draw.
          OSError: path cannot be written.
        """
        from jaxcnn.check import picture

        picture.draw(self, Path(path))


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(entry) for entry in value]
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
