"""What a CPU makes in one loop, and what it holds in memory: results made once, chunks stored or gone through."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn.shards import partitioned


def made_once(fn: Callable) -> Callable:
    """fn for a CPU, whose XLA makes a sum over taps anew for each tap of another sum that reads it.

    Nothing is fused across a conditional. Both ways are the same, which XLA does not see, as the bits could be any.
    The gradient of Σ avg_pool(x)², 3×3 with stride 1, of (16,28,28,192): 5.9 (5.7) ms and 10 MB, else 28 (32) and 77.
    """

    def call(*arrays):
        bits = lax.rng_bit_generator(np.zeros(4, np.uint32), (1,), dtype=np.uint32)[1]
        return lax.cond(bits[0] > 0, fn, lambda *arrays: fn(*arrays), *arrays)

    return call


def sums(terms: Sequence[jax.Array], axis: int) -> Sequence[jax.Array]:
    """The sum of each term along one short axis, on a CPU in one loop, which makes and reads the terms.

    XLA makes a loop for each op, but one for a reduction of several operands, which is vectorized if the axis is
    unrolled. MobileNet's depthwise dw: 2.6 (2.8) ms, with ops of their own 6.7 (8.6).
    """
    zero = -jnp.zeros((), terms[0].dtype)
    add = lambda totals, terms: tuple(map(jnp.add, totals, terms))
    return lax.reduce(tuple(terms), (zero,) * len(terms), add, (axis,))


def in_one_loop(arrays: Sequence[jax.Array]) -> Sequence[jax.Array]:
    """Arrays of one shape, on a CPU made in one loop, which reads what they share once.

    As with `sums`, but a reduction of two equal terms to the last.
    """
    twice = tuple(lax.broadcast(a, (2,)) for a in arrays)
    return tuple(lax.reduce(twice, tuple(np.zeros((), a.dtype) for a in arrays), _last, (0,)))


def _last(_, last):
    """Of the module, as JAX traces a function once."""
    return last


def stored(dtype: Any, *arrays: jax.Array) -> list[jax.Array]:
    """Arrays of this dtype in memory, which XLA else cuts out of a batch anew in each fusion that reads them.

    The digits CNN's dw takes 3.9 (3.8) ms, else 7.5 (7.6). 0 is added as a plain copy would be removed again; of floats
    that is none, as −0 + 0 = 0. A barrier is removed too in a loop, but on JAX 0.12.
    """
    return made_once(lambda *arrays: [a.astype(dtype) + 0 for a in arrays])(*arrays)


def parallel_step(i: jax.Array) -> jax.Array:
    """i, the number of a step of a loop on a CPU, which then runs on all cores.

    XLA since JAX 0.12 makes one function, for one core, of a loop that it takes for small, unless something in it
    cannot be compiled that way. A sort of two numbers cannot. 64 steps over 0.2 MB each: 4.3 ms, on one core 7.9.
    """
    return lax.sort(jnp.stack([jnp.zeros_like(i), i]))[1]


@custom_vmap
def parallel_zero(x: jax.Array) -> jax.Array:
    """0 of the dtype of x, read from x: a loop of a caller in which x is padded with it runs on all cores, as above.

    A depthwise 7×7 and its gradient in a `lax.scan`: 2.9 ms a step, on one core 5.9.
    """
    if 0 in x.shape:
        return jnp.zeros((), x.dtype)
    first = lax.slice(x, (0,) * x.ndim, (1,) * x.ndim).reshape(())
    return lax.sort(jnp.stack([np.int32(0), (first != first).astype(np.int32)]))[0].astype(x.dtype)


@parallel_zero.def_vmap
def _zero_of_batch(size, batched, x):
    return parallel_zero(x[0]), False


def examples(most: int | float, bytes_of_one: int) -> int:
    """How many make a chunk of `most` bytes."""
    return max(1, int(most // bytes_of_one))


def are_one(n: Any, step: int) -> bool:
    """Whether n examples are one chunk; not if n is unknown."""
    return isinstance(n, int) and n <= step


def map_chunks(fn: Callable, step: int, *arrays: jax.Array) -> Any:
    """fn(*arrays), for at most `step` examples at a time."""
    n = arrays[0].shape[0]
    if are_one(n, step):
        return fn(*arrays)
    return map_parts(fn, -(-n // step) if isinstance(n, int) else n, *arrays)


def map_parts(fn: Callable, parts: Any, *arrays: jax.Array, axis: int = 0, together: int = 1) -> Any:
    """fn of each part of the arrays along an axis, `together` in a step of a loop, the results in a row along it.

    Where that leaves a rest, the last part begins earlier, and some of it is made twice. The loop begins with any
    number of the first array in place of the result: zeros would be one array for all loops of a program, which holds
    it from first to last and copies it for each (ResNet's step: 79 MB for 62).
    """
    x, *_ = arrays
    width = lambda array: -(-array.shape[axis] // parts)
    of_part = lambda i: fn(*(lax.dynamic_slice_in_dim(a, i * width(a), width(a), axis) for a in arrays))
    twice = parts * width(x) - x.shape[axis]

    def start(one):
        shape = [*one.shape]
        shape[axis] = parts * shape[axis] - twice
        return jnp.broadcast_to(x[(0,) * x.ndim].astype(one.dtype), shape)

    def put(whole, part, i):
        return lax.dynamic_update_slice_in_dim(whole, part, i * part.shape[axis], axis)

    def put_some(step, whole):
        for i in range(together):
            at = parallel_step(step) * together + i
            whole = jax.tree.map(partial(put, i=at), whole, of_part(at))
        return whole

    return lax.fori_loop(0, parts // together, put_some, jax.tree.map(start, jax.eval_shape(of_part, 0)))


def chunk_by_chunk(fn: Callable, step: int, *arrays: jax.Array) -> Any:
    """`map_chunks` of arrays (n, …, c) where no op around it is partitioned.

    Devices divide it as they divide the arrays, `jax.vmap` makes the batch larger, and its derivatives are those of fn
    at once.
    """
    divided = lambda trees: ", ".join("n…c" for _ in jax.tree.leaves(trees))
    layout = f"{divided(arrays)} -> {divided(jax.eval_shape(fn, *arrays))}"
    loop = custom_vmap(partitioned(partial(map_chunks, fn, step), layout))

    @loop.def_vmap
    def larger(size, batched, *arrays):
        every = [a if own else jnp.broadcast_to(a, (size, *a.shape)) for a, own in zip(arrays, batched)]
        result = chunk_by_chunk(fn, step, *(a.reshape(-1, *a.shape[2:]) for a in every))
        result = jax.tree.map(lambda a: a.reshape(size, -1, *a.shape[1:]), result)
        return result, jax.tree.map(lambda _: True, result)

    chunks = jax.custom_jvp(lambda *arrays: loop(*arrays))
    chunks.defjvp(lambda primals, tangents: jax.jvp(fn, primals, tangents))
    return chunks(*arrays)
