"""A 3×3 convolution with stride 1 by Winograd's F(2×2, 3×3): 16 products for four outputs, where the sum takes 36.

    z  = Aᵀ · [(G·w·Gᵀ) ⊙ (Bᵀ·x̃·B)] · A
    dw = Gᵀ · [(Bᵀ·x̃·B) ⊙ (A·dz·Aᵀ)] · G              the transpose with respect to w, summed over the tiles

with a tile of 4×4 cells of x̃ for each 2×2 of outputs; ⊙ is a matrix product over the channels (for dw: the tiles) for
each of 16 positions in the tile. The error is about five times that of the sum, 2e-6 of the largest entry in float32.
An infinite or NaN cell spoils its whole tile.

Source: Lavin and Gray (arXiv:1509.09308).
"""

import math
import operator
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.algorithms import native
from jaxcnn.algorithms.chunks import map_strips, rows_of_strip, sum_products, sum_strips
from jaxcnn.memory import examples, in_one_loop, map_chunks
from jaxcnn.window import Convolution

A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])
B = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
CHUNK = 18e6  # bytes of tiles and their products made at a time: ResNet's step 138 (129) ms, of 16e6 149 (132)
KERNEL_CHUNK = 10e6  # bytes of tiles of x and dz


def fits(conv: Convolution) -> bool:
    window = conv.window
    plain = (window.size, window.strides, window.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
    return plain and jnp.issubdtype(conv.accumulate, jnp.floating)


def pays(conv: Convolution, n: Any, c: int, k: int) -> bool:
    """With fewer tiles than channels the 16 matrices (c, k) cost more than what they are multiplied with."""
    return not isinstance(n, int) or n * math.prod(tiles(conv)) >= max(c, k)


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """A few examples at a time, or strips of large ones.

    (16,14,14,256), with its gradients: 34 (38) ms and 21 MB, at once 43 (51) and 45. (1,150,150,128) alone: 24 (20), in
    strips of half the size 33 (28), at once 39 (35).
    """
    c, k = w.shape[2:]
    kernels = _transformed(G, w.astype(conv.accumulate))

    def part(x, conv):
        products = [
            lax.dot_general(v, u, (((3,), (0,)), ((), ())), conv.precision)
            for v, u in zip(_transformed(B.T, _cells(x, conv)), kernels)
        ]
        grid = [products[i : i + 4] for i in range(0, 16, 4)]
        z = jnp.stack([jnp.stack(row, 3) for row in _sandwich(A.T, grid)], 2)
        z = z.reshape(z.shape[0], 2 * z.shape[1], 2 * z.shape[3], z.shape[5])
        return z[(slice(None), *map(slice, conv.window.output))]

    of_one = _bytes_of_one(c + k, conv)
    if of_one > CHUNK:
        return map_strips(part, x, conv, 2 * rows_of_strip(tiles(conv)[0], of_one, CHUNK, CHUNK))
    return map_chunks(partial(part, conv=conv), examples(CHUNK, of_one), x)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """dz with the flipped kernel."""
    return forward(dz, native.flipped(w, conv), conv._replace(window=conv.window.mirrored()))


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """Strips of large examples: (4,112,112,64) to 128 channels 31 (31) ms and 14 MB, by example 46 (47) and 42."""
    rows = 2 * rows_of_strip(tiles(conv)[0], _bytes_of_one(x.shape[-1] + dz.shape[-1], conv), CHUNK, CHUNK)
    return sum_strips(_kernel_gradient, x, dz, conv, rows)


def _kernel_gradient(x, dz, conv):
    c, k = x.shape[-1], dz.shape[-1]

    def factors(x, dz):
        of_x, of_dz = _transformed(B.T, _cells(x, conv)), _transformed(A, _outputs(dz, conv))
        return [(v.reshape(-1, c), u.reshape(-1, k)) for v, u in zip(of_x, of_dz)]

    products = sum_products(
        factors, x, dz, examples(KERNEL_CHUNK, _bytes_of_one(c + k, conv)), conv.precision, conv.accumulate
    )
    dw = jnp.tensordot(np.kron(G, G).T.astype(conv.accumulate), products, 1)
    return dw.reshape(3, 3, c, k)


def tiles(conv: Convolution) -> list[int]:
    """How many in each dimension."""
    return [-(-o // 2) for o in conv.window.output]


def _bytes_of_one(channels, conv):
    """The tiles of an example."""
    return 16 * math.prod(tiles(conv)) * channels * conv.accumulate.itemsize


def _outputs(dz, conv):
    """Output (i, j) of every tile: (n, *tiles, k), for i and j below 2."""
    pads = [(0, 2 * m - o, 0) for m, o in zip(tiles(conv), conv.window.output)]
    dz = lax.pad(dz.astype(conv.accumulate), jnp.zeros((), conv.accumulate), [(0, 0, 0), *pads, (0, 0, 0)])
    return [[dz[:, i::2, j::2] for j in range(2)] for i in range(2)]


def _cells(x, conv):
    """Cell (i, j) of every tile, which begin two cells apart: (n, *tiles, c), for i and j below 4."""
    rows, columns = tiles(conv)
    pads = [(lo, 2 * m + 2 - a - lo, 0) for m, a, (lo, _) in zip((rows, columns), conv.window.input, conv.window.pads)]
    x = lax.pad(x.astype(conv.accumulate), jnp.zeros((), conv.accumulate), [(0, 0, 0), *pads, (0, 0, 0)])

    def cell(i, j):
        stop = (x.shape[0], i + 2 * rows - 1, j + 2 * columns - 1, x.shape[-1])
        return lax.slice(x, (0, i, j, 0), stop, (1, 2, 2, 1))

    return [[cell(i, j) for j in range(4)] for i in range(4)]


def _transformed(m, grid):
    """The entries of `_sandwich`, row by row. x of (4, 56, 56, 64): 0.7 ms, in a loop each 1.0."""
    return in_one_loop([entry for row in _sandwich(m, grid) for entry in row])


def _sandwich(m, grid):
    """m · grid · mᵀ, of a grid of arrays."""
    rows = [[_combine(row, column) for column in zip(*grid)] for row in m]
    return [[_combine(row, cells) for row in m] for cells in rows]


def _combine(factors, arrays):
    return reduce(operator.add, (a if f == 1 else float(f) * a for f, a in zip(factors, arrays) if f))
