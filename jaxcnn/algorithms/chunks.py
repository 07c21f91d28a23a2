"""A batch in chunks of a few examples, a large example in strips of rows: what is made stays in the cache till used."""

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

LARGE, STRIP = 8e6, 2e6  # bytes made of one example, which is divided if it is more, and of a strip of it


def bytes_of_pair(x: jax.Array, dz: jax.Array, conv: Convolution) -> int:
    """An example of x and of dz."""
    return (math.prod(x.shape[1:]) + math.prod(dz.shape[1:])) * conv.accumulate.itemsize


def rows_of_strip(outputs: int, bytes_of_one: int, large: int | float = LARGE, strip: int | float = STRIP) -> int:
    """How many rows of outputs make so many bytes; all of an example that is not large."""
    return outputs if bytes_of_one <= large else -(-outputs // math.ceil(bytes_of_one / strip))


def map_strips(forward: Callable, x: jax.Array, conv: Convolution, rows: int) -> jax.Array:
    """forward(x, conv), for so many rows of outputs of one example at a time; with a rest the last begin earlier."""
    outputs = conv.window.output[0]
    if rows >= outputs:
        return forward(x, conv)
    strips, zeros = -(-outputs // rows), (0,) * (x.ndim - 2)
    cells, of_strip = _strips(x, conv, rows, outputs)

    def put(step, z):
        step = parallel_step(step)
        example, first = step // strips, jnp.minimum(step % strips * rows, outputs - rows)
        return lax.dynamic_update_slice(z, forward(cells(example, first), of_strip), (example, first, *zeros))

    of_one = jax.eval_shape(lambda: forward(cells(0, 0), of_strip))
    z = jnp.broadcast_to(x[(0,) * x.ndim].astype(of_one.dtype), (x.shape[0], outputs, *of_one.shape[2:]))
    return lax.fori_loop(0, x.shape[0] * strips, put, z)


def sum_strips(kernel_gradient: Callable, x: jax.Array, dz: jax.Array, conv: Convolution, rows: int) -> jax.Array:
    """kernel_gradient(x, dz, conv), summed over strips of so many rows of outputs of one example at a time.

    1×7 of 64 to 12 channels, (4, 112, 112): dw 53 (41) ms, in strips 11 (10).
    """
    outputs = dz.shape[1]
    if rows >= outputs:
        return kernel_gradient(x, dz, conv)
    strips = -(-outputs // rows)
    cells, of_strip = _strips(x, conv, rows, strips * rows)

    def term(step):
        step = parallel_step(step)
        example, first = step // strips, step % strips * rows
        part = _rows(dz, example, first, rows, 0, strips * rows - outputs)
        return kernel_gradient(*stored(conv.accumulate, cells(example, first), part), of_strip)

    shape = jax.eval_shape(term, 0)
    start, *_ = vary_alike(jnp.zeros(shape.shape, shape.dtype), x, dz)
    return lax.fori_loop(0, x.shape[0] * strips, lambda step, total: total + term(step), start)


def _strips(x: jax.Array, conv: Convolution, rows: int, outputs: int) -> tuple[Callable, Convolution]:
    """As a function of an example and a row of outputs: the cells that so many rows read; and their convolution.

    There may be more outputs than x has: their cells are zeros.
    """
    window, stride, (low, _) = conv.window, conv.window.strides[0], conv.window.pads[0]
    height = (rows - 1) * stride + window.extent[0]
    high = (outputs - 1) * stride + window.extent[0] - low - x.shape[1]
    of_strip = replace(window, input=(height, *window.input[1:]), pads=((0, 0), *window.pads[1:]))
    cells = lambda example, first: _rows(x, example, first * stride - low, height, max(0, low), max(0, high))
    return cells, conv._replace(window=of_strip)


def _rows(a, example, start, size, before, after):
    """So many rows of an example, with zeros where it has none; there are so many before and after it.

    A few rows are cut out before zeros are put round them: a stays as it is.
    """
    height = min(size, a.shape[1])
    inside = jnp.clip(start, 0, a.shape[1] - height)
    a = lax.dynamic_slice(a, (example, inside, *(0 for _ in a.shape[2:])), (1, height, *a.shape[2:]))
    a = jnp.pad(a, [(0, 0), (before, after), *[(0, 0)] * (a.ndim - 2)])
    return lax.dynamic_slice_in_dim(a, start - inside + before, size, 1)


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
