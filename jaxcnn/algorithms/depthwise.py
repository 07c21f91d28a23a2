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
from jaxcnn.memory import examples, made_once, sums
from jaxcnn.taps import FUSE, UNROLL, cut_taps, padded, read_taps, sum_taps
from jaxcnn.window import Convolution, Window

CHUNK = 4e6  # bytes of x and dz that the kernel gradient looks at in turn
ROWS = 8  # of which the products are added up while they are read
TAPS = 9  # that one pass over x and dz takes


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

    One sum over n and p for every channel strides through memory. So products of a few rows are added up while they are
    read, for several taps in one pass, and what that leaves in a second sum.
    """
    window, k, height = conv.window, dz.shape[-1], conv.window.output[0]
    rows = min(range(min(ROWS, height), ROWS // 2, -1), key=lambda rows: -height % rows, default=max(1, height))
    missing = -height % rows
    (low, high), *pads = window.pads
    window = replace(window, pads=((low, high + missing * window.strides[0]), *pads))

    def product(x, dz):
        split = (x.shape[0], (height + missing) // rows, rows, *window.output[1:], k)
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


def _repeat(x, k, conv):
    x, m = x.astype(conv.accumulate), k // conv.groups
    return x if m == 1 else jnp.repeat(x, m, -1)
