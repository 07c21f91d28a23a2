"""A batch in chunks of a few examples: what is made of one stays in the cache until it is used."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.shards import vary_alike


def examples(most: int | float, bytes_of_one: int) -> int:
    """How many make a chunk of `most` bytes."""
    return max(1, int(most // bytes_of_one))


def sum_chunks(term: Callable, x: jax.Array, dz: jax.Array, step: int) -> jax.Array:
    """Σ over chunks of `step` examples of term(x, dz), or of fewer that divide the batch; else a rest goes first.

    A batch of unknown size goes one by one.
    """
    n = x.shape[0]
    if isinstance(n, int) and n <= step:
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
    return lax.fori_loop(0, (n - rest) // step, lambda i, total: total + chunk(rest + i * step, step), total)


def map_chunks(fn: Callable, x: jax.Array, step: int) -> jax.Array:
    """fn(x), for `step` examples at a time, or as many less as divide the batch."""
    n = x.shape[0]
    if isinstance(n, int) and n <= step:
        return fn(x)
    step = max(d for d in range(1, step + 1) if n % d == 0) if isinstance(n, int) else 1
    z = lax.map(fn, x.reshape(n // step, step, *x.shape[1:]))
    return z.reshape(n, *z.shape[2:])
