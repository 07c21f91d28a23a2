"""Trains the classic digits CNN, through the hand-derived backward passes of jaxcnn or through autodiff.

    python examples/train_digits.py                          scikit-learn's digits: no download, under a minute, 99 %
    python examples/train_digits.py --out runs/digits        ... and write metrics, parameters and figures
    python examples/train_digits.py --compare                hand rules and autodiff side by side
    python examples/train_digits.py --data mnist --epochs 3  real MNIST, from IDX files or an .npz
    python examples/train_digits.py --dtype bfloat16         compute in 16 bits
    python examples/train_digits.py --devices all            data-parallel over all devices
    python examples/train_digits.py --checkpoint runs/ckpt   ... --resume continues after a crash, to the same bytes

The network: conv 3x3x32, relu, conv 3x3x64, relu, max-pool 2, dense 128, relu, dense 10. It is one function, `apply`,
over a dict of parameters; the module of its layers is an argument: `ops=jaxcnn` has the hand rules,
`ops=jaxcnn.reference` the same layers without them. The same seed gives the same final numbers. What is not about the
network and its training stands in `training/`: data, results, devices, mixed precision, checkpoints.
"""

import argparse
import math
import os
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

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
from jax.sharding import Mesh
from tqdm import tqdm
from training import InputError, by_name, devices, mixed_precision, results
from training.digits import Data, batches, load
from training.options import Parser, number

import jaxcnn

OPS = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
DTYPES = ("float32", "bfloat16", "float16")


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


def compute_logits(params, x, ops, dtype):
    """`apply` in this dtype; the logits in float32."""
    params, x = jax.tree.map(lambda array: array.astype(dtype), (params, x))
    return apply(params, x, ops).astype(jnp.float32)


def mean_loss(params, x, y, ops, dtype):
    return ops.softmax_cross_entropy_with_integer_labels(compute_logits(params, x, ops, dtype), y).mean()


@partial(jax.jit, static_argnames=("ops", "optimizer", "dtype", "mesh"), donate_argnames="state")
def step(state, x, y, ops, optimizer, dtype, mesh):
    """One step of training; it takes over the buffers of its state, (params, moments, loss scale)."""
    params, moments, scale = state
    value_and_grad = mixed_precision.scaled_value_and_grad(partial(mean_loss, ops=ops, dtype=dtype), scale)
    loss, gradients = devices.mean_over(mesh, value_and_grad)(params, x, y)
    updates, next_moments = optimizer.update(gradients, moments, params)
    after = optax.apply_updates(params, updates), next_moments
    after, scale = mixed_precision.skip_overflow(scale, loss, gradients, (params, moments), after)
    return (*after, scale), loss


@partial(jax.jit, static_argnames=("ops", "dtype"))
def score(params, x, y, ops, dtype):
    """The loss of each image, and the digit predicted for it."""
    logits = compute_logits(params, x, ops, dtype)
    return ops.softmax_cross_entropy_with_integer_labels(logits, y), jnp.argmax(logits, -1)


@partial(jax.jit, static_argnames="dtype")
def gradient_difference(params, x, y, dtype):
    """The largest |hand - autodiff| in any parameter's gradient, relative to the largest entry of that gradient."""
    hand, autodiff = (jax.grad(mean_loss)(params, x, y, ops, dtype) for ops in OPS.values())

    def relative(hand, autodiff):
        return jnp.abs(hand - autodiff).max() / jnp.maximum(jnp.abs(autodiff).max(), jnp.finfo(hand.dtype).tiny)

    return jnp.stack(jax.tree.leaves(jax.tree.map(relative, hand, autodiff))).max()


# ---- Training


@dataclass
class Run:
    """One network on its way: the name of its layers, its state and compiled step, and what came of it."""

    name: str
    dtype: str
    state: Any
    step: jax.stages.Compiled
    epochs: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of the steps since the last epoch
    largest_difference: float = 0.0
    predicted: np.ndarray | None = None

    @property
    def params(self) -> dict[str, Any]:
        return devices.local(self.state[0])

    @property
    def history(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("epochs", "losses", "largest_difference")}

    def take_step(self, number: int, x: Any, y: Any) -> None:
        self.state, loss = self.step(self.state, x, y)
        self.losses.append(float(loss))
        if not math.isfinite(self.losses[-1]):
            self.stop_unless_finite(number, self.losses[-1])

    def close_epoch(self, number: int, data: Data) -> None:
        """Tests, in pieces that fit into memory."""
        pieces = [slice(start, start + 1000) for start in range(0, len(data.x_test), 1000)]
        ops, params = OPS[self.name], self.params
        scores = [score(params, data.x_test[i, ..., None], data.y_test[i], ops, self.dtype) for i in pieces]
        losses, self.predicted = (np.concatenate(part) for part in zip(*scores))
        test_loss, wrong = float(losses.mean(dtype=np.float64)), int((self.predicted != data.y_test).sum())
        self.stop_unless_finite(number, test_loss)
        epoch = {"epoch": len(self.epochs) + 1, "train_loss": float(np.mean(self.losses)), "test_loss": test_loss}
        self.epochs.append({**epoch, "test_accuracy": 1 - wrong / len(losses), "test_errors": wrong})
        self.losses = []

    def stop_unless_finite(self, number: int, loss: float) -> None:
        """Names the step, and the first parameter that is not finite after it."""
        broken = [name for name, values in by_name(self.params).items() if not np.isfinite(values).all()]
        if broken or not math.isfinite(loss):
            fault = f"the loss is {loss}, and {broken[0] if broken else 'no parameter'} is not finite"
            raise InputError(f"training diverged at step {number}: {fault}: a smaller --learning-rate may help")


def start_runs(names: Sequence[str], data: Data, args: argparse.Namespace, mesh: Mesh | None) -> list[Run]:
    """Runs from the same parameters, with their steps compiled."""
    optimizer = optax.adam(optax.cosine_decay_schedule(args.learning_rate, count_steps(data, args)))
    x, y = next(batches(data.x_train, data.y_train, args.batch_size, np.random.default_rng(0)))
    runs = []
    for name in names:
        params = init(jax.random.key(args.seed), *x.shape[1:3])
        state = devices.replicate(mesh, (params, optimizer.init(params), mixed_precision.first_scale(args.dtype)))
        options = {"ops": OPS[name], "optimizer": optimizer, "dtype": args.dtype, "mesh": mesh}
        compiled = step.lower(state, *devices.share(mesh, x, y), **options).compile()
        runs.append(Run(name, args.dtype, state, compiled))
    return runs


def count_steps(data: Data, args: argparse.Namespace) -> int:
    return args.epochs * (len(data.x_train) // args.batch_size)


def train(
    runs: list[Run], data: Data, args: argparse.Namespace, mesh: Mesh | None, checkpoints: Any, done: int
) -> None:
    """Trains the runs on the same batches, the first `done` of which are behind them."""
    rng, steps, accuracy = np.random.default_rng(args.seed), count_steps(data, args), "?"
    epochs = (batches(data.x_train, data.y_train, args.batch_size, rng) for _ in range(args.epochs))
    columns, lines = shutil.get_terminal_size()  # unlike tqdm, with a guess where the terminal does not know
    hidden = True if jax.process_index() else None
    with tqdm(total=steps, initial=done, unit="step", ncols=columns, nrows=lines, disable=hidden) as progress:
        for number, (x, y) in enumerate(chain.from_iterable(epochs), 1):
            if number > done:
                take_steps(runs, number, x, y, mesh)
                progress.set_postfix(loss=f"{runs[0].losses[-1]:.4f}", accuracy=accuracy, refresh=False)
                progress.update()
                if args.checkpoint and (number % args.checkpoint_every == 0 or number == steps):
                    save(runs, number, checkpoints)
            if number >= done and number % (steps // args.epochs) == 0:  # after the checkpoint: --resume tests again
                loss = runs[0].losses[-1]
                for run in runs:
                    run.close_epoch(number, data)
                accuracy = f"{runs[0].epochs[-1]['test_accuracy']:.2%}"
                progress.set_postfix(loss=f"{loss:.4f}", accuracy=accuracy)


def take_steps(runs: list[Run], number: int, x: np.ndarray, y: np.ndarray, mesh: Mesh | None) -> None:
    """One step of each run; of two, also the difference of their gradients at the first one's parameters."""
    if len(runs) > 1:
        difference = gradient_difference(runs[0].params, x, y, runs[0].dtype)
        runs[0].largest_difference = float(np.maximum(runs[0].largest_difference, difference))  # keeps NaN
    shared = devices.share(mesh, x, y)
    for run in runs:
        run.take_step(number, *shared)


def save(runs: list[Run], number: int, checkpoints: Any) -> None:
    """Writes what is finite; only process 0 has `checkpoints`."""
    for run in runs:
        run.stop_unless_finite(number, run.losses[-1])
    if checkpoints is not None:
        states, histories = ({run.name: getattr(run, part) for run in runs} for part in ("state", "history"))
        checkpoints.save(number, devices.local(states), histories)


def resume(runs: list[Run], mesh: Mesh | None, checkpoints: Any) -> int:
    """Takes the runs to their newest checkpoint; the number of steps that are behind them."""
    states = {run.name: devices.local(run.state) for run in runs}
    found = devices.broadcast(checkpoints and checkpoints.restore(states))
    if found is None:
        return 0
    number, states, histories = found
    for run in runs:
        run.state = devices.replicate(mesh, jax.tree.map(jnp.array, states[run.name]))
        for name, value in histories[run.name].items():
            setattr(run, name, value)
    print(f"resumed   after step {number}")
    return number


def time_steps(runs: list[Run], x: jax.Array, y: jax.Array, rounds: int = 20, length: int = 5) -> list[float]:
    """Median seconds of a step for each run, in blocks that alternate; the first round warms up and does not count."""
    states = [jax.tree.map(jnp.copy, run.state) for run in runs]
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


def compare(runs: list[Run], data: Data, batch_size: int, mesh: Mesh | None) -> dict[str, Any]:
    """What --compare prints, and adds to the metrics; a ratio is hand / autodiff."""
    batch = next(batches(data.x_train, data.y_train, batch_size, np.random.default_rng(0)))
    seconds, largest = time_steps(runs, *map(jnp.asarray, devices.share(mesh, *batch))), runs[0].largest_difference
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


# ---- The command line


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
    option("--out", f"write {', '.join(results.OUTPUTS)} there", type=Path, metavar="DIR")
    low = "parameters, moments, sums and statistics stay in float32"
    option("--dtype", f"compute in it; {low} {default}", choices=DTYPES, default="float32")

    group = parser.add_argument_group("many devices and processes")
    spread = "train on one device, or split each batch over all of them, in all processes"
    address = "process 0's address; or auto, where Slurm, Open MPI or a TPU pod tells all three"
    option("--devices", f"{spread} {default}", group, choices=("one", "all"), default="one")
    option("--coordinator", address, group, metavar="HOST:PORT")
    option("--processes", "how many there are", group, type=count, metavar="N")
    option("--process-id", "which of them this is, from 0", group, type=number(int, 0, 10**6, "0 or more"), metavar="I")

    group = parser.add_argument_group("checkpoints")
    option("--checkpoint", "keep the last two checkpoints there", group, type=Path, metavar="DIR")
    option("--checkpoint-every", f"steps from one to the next {default}", group, type=count, default=100, metavar="N")
    option("--resume", "continue from the newest checkpoint, if there is one", group, action="store_true")
    return parser


def run(args: argparse.Namespace) -> None:
    data = load(args.data)
    count, *shape = data.x_train.shape
    if args.batch_size > count:
        raise InputError(f"argument --batch-size: expected at most the {count} training images, got {args.batch_size}")
    mesh = devices.make_mesh(args.devices, args.batch_size)
    if args.out is not None and jax.process_index() == 0:
        results.prepare(args.out)
    if args.compare and jax.process_count() > 1:
        raise InputError("argument --compare: expected one process")
    names = tuple(OPS) if args.compare else (args.ops,)
    checkpoints = open_checkpoints(args, data, names)
    images = "{} images of {}x{} to train on, {} to test".format(count, *shape, len(data.x_test))
    steps = f"{args.epochs} epochs of {count // args.batch_size} steps, {args.batch_size} images each"
    print(f"data      {data.source}: {images}")
    print(f"training  {steps}, {' and '.join(names)} gradients, seed {args.seed}", flush=True)
    if mesh is not None:
        print(f"devices   {mesh.size}, processes {jax.process_count()}", flush=True)

    clock = [time.perf_counter()]
    runs = start_runs(names, data, args, mesh)
    done = resume(runs, mesh, checkpoints) if args.resume else 0
    clock.append(time.perf_counter())
    train(runs, data, args, mesh, checkpoints, done)
    if checkpoints is not None:
        checkpoints.finish()
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
        metrics["comparison"] = compare(runs, data, args.batch_size, mesh)
    if args.out is not None and jax.process_index() == 0:
        results.write(args.out, metrics, runs, data)


def open_checkpoints(args: argparse.Namespace, data: Data, names: Sequence[str]) -> Any:
    """Those of process 0, with all that decides what comes out of the run."""
    if args.resume and args.checkpoint is None:
        raise InputError("argument --resume: expected --checkpoint DIR with it")
    if args.checkpoint is None or jax.process_index():
        return None
    from training.checkpoints import Checkpoints

    options = ("epochs", "batch_size", "learning_rate", "seed", "dtype")
    images = f"{zlib.crc32(data.x_train):08x}"
    identity = {"layers": list(names), "images": images, **{name: getattr(args, name) for name in options}}
    return Checkpoints(args.checkpoint, identity, args.resume)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        devices.join(args.coordinator, args.processes, args.process_id)
        with redirect_stdout(None) if args.coordinator and jax.process_index() else nullcontext():
            run(args)
    except (InputError, jax.errors.JaxRuntimeError) as error:
        if args.coordinator is None:
            if isinstance(error, InputError):
                parser.error(str(error))
            raise
        os.write(2, f"{parser.prog}: error: {str(error).partition(chr(10))[0]}\n".encode())
        os._exit(2)  # Python's own way out waits for the other processes, which may wait for this one


if __name__ == "__main__":
    main()
