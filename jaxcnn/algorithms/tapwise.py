"""The kernel gradient as one product for each tap, of examples whose copies of all taps would fall out of the cache.

dw[i,c,k] = Σ_{n,p} x̃[n, s·p + d·i, c] · dz[n,p,k]
"""

import math
from typing import Any

import jax

from jaxcnn.algorithms.chunks import LARGE, sum_products
from jaxcnn.algorithms.columns import size
from jaxcnn.memory import examples
from jaxcnn.taps import UNROLL, padded, read_taps
from jaxcnn.window import Convolution

CHUNK = 4e6  # bytes of x and dz looked at in turn, and of the copy of a tap of one example
THIN = 16  # channels; no more are too short to copy


def fits(x: tuple[Any, ...], conv: Convolution) -> bool:
    """For x of this shape: whether the copies of all taps of an example are too large, and that of one is not."""
    taps, copies = conv.window.taps, size((1, *x[1:]), conv)
    return conv.groups == 1 and x[-1] > THIN and 1 < taps <= UNROLL and LARGE < copies <= CHUNK * taps


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    c, k = x.shape[-1], dz.shape[-1]

    def factors(x, dz):
        read = read_taps(*padded(x.astype(conv.accumulate), conv.window), 0)
        dz = dz.astype(conv.accumulate).reshape(-1, k)
        return [(read(tap).reshape(-1, c), dz) for tap in range(conv.window.taps)]

    bytes_of_one = (math.prod(x.shape[1:]) + math.prod(dz.shape[1:])) * conv.accumulate.itemsize
    step = examples(CHUNK, bytes_of_one)
    dw = sum_products(factors, x, dz, step, conv.precision, conv.accumulate)
    return dw.reshape(*conv.window.size, c, k)
