"""What a run writes to --out: its metrics, its parameters and three figures."""

import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training import InputError, by_name
from training.digits import Data

OUTPUTS = ("metrics.json", "parameters.npz", "learning_curves.png", "filters.png", "misclassified.png")


def draw_curves(runs: Sequence[Any]) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for run, line in zip(runs, (".-", "x:")):
        for axes, part, kind in ((loss, "train", "loss"), (loss, "test", "loss"), (accuracy, "test", "accuracy")):
            points = [(epoch["epoch"], epoch[f"{part}_{kind}"]) for epoch in run.epochs]
            colour = {"train": "tab:blue", "test": "tab:orange"}[part]
            axes.plot(*zip(*points), line, color=colour, label=f"{part}, {run.name}")
    loss.set(title="Loss", ylabel="mean cross-entropy", yscale="log")
    accuracy.set(title="Test accuracy", ylabel="share of the test images")
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def draw_tiles(images: Sequence[np.ndarray], titles: Sequence[Any], title: str, scale: str, **look: Any) -> Figure:
    """Small images in rows, each under a title of its own."""
    columns = min(8, max(3, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.2 * columns + 1, 1.5 * rows + 1), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_axis_off()
    for axes, image, name in zip(grid.flat, images, titles):
        tile = axes.imshow(image, **look)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    if len(images):
        figure.colorbar(tile, ax=grid, label=scale)
    figure.suptitle(title)
    figure.supxlabel("column of pixels", fontsize="medium")
    figure.supylabel("row of pixels", fontsize="medium")
    return figure


def prepare(out: Path) -> None:
    """Makes the directory, and finds out before the training whether it will take the results."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        for name in OUTPUTS:
            if (out / name).is_dir():
                raise OSError(f"{name} there is a directory")
    except OSError as error:
        raise InputError(f"{out}: cannot write there ({error.strerror or error})") from error


def write(out: Path, metrics: dict[str, Any], runs: Sequence[Any], data: Data) -> None:
    """The metrics, the first run's parameters, three figures; each file takes its name when it is complete."""
    params = runs[0].params
    filters = np.moveaxis(np.asarray(params["conv1"]["w"])[:, :, 0], -1, 0)
    limit, truth, predicted = np.abs(filters).max(), data.y_test, runs[0].predicted
    wrong = np.flatnonzero(predicted != truth)
    pairs = [f"true {truth[i]}\npredicted {predicted[i]}" for i in wrong]
    title = f"Misclassified: {len(wrong)} of {len(truth)} test images" + ", the first 40" * (len(wrong) > 40)
    figures = (
        draw_curves(runs),
        draw_tiles(filters, range(32), "Filters of the first layer", "weight", cmap="RdBu_r", vmin=-limit, vmax=limit),
        draw_tiles(data.x_test[wrong[:40]], pairs, title, "ink", cmap="gray_r", vmin=0, vmax=1),
    )
    np.savez(npz := io.BytesIO(), **by_name(params))
    contents = [json.dumps(metrics, indent=2, allow_nan=False).encode() + b"\n", npz.getvalue()]
    for figure in figures:
        figure.savefig(png := io.BytesIO(), format="png", dpi=150)
        contents.append(png.getvalue())
    for path, content in zip([out / name for name in OUTPUTS], contents):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
        finally:
            temporary.unlink(missing_ok=True)
    print(f"written   {', '.join(str(out / name) for name in OUTPUTS)}")
