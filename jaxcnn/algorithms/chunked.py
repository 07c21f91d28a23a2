"""The kernel gradient of a few examples at a time: on CPU, the operands of a whole batch fall out of the cache."""

import math

import jax
from jax import lax

from jaxcnn.algorithms import native
from jaxcnn.window import Convolution

POSITIONS = 1024  # of the output in a chunk: enough to sum over in one matrix product, few enough to stay in cache


def examples(conv: Convolution) -> int:
    """How many examples make a chunk."""
    return -(-POSITIONS // math.prod(conv.window.output))


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """dw = Σ over chunks of the native dw; what does not fill a chunk goes with the first."""
    size = examples(conv)
    chunks = x.shape[0] // size
    first = x.shape[0] - (chunks - 1) * size

    def add(i, dw):
        start = first + i * size
        chunk = (lax.dynamic_slice_in_dim(a, start, size) for a in (x, dz))
        return dw + native.kernel_gradient(*chunk, conv)

    return lax.fori_loop(0, chunks - 1, add, native.kernel_gradient(x[:first], dz[:first], conv))
