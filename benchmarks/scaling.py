"""Predicts training steps on many devices, on paper: `python benchmarks/scaling.py --platform cuda FILE`.

FILE is what `accelerators.py --platform cuda --json FILE` wrote. Data parallelism with a fixed batch for each device:

    step(N) = compute + max(0, all-reduce(N) − overlapped)
    all-reduce(N) = 2·(N − 1)/N · gradient bytes / link + 2·(N − 1)·hop          a ring
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
from networks import NETWORKS, Training
from topology import PLATFORMS

DEVICES = (1, 4, 8, 32, 256)


class Machine(NamedTuple):
    """What is assumed of a device, bytes and FLOPs a second, and of the slowest link of a ring, bytes a second."""

    name: str
    memory: float
    flops: float
    link: float
    beyond: float  # the link once a ring leaves a node of this many devices
    node: int
    hop: float = 1e-6
    backward: float = 2 / 3  # the part of the step in which gradients are ready to be sent

    def assumptions(self) -> str:
        return (
            f"Assumed: a step of one device takes what the compiler models, or else the longer of its bytes at\n"
            f"{self.memory / 1e9:.0f} GB/s and its FLOPs at {self.flops / 1e12:.0f} TFLOP/s, a lower bound. The batch"
            f" of a device stays the same;\ngradients are summed in float32 by a ring of {self.link / 1e9:.0f} GB/s a"
            f" direction, {self.beyond / 1e9:.0f} beyond {self.node} devices, with\n{1e6 * self.hop:.0f} µs a hop;"
            f" {self.backward:.0%} of a step, the backward pass, can hide it. Not measured on any device."
        )

    def compute(self, cost: dict) -> float:
        """The compiler's own seconds, or the longer of passing the bytes and doing the FLOPs: a lower bound."""
        return cost["seconds"] or max(cost["bytes"] / self.memory, cost["flops"] / self.flops)

    def all_reduce(self, size: int, devices: int) -> float:
        link = self.link if devices <= self.node else self.beyond
        return 2 * (devices - 1) / devices * size / link + 2 * (devices - 1) * self.hop

    def step(self, cost: dict, size: int, devices: int) -> float:
        compute = self.compute(cost)
        return compute + max(0.0, self.all_reduce(size, devices) - self.backward * compute)


MACHINES = {
    "tpu": Machine("TPU v5e, ICI", memory=819e9, flops=197e12, link=50e9, beyond=50e9, node=256),
    "cuda": Machine("H100, NVLink in a node of 8, 400 Gb/s beyond", 3352e9, 495e12, link=450e9, beyond=50e9, node=8),
}


def rows(machine: Machine, results: list[dict]) -> Iterator[str]:
    costs = {result["name"]: result["hand"] for result in results}
    for training in NETWORKS:
        if training.name in costs:
            cost, size = costs[training.name], gradient_bytes(training)
            steps = [machine.step(cost, size, devices) for devices in DEVICES]
            cells = (f"{1e6 * step:.0f} ({steps[0] / step:.2f})" for step in steps)
            yield f"| {training.name} | {size / 1e6:.2f} | {' | '.join(cells)} |"


def gradient_bytes(training: Training) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(training.init()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what accelerators.py wrote with --json")
    parser.add_argument("--platform", choices=PLATFORMS, required=True)
    options = parser.parse_args()
    machine = MACHINES[options.platform]
    print(f"{machine.name}.\n\n{machine.assumptions()}\n")
    print(f"| training step | gradients, MB | {' | '.join(f'{n} devices, µs' for n in DEVICES)} |")
    print(f"| {' | '.join(['---'] * (2 + len(DEVICES)))} |")
    print(*rows(machine, json.loads(options.file.read_text())["results"]), sep="\n")
    print("\nIn brackets the efficiency: the step of one device over that of so many.")
