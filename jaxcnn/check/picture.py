"""The gradients of a report, cell by cell: by the rule, by autodiff, and their difference."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.check.error import differences

if TYPE_CHECKING:
    from jaxcnn.check.report import Report

TILES = 8  # in either direction
INCHES = 3.2  # of a picture's width and height
GAP = 1  # cells between tiles


def draw(report: "Report", path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise ImportError("Report.draw needs matplotlib: pip install 'jaxcnn[check]'") from missing
    drawn = [a for a in report.arguments if a.hand is not None and a.expected is not None and a.hand.size]
    if not drawn:
        raise ValueError(f"Report.draw: {report.name} expects gradients of both sides, got none")
    figure = Figure(figsize=(3 * INCHES, len(drawn) * INCHES + 0.4), layout="constrained")
    axes = figure.subplots(len(drawn), 3, squeeze=False)
    for row, argument in zip(axes, drawn):
        hand, expected = map(_real, (argument.hand, argument.expected))
        error = differences(hand, expected)
        worst = _tile_order(error)
        top = max(_largest(hand), _largest(expected))
        verdict = "" if argument.ok else " ✗"
        _show(figure, row[0], _tile(hand, worst), f"{argument.name}{verdict}\nby hand", "RdBu_r", -top, top)
        _show(figure, row[1], _tile(expected, worst), f"{argument.type}\nby autodiff", "RdBu_r", -top, top)
        _show(figure, row[2], _tile(error, worst), f"{argument.autodiff}\ndifference", "magma", 0.0, _largest(error))
    figure.suptitle(f"{report.name}: {'ok' if report.ok else 'WRONG'}")
    _save(figure, path)


def _show(figure: Any, axes: Any, image: np.ndarray, title: str, colours: str, low: float, high: float) -> None:
    shown = axes.imshow(image, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()
    figure.colorbar(shown, ax=axes, shrink=0.8)


def _save(figure: Any, path: Path) -> None:
    """Under another name until it is whole."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(unfinished, format=path.suffix[1:] or "png", dpi=120)
        unfinished.replace(path)
    except OSError as failure:
        raise type(failure)(failure.errno, failure.strerror, str(path)) from failure


def _real(array: Any) -> np.ndarray:
    return np.abs(array) if np.iscomplexobj(array) else np.asarray(array)


def _largest(array: np.ndarray) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0)) or 1.0


def _layout(array: np.ndarray) -> np.ndarray:
    """As (down, across, rows, columns): tiles of the two longest axes, arranged by the others."""
    array = array.reshape((1,) * (2 - array.ndim) + array.shape)
    tile = sorted(sorted(range(array.ndim), key=lambda axis: -array.shape[axis])[:2])
    grid = [axis for axis in range(array.ndim) if axis not in tile]
    down = math.prod(array.shape[axis] for axis in grid[:1])
    return array.transpose(*grid, *tile).reshape(down, -1, *(array.shape[axis] for axis in tile))


def _tile_order(error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns of tiles to show: the largest errors, in their own order."""
    tiles = _layout(error).max((2, 3))
    return tuple(np.sort(np.argsort(-tiles.max(other), kind="stable")[:TILES]) for other in (1, 0))  # type: ignore


def _tile(array: np.ndarray, order: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    tiles = _layout(array)[np.ix_(*order)].astype(float)
    spaced = np.pad(tiles, ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=np.nan)
    down, across, rows, columns = spaced.shape
    return spaced.transpose(0, 2, 1, 3).reshape(down * rows, across * columns)[:-GAP, :-GAP]
