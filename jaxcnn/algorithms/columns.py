"""The kernel gradient as one matrix product per few examples: columns (im2col) transposed, times dz.

The columns of a whole batch fall out of the cache; those of a few examples stay in it.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.taps import read_taps
from jaxcnn.window import Convolution

CHUNK = 4e6  # bytes of columns made at a time


def size(examples: int, channels: int, conv: Convolution) -> int:
    """Bytes of the columns of so many examples."""
    return examples * math.prod(conv.window.output) * conv.window.taps * channels * conv.accumulate.itemsize


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """dw = Σ over chunks of colsᵀ · dz; what does not fill a chunk goes first."""
    n, c, k, window = x.shape[0], x.shape[-1], dz.shape[-1], conv.window
    step = min(n, max(1, int(CHUNK // size(1, c, conv))))
    rest = n % step or step

    def product(start, examples):
        cells, dz_chunk = (lax.dynamic_slice_in_dim(a, start, examples).astype(conv.accumulate) for a in (x, dz))
        read = read_taps(cells, window, 0)
        cols = jnp.concatenate([read(tap) for tap in range(window.taps)], -1)
        contract = tuple(range(window.dims + 1))
        return lax.dot_general(cols, dz_chunk, ((contract, contract), ((), ())), conv.precision)

    add = lambda i, dw: dw + product(rest + i * step, step)
    dw = lax.fori_loop(0, (n - rest) // step, add, product(0, rest))
    return dw.reshape(*window.size, c, k)
