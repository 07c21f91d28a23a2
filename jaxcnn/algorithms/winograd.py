"""A 3×3 convolution with stride 1 by Winograd's F(2×2, 3×3): 16 products for four outputs, where the sum takes 36.

    z = Aᵀ · [(G·w·Gᵀ) ⊙ (Bᵀ·x̃·B)] · A

with a tile of 4×4 cells of x̃ for each 2×2 of outputs; ⊙ is a matrix product over the channels for each of 16 positions
in the tile. The error is about five times that of the sum, 2e-6 of the largest entry in float32. An infinite or NaN
cell spoils its whole tile.

Source: Lavin and Gray (arXiv:1509.09308).
"""

import math
import operator
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.algorithms.chunks import map_chunks
from jaxcnn.window import Convolution

A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])
B = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
CHUNK = 26e6  # bytes of tiles and their products made at a time


def fits(conv: Convolution) -> bool:
    window = conv.window
    plain = (window.size, window.strides, window.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
    return plain and jnp.issubdtype(conv.accumulate, jnp.floating)


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    c, k = w.shape[2:]
    kernels = jnp.tensordot(np.kron(G, G).astype(conv.accumulate), w.astype(conv.accumulate).reshape(9, c, k), 1)

    def part(x):
        tiles = _sandwich(B.T, _cells(x, conv))
        products = [
            [lax.dot_general(v, u, (((3,), (0,)), ((), ())), conv.precision) for v, u in zip(*rows)]
            for rows in zip(tiles, kernels.reshape(4, 4, c, k))
        ]
        z = jnp.stack([jnp.stack(row, 3) for row in _sandwich(A.T, products)], 2)
        z = z.reshape(z.shape[0], 2 * z.shape[1], 2 * z.shape[3], z.shape[5])
        return z[(slice(None), *map(slice, conv.window.output))]

    return map_chunks(part, x, _examples(x, k, conv))


def _examples(x, k, conv):
    """How many make a chunk."""
    tiles = math.prod(-(-o // 2) for o in conv.window.output)
    return max(1, int(CHUNK // (16 * tiles * (x.shape[-1] + k) * conv.accumulate.itemsize)))


def _cells(x, conv):
    """Cell (i, j) of every tile, which begin two cells apart: (n, *tiles, c), for i and j below 4."""
    tiles = [-(-o // 2) for o in conv.window.output]
    pads = [(lo, 2 * m + 2 - a - lo, 0) for m, a, (lo, _) in zip(tiles, conv.window.input, conv.window.pads)]
    x = lax.pad(x.astype(conv.accumulate), jnp.zeros((), conv.accumulate), [(0, 0, 0), *pads, (0, 0, 0)])

    def cell(i, j):
        stop = (x.shape[0], i + 2 * tiles[0] - 1, j + 2 * tiles[1] - 1, x.shape[-1])
        return lax.slice(x, (0, i, j, 0), stop, (1, 2, 2, 1))

    return [[cell(i, j) for j in range(4)] for i in range(4)]


def _sandwich(m, grid):
    """m · grid · mᵀ, of a grid of arrays."""
    rows = [[_combine(row, column) for column in zip(*grid)] for row in m]
    return [[_combine(row, cells) for row in m] for cells in rows]


def _combine(factors, arrays):
    return reduce(operator.add, (a if f == 1 else float(f) * a for f, a in zip(factors, arrays) if f))
