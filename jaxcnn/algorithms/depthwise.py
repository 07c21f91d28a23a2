"""Depthwise convolution, every channel a group of its own: sums over taps, which XLA fuses into loops over memory.

A channel that has m results is repeated m times first.
"""

import math
import operator
from dataclasses import replace
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.chunks import sum_chunks
from jaxcnn.memory import examples, in_one_loop, sums
from jaxcnn.taps import FUSE, UNROLL, cut_taps, padded, read_taps, sum_taps
from jaxcnn.window import Convolution

CHUNK = 4e6  # bytes of x and dz that the kernel gradient looks at in turn
TOGETHER, FEWER = 4, 2  # rows of outputs that one loop makes; fewer of a window of many taps, to compile in a second
SOME = 81  # taps that one loop takes; with 121 it has no vectors
ROWS = 8  # of which the products are added up while they are read
TAPS = 9  # that one pass over x and dz takes


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """z[p] = Σ_i x̃[s·p + d·i] · w[i].

    A large window makes a few rows of z in one loop, as they share cells and weights: ConvNeXt's 7×7 2.9, else 3.2 ms.
    """
    window, k = conv.window, w.shape[-1]
    x, w = _repeat(x, k, conv), w.astype(conv.accumulate)
    w = w.reshape(window.taps, *(1 for _ in x.shape[1:]), k)
    if window.taps > FUSE:
        rows, taller = _in_rows(window, TOGETHER if window.taps <= UNROLL else FEWER)
        read = read_taps(*padded(x, taller), 0)
        z = []
        for first in range(0, window.taps, SOME):
            taps = range(first, min(first + SOME, window.taps))
            products = ([read(tap)[:, row::rows] * w[tap] for tap in taps] for row in range(rows))
            z = in_one_loop([_sum([*z[row : row + 1], *parts]) for row, parts in enumerate(products)])
        return jnp.stack(z, 2).reshape(x.shape[0], *taller.output, k)[:, : window.output[0]]
    strided = max(window.strides) > 1
    read = cut_taps(x, window) if strided else read_taps(*padded(x, window), 0)
    return _sum(read(tap) * w[tap] for tap in range(window.taps))


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

    One sum over n and p for every channel strides through memory. So products of a few rows are added up while they are
    read, for several taps in one pass, and what that leaves in a second sum.
    """
    k = dz.shape[-1]
    rows, window = _in_rows(conv.window, ROWS)
    missing = window.output[0] - conv.window.output[0]

    def product(x, dz):
        split = (x.shape[0], window.output[0] // rows, rows, *window.output[1:], k)
        dz = jnp.pad(dz.astype(conv.accumulate), [(0, 0), (0, missing)] + [(0, 0)] * (dz.ndim - 2))
        dz = lax.optimization_barrier(dz.reshape(split))
        x, unpadded = padded(_repeat(x, k, conv), window)
        read = read_taps(x, unpadded, 0)

        def at(first, taps=TAPS):
            products = [read(first + tap).reshape(split) * dz for tap in range(taps)]
            left = lax.optimization_barrier(sums(products, 2))
            return jnp.stack([part.sum(range(part.ndim - 1)) for part in left])

        if window.taps > UNROLL:
            dw = lax.map(at, jnp.arange(0, window.taps, TAPS)).reshape(-1, k)[: window.taps]
        else:
            dw = jnp.concatenate([at(i, min(TAPS, window.taps - i)) for i in range(0, window.taps, TAPS)])
        return dw.reshape(*window.size, 1, k)

    bytes_of_one = (math.prod(x.shape[1:]) + math.prod(dz.shape[1:])) * conv.accumulate.itemsize
    return sum_chunks(product, x, dz, examples(CHUNK, bytes_of_one))


_sum = partial(reduce, operator.add)


def _in_rows(window, most):
    """How many rows of outputs go together, at most so many, and the window with a multiple of them."""
    height = window.output[0]
    rows = min(range(min(most, height), most // 2, -1), key=lambda rows: -height % rows, default=max(1, height))
    (low, high), *pads = window.pads
    return rows, replace(window, pads=((low, high + -height % rows * window.strides[0]), *pads))


def _repeat(x, k, conv):
    x, m = x.astype(conv.accumulate), k // conv.groups
    return x if m == 1 else jnp.repeat(x, m, -1)
