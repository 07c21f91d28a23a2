"""Compiles every op and the networks' training steps for a TPU v5e or an H100, on a machine that has neither.

`python benchmarks/accelerators.py --platform tpu`, in an environment of its own (`pip install '.[train,tpu]'`, for an
H100 `'.[train,cuda13]'`). Nothing runs: the numbers are those of the platform's own compiler, hand rules beside
autodiff. A ratio below 1 means that the hand rules take less.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from calls import CALLS, Call
from measure import Effort
from networks import NETWORKS, Training
from report import Table, parser, run
from topology import PLATFORMS, Program, compile_for, devices
from train import ADAM, adam_step, objective
from workloads import WORKLOADS, Workload

import jaxcnn

SIDES = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
HEADER = ("program", "µs", "MB", "GFLOP", "temporary MB", "transposed MB", "compile s", "library calls", "scatters")
LEGEND = (
    "Of forward and backward as one program, by XLA's cost model for that",
    "platform: time (it has none for an H100), bytes read and written, FLOPs; temporary memory, what transposes move,",
    "and the time of compiling; the steps of a loop count as one. In brackets over autodiff's; of calls of libraries",
    "and scatters, autodiff's, where they differ.",
)
MOST = 1.02  # times autodiff's
PAGE = 4096  # bytes of temporary memory that count as none
COSTS = ("seconds", "bytes", "flops", "temporary_bytes", "transposed_bytes", "compile_seconds", "calls", "scatters")
RATIOS = {"seconds": "seconds", "bytes": "bytes", "temporary_bytes": "temporary memory"}
SCALES = {
    "seconds": 1e6,
    "bytes": 1e-6,
    "flops": 1e-9,
    "temporary_bytes": 1e-6,
    "transposed_bytes": 1e-6,
    "compile_seconds": 1,
}
HALF = ("ResNet 3x3", "ResNet 7x7", "ResNet 1x1", "MobileNet depthwise", "ResNeXt", "DCGAN", "ViT", "C3D 3x3")


@dataclass(frozen=True)
class Row:
    """Forward and backward of an op, or a training step, in a dtype."""

    of: Workload | Call | Training
    dtype: str = "float32"

    @property
    def name(self) -> str:
        return self.of.name + (", bfloat16" if self.dtype == "bfloat16" else "")

    @property
    def kind(self) -> str:
        return "16 bits" if self.dtype == "bfloat16" else self.of.kind

    @property
    def maps(self) -> int | None:
        """How many maps of convolutions it has, if it is one."""
        if not isinstance(self.of, Workload) or self.of.pools:
            return None
        return 6 if self.of.op == "separable_conv" else 3

    def compile(self, device: jax.Device, ops: Any) -> Program:
        if isinstance(self.of, Training):
            state = jax.eval_shape(lambda params: (params, ADAM.init(params)), self.of.init())
            return compile_for(device, adam_step(objective(self.of, ops)), state, *self.of.data(), donate_argnums=0)
        if isinstance(self.of, Workload):
            shapes, others = (self.of.x, *self.of.weights), ()
        else:
            shapes, others = self.of.floats, tuple(self.of.others.values())
        floats = [jax.ShapeDtypeStruct(shape, self.dtype) for shape in shapes]
        function = partial(_floats_and_integers, self.of.function(ops))
        cotangents, _ = jax.eval_shape(function, *floats, *others)
        return compile_for(device, partial(_forward_and_backward, function), cotangents, floats, others)


ROWS = (
    *map(Row, WORKLOADS),
    *(Row(workload, "bfloat16") for workload in WORKLOADS if workload.name.startswith(HALF)),
    *map(Row, CALLS),
    *map(Row, NETWORKS),
)


def _floats_and_integers(function, *arrays):
    results = jax.tree.leaves(function(*arrays))
    floats = [result for result in results if jnp.issubdtype(result.dtype, jnp.floating)]
    return floats, [result for result in results if not jnp.issubdtype(result.dtype, jnp.floating)]


def _forward_and_backward(function, cotangents, floats, others):
    results, pull, integers = jax.vjp(lambda *floats: function(*floats, *others), *floats, has_aux=True)
    return results, integers, pull(cotangents)


def measure(device: jax.Device, row: Row, _: Effort) -> dict[str, Any]:
    """What the compiler says of both programs. The ratios leave out what is nothing by hand and by autodiff."""
    programs = {side: row.compile(device, ops) for side, ops in SIDES.items()}
    result = {side: {name: getattr(program, name) for name in COSTS} for side, program in programs.items()}
    return result | {"maps": row.maps}


def ratios(result: dict[str, Any]) -> dict[str, float]:
    hand, autodiff = result["hand"], result["autodiff"]
    return {label: hand[name] / autodiff[name] for name, label in RATIOS.items() if hand[name] and autodiff[name]}


def cells(result: dict[str, Any]) -> list[str]:
    hand, autodiff = result["hand"], result["autodiff"]

    def cost(name, scale):
        if hand[name] is None:
            return ""
        ratio = f"{hand[name] / autodiff[name]:.2f}" if autodiff[name] else "1.00" if not hand[name] else "∞"
        return f"{hand[name] * scale:.4g} ({ratio})"

    def calls(side):
        return ", ".join(f"{number} {name}" for name, number in sorted(side["calls"].items())) or "–"

    same = calls(hand) == calls(autodiff)
    return [
        *(cost(name, scale) for name, scale in SCALES.items()),
        calls(hand) if same else f"{calls(hand)} ({calls(autodiff)})",
        f"{hand['scatters']} ({autodiff['scatters']})",
    ]


def misses(platform: str, result: dict[str, Any]) -> Iterator[str]:
    """What is worse than it should be."""
    hand, autodiff = result["hand"], result["autodiff"]
    for name in ("seconds", "bytes", "temporary_bytes"):
        if hand[name] is not None and hand[name] > max(MOST * autodiff[name], PAGE * (name == "temporary_bytes")):
            yield f"{name.replace('_', ' ')} {hand[name]:.4g}, by autodiff {autodiff[name]:.4g}"
    if platform == "cuda":
        if hand["scatters"]:
            yield f"{hand['scatters']} scatters"
        if hand["transposed_bytes"] > MOST * autodiff["transposed_bytes"]:
            yield f"transposes {hand['transposed_bytes']} bytes, autodiff {autodiff['transposed_bytes']}"
        convolutions = sum(number for name, number in hand["calls"].items() if name.startswith("__cudnn$conv"))
        if result["maps"] is not None and convolutions != result["maps"]:
            yield f"{convolutions} convolutions of cuDNN for {result['maps']} maps"


if __name__ == "__main__":
    options = parser(__doc__, timed=False)
    options.add_argument("--platform", choices=PLATFORMS, required=True, help="a TPU v5e or an H100")
    options = options.parse_args()
    target = devices(options.platform)[0]
    legend = (f"Compiled for {target.device_kind}. {LEGEND[0]}", *LEGEND[1:])
    means = dict.fromkeys(RATIOS.values(), 0.9)
    found = partial(misses, options.platform)
    run(Table(HEADER, legend, partial(measure, target), cells, ratios, found, means, peers=()), ROWS, options)
