"""Trains the classic digits CNN, through the hand-derived backward passes of jaxcnn or through autodiff.

    python examples/train_digits.py                          scikit-learn's digits: no download, under a minute, 99 %
    python examples/train_digits.py --out runs/digits        ... and write metrics and figures
    python examples/train_digits.py --compare                hand rules and autodiff side by side
    python examples/train_digits.py --data mnist --epochs 3  real MNIST, from IDX files or an .npz

The network: conv 3x3x32, relu, conv 3x3x64, relu, max-pool 2, dense 128, relu, dense 10. It is one function, `apply`,
over a dict of parameters; the module of its layers is an argument: `ops=jaxcnn` has the hand rules,
`ops=jaxcnn.reference` the same layers without them. The same seed gives the same final numbers.
"""

import argparse
import gzip
import io
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # Ctrl-C must work from here on: the imports that follow take seconds

    def interrupt(*_: Any) -> None:
        """One line, and out at once: Python's own way out can crash while a compiled step is still running."""
        with suppress(RuntimeError):  # in the middle of a print
            sys.stdout.flush()
        os.write(2, b"\n" * sys.stderr.isatty() + b"train_digits.py: interrupted\n")
        os._exit(130)

    signal.signal(signal.SIGINT, interrupt)

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

import jaxcnn

OPS = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
OUTPUTS = ("metrics.json", "learning_curves.png", "filters.png", "misclassified.png")
SMALLEST_IMAGE = 6  # two 3x3 convolutions and the pool leave one pixel


class InputError(Exception):
    """What the user can mend: ends as one line on stderr and exit code 2."""


# ---- The network


def init(key, height, width):
    """Parameters for images of this size."""
    flat = (height - 4) // 2 * ((width - 4) // 2) * 64
    shapes = {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 64), "dense1": (flat, 128), "dense2": (128, 10)}
    weights = jax.nn.initializers.he_normal()
    return {
        name: {"w": weights(key, shape, jnp.float32), "b": jnp.zeros(shape[-1:], jnp.float32)}
        for key, (name, shape) in zip(jax.random.split(key, len(shapes)), shapes.items())
    }


def apply(params, x, ops=jaxcnn):
    """Images (n, h, w, 1) to logits (n, 10)."""
    x = ops.relu(ops.conv(x, **params["conv1"], padding="VALID"))
    x = ops.relu(ops.conv(x, **params["conv2"], padding="VALID"))
    x = ops.max_pool(x, 2)
    x = x.reshape(x.shape[0], -1)
    x = ops.relu(ops.dense(x, **params["dense1"]))
    return ops.dense(x, **params["dense2"])


def mean_loss(params, x, y, ops):
    return ops.softmax_cross_entropy_with_integer_labels(apply(params, x, ops), y).mean()


@partial(jax.jit, static_argnames=("ops", "optimizer"), donate_argnames="state")
def step(state, x, y, ops, optimizer):
    """One step of training; it takes over the buffers of its state, (params, moments)."""
    params, moments = state
    loss, gradients = jax.value_and_grad(mean_loss)(params, x, y, ops)
    updates, moments = optimizer.update(gradients, moments, params)
    return (optax.apply_updates(params, updates), moments), loss


@partial(jax.jit, static_argnames="ops")
def score(params, x, y, ops):
    """The loss of each image, and the digit predicted for it."""
    logits = apply(params, x, ops)
    return ops.softmax_cross_entropy_with_integer_labels(logits, y), jnp.argmax(logits, -1)


@jax.jit
def gradient_difference(params, x, y):
    """The largest |hand - autodiff| in any parameter's gradient, relative to the largest entry of that gradient."""
    hand, autodiff = (jax.grad(mean_loss)(params, x, y, ops) for ops in OPS.values())

    def relative(hand, autodiff):
        return jnp.abs(hand - autodiff).max() / jnp.maximum(jnp.abs(autodiff).max(), jnp.finfo(hand.dtype).tiny)

    return jnp.stack(jax.tree.leaves(jax.tree.map(relative, hand, autodiff))).max()


# ---- The data


class Data(NamedTuple):
    """Images (n, h, w), float32 from 0 to 1, and the digits in them, int32."""

    source: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load(path: Path | None) -> Data:
    """The bundled digits for None; else the .npz, or the directory of IDX files (or one of them), at the path."""
    if path is None:
        return load_bundled()
    try:
        named = read_npz(path) if path.suffix == ".npz" and path.is_file() else read_idx_files(path)
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror or error}") from error
    check_pair(*named[:2])
    check_pair(*named[2:])
    (_, x_train), (_, y_train), (test_name, x_test), (_, y_test) = named
    if x_test.shape[1:] != x_train.shape[1:]:
        raise InputError(f"{test_name}: images of {x_test.shape[1:]}, but the training images are {x_train.shape[1:]}")
    x_train, x_test = (np.divide(x, 255, dtype=np.float32) for x in (x_train, x_test))
    return Data(str(path), x_train, y_train.astype(np.int32), x_test, y_test.astype(np.int32))


def load_bundled() -> Data:
    """scikit-learn's 1797 real digits of 8x8, in a blank frame of 2; a fixed fifth of each class is for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = np.pad(digits.images / 16, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    y = digits.target.astype(np.int32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    return Data("scikit-learn's digits", x_train, y_train, x_test, y_test)


def read_npz(path: Path) -> list[tuple[str, np.ndarray]]:
    """The four arrays, each with a name to complain under."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not an .npz, or cut short (no zip archive)")
    named, name = [], "x_train"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                named.append((f"{path}: {name}", np.asarray(archive[name])))
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds over a broken archive
        reason = str(error).strip("'\"").partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: {name}: cannot be read ({reason})") from error
    return named


def read_idx_files(path: Path) -> list[tuple[str, np.ndarray]]:
    """MNIST's four files, by their own names or with a dot for the second dash, gzipped or not."""
    if not path.is_dir():
        path.stat()  # raises where there is nothing
        if "-ubyte" not in path.name:
            raise InputError(f"{path}: expected a directory of IDX files, one of MNIST's IDX files, or an .npz")
        path = path.parent
    named = []
    for part, dims in (("train-images", 3), ("train-labels", 1), ("t10k-images", 3), ("t10k-labels", 1)):
        names = [f"{part}{dot}idx{dims}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
        found = next((path / name for name in names if (path / name).exists()), None)
        if found is None:
            raise InputError(f"{path / names[0]}: missing (and no {', '.join(names[1:])})")
        named.append((str(found), read_idx(found, dims)))
    return named


def read_idx(path: Path, dims: int) -> np.ndarray:
    """An IDX file of bytes: 0, 0, 8, the number of dimensions; each size in four bytes, big end first; the data."""
    content, header = path.read_bytes(), 4 + 4 * dims
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: corrupt gzip ({error})") from error
    magic = content[:4].hex()
    if len(content) >= 4 and magic != f"0000080{dims}":
        raise InputError(f"{path}: wrong magic number {magic}, expected 0000080{dims} (bytes in {dims} dimensions)")
    if len(content) < header:
        raise InputError(f"{path}: truncated, {len(content)} bytes do not hold its header")
    shape = tuple(np.frombuffer(content, ">u4", count=dims, offset=4).tolist())
    if len(content) - header != math.prod(shape):
        fault = "truncated" if len(content) - header < math.prod(shape) else "too long"
        raise InputError(f"{path}: {fault}, {len(content) - header} bytes of data for the shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def check_pair(images: tuple[str, np.ndarray], labels: tuple[str, np.ndarray]) -> None:
    (x_name, x), (y_name, y) = images, labels
    if x.dtype != np.uint8 or x.ndim != 3:
        raise InputError(f"{x_name}: expected uint8 images (n, h, w), got {x.dtype} {x.shape}")
    if len(x) == 0 or min(x.shape[1:]) < SMALLEST_IMAGE:
        raise InputError(f"{x_name}: expected images of {SMALLEST_IMAGE}x{SMALLEST_IMAGE} or more, got shape {x.shape}")
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise InputError(f"{y_name}: expected integer labels (n,), got {y.dtype} {y.shape}")
    if len(y) != len(x):
        raise InputError(f"{y_name}: {len(y)} labels, but {len(x)} images in {x_name}")
    wrong = np.flatnonzero((y < 0) | (y > 9))
    if wrong.size:
        raise InputError(f"{y_name}: labels must be 0 to 9, label number {wrong[0]} is {y[wrong[0]]}")


def batches(x: np.ndarray, y: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    """One epoch of full batches in random order, every image moved by up to a pixel each way."""
    moved = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1))), x.shape[1:], axis=(1, 2))
    for batch in rng.permutation(len(x))[: len(x) // size * size].reshape(-1, size):
        down, right = rng.integers(3, size=(2, size))
        yield moved[batch, down, right][..., None], y[batch]


# ---- Training


@dataclass
class Run:
    """One network on its way: the name of its layers, (params, moments), its compiled step, and what came of it."""

    name: str
    state: Any
    step: jax.stages.Compiled
    epochs: list[dict[str, float]] = field(default_factory=list)
    predicted: np.ndarray | None = None

    def close_epoch(self, data: Data, train_loss: float) -> None:
        """Tests, in pieces that fit into memory."""
        pieces = [slice(start, start + 1000) for start in range(0, len(data.x_test), 1000)]
        results = [score(self.state[0], data.x_test[i, ..., None], data.y_test[i], ops=OPS[self.name]) for i in pieces]
        losses, self.predicted = (np.concatenate(result) for result in zip(*results))
        test_loss, wrong = float(losses.mean(dtype=np.float64)), int((self.predicted != data.y_test).sum())
        if not math.isfinite(train_loss + test_loss):
            raise InputError(f"training diverged, the loss is {train_loss}: a smaller --learning-rate may help")
        epoch = {"epoch": len(self.epochs) + 1, "train_loss": train_loss, "test_loss": test_loss}
        self.epochs.append({**epoch, "test_accuracy": 1 - wrong / len(losses), "test_errors": wrong})


def start_runs(names: Sequence[str], data: Data, args: argparse.Namespace) -> list[Run]:
    """Runs from the same parameters, with their steps compiled."""
    steps = args.epochs * (len(data.x_train) // args.batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(args.learning_rate, steps))
    x, y = next(batches(data.x_train, data.y_train, args.batch_size, np.random.default_rng(0)))
    runs = []
    for name in names:
        params = init(jax.random.key(args.seed), *x.shape[1:3])
        state = (params, optimizer.init(params))
        runs.append(Run(name, state, step.lower(state, x, y, ops=OPS[name], optimizer=optimizer).compile()))
    return runs


def train(runs: list[Run], data: Data, args: argparse.Namespace) -> float:
    """Trains the runs on the same batches; returns the largest `gradient_difference` of all steps if there are two."""
    rng, largest, accuracy = np.random.default_rng(args.seed), 0.0, "?"
    steps = args.epochs * (len(data.x_train) // args.batch_size)
    columns, lines = shutil.get_terminal_size()  # unlike tqdm, with a guess where the terminal does not know
    with tqdm(total=steps, unit="step", ncols=columns, nrows=lines, disable=None) as progress:
        for _ in range(args.epochs):
            losses: list[list[float]] = [[] for _ in runs]
            for x, y in batches(data.x_train, data.y_train, args.batch_size, rng):
                if len(runs) > 1:
                    largest = float(np.maximum(largest, gradient_difference(runs[0].state[0], x, y)))  # keeps NaN
                for run, history in zip(runs, losses):
                    run.state, loss = run.step(run.state, x, y)
                    history.append(float(loss))
                progress.set_postfix(loss=f"{losses[0][-1]:.4f}", accuracy=accuracy, refresh=False)
                progress.update()
            for run, history in zip(runs, losses):
                run.close_epoch(data, float(np.mean(history)))
            accuracy = f"{runs[0].epochs[-1]['test_accuracy']:.2%}"
            progress.set_postfix(loss=f"{losses[0][-1]:.4f}", accuracy=accuracy)
    return largest


def time_steps(runs: list[Run], x: np.ndarray, y: np.ndarray, rounds: int = 20, length: int = 5) -> list[float]:
    """Median seconds of a step for each run, in blocks that alternate; the first round warms up and does not count."""
    x, y, states = jnp.asarray(x), jnp.asarray(y), [jax.tree.map(jnp.copy, run.state) for run in runs]
    began, seconds = time.perf_counter(), []
    while len(seconds) <= rounds and (len(seconds) < 6 or time.perf_counter() - began < 20):
        seconds.append([])
        for i, run in enumerate(runs):
            start = time.perf_counter()
            for _ in range(length):
                states[i], _ = run.step(states[i], x, y)
            jax.block_until_ready(states[i])
            seconds[-1].append((time.perf_counter() - start) / length)
    return np.median(seconds[1:], 0).tolist()


def compare(runs: list[Run], largest: float, data: Data, batch_size: int) -> dict[str, Any]:
    """What --compare prints, and adds to the metrics; a ratio is hand / autodiff."""
    x, y = next(batches(data.x_train, data.y_train, batch_size, np.random.default_rng(0)))
    seconds = time_steps(runs, x, y)
    memory = [run.step.memory_analysis().temp_size_in_bytes for run in runs]
    time_ratio, memory_ratio = seconds[0] / seconds[1], memory[0] / memory[1]
    accuracy = [run.epochs[-1]["test_accuracy"] for run in runs]
    print(f"\n{'':<17}{'hand':>12}{'autodiff':>12}{'ratio':>8}")
    print(f"{'test accuracy':<17}{accuracy[0]:>12.2%}{accuracy[1]:>12.2%}")
    print(f"{'step time':<17}{1e3 * seconds[0]:>9.2f} ms{1e3 * seconds[1]:>9.2f} ms{time_ratio:>8.2f}")
    print(f"{'temporary memory':<17}{memory[0] / 2**20:>8.2f} MiB{memory[1] / 2**20:>8.2f} MiB{memory_ratio:>8.2f}")
    print(f"largest gradient difference {largest:.1e}, relative to the largest entry of each parameter's gradient")
    print("(both gradients taken at the hand run's parameters, at every step)")
    return {
        "largest_relative_gradient_difference": largest,
        "step_seconds": dict(zip(OPS, seconds)),
        "step_time_ratio": time_ratio,
        "temporary_bytes": dict(zip(OPS, memory)),
        "temporary_memory_ratio": memory_ratio,
        "autodiff_epochs": runs[1].epochs,
    }


# ---- What is written to --out


def draw_curves(runs: list[Run]) -> Figure:
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


def write(out: Path, metrics: dict[str, Any], runs: list[Run], data: Data) -> None:
    """The metrics and three figures; each file takes its name when it is complete."""
    filters = np.moveaxis(np.asarray(runs[0].state[0]["conv1"]["w"])[:, :, 0], -1, 0)
    limit, truth, predicted = np.abs(filters).max(), data.y_test, runs[0].predicted
    wrong = np.flatnonzero(predicted != truth)
    pairs = [f"true {truth[i]}\npredicted {predicted[i]}" for i in wrong]
    title = f"Misclassified: {len(wrong)} of {len(truth)} test images" + ", the first 40" * (len(wrong) > 40)
    figures = (
        draw_curves(runs),
        draw_tiles(filters, range(32), "Filters of the first layer", "weight", cmap="RdBu_r", vmin=-limit, vmax=limit),
        draw_tiles(data.x_test[wrong[:40]], pairs, title, "ink", cmap="gray_r", vmin=0, vmax=1),
    )
    contents = [json.dumps(metrics, indent=2, allow_nan=False).encode() + b"\n"]
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


# ---- The command line


def number(kind: Callable[[str], Any], low: float, high: float, expected: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        with suppress(ValueError):
            if low <= kind(text) <= high:
                return kind(text)
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return parse


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message}\n")


def make_parser() -> Parser:
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser("train_digits.py", description=__doc__, formatter_class=form, allow_abbrev=False)

    def option(name: str, help: str, group: Any = parser, **kwargs: Any) -> None:
        group.add_argument(name, help=help, **kwargs)

    default = "(default: %(default)s)"
    count = number(int, 1, 10**6, "a whole number from 1 to 1000000")
    seed = number(int, 0, 2**32 - 1, "a whole number from 0 to 2**32 - 1")
    rate = number(float, 1e-30, 1e30, "a finite number above 0")
    mnist = "the directory of MNIST's four IDX files, gzipped or not, or an .npz with x_train, y_train, x_test, y_test"
    both = "train with both, from one start on the same batches; compare gradients, accuracy, step time and memory"
    option("--data", f"{mnist} (default: scikit-learn's digits)", type=Path, metavar="PATH")
    option("--epochs", f"passes over the training images {default}", type=count, default=20, metavar="N")
    option("--batch-size", f"images in a step {default}", type=count, default=32, metavar="N")
    option("--learning-rate", f"Adam's, falling to 0 along a cosine {default}", type=rate, default=1e-3, metavar="R")
    option("--seed", f"of all that is random {default}", type=seed, default=0, metavar="N")
    either = parser.add_mutually_exclusive_group()
    option("--ops", f"the layers to train with {default}", either, choices=OPS, default="hand")
    option("--compare", both, either, action="store_true")
    option("--out", f"write {', '.join(OUTPUTS)} there", type=Path, metavar="DIR")
    return parser


def run(args: argparse.Namespace) -> None:
    data = load(args.data)
    count, *shape = data.x_train.shape
    if args.batch_size > count:
        raise InputError(f"argument --batch-size: expected at most the {count} training images, got {args.batch_size}")
    if args.out is not None:
        prepare(args.out)
    names = tuple(OPS) if args.compare else (args.ops,)
    images = "{} images of {}x{} to train on, {} to test".format(count, *shape, len(data.x_test))
    steps = f"{args.epochs} epochs of {count // args.batch_size} steps, {args.batch_size} images each"
    print(f"data      {data.source}: {images}")
    print(f"training  {steps}, {' and '.join(names)} gradients, seed {args.seed}", flush=True)

    clock = [time.perf_counter()]
    runs = start_runs(names, data, args)
    clock.append(time.perf_counter())
    largest = train(runs, data, args)
    clock.append(time.perf_counter())
    compile_seconds, train_seconds = np.diff(clock).tolist()

    final = runs[0].epochs[-1]
    print(f"accuracy  {final['test_accuracy']:.2%} of the test images, {final['test_errors']} wrong")
    print(f"loss      test {final['test_loss']:.4f}, training {final['train_loss']:.4f}")
    print(f"time      {compile_seconds:.1f} s to compile, {train_seconds:.1f} s to train")
    config = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    metrics = {
        "config": {**config, "jax": jax.__version__, "backend": jax.default_backend()},
        "data": {"source": data.source, "train_images": count, "test_images": len(data.x_test), "image_shape": shape},
        "timings": {"compile_seconds": compile_seconds, "train_seconds": train_seconds},
        "final": final,
        "epochs": runs[0].epochs,
    }
    if args.compare:
        metrics["comparison"] = compare(runs, largest, data, args.batch_size)
    if args.out is not None:
        write(args.out, metrics, runs, data)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        run(args)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
