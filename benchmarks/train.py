"""Times whole training steps by hand, by autodiff, in Flax and in PyTorch: `python benchmarks/train.py`.

A step of Adam is one compiled program, which takes over the buffers of its state. All programs take turns in one
process, so that what disturbs one disturbs all. A ratio is the time by hand over that of a peer: below 1 the hand rules
are faster. Flax and PyTorch count where they are installed; PyTorch runs channels first and channels last, and the
better counts. All JAX programs are compiled with HEAPS; one step by hand, beside them, is compiled without.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from measure import Effort, Roof, installed, interleave, summary
from networks import NETWORKS, Training
from report import Table, parser, run

import jaxcnn

RATE, STEPS = 1e-4, 5
ADAM = optax.adam(RATE)
# Bytes that XLA puts the temporaries of a program into at a time. By default it is one block, and one of more than
# 32 MB goes back to the system after every step: each step then waits for fresh pages.
HEAPS = {"xla_multiheap_size_constraint_per_heap": 16_000_000}
HEADER = (
    *("training step", "ms", "quartiles", "/ autodiff", "/ Flax", "/ PyTorch", "in a scan", "one heap"),
    *("memory", "compile"),
)
LEGEND = (
    "Median of a step by hand in ms, and what it is over a step of each peer. In a scan: a step by hand, of"
    f" {STEPS} in one",
    "`lax.scan`, over the step alone. One heap: a step compiled with temporaries in one block, as by default, over one",
    "with heaps of 16 MB, as all others are. Temporary memory of the compiled step (MB), and what compiling it took",
    "(s), in brackets over autodiff's.",
)


def adam_step(loss: Callable) -> Callable:
    """(state, *data) -> (state, loss), where the state is the parameters and Adam's moments."""

    def step(state, *data):
        params, moments = state
        value, gradients = jax.value_and_grad(loss)(params, *data)
        updates, moments = ADAM.update(gradients, moments)
        return (optax.apply_updates(params, updates), moments), value

    return step


def objective(workload: Training, ops: Any) -> Callable:
    """The loss of a network over a module's ops, of parameters, images and labels."""
    cross_entropy = ops.softmax_cross_entropy_with_integer_labels
    return lambda params, x, labels: cross_entropy(workload.apply(params, x, ops), labels).mean()


class Step:
    """A compiled step, or several in one scan, and its state. A call returns the loss before (the first of) them."""

    def __init__(
        self, loss: Callable, params: Any, data: tuple[np.ndarray, np.ndarray], steps: int = 1, options: Any = HEAPS
    ):
        step = adam_step(loss)

        def scan(state, *data):
            state, values = lax.scan(lambda state, _: step(state, *data), state, length=steps)
            return state, values[0]

        params = jax.tree.map(jnp.array, params)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
        self.state, self.data = (params, ADAM.init(params)), [jnp.asarray(array) for array in data]
        start = time.perf_counter()
        program = jax.jit(step if steps == 1 else scan, donate_argnums=0)
        self.program = program.lower(self.state, *self.data).compile(options)
        self.seconds = time.perf_counter() - start
        self.temporary_bytes = self.program.memory_analysis().temp_size_in_bytes

    def __call__(self) -> jax.Array:
        self.state, value = jax.block_until_ready(self.program(self.state, *self.data))
        return value


def build(workload: Training) -> dict[str, Callable[[], Any]]:
    """The programs, all with equal parameters and on equal data."""
    start, data = workload.init(), workload.data()
    programs: dict[str, Any] = {
        "hand": Step(objective(workload, jaxcnn), start, data),
        "autodiff": Step(objective(workload, jaxcnn.reference), start, data),
        "scan": Step(objective(workload, jaxcnn), start, data, STEPS),
        "one heap": Step(objective(workload, jaxcnn), start, data, options=None),
    }
    if installed("flax"):
        from flax_networks import FlaxNetwork

        model = FlaxNetwork(workload.network, start)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        loss = lambda params, x, labels: cross_entropy(model.apply(params, x), labels).mean()
        programs["Flax"] = Step(loss, model.init(jax.random.key(0), data[0][:1]), data)
    if installed("torch"):
        from torch_networks import MEMORY_FORMATS, TorchStep

        for name in MEMORY_FORMATS:
            programs[name] = TorchStep(workload.network, start, data, RATE, name)
    _check(workload, programs)
    return programs


def _check(workload: Training, programs: dict[str, Any]) -> None:
    """That all are one network: as many parameters, and equal losses, also after a step."""
    sizes = {name: program.parameters for name, program in programs.items()}
    losses = {name: [float(program()), float(program())] for name, program in programs.items() if name != "scan"}
    if len(set(sizes.values())) > 1 or not all(np.allclose(loss, losses["hand"], 1e-3) for loss in losses.values()):
        raise SystemExit(f"{workload.name}: unequal networks, parameters {sizes}, losses {losses}")


def measure(workload: Training, effort: Effort) -> dict[str, Any]:
    Roof()  # so that the first compilation of the process is not one that counts
    programs = build(workload)
    times = interleave(programs, effort._replace(most=STEPS * effort.most))
    times["scan"] /= STEPS
    hand = times["hand"]
    peers = {peer: times[peer] for peer in ("autodiff", "Flax") if peer in times}
    formats = [times[name] for name in ("channels first", "channels last") if name in times]
    if formats:
        peers["PyTorch"] = min(formats, key=np.nanmedian)
    return {
        "seconds": {name: summary(samples) for name, samples in times.items()},
        "ratios": {peer: summary(hand / samples) for peer, samples in peers.items()},
        "scan": summary(times["scan"] / hand),
        "one heap": summary(times["one heap"] / hand),
        "temporary bytes": {name: programs[name].temporary_bytes for name in ("hand", "autodiff")},
        "compile seconds": {name: programs[name].seconds for name in ("hand", "autodiff")},
        "parameters": programs["hand"].parameters,
    }


def cells(result: dict[str, Any]) -> list[str]:
    median, low, high = (1e3 * seconds for seconds in result["seconds"]["hand"])
    found = ratios(result)
    memory, compile = (
        (of["hand"], of["hand"] / of["autodiff"]) for of in (result["temporary bytes"], result["compile seconds"])
    )
    return [
        f"{median:.3g}",
        f"{low:.3g} – {high:.3g}",
        *(f"{found[peer]:.2f}" if peer in found else "" for peer in ("autodiff", "Flax", "PyTorch")),
        f"{result['scan'][0]:.2f}",
        f"{result['one heap'][0]:.2f}",
        f"{memory[0] / 1e6:.1f} ({memory[1]:.2f})",
        f"{compile[0]:.2f} ({compile[1]:.2f})",
    ]


def ratios(result: dict[str, Any]) -> dict[str, float]:
    return {peer: median for peer, (median, *_) in result["ratios"].items()}


def misses(result: dict[str, Any]) -> Iterator[str]:
    """What is slower or larger than it should be."""
    found, targets = ratios(result), {"autodiff": 1.05, "Flax": 1.0, "PyTorch": 1.5}
    for peer, target in targets.items():
        if found.get(peer, 0) > target:
            yield f"{found[peer]:.2f} times {peer}'s time, wanted {target}"
    if result["scan"][0] > 1.05:
        yield f"{result['scan'][0]:.2f} times the time of the single step in a scan"
    hand, autodiff = result["temporary bytes"].values()
    if hand > autodiff:
        yield f"{hand / autodiff:.2f} times the temporary memory of autodiff"


if __name__ == "__main__":
    table = Table(HEADER, LEGEND, measure, cells, ratios, misses, {"Flax": 0.5, "PyTorch": 1.0})
    run(table, NETWORKS, parser(__doc__).parse_args())
