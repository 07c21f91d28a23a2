"""The kernel gradient with the taps divided between both operands: those along a row to x, those down a column to dz.

    dw[(i,j),c,k] = Σ_{n,a,q} X[n,a,q,(j,c)] · Z[n,a,q,(i,k)]

with X[n,a,q,(j,c)] = x̃[n, a, s·q + d·j, c] and Z[n,a,q,(i,k)] = dz[n, a + lo − d·i, q, k]. a runs over the rows of x
itself, so that no row of padding is multiplied. A window of 3×3 takes three copies of either array, where columns are
nine of x, and the matrices of the product are squarer, which it is faster with.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.chunks import rows_of_strip, sum_products, sum_strips
from jaxcnn.memory import examples
from jaxcnn.taps import read_taps
from jaxcnn.window import Convolution, Window

CHUNK = 4e6  # bytes of X and Z made at a time, or as many as dw has, which every chunk adds to
HALO = 4  # times as many rows as the window reaches over: a strip multiplies those around it too


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and conv.window.strides[0] == 1


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    rows = rows_of_strip(dz.shape[1], bytes_of_one(x.shape[-1], dz.shape[-1], conv))
    return sum_strips(_of_whole_rows, x, dz, conv, max(rows, HALO * conv.window.extent[0]))


def _of_whole_rows(x, dz, conv):
    taps, c, k = conv.window.size[0], x.shape[-1], dz.shape[-1]
    row = conv.window.in_row()
    width = row.taps * c

    def factors(x, dz):
        read = read_taps(x.astype(conv.accumulate), row, 0)
        cells = jnp.stack([read(tap) for tap in range(row.taps)], -2).reshape(-1, width)
        shifted = _shifted(dz.astype(conv.accumulate), conv).reshape(-1, taps * k)
        return [(cells, shifted)]

    most = max(CHUNK, width * taps * k * conv.accumulate.itemsize)
    dw = sum_products(factors, x, dz, examples(most, bytes_of_one(c, k, conv)), conv.precision, conv.accumulate)
    return jnp.moveaxis(dw.reshape(*row.size[1:], c, taps, k), -2, 0)


def bytes_of_one(c: int, k: int, conv: Convolution) -> int:
    """X and Z of an example."""
    row = conv.window.in_row()
    return math.prod(row.output) * (row.taps * c + conv.window.size[0] * k) * conv.accumulate.itemsize


def starts(window: Window) -> list[int]:
    """How far the taps down a column move dz."""
    return [window.dilation[0] * i - window.pads[0][0] for i in range(window.size[0])]


def _shifted(dz, conv):
    """Z (n, *rows of x, …, taps · k)."""
    rows, unmoved = conv.window.input[0], [(0, 0, 0)] * (dz.ndim - 2)
    pads = ([(0, 0, 0), (start, rows - dz.shape[1] - start, 0), *unmoved] for start in starts(conv.window))
    return jnp.stack([lax.pad(dz, jnp.zeros((), dz.dtype), by) for by in pads], -2)
