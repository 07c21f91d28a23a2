"""The kernel gradient as one product for each tap, of examples whose copies of all taps would fall out of the cache.

    dw[i,c,k] = Σ_{n,p} x̃[n, s·p + d·i, c] · dz[n,p,k]

A loop goes through the rows of the window, as XLA would make the copies of all taps before it multiplies any.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.chunks import bytes_of_pair, sum_chunks
from jaxcnn.algorithms.columns import size
from jaxcnn.memory import examples, stored
from jaxcnn.taps import UNROLL, padded, read_taps
from jaxcnn.window import Convolution

CHUNK = 4e6  # bytes of x and dz looked at in turn
LEAST, MOST = 8e6, 10e6  # bytes of the copies of all taps of an example, and of the copy of one
THIN = 16  # channels; no more are too short to copy


def fits(x: tuple[Any, ...], conv: Convolution) -> bool:
    """For x of this shape: whether the copies of all taps of an example are too large, and that of one is not."""
    taps, copies = conv.window.taps, size((1, *x[1:]), conv)
    return conv.groups == 1 and x[-1] > THIN and 1 < taps <= UNROLL and LEAST < copies <= MOST * taps


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    c, k, window = x.shape[-1], dz.shape[-1], conv.window
    height, stride = window.output[0], window.strides[0]
    dot = lambda a, b: lax.dot_general(a, b, (((0,), (0,)), ((), ())), conv.precision)

    def product(x, dz):
        x, dz = stored(conv.accumulate, x, dz)
        (x, unpadded), dz = padded(x, window), dz.reshape(-1, k)
        row = replace(
            unpadded,
            input=(height, *unpadded.input[1:]),
            size=(1, *window.size[1:]),
            strides=(1, *window.strides[1:]),
        )

        def of_row(i):
            cells = lax.dynamic_slice_in_dim(x, window.dilation[0] * i, (height - 1) * stride + 1, 1)[:, ::stride]
            parts = map(read_taps(cells, row, 0), range(row.taps))
            pairs = ((part.reshape(-1, c), dz) for part in parts)
            return jnp.stack([dot(*pair if c <= k else pair[::-1]) for pair in pairs])  # XLA transposes the first

        return lax.map(of_row, jnp.arange(window.size[0]))

    dw = sum_chunks(product, x, dz, examples(CHUNK, bytes_of_pair(x, dz, conv)))
    return (dw if c <= k else jnp.swapaxes(dw, -2, -1)).reshape(*window.size, c, k)
