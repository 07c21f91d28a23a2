"""Groups of few channels, with a lane for each group: no matrices, but sums of vectors over the groups.

    z[k,n,p,g]  = Σ_i Σ_c x̃[c, n, s·p + d·i, g] · w[i,c,k,g]
    dw[i,c,k,g] = Σ_n Σ_p x̃[c, n, s·p + d·i, g] · dz[k,n,p,g]             c, k: of one group

Each channel of a group is an array of its own, with the groups last: all of them are written in one loop over memory.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.chunks import bytes_of_pair, sum_chunks
from jaxcnn.algorithms.native import flipped
from jaxcnn.memory import examples, in_one_loop, map_chunks, parallel_step, parallel_zero, sums
from jaxcnn.taps import UNROLL, read_taps, to_read, unpadded
from jaxcnn.window import Convolution, Window

VECTOR = 8  # lanes; those that no group fills are zeros,
FILLED, FULLER = 0.4, 0.6  # and this part of all is filled at least, for the kernel gradient the larger one
CHANNELS = 128  # of x times those of z, of a group; more leave a matrix product enough
PRODUCTS = range(18, 145)  # that make an output: fewer are not worth the copy of x, more not the time to compile
TOGETHER, TERMS = 4, 36  # outputs, and products of each, in one loop; with more of them it has no vectors
PAIRS, MOST = 32, 288  # channels of x times those of z, and sums that the kernel gradient is; more are long to compile
CHUNK = 4e6  # bytes of x and z, or dz, that are looked at in turn,
LARGE = 16e6  # the forward map if it is more: less is faster at once, more is fresh memory for each call
ROWS = 8  # of which the products are added up while they are read
SUMS = 9  # made in one pass over x and dz


def fits(conv: Convolution, c: int, k: int) -> bool:
    """For c and k channels of a group."""
    return _filled(conv) > FILLED and c * k <= CHANNELS and conv.window.taps * c in PRODUCTS


def fits_kernel_gradient(conv: Convolution, c: int, k: int) -> bool:
    return _filled(conv) > FULLER and c * k <= PAIRS and conv.window.taps * c * k <= MOST


def _filled(conv):
    return conv.groups / _width(conv)


def _width(conv):
    return -(-conv.groups // VECTOR) * VECTOR


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """z, of a large batch in chunks.

    ResNeXt's /2, with its gradients: 24 (27) ms and 28 (24) MB, at once 36 (32) and 52 (50).
    """
    of_one = math.prod(x.shape[1:]) + math.prod(conv.window.output) * w.shape[-1]
    of_one *= conv.accumulate.itemsize
    large = isinstance(x.shape[0], int) and x.shape[0] * of_one > LARGE
    return map_chunks(partial(_of_some, w=w, conv=conv), examples(CHUNK, of_one), x) if large else _of_some(x, w, conv)


def _of_some(x, w, conv):
    g, c, taps = conv.groups, w.shape[-2], conv.window.taps
    k = w.shape[-1] // g
    together = max(size for size in range(1, TOGETHER + 1) if k % size == 0)
    w = w.astype(conv.accumulate).reshape(taps, c, g, k // together, together).transpose(3, 1, 0, 4, 2)
    w = jnp.pad(w, [(0, 0)] * 4 + [(0, _width(conv) - g)])
    w = lax.optimization_barrier(w.reshape(k // together, c * taps, together, *(1 for _ in x.shape[:-1]), -1))
    cells = _cells(x, conv.window, conv)
    z: Sequence[jax.Array] = []
    for first in range(0, c * taps, TERMS):
        terms = range(first, min(first + TERMS, c * taps))
        products = ([cells(*divmod(i, taps))[None] * w[:, i, j] for i in terms] for j in range(together))
        z = in_one_loop([reduce(operator.add, [*z[j : j + 1], *parts]) for j, parts in enumerate(products)])
    return jnp.moveaxis(jnp.stack(z, -1), 0, -2)[..., :g, :, :].reshape(x.shape[0], *conv.window.output, g * k)


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
    rows, window = in_rows(conv.window, ROWS)
    missing = [(0, window.output[0] - conv.window.output[0]), *[(0, 0)] * (window.dims - 1)]

    def product(x, dz):
        split = (x.shape[0], window.output[0] // rows, rows, *window.output[1:], -1)
        cells, of_z = _cells(x, window, conv), [a.reshape(split) for a in _by_channel(dz, missing, conv)]

        def at(i, j, first, size):
            products = [cells(i, first + tap).reshape(split) * of_z[j] for tap in range(size)]
            left = lax.optimization_barrier(sums(products, 2))
            return jnp.stack([part.sum(range(part.ndim - 1)) for part in left])

        def of_pair(i, j):
            if taps > UNROLL:
                some = lambda part: at(i, j, parallel_step(part) * SUMS, SUMS)
                return lax.map(some, jnp.arange(-(-taps // SUMS))).reshape(-1, _width(conv))[:taps]
            return jnp.concatenate([at(i, j, first, min(SUMS, taps - first)) for first in range(0, taps, SUMS)])

        return jnp.stack([of_pair(i, j) for i in range(c) for j in range(k)])

    dw = sum_chunks(product, x, dz, examples(CHUNK, bytes_of_pair(x, dz, conv)))
    dw = dw[..., :g].reshape(c, k, taps, g)
    return dw.transpose(2, 0, 3, 1).reshape(*conv.window.size, c, g * k)


def _cells(x: jax.Array, window: Window, conv: Convolution) -> Callable:
    """As a function of a channel of the groups and a tap: the cells that each output reads there."""
    parts = _by_channel(x, to_read(window), conv)
    read = [read_taps(part, unpadded(part, window), 0) for part in parts]
    return lambda channel, tap: read[channel](tap)


def _by_channel(a: jax.Array, pads: Sequence[tuple[int, int]], conv: Convolution) -> Sequence[jax.Array]:
    """(n, *spatial, groups · c) -> c arrays (n, *padded, lanes)."""
    a = a.astype(conv.accumulate).reshape(*a.shape[:-1], conv.groups, -1)
    around = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, _width(conv) - conv.groups, 0)]
    zero = parallel_zero(a)
    return in_one_loop([lax.pad(a[..., i], zero, around) for i in range(a.shape[-1])])


def in_rows(window: Window, most: int) -> tuple[int, Window]:
    """How many rows of outputs go together, at most so many, and the window with a multiple of them."""
    height = window.output[0]
    rows = min(range(min(most, height), most // 2, -1), key=lambda rows: -height % rows, default=max(1, height))
    (low, high), *pads = window.pads
    return rows, replace(window, pads=((low, high + -height % rows * window.strides[0]), *pads))
