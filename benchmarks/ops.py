"""Times the ops of convolutional networks by hand, by autodiff and in PyTorch: `python benchmarks/ops.py`.

All programs take turns in one process, so that what disturbs one disturbs all. A ratio is the time by hand over that of
a peer: below 1 the hand rule is faster. PyTorch, if it is installed, runs channels first and channels last, and the
better counts. With --loops the table is another: what becomes of the hand rules in `lax.scan` and under `jax.vmap`.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import loops
import numpy as np
from measure import Effort, Roof, agree, compile, installed, interleave, residual_bytes, summary
from report import Table, parser, run
from workloads import WORKLOADS, Workload

import jaxcnn

SIDES = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
RESULTS = {"forward": slice(0, 1), "dx": slice(1, 2), "dw": slice(2, 3), "total": slice(None)}
HEADER = (
    "op",
    "forward",
    "dx",
    "dw",
    "forward+backward",
    "quartiles",
    "roofline, %",
    "temporary",
    "residuals",
    "compile",
)
LEGEND = (
    "Times are medians in ms; in brackets, over that of autodiff and of PyTorch. forward+backward: the value and all",
    "gradients as one program; temporary memory and residuals (MB) and compile time (s) are its, in brackets over",
    "autodiff's. Roofline, of each time: what the FLOPs take at the rate of a large matrix product, or arguments and",
    "results at that of a pass over memory, whichever is longer, over the time taken.",
)
THREE_MAPS = ("1x1", "stem", "large kernel", "depthwise", "grouped", "patch embedding", "transposed", "causal")


def measure(workload: Workload, effort: Effort) -> dict[str, Any]:
    roof = Roof()
    inputs, dz = workload.arrays()
    arguments = [jnp.asarray(array) for array in (dz, *inputs)]
    compiled, costs = {}, {}
    for side, ops in SIDES.items():
        function = workload.function(ops)
        for part in reversed(workload.parts):
            compiled[part, side] = compile(partial(_results, function, RESULTS[part]), *arguments)
        total = compiled["total", side]
        costs[side] = {
            "temporary bytes": total.temporary_bytes,
            "residual bytes": residual_bytes(function, *arguments[1:]),
            "compile seconds": total.seconds,
        }
    programs = {name: program.call for name, program in compiled.items()}
    if installed("torch"):
        import torch_ops

        expected = {part: programs[part, "hand"]() for part in workload.parts}
        for memory_format, parts in torch_ops.programs(workload, inputs, dz).items():
            for part, program in parts.items():
                if not agree(expected[part], program()):
                    raise SystemExit(f"{workload.name}: {part} of PyTorch, {memory_format}, is not what jaxcnn gives")
                programs[part, memory_format] = program
    by_part = sorted(programs, key=lambda name: workload.parts.index(name[0]))
    times = interleave({name: programs[name] for name in by_part} | roof.programs, effort)
    rates = roof.rates(times)
    parts = {part: _compare(workload, part, times, rates) for part in workload.parts}
    return {"parts": parts, "costs": costs, "flops": workload.flops, "bytes": workload.bytes, **rates}


def _results(function, which, dz, *inputs):
    """Some of (z, dx, dw, db); the compiler drops what only the others need."""
    z, pull = jax.vjp(function, *inputs)
    return (z, *pull(dz))[which]


def _compare(workload: Workload, part: str, times: dict, rates: dict[str, float]) -> dict[str, Any]:
    own = {side: seconds for (p, side), seconds in times.items() if p == part}
    peers = {"autodiff": own["autodiff"]}
    formats = [seconds for side, seconds in own.items() if side not in SIDES]
    if formats:
        peers["PyTorch"] = min(formats, key=np.nanmedian)
    maps, moved = (2 if workload.pools else 3, 2) if part == "total" else (1, 1)
    least = max(maps * workload.flops / rates["FLOP/s"], moved * workload.bytes / rates["B/s"])
    return {
        "seconds": {side: summary(seconds) for side, seconds in own.items()},
        "ratios": {peer: summary(own["hand"] / seconds) for peer, seconds in peers.items()},
        "roofline": least / np.nanmedian(own["hand"]),
    }


def cells(result: dict[str, Any]) -> list[str]:
    parts, hand, autodiff = result["parts"], *result["costs"].values()

    def time(part):
        ratios = ", ".join(f"{median:.2f}" for median, *_ in part["ratios"].values())
        return f"{1e3 * part['seconds']['hand'][0]:.3g} ({ratios})"

    def cost(name, scale):
        ratio = f"{hand[name] / autodiff[name]:.2f}" if autodiff[name] else "–"
        return f"{hand[name] * scale:.2f} ({ratio})"

    return [
        *(time(parts[part]) if part in parts else "" for part in RESULTS),
        "{1:.3g} – {2:.3g}".format(*(1e3 * seconds for seconds in parts["total"]["seconds"]["hand"])),
        ", ".join(f"{100 * part['roofline']:.0f}" for part in parts.values()),
        *(cost(name, scale) for name, scale in zip(hand, (1e-6, 1e-6, 1))),
    ]


def misses(result: dict[str, Any]) -> Iterator[str]:
    """What is slower than it should be."""
    kind, (hand, autodiff) = result["kind"], result["costs"].values()
    targets = [("total", "autodiff", 0.2), ("total", "PyTorch", 1.0)]
    if kind != "pool":
        targets = [("total", "autodiff", 1.05), ("total", "PyTorch", 2.0)]
    if kind in THREE_MAPS:
        targets += [(part, "PyTorch", 1.5) for part in ("forward", "dx", "dw")]
    for part, peer, target in targets:
        ratio = result["parts"][part]["ratios"].get(peer, [0])[0]
        if ratio > target:
            yield f"{part} takes {ratio:.2f} times {peer}'s, wanted {target}"
    seconds = hand["compile seconds"]
    if seconds > max(1, 2 * autodiff["compile seconds"]):
        yield f"compiling takes {seconds:.2f} s, autodiff {autodiff['compile seconds']:.2f}"


def ratios(result: dict[str, Any]) -> dict[str, float]:
    return {peer: median for peer, (median, *_) in result["parts"]["total"]["ratios"].items()}


TABLE = Table(HEADER, LEGEND, measure, cells, ratios, misses, {"autodiff": 0.2, "PyTorch": 1.0})

if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--loops", action="store_true", help="hand rules in lax.scan and under jax.vmap instead")
    options = options.parse_args()
    run(loops.TABLE if options.loops else TABLE, WORKLOADS, options)
