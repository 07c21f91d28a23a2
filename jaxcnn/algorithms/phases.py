"""The input gradient of a strided convolution: a convolution of dz with stride 1 for every phase of the stride.

Write the cell as a + lo = s·m + r. Phase r sees the taps with d·i ≡ r (mod s): with g = gcd(s, d) these are
i = i₀ + t·s/g, and d·i = r + s·(j₀ + t·d/g). So

    dx̃[s·m + r] = Σ_t dz[m − j₀ − t·d/g] · w[i₀ + t·s/g]ᵀ

is a convolution with stride 1 and dilation d/g. Neighbouring phases of one form share one, with more channels.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.native import Algorithm
from jaxcnn.memory import made_once
from jaxcnn.taps import interleave
from jaxcnn.window import Convolution, Window


class Run(NamedTuple):
    """Neighbouring phases along one dimension, each seeing `taps` taps.

    Those of its phase ρ are `tap` + ρ + t·`step`, at m − `shift` − t·`dilation`.
    """

    phases: int
    taps: int
    tap: int
    step: int
    shift: int
    dilation: int


def runs(size: int, stride: int, dilation: int) -> list[Run]:
    g = math.gcd(stride, dilation)
    found: list[Run] = []
    for r in range(stride):
        seen = [i for i in range(min(size, stride // g)) if dilation * i % stride == r]
        tap = seen[0] if seen else 0
        taps = len(range(tap, size, stride // g)) if seen else 0
        run = Run(1, taps, tap, stride // g, dilation * tap // stride, dilation // g)
        last = found[-1] if found else None
        if last and (last.taps, last.tap + last.phases * (taps > 0), last.shift) == (taps, tap, run.shift):
            found[-1] = last._replace(phases=last.phases + 1)
        else:
            found.append(run)
    return found


def _from(start: int, stride: int, found: list[Run]) -> tuple[list[Run], int]:
    """The runs for blocks that begin with the cell `start` of x̃, and how many cells before it they begin.

    Runs of one phase can be put in another order; of several, they begin with phase 0.
    """
    m, r = divmod(start, stride)
    found = [run._replace(shift=run.shift - m) for run in found]
    if len(found) < stride:
        return found, r
    return found[r:] + [run._replace(shift=run.shift - 1) for run in found[:r]], 0


def convolutions(conv: Convolution) -> int:
    """How many convolutions it takes."""
    return math.prod(len(runs(*dim)) for dim in zip(conv.window.size, conv.window.strides, conv.window.dilation))


def input_gradient(
    dz: jax.Array, w: jax.Array, conv: Convolution, forward: Algorithm, summed: bool = False
) -> jax.Array:
    """dx by `forward`, which computes the convolutions with stride 1.

    `summed`: it makes sums that XLA fuses with the phases. Cut in the same loop they are no vectors: 3×3/2 of 24 to 8
    channels, (16,55,55), takes 6.4 (7.7) ms, apart 1.4 (1.2).
    """
    window, groups = conv.window, conv.groups
    n, c = dz.shape[0], w.shape[-2]
    of_phases = (runs(*dim) for dim in zip(window.size, window.strides, window.dilation))
    ordered = [_from(lo, s, found) for found, s, (lo, _) in zip(of_phases, window.strides, window.pads)]
    starts = [before for _, before in ordered]
    blocks = [-(-(before + a) // s) for a, s, before in zip(window.input, window.strides, starts)]

    def phase(combination):
        counts = [run.phases for run in combination]
        if any(run.taps == 0 for run in combination):
            return jnp.zeros((n, *interleave(zip(blocks, counts)), groups, c), conv.accumulate)
        pads = []
        for run, o, m in zip(combination, window.output, blocks):
            reach = (run.taps - 1) * run.dilation
            low = run.shift + reach
            pads.append((low, m + reach - o - low))
        size, dilation = ([getattr(run, name) for run in combination] for name in ("taps", "dilation"))
        dense = Window(window.output, tuple(size), (1,) * window.dims, tuple(pads), tuple(dilation))
        part = forward(dz, _kernel(w, combination, groups), conv._replace(window=dense))
        split = part.reshape(n, *blocks, groups, *counts, c)
        pairs = interleave((1 + i, 2 + i + window.dims) for i in range(window.dims))
        return split.transpose(0, *pairs, 1 + window.dims, split.ndim - 1)

    def assemble(combination, rest):
        if not rest:
            return phase(combination)
        parts = [assemble([*combination, run], rest[1:]) for run in rest[0]]
        return jnp.concatenate(parts, 2 + 2 * len(combination)) if len(parts) > 1 else parts[0]

    dx = assemble([], [found for found, _ in ordered])
    dx = dx.reshape(n, *(m * s for m, s in zip(blocks, window.strides)), groups * c)
    stops = [start + a for start, a in zip(starts, window.input)]
    cut = lambda dx: lax.slice(dx, (0, *starts, 0), (n, *stops, groups * c))
    return made_once(cut)(dx) if summed and dx.shape[1:-1] != window.input else cut(dx)


def _kernel(w, combination, groups):
    """(*window, c, groups · k) -> (*taps, k, groups · counts · c): the taps of these phases, flipped."""
    w = w.reshape(*w.shape[:-1], groups, -1)
    for dim, run in enumerate(combination):
        axis = 2 * dim
        length = (run.taps - 1) * run.step + run.phases
        w = lax.slice_in_dim(w, run.tap, run.tap + length, axis=axis)
        pads = [(0, run.taps * run.step - length if i == axis else 0, 0) for i in range(w.ndim)]
        w = lax.pad(w, jnp.zeros((), w.dtype), pads)
        w = w.reshape(*w.shape[:axis], run.taps, run.step, *w.shape[axis + 1 :])
        w = jnp.flip(lax.slice_in_dim(w, 0, run.phases, axis=axis + 1), axis)
    c, group, k = w.ndim - 3, w.ndim - 2, w.ndim - 1
    w = w.transpose(*range(0, c, 2), k, group, *range(1, c, 2), c)
    return w.reshape(*(run.taps for run in combination), w.shape[len(combination)], -1)
