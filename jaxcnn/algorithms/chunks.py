"""A batch in chunks of a few examples: what is made of one stays in the cache until it is used."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.memory import are_one, parallel_step, stored
from jaxcnn.shards import vary_alike
from jaxcnn.window import Convolution

LARGE = 8e6  # bytes made of one example; of more it is divided
STRIP = 2e6  # bytes made of a strip of it


def bytes_of_pair(x: jax.Array, dz: jax.Array, conv: Convolution) -> int:
    """An example of x and of dz."""
    return (math.prod(x.shape[1:]) + math.prod(dz.shape[1:])) * conv.accumulate.itemsize


def sum_strips(
    kernel_gradient: Callable, x: jax.Array, dz: jax.Array, conv: Convolution, bytes_of_one: int, least: int = 1
) -> jax.Array:
    """kernel_gradient(x, dz, conv), summed over strips of rows where the `bytes_of_one` example are too many.

    No strip has less than `least` rows of outputs. 1×7 of 64 to 12 channels, (4, 112, 112): dw 53 (41) ms, in strips
    11 (10).
    """
    if bytes_of_one <= LARGE:
        return kernel_gradient(x, dz, conv)
    window, outputs = conv.window, dz.shape[1]
    rows = max(-(-outputs // math.ceil(bytes_of_one / STRIP)), least)
    strips, step = -(-outputs // rows), rows * window.strides[0]
    height = step - window.strides[0] + window.extent[0]
    window = replace(window, input=(height, *window.input[1:]), pads=((0, 0), *window.pads[1:]))

    def rows_of(a, before, size):
        pads = [(0, 0, 0), (before, size - before - a.shape[1], 0), *[(0, 0, 0)] * (a.ndim - 2)]
        return lax.pad(a, jnp.zeros((), a.dtype), pads)

    def of_one(x, dz):
        x = rows_of(x, conv.window.pads[0][0], (strips - 1) * step + height)
        x, dz = stored(conv.accumulate, x, rows_of(dz, 0, strips * rows))
        strip = lambda a, i, step, size: lax.dynamic_slice_in_dim(a, i * step, size, 1)
        term = lambda i: kernel_gradient(
            strip(x, i, step, height), strip(dz, i, rows, rows), conv._replace(window=window)
        )
        start, *_ = vary_alike(jnp.zeros((*window.size, x.shape[-1], dz.shape[-1]), conv.accumulate), x, dz)
        return lax.fori_loop(0, strips, lambda i, total: total + term(parallel_step(i)), start)

    return sum_chunks(of_one, x, dz, 1)


def sum_chunks(term: Callable, x: jax.Array, dz: jax.Array, step: int) -> jax.Array:
    """Σ over chunks of `step` examples of term(x, dz), or of fewer that divide the batch; else a rest goes first.

    A batch of unknown size goes one by one.
    """
    n = x.shape[0]
    if are_one(n, step):
        return term(x, dz)
    if isinstance(n, int):
        step = next((size for size in range(step, step // 2, -1) if n % size == 0), step)
        rest = n % step
    else:
        step, rest = 1, 0

    def chunk(start, size):
        return term(*(lax.dynamic_slice_in_dim(a, start, size) for a in (x, dz)))

    shape = jax.eval_shape(lambda: chunk(0, step))
    total = chunk(0, rest) if rest else vary_alike(jnp.zeros(shape.shape, shape.dtype), x, dz)[0]
    add = lambda i, total: total + chunk(rest + parallel_step(i) * step, step)
    return lax.fori_loop(0, (n - rest) // step, add, total)


def sum_products(
    factors: Callable, x: jax.Array, dz: jax.Array, step: int, precision: Any, wide: Any = None
) -> jax.Array:
    """Σ over chunks aᵀ · b for each pair a (m, c), b (m, k) of factors(x, dz): (pairs, c, k).

    `wide` is the dtype in which a chunk is stored, where factors read it several times.

    XLA transposes the first factor in memory, so the narrower one is first, and the sum is transposed: 1×1 convolution
    of 512 to 128 channels, (16, 28, 28): dw 11 (11) ms, else 18 (18). A sum of fewer rows than it has itself is not.
    """
    alone = are_one(x.shape[0], step)

    def products(x, dz, exchanged=False):
        if wide is not None and not (alone and x.dtype == wide):
            x, dz = stored(wide, x, dz)
        pairs = [(b, a) if exchanged else (a, b) for a, b in factors(x, dz)]
        return jnp.stack([lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision) for a, b in pairs])

    of_all = jax.eval_shape(factors, x, dz)[0]
    (m, c), k = of_all[0].shape, of_all[1].shape[1]
    if c > k and not (alone and m < c):
        exchanged = lax.optimization_barrier(sum_chunks(partial(products, exchanged=True), x, dz, step))
        return jnp.swapaxes(exchanged, -2, -1)
    return sum_chunks(products, x, dz, step)
