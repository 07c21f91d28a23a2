"""A 3×3 convolution with stride 1 by Winograd's F(2×2, 3×3): 16 products for four outputs, where the sum takes 36.

    z = Aᵀ · [(G·w·Gᵀ) ⊙ (Bᵀ·x̃·B)] · A

with a tile of 4×4 cells of x̃ for each 2×2 of outputs; ⊙ is a matrix product over the channels for each of 16 positions
in the tile. Transposed, it gives dw = Gᵀ · [(Bᵀ·x̃·B) ⊙ (A·dz·Aᵀ)] · G, with products over the tiles. The error is about
five times that of the sum, 2e-6 of the largest entry in float32.

Source: Lavin and Gray (arXiv:1509.09308).
"""

import math
import operator
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.algorithms.chunks import map_chunks, sum_chunks
from jaxcnn.window import Convolution

A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])
B = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
CHUNK = 4e6  # bytes of tiles and their products made at a time


def fits(conv: Convolution) -> bool:
    window = conv.window
    return (window.size, window.strides, window.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    kernels = _sandwich(G, w.astype(conv.accumulate))

    def part(x):
        products = _pairs(_tiles_of_input(x, conv), kernels, (((3,), (0,)), ((), ())), conv)
        z = jnp.stack([jnp.stack(row, 3) for row in _sandwich(A.T, products)], 2)
        z = z.reshape(z.shape[0], 2 * z.shape[1], 2 * z.shape[3], z.shape[5])
        return z[(slice(None), *map(slice, conv.window.output))]

    return map_chunks(part, x, _examples(x, w.shape[-1], conv))


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    def part(x, dz):
        tiles = _sandwich(A, _cells(dz, [0, 0], 2, conv))
        products = _pairs(_tiles_of_input(x, conv), tiles, (((0, 1, 2), (0, 1, 2)), ((), ())), conv)
        return jnp.stack([jnp.stack(row) for row in products])

    kernels = sum_chunks(part, x, dz, _examples(x, dz.shape[-1], conv))
    return jnp.stack([jnp.stack(row) for row in _sandwich(G.T, kernels)])


def _examples(x, k, conv):
    """How many a chunk has."""
    tiles = math.prod(-(-o // 2) for o in conv.window.output)
    return max(1, int(CHUNK // (16 * tiles * (x.shape[-1] + k) * conv.accumulate.itemsize)))


def _tiles_of_input(x, conv):
    """Bᵀ·x̃·B."""
    return _sandwich(B.T, _cells(x, [lo for lo, _ in conv.window.pads], 4, conv))


def _cells(a, lows, size, conv):
    """Cell (i, j) of every tile, which begin two cells apart: (n, *tiles, c), for i and j below `size`."""
    tiles = [-(-o // 2) for o in conv.window.output]
    pads = [(lo, 2 * m + size - 2 - n - lo, 0) for m, n, lo in zip(tiles, a.shape[1:], lows)]
    a = lax.pad(a.astype(conv.accumulate), jnp.zeros((), conv.accumulate), [(0, 0, 0), *pads, (0, 0, 0)])

    def cell(i, j):
        stop = (a.shape[0], i + 2 * tiles[0] - 1, j + 2 * tiles[1] - 1, a.shape[-1])
        return lax.slice(a, (0, i, j, 0), stop, (1, 2, 2, 1))

    return [[cell(i, j) for j in range(size)] for i in range(size)]


def _pairs(lhs, rhs, contract, conv):
    """The product of each pair in two grids."""
    product = lambda a, b: lax.dot_general(a, b, contract, conv.precision)
    return [[product(a, b) for a, b in zip(*rows)] for rows in zip(lhs, rhs)]


def _sandwich(m, grid):
    """m · grid · mᵀ, of a grid of arrays."""
    rows = [[_combine(row, column) for column in zip(*grid)] for row in m]
    return [[_combine(row, cells) for row in m] for cells in rows]


def _combine(factors, arrays):
    return reduce(operator.add, (a if f == 1 else float(f) * a for f, a in zip(factors, arrays) if f))
