"""Depthwise convolution, every channel a group of its own: sums over taps, which XLA fuses into loops over memory.

A channel that has m results is repeated m times first.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.chunks import sum_chunks
from jaxcnn.memory import made_once
from jaxcnn.taps import FUSE, cut_taps, padded, read_taps, sum_taps
from jaxcnn.window import Convolution, Window

CHUNK = 4e6  # bytes of x and dz that the kernel gradient looks at in turn
TERMS = 8  # products that it adds up while it reads them
TAPS = 8  # taps along the last dimension that are written out; a longer window is taken in stretches of so many


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """z[p] = Σ_i x̃[s·p + d·i] · w[i]."""
    window, k = conv.window, w.shape[-1]
    x, w = _repeat(x, k, conv), w.astype(conv.accumulate)
    w = w.reshape(window.taps, *(1 for _ in x.shape[1:]), k)
    products = lambda read, w: _sum(read(tap) * w[tap] for tap in range(window.taps))
    if window.taps > FUSE:  # ConvNeXt's layer norms made z six times over: its step 174 (174) ms, else 153 (152)
        x, window = padded(x, window)
        return made_once(lambda x, w: products(read_taps(x, window, 0), w))(x, w)
    strided = max(window.strides) > 1
    return products(cut_taps(x, window) if strided else read_taps(*padded(x, window), 0), w)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """dx[a] = Σ_{(p,i): a(p,i) = a} dz[p] · w[i]."""
    window, k, w = conv.window, w.shape[-1], w.astype(conv.accumulate)
    if max(window.strides) == 1:
        dx = forward(dz, jnp.flip(w, range(window.dims)), conv._replace(window=window.mirrored(), groups=k))
    else:
        w = jnp.pad(w.reshape(window.taps, k), ((0, 1), (0, 0)))
        dx = sum_taps(lambda tap, dz: w[tap[..., 0]] * dz, [dz.astype(conv.accumulate)], window)
    m = k // conv.groups
    return _sum(dx[..., i::m] for i in range(m))


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """dw[i] = Σ_p x̃[s·p + d·i] · dz[p].

    One sum over n and p for every channel strides through memory. So products of a few rows and examples are added up
    elementwise, while they are read, and what that leaves in a second sum.
    """
    n, k, window = x.shape[0], dz.shape[-1], conv.window
    rows = min(TERMS, max(1, window.output[0] // 4))
    examples = min(n, TERMS // rows) if isinstance(n, int) else 1
    missing = -window.output[0] % rows
    (low, high), *pads = window.pads
    window = replace(window, pads=((low, high + missing * window.strides[0]), *pads))
    terms = [(slice(e, None, examples), slice(row, None, rows)) for e in range(examples) for row in range(rows)]

    def product(x, dz):
        even = [(0, -len(x) % examples)]
        x = jnp.pad(_repeat(x, k, conv), even + [(0, 0)] * (x.ndim - 1))
        dz = jnp.pad(dz.astype(conv.accumulate), even + [(0, missing)] + [(0, 0)] * (dz.ndim - 2))
        dz = lax.optimization_barrier(dz)
        read, positions, taps = _stretches(x, window)

        def at(position):
            cells = map(read(position), range(taps))
            parts = [_sum(cell[term] * dz[term] for term in terms) for cell in cells]
            left = jnp.stack(lax.optimization_barrier(parts))
            return left.sum(range(1, left.ndim - 1))

        dw = lax.map(at, jnp.arange(positions)) if positions > 1 else at(0)
        return dw.reshape(*window.size[:-1], -1, 1, k)[..., : window.size[-1], :, :]

    bytes_of_one = (math.prod(x.shape[1:]) + math.prod(dz.shape[1:])) * conv.accumulate.itemsize
    return sum_chunks(product, x, dz, examples * max(1, int(CHUNK // (examples * bytes_of_one))))


_sum = partial(reduce, operator.add)


def _repeat(x, k, conv):
    x, m = x.astype(conv.accumulate), k // conv.groups
    return x if m == 1 else jnp.repeat(x, m, -1)


def _stretches(x: jax.Array, window: Window) -> tuple[Callable, int, int]:
    """The window as stretches of its last dimension: position -> (tap in the stretch -> cells), and both their numbers.

    The cells of a stretch are cut out at a position that may be an index of a loop; its taps are written out.
    """
    *outer, last = window.size
    taps = min(last, TAPS)
    counts = (*outer, -(-last // taps))
    stretch = replace(window, size=(*(1 for _ in outer), taps), pads=((0, 0),) * window.dims)
    steps = (*window.dilation[:-1], window.dilation[-1] * taps)
    size = [(o + (e - 1) // s) * s for o, e, s in zip(window.output, stretch.extent, window.strides)]
    ends = [m + (count - 1) * step for m, count, step in zip(size, counts, steps)]
    pads = [(lo, end - a - lo, 0) for a, end, (lo, _) in zip(window.input, ends, window.pads)]
    x = lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)]))
    stretch = replace(stretch, input=tuple(size))

    def read(position):
        index = [position // math.prod(counts[dim + 1 :]) % count for dim, count in enumerate(counts)]
        start = [i * step for i, step in zip(index, steps)]
        part = lax.dynamic_slice(x, (0, *start, 0), (x.shape[0], *size, x.shape[-1]))
        return read_taps(lax.optimization_barrier(part), stretch, 0)

    return read, math.prod(counts), taps
