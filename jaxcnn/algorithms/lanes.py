"""Groups of few channels, with a lane for each channel of all groups: no matrices, but sums of vectors over the lanes.

    z[l]      = Σ_i Σ_q x̃[s·p + d·i, turn_q l] · w[i,q,l]               turn_q (g,j) = (g, (j + q) mod m)
    dw[i,q,l] = Σ_p x̃[s·p + d·i, l] · dz[p, turn_q l]

A lane meets the m channels of its group as these are turned by q. A turn is read from memory at two places, and chosen
lane by lane. For dw, where the c channels of a group have k results, the fewer of both are repeated until there are
m = max(c, k), and dz is turned min(c, k) times: not at all in a depthwise convolution.
"""

import math
import operator
from dataclasses import replace
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.algorithms.chunks import sum_chunks
from jaxcnn.algorithms.native import flipped
from jaxcnn.memory import examples, sums
from jaxcnn.taps import UNROLL, padded, read_taps
from jaxcnn.window import Convolution, Window

MOST, STRIDED = 4, 8  # channels of a group, without and with strides; more leave a matrix product enough
PRODUCTS = range(18, 82)  # that make an output: fewer are not worth the copy of x, of more XLA makes no vectors
CHUNK = 4e6  # bytes of x and dz that the kernel gradient looks at in turn
ROWS = 8  # of which the products are added up while they are read
SUMS = 9  # made in one pass over x and dz


def fits(conv: Convolution, c: int, k: int) -> bool:
    """For c and k channels of a group."""
    return c == k <= (STRIDED if max(conv.window.strides) > 1 else MOST) and conv.window.taps * c in PRODUCTS


def fits_kernel_gradient(conv: Convolution, c: int, k: int) -> bool:
    few, many = sorted((c, k))
    return many % few == 0 and (few == 1 or (many <= MOST and conv.window.taps * few <= UNROLL))


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    g, m, taps = conv.groups, w.shape[-2], conv.window.taps
    lane = np.arange(g * m).reshape(*(1 for _ in x.shape), g * m) % m
    w = w.astype(conv.accumulate).reshape(taps, m, *lane.shape[1:])
    of_turn = lambda q: reduce(operator.add, (jnp.where((lane + q) % m == j, w[:, j], 0) for j in range(m)))
    w = lax.optimization_barrier(jnp.stack([of_turn(q) for q in range(m)], 1))
    read = read_taps(*padded(_to_turn(x.astype(conv.accumulate), g, m, m), conv.window), 0)
    cells = map(read, range(taps))
    products = (_turned(part, q, g, m) * w[tap, q] for tap, part in enumerate(cells) for q in range(m))
    return reduce(operator.add, products)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """At stride 1 the convolution with the flipped kernel."""
    return forward(dz, flipped(w, conv), conv._replace(window=conv.window.mirrored()))


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """One sum over n and p for every lane strides through memory.

    So products of a few rows are added up while they are read, for several taps in one pass, and what that leaves in a
    second sum.
    """
    g, taps = conv.groups, conv.window.taps
    c, k = x.shape[-1] // g, dz.shape[-1] // g
    few, lanes = sorted((c, k))
    rows, window = in_rows(conv.window, ROWS)
    missing = window.output[0] - conv.window.output[0]

    def product(x, dz):
        n = x.shape[0]
        dz = jnp.pad(dz.astype(conv.accumulate), [(0, 0), (0, missing)] + [(0, 0)] * (dz.ndim - 2))
        split = (n, window.output[0] // rows, rows, *window.output[1:], -1)
        dz = lax.optimization_barrier(_to_turn(dz, g, few, lanes).reshape(split))
        turned = [_turned(dz, q, g, lanes) for q in range(few)]
        x, unpadded = padded(repeated(x.astype(conv.accumulate), g, lanes), window)
        read = read_taps(x, unpadded, 0)

        def at(first, size=SUMS):
            pairs = [divmod(first + i, taps) if few > 1 else (0, first + i) for i in range(size)]
            products = [read(tap).reshape(split) * turned[q] for q, tap in pairs]
            left = lax.optimization_barrier(sums(products, 2))
            return jnp.stack([part.sum(range(part.ndim - 1)) for part in left])

        if taps > UNROLL:  # only of a depthwise convolution, which has no turns
            return lax.map(at, jnp.arange(0, taps, SUMS)).reshape(-1, g * lanes)[:taps]
        return jnp.concatenate([at(i, min(SUMS, few * taps - i)) for i in range(0, few * taps, SUMS)])

    bytes_of_one = (math.prod(x.shape[1:]) + math.prod(dz.shape[1:])) * conv.accumulate.itemsize
    dw = sum_chunks(product, x, dz, examples(CHUNK, bytes_of_one))
    turn, lane = np.indices((few, lanes)).reshape(2, -1)
    order = np.argsort(lane % c * k + (lane + turn) % lanes % k)
    dw = dw.reshape(few, taps, g, lanes).transpose(0, 3, 1, 2).reshape(c * k, taps, g)[order]
    return dw.reshape(c, k, taps, g).transpose(2, 0, 3, 1).reshape(*conv.window.size, c, g * k)


def in_rows(window: Window, most: int) -> tuple[int, Window]:
    """How many rows of outputs go together, at most so many, and the window with a multiple of them."""
    height = window.output[0]
    rows = min(range(min(most, height), most // 2, -1), key=lambda rows: -height % rows, default=max(1, height))
    (low, high), *pads = window.pads
    return rows, replace(window, pads=((low, high + -height % rows * window.strides[0]), *pads))


def repeated(a: jax.Array, groups: int, lanes: int) -> jax.Array:
    """(…, groups · c), the channels of each group repeated to fill its lanes."""
    c = a.shape[-1] // groups
    if c == lanes:
        return a
    return jnp.tile(a.reshape(*a.shape[:-1], groups, c), lanes // c).reshape(*a.shape[:-1], groups * lanes)


def _to_turn(a, groups, turns, lanes):
    """`repeated`, with zeros around what is turned."""
    a = repeated(a, groups, lanes)
    around = [(0, 0, 0)] * (a.ndim - 1) + [(lanes, lanes, 0)]
    return lax.pad(a, jnp.zeros((), a.dtype), around) if turns > 1 else a


def _turned(a, turn, groups, lanes):
    width = groups * lanes
    at = lambda start: lax.slice_in_dim(a, start, start + width, axis=-1)
    if turn == 0:
        return at(a.shape[-1] - width >> 1)
    lane = np.arange(width).reshape(*(1 for _ in a.shape[1:]), width) % lanes
    return jnp.where(lane < lanes - turn, at(lanes + turn), at(turn))
