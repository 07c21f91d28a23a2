"""What a rule costs beside autodiff: what it keeps, and its compiled program on this and on other devices."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxcnn.check.error import describe
from jaxcnn.check.point import Point, type_of
from jaxcnn.check.primal import is_literal
from jaxcnn.check.report import Cost, Program, Residual

RUNS, SECONDS = 30, 2.0  # of the timing, at most


def costs(point: Point, sides: list[str], devices: Mapping[str, Any]) -> dict[str, Cost]:
    """Of the same pullback by each side ("hand", "autodiff") that there is, timed in turn."""
    if not sides:
        return {}
    functions = {"hand": (point.hand, point.pull_hand), "autodiff": (point.twin, point.pull_twin)}
    compiled = [functions[side][1].lower(point.dy, *point.floats).compile() for side in sides]
    times = _medians(compiled, (point.dy, *point.floats))
    told = {}
    for side, executable, milliseconds in zip(sides, compiled, times):
        fn, pulled = functions[side]
        programs = {name: _compile_for(device, pulled, (point.dy, *point.floats)) for name, device in devices.items()}
        told[side] = Cost(residuals_of(point, fn), {"here": _program(executable, milliseconds), **programs})
    return told


def residuals_of(point: Point, fn: Callable) -> tuple[Residual, ...]:
    """What the forward pass hands to the backward pass, arguments that it keeps included."""

    def forward(*floats):
        value, vjp = jax.vjp(fn, *floats)
        return value, jax.tree.leaves(vjp)

    program, shapes = jax.make_jaxpr(forward, return_shape=True)(*point.floats)
    values = len(jax.tree.leaves(shapes[0]))
    sources = {var: equation.primitive.name for equation in program.jaxpr.eqns for var in equation.outvars}
    sources |= dict.fromkeys(program.jaxpr.constvars, "constant")
    sources |= {var: "value" for var in program.jaxpr.outvars[:values] if not is_literal(var)}
    sources |= dict(zip(program.jaxpr.invars, point.names))
    kept = dict.fromkeys(var for var in program.jaxpr.outvars[values:] if not is_literal(var))
    return tuple(
        Residual(type_of(var.aval), sources[var], math.prod(var.aval.shape) * var.aval.dtype.itemsize) for var in kept
    )


def _medians(executables: list[Any], args: Any) -> list[float]:
    """Milliseconds."""
    times: list[list[float]] = [[] for _ in executables]
    start = time.perf_counter()
    while len(times[0]) < 3 or (len(times[0]) < RUNS and time.perf_counter() - start < SECONDS):
        for executable, taken in zip(executables, times):
            before = time.perf_counter()
            jax.block_until_ready(executable(*args))
            taken.append(time.perf_counter() - before)
    return [1e3 * float(np.median(taken)) for taken in times]


def _compile_for(device: jax.Device, pulled: Any, args: Any) -> Program:
    """Without running it, which such a device may not be there for."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    try:
        return _program(pulled.lower(*jax.tree.map(place, args)).compile(), None)
    except Exception as failure:
        return Program(None, None, None, None, None, describe(failure))


def _program(executable: Any, milliseconds: float | None) -> Program:
    """Of the analyses, which a backend may not offer."""
    counts, memory = executable.cost_analysis() or {}, executable.memory_analysis()
    seconds = counts.get("optimal_seconds", -1)  # -1 also where a program holds what the cost model does not know
    return Program(
        counts.get("flops"),
        counts.get("bytes accessed"),
        getattr(memory, "temp_size_in_bytes", None),
        milliseconds,
        1e3 * seconds if seconds > 0 else None,
    )
