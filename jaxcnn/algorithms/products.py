"""The input gradient by products of every position with all taps, each then put in its place (col2im).

    P[(i,c),n,p] = Σ_k w[i,c,k] · dz[n,p,k]                 dx̃[n,a,c] = Σ_{(p,i): s·p + d·i = a} P[(i,c),n,p]

One matrix product, for few channels of x: columns of dz would be as many times wider as k is more than c. Positions are
last in P, so that its sum is one of long rows. With stride 1 the forward map is the same, with the flipped kernel.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.native import flipped
from jaxcnn.memory import examples, map_chunks, stored
from jaxcnn.taps import UNROLL, write_taps
from jaxcnn.window import Convolution

CHUNK = 4e6  # bytes of P made at a time
# Times as many numbers as dz or, forward, x has. 4×4 of 64 to 16 channels, (8,64,64), 4 times: 15 ms, else 10; at
# stride 1 of up to NARROW channels 7×7 of 48 to 4, (32,53,53), 4 times: 21, else 72.
MOST, MOST_OF_NARROW, NARROW = 2.5, 5, 8
FEW = 16  # channels of the result; for more the sum costs more than the columns that it saves


def fits(conv: Convolution, c: int, k: int) -> bool:
    """For k channels of what is multiplied and c of the result."""
    taps = conv.window.taps
    most = MOST_OF_NARROW if c <= NARROW and max(conv.window.strides) == 1 else MOST
    return conv.groups == 1 and c <= FEW and 1 < taps <= UNROLL and taps * c <= most * k


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    return input_gradient(x, flipped(w, conv), conv._replace(window=conv.window.mirrored()))


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    window, taps, (c, k) = conv.window, conv.window.taps, w.shape[-2:]
    rows = w.astype(conv.accumulate).reshape(taps * c, k)

    def part(dz):
        n, (dz,) = dz.shape[0], stored(conv.accumulate, dz)
        products = lax.dot_general(rows, dz, (((1,), (dz.ndim - 1,)), ((), ())), conv.precision)
        products = products.reshape(taps, c * n, *window.output, 1)
        planes = jax.ShapeDtypeStruct((c * n, *window.input, 1), products.dtype)
        dx = write_taps(lambda tap: products[tap], planes, window)
        return jnp.moveaxis(dx.reshape(c, n, *window.input), 0, -1)

    bytes_of_one = taps * c * math.prod(window.output) * conv.accumulate.itemsize
    return map_chunks(part, examples(CHUNK, bytes_of_one), dz)
