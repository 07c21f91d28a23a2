"""What becomes of the hand rules in a loop and under `jax.vmap`: `python benchmarks/ops.py --loops`."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from measure import Effort, compile, interleave, summary
from report import Table
from workloads import Workload

import jaxcnn

STEPS, MEMBERS = 10, 4
RATE = 1e-6  # a step of the loop adds so little of its results to what the loop carries: no step is like another
TARGETS = {"in a scan": 1.2, "per example": 1.5, "ensemble": 1.3}
HEADER = ("op", *(f"{name}, ms (ratio)" for name in TARGETS))
LEGEND = (
    "Times of a call in ms. In a scan: forward+backward as a step of `lax.scan`, over the step alone. Per example: dw",
    "of each by `vmap`, over dw of their sum. Ensemble: forward+backward of several kernels by `vmap`, over as many",
    "calls.",
)


def measure(workload: Workload, effort: Effort) -> dict[str, Any]:
    inputs, dz = workload.arrays()
    dz, x, *weights = (jnp.asarray(array) for array in (dz, *inputs))
    function = workload.function(jaxcnn)

    def both(dz, x, *weights):
        z, pull = jax.vjp(function, x, *weights)
        return z, *pull(dz)

    def step(state, dz):
        return [a + RATE * da for a, da in zip(state, both(dz, *state[1:]))], None

    def dw(dz, x):
        return jax.vjp(lambda *weights: function(x, *weights), *weights)[1](dz)

    state = [dz, x, *weights]
    pairs = {"in a scan": ((step, state, dz), STEPS, (partial(lax.scan, step), state, jnp.stack([dz] * STEPS)))}
    if weights:
        members = [jnp.stack([w + RATE * i for i in range(MEMBERS)]) for w in weights]
        axes = (None, None, *(0 for _ in weights))
        pairs["per example"] = (dw, dz, x), 1, (jax.vmap(dw), dz, x)
        pairs["ensemble"] = (both, *state), MEMBERS, (jax.vmap(both, axes), dz, x, *members)
    programs = {}
    for name, (single, calls, transformed) in pairs.items():
        programs[name, "calls"] = _repeat(compile(*single).call, calls)
        programs[name, "transformed"] = compile(*transformed).call
    times = interleave(programs, effort)
    results = {}
    for name, (_, calls, _) in pairs.items():
        apart, together = times[name, "calls"], times[name, "transformed"]
        results[name] = {"seconds": summary(together / calls), "ratio": summary(together / apart)}
    return results


def _repeat(program, calls):
    def repeated():
        for _ in range(calls):
            program()

    return repeated


def cells(result: dict[str, Any]) -> list[str]:
    found = [result.get(name) for name in TARGETS]
    return [f"{1e3 * pair['seconds'][0]:.3g} ({pair['ratio'][0]:.2f})" if pair else "" for pair in found]


def ratios(result: dict[str, Any]) -> dict[str, float]:
    return {name: result[name]["ratio"][0] for name in TARGETS if name in result}


def misses(result: dict[str, Any]) -> Iterator[str]:
    for name, ratio in ratios(result).items():
        if ratio > TARGETS[name]:
            yield f"{name} takes {ratio:.2f} times the calls, wanted {TARGETS[name]}"


TABLE = Table(HEADER, LEGEND, measure, cells, ratios, misses)
