"""Depthwise convolution, every channel a group of its own: sums over taps, which XLA fuses into loops over memory.

A channel that has m results is repeated m times first. The kernel gradient is that of `lanes`.
"""

import operator
from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp

from jaxcnn.algorithms.lanes import in_rows
from jaxcnn.memory import in_one_loop
from jaxcnn.taps import FUSE, cut_taps, padded, read_taps, sum_taps
from jaxcnn.window import Convolution

TOGETHER, ALL = 4, 8  # rows of outputs that one loop makes, and that it makes if there are no more
SOME = 49  # taps that one loop takes: 9×9 of 192 channels, (8,28,28), 3.6 (3.5) ms; all 81 3.0 (5.4)


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """z[p] = Σ_i x̃[s·p + d·i] · w[i].

    A large window makes a few rows of z in one loop, as they share cells and weights: ConvNeXt's 7×7 2.3, else 3.9 ms.
    """
    window, k = conv.window, w.shape[-1]
    x, w = jnp.repeat(x.astype(conv.accumulate), k // conv.groups, -1), w.astype(conv.accumulate)
    w = w.reshape(window.taps, *(1 for _ in x.shape[1:]), k)
    if FUSE < window.taps <= SOME and window.output[0] <= ALL and max(window.strides) == 1:
        return _every_row(x, w, window)
    if window.taps > FUSE:
        rows, taller = in_rows(window, TOGETHER)
        read = read_taps(*padded(x, taller), 0)
        z: Sequence[jax.Array] = []
        for first in range(0, window.taps, SOME):
            taps = range(first, min(first + SOME, window.taps))
            products = ([read(tap)[:, row::rows] * w[tap] for tap in taps] for row in range(rows))
            z = in_one_loop([_sum([*z[row : row + 1], *parts]) for row, parts in enumerate(products)])
        return jnp.stack(z, 2).reshape(x.shape[0], *taller.output, k)[:, : window.output[0]]
    strided = max(window.strides) > 1
    read = cut_taps(x, window) if strided else read_taps(*padded(x, window), 0)
    return _sum(read(tap) * w[tap] for tap in range(window.taps))


def _every_row(x, w, window):
    """All rows of z in one loop, which reads no row of padding: 7×7 of (16,7,7,768) in 1.5 (1.4) ms, else 2.5 (2.0)."""
    row = window.in_row()
    read = read_taps(*padded(x, row), 0)
    z = []
    for cells in window.cells(0):
        inside = [(i, a) for i, a in enumerate(cells) if 0 <= a < window.input[0]]
        products = [read(j)[:, a] * w[i * row.taps + j, 0] for i, a in inside for j in range(row.taps)]
        z.append(_sum(products) if inside else jnp.zeros_like(read(0)[:, 0]))
    return jnp.stack(in_one_loop(z), 1)


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


_sum = partial(reduce, operator.add)
