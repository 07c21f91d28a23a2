"""Sums over windows, and their adjoint: a reduction as compilers know it, but on a CPU, where that is slow, taps.

The gradient of a reduction is one too: of dy, spread by the strides and padded.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import reduce_window

from jaxcnn.memory import are_one, chunk_by_chunk, examples, made_once
from jaxcnn.taps import FUSE, UNROLL, cut_taps, read_taps, repeat, sum_taps
from jaxcnn.window import Pads, Window

ONCE, STRIDED = 12, 49  # taps that one pass sums, at stride 1 and beyond: see `_add_on_cpu`
CHUNK = 0.25e6  # bytes of the examples that several passes take at a time


def sum_windows(x: jax.Array, window: Window, then: Callable = lambda total: total) -> jax.Array:
    """then(Σ_i x̃[s·p + d·i]) for every output p. What comes `then`, number by number, costs no pass over memory."""

    def add(x, parts, cut):
        for part in parts:
            read = cut_taps(x, part) if cut and part.taps <= UNROLL else read_taps(x, part, 0)
            x = repeat(part.taps, _adding(read), jnp.zeros((x.shape[0], *part.output, x.shape[-1]), x.dtype))
        return x

    return _unless_native(add, then, x, window, window.pads, window.strides)


def spread_windows(dy: jax.Array, window: Window, then: Callable = lambda total: total) -> jax.Array:
    """The adjoint: then(Σ_{(p,i): a(p,i) = a} dy[p]) for every cell a."""
    if max(window.strides) == 1:
        return sum_windows(dy, window.mirrored(), then)

    def add(dy, parts, cut):
        for part in reversed(parts):
            dy = sum_taps(_every_tap(part), (dy,), part, cut=cut)
        return dy

    return _unless_native(add, then, dy, window, window.input_gradient_pads, spread=window.strides)


def _unless_native(
    add: Callable, then: Callable, x: jax.Array, window: Window, pads: Pads, strides: Any = None, spread: Any = None
) -> jax.Array:
    """add(x, parts of the window, cut), on a CPU; elsewhere a reduction over windows of x, spread and padded."""
    add_then = lambda x, parts, cut: then(add(x, parts, cut))
    if 0 in window.output:
        return add_then(x, [window], cut=False)
    ones = (1,) * window.dims

    def native(x):
        edges = [(lo, hi, s - 1) for (lo, hi), s in zip(pads, spread or ones)]
        zero = np.zeros((), x.dtype)  # concrete, or lax does not know the gradient
        x = lax.pad(x, zero, [(0, 0, 0), *edges, (0, 0, 0)])
        size, steps, dilation = ((1, *ints, 1) for ints in (window.size, strides or ones, window.dilation))
        return then(reduce_window(x, zero, lax.add, size, steps, "VALID", window_dilation=dilation))

    if math.prod(window.output) == 1 and window.taps > FUSE and not spread:
        return native(x)  # one sum for each channel: 7×7 of (16,7,7,512) 0.136 ms, tap by tap 0.161
    return lax.platform_dependent(x, cpu=partial(_add_on_cpu, add_then, window=window), default=native)


def _add_on_cpu(add, x, window):
    """In one pass while XLA makes a fast loop of it, which holds nothing; else in several, over few examples at a time.

    Forward and backward of (32, 56, 56, 64): 5×5 with stride 1 26 (27) ms and 2 MB, in one pass 54 (55), several over
    the whole batch 18 (21) and 28 MB; 4×4 28 (32), 39 (42); 3×3 with pads 34 (33), 16 (18). 7×7 with stride 2 18 (11),
    in one pass 7 (8), 8×8 17 (12) and 32 (32).
    """
    if all(e <= s for e, s in zip(window.extent, window.strides)):
        return add(x, [window] if window.taps <= UNROLL else window.separate(), cut=True)
    if window.taps <= (STRIDED if max(window.strides) > 1 else ONCE):
        return made_once(partial(add, parts=[window], cut=True))(x)
    in_passes = partial(add, parts=window.separate(), cut=False)
    cells = max(math.prod(window.input), math.prod(window.output))
    step = examples(CHUNK, cells * x.shape[-1] * x.dtype.itemsize)
    return made_once(in_passes)(x) if are_one(x.shape[0], step) else chunk_by_chunk(in_passes, step, x)


def _adding(read):
    return lambda tap, total: total + read(tap)


def _every_tap(window):
    return lambda tap, dy: jnp.where(tap < window.taps, dy, 0)
