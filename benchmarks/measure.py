"""How time is taken: programs in turn, in one process, beside what the machine can do in the same blocks."""

import os
import platform
import time
from collections.abc import Callable, Hashable
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

Program = Callable[[], Any]
Times = dict[Hashable, np.ndarray]

os.environ["OMP_WAIT_POLICY"] = "passive"  # PyTorch's threads would spin after a block, on the cores of JAX's
PEERS = ("torch", "flax")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Effort(NamedTuple):
    """In how many blocks a program is timed, for how many seconds at least in each, and at most in all of them."""

    blocks: int = 9
    least: float = 0.02
    most: float = 3.0


def interleave(programs: dict[Hashable, Program], effort: Effort) -> Times:
    """Seconds of a call of each program, an entry for each block; NaN where a slow program sat out.

    All programs run in every block, one after the other, so that what disturbs the machine disturbs all of them.
    """
    times, calls, spent = {}, {}, {}
    for name, program in programs.items():
        times[name] = np.full(effort.blocks, np.nan)
        once = _seconds(program, 1)
        if once > effort.most / 3:
            times[name][0] = once
        else:
            once = min(once, _seconds(program, 1))
        calls[name] = int(effort.least / once) + 1
        spent[name] = once * calls[name]
    for block in range(effort.blocks):
        for name, program in programs.items():
            if np.isnan(times[name][block]) and (block + 1) * spent[name] < effort.most:
                if calls[name] > 1:
                    program()  # finds its data in the cache again
                times[name][block] = _seconds(program, calls[name])
    return times


def _seconds(program: Program, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return (time.perf_counter() - start) / calls


def summary(samples: np.ndarray) -> list[float]:
    """The median and the quartiles."""
    return np.nanquantile(samples, [0.5, 0.25, 0.75]).tolist()


def geometric_mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


class Compiled(NamedTuple):
    """A call of a compiled program on its arguments, which waits for the results; seconds that compiling took."""

    call: Program
    seconds: float
    temporary_bytes: int


def compile(function: Callable, *args: Any) -> Compiled:
    start = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    seconds = time.perf_counter() - start
    return Compiled(
        lambda: jax.block_until_ready(program(*args)), seconds, program.memory_analysis().temp_size_in_bytes
    )


def residual_bytes(function: Callable, *args: Any) -> int:
    """What the forward pass keeps for the backward pass, arguments included."""
    program = jax.make_jaxpr(lambda *args: jax.tree.leaves(jax.vjp(function, *args)[1]))(*args).jaxpr
    kept = {var for var in program.outvars if not isinstance(var, Literal)}
    return sum(var.aval.size * var.aval.dtype.itemsize for var in kept)


def agree(ours: Any, theirs: Any, tolerance: float = 1e-3) -> bool:
    """Whether these arrays are those, relative to the largest entry of each."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True)]
    return all(a.shape == b.shape and np.abs(a - b).max() <= tolerance * np.abs(a).max() for a, b in pairs)


class Roof:
    """What bounds every program: the rates of a matrix product, and of a pass over memory that is written in place."""

    SIDE, CELLS = 1024, 2**23

    def __init__(self):
        square, dot = jnp.ones((self.SIDE, self.SIDE)), jax.jit(jnp.dot)
        self.cells, touch = jnp.zeros(self.CELLS), jax.jit(lambda x: x + 1, donate_argnums=0)

        def memory():
            self.cells = jax.block_until_ready(touch(self.cells))

        matmul = lambda: jax.block_until_ready(dot(square, square))
        self.programs = {("roof", "FLOP/s"): matmul, ("roof", "B/s"): memory}
        for program in self.programs.values():
            program()  # the first compilation of a process takes longer: let it be these

    def rates(self, times: Times) -> dict[str, float]:
        """The best of the blocks."""
        work = {"FLOP/s": 2 * self.SIDE**3, "B/s": 8 * self.CELLS}
        return {unit: work[unit] / np.nanmin(times["roof", unit]).item() for unit in work}


def installed(peer: str) -> bool:
    return util.find_spec(peer) is not None


def machine() -> dict[str, str]:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return {
        "processor": f"{models[0] if models else platform.processor()}, {CORES} cores",
        "backend": jax.default_backend(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("jax", "numpy", *filter(installed, PEERS))},
    }
