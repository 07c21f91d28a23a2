"""A 3×3 convolution with stride 1 by Winograd's F(2×2, 3×3) or F(4×4, 3×3): 16 products for 36, or 36 for 144.

    z  = Aᵀ · [(G·w·Gᵀ) ⊙ (Bᵀ·x̃·B)] · A
    dw = Gᵀ · [(Bᵀ·x̃·B) ⊙ (A·dz·Aᵀ)] · G              the transpose with respect to w, summed over the tiles

with a tile of 4×4 cells of x̃ for each 2×2 of outputs, or of 6×6 for each 4×4; ⊙ is a matrix product over the channels
(for dw: the tiles) for each position in the tile. In float32 the error is about 2 or 10 times that of the sum, 7e-7 or
3e-6 of the largest entry for 256 channels. An infinite or NaN cell spoils its whole tile.

Source: Lavin and Gray (arXiv:1509.09308); points of small error: Barabasz et al. (arXiv:1803.10986).
"""

import math
from dataclasses import dataclass
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

CHUNK = 18e6  # bytes of tiles and their products made at a time: ResNet's step 138 (129) ms, of 16e6 149 (132)
KERNEL_CHUNK = 10e6  # bytes of tiles of x and dz
FEWER = 0.8  # of the products of small tiles, from which large ones pay
MATRICES, OF_TILES = 10e6, 2  # bytes of the transformed kernel that these may take, and how often they use it


@dataclass(frozen=True, eq=False)
class Tile:
    """The matrices for so many outputs in each dimension, a row for each point: A, Bᵀ and G."""

    outputs: int
    a: np.ndarray
    b: np.ndarray
    g: np.ndarray

    @classmethod
    def of(cls, points: tuple[int | float, ...], outputs: int) -> "Tile":
        """Toom and Cook: the product of two polynomials from their values at points, and at infinity."""
        values = lambda count: np.array([*([p**j for j in range(count)] for p in points), [0] * (count - 1) + [1]])
        without = [np.poly([q for q in points if q != p]) for p in points]
        scales = [*(np.polyval(others, p) for others, p in zip(without, points)), 1]
        b = np.array([[*others[::-1], 0] for others in without] + [np.poly(points)[::-1]])
        return cls(outputs, values(outputs), b, values(3) / np.array(scales)[:, None])


SMALL, LARGE = Tile.of((0, 1, -1), 2), Tile.of((0, 0.75, -0.75, 1.5, -1.5), 4)


def fits(conv: Convolution) -> bool:
    window = conv.window
    plain = (window.size, window.strides, window.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
    return plain and jnp.issubdtype(conv.accumulate, jnp.floating)


def pays(conv: Convolution, n: Any, c: int, k: int) -> bool:
    """With fewer tiles than channels the 16 matrices (c, k) cost more than what they are multiplied with."""
    return not isinstance(n, int) or n * math.prod(tiles(conv)) >= max(c, k)


def choose(conv: Convolution, n: Any, c: int, k: int) -> Tile:
    """The larger tile, unless it overhangs the image by much, or its matrices are much of the work.

    (8,56,56,256): 47 (49) and dw 59 (62) ms, with small ones 77 (78) and 102 (103).
    """
    fewer = entries(conv, LARGE) <= FEWER * entries(conv, SMALL)
    matrices = len(LARGE.b) ** 2 * c * k * conv.accumulate.itemsize
    used = not isinstance(n, int) or n * math.prod(tiles(conv, LARGE)) >= OF_TILES * max(c, k)
    return LARGE if fewer and matrices <= MATRICES and used else SMALL


def tiles(conv: Convolution, tile: Tile = SMALL) -> list[int]:
    """How many in each dimension."""
    return [-(-o // tile.outputs) for o in conv.window.output]


def entries(conv: Convolution, tile: Tile) -> int:
    """Of all tiles of an example: the products for a pair of channels, where the sum has taps · outputs."""
    return len(tile.b) ** 2 * math.prod(tiles(conv, tile))


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """A few examples at a time, or strips of large ones.

    (16,14,14,256), with its gradients: 34 (38) ms and 21 MB, at once 43 (51) and 45.
    """
    c, k = w.shape[2:]
    tile = choose(conv, x.shape[0], c, k)
    kernels = _kernels(w.astype(conv.accumulate), tile)

    def part(x, conv):
        products = [
            lax.dot_general(v, u, (((3,), (0,)), ((), ())), conv.precision)
            for v, u in zip(_tiles_of_cells(x, tile, conv), kernels)
        ]
        z = _outputs_of_tiles(products, tile)
        return z[(slice(None), *map(slice, conv.window.output))]

    of_one = _bytes_of_one(c + k, tile, conv)
    if of_one > CHUNK:
        return map_strips(part, x, conv, tile.outputs * rows_of_strip(tiles(conv, tile)[0], of_one, CHUNK, CHUNK))
    return map_chunks(partial(part, conv=conv), examples(CHUNK, of_one), x)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """dz with the flipped kernel."""
    return forward(dz, native.flipped(w, conv), conv._replace(window=conv.window.mirrored()))


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """Likewise: with small tiles (4,112,112,64) to 128 takes 31 (31) ms and 14 MB, by example 46 (47) and 42."""
    c, k = x.shape[-1], dz.shape[-1]
    tile = choose(conv, x.shape[0], c, k)
    rows = tile.outputs * rows_of_strip(tiles(conv, tile)[0], _bytes_of_one(c + k, tile, conv), CHUNK, CHUNK)
    return sum_strips(partial(_kernel_gradient, tile=tile), x, dz, conv, rows)


def _kernel_gradient(x, dz, conv, tile):
    c, k = x.shape[-1], dz.shape[-1]

    def factors(x, dz):
        pairs = zip(_tiles_of_cells(x, tile, conv), _tiles_of_outputs(dz, tile, conv))
        return [(v.reshape(-1, c), u.reshape(-1, k)) for v, u in pairs]

    step = examples(KERNEL_CHUNK, _bytes_of_one(c + k, tile, conv))
    products = sum_products(factors, x, dz, step, conv.precision, conv.accumulate)
    dw = jnp.tensordot(np.kron(tile.g, tile.g).T.astype(conv.accumulate), products, 1)
    return dw.reshape(3, 3, c, k)


def _bytes_of_one(channels, tile, conv):
    """The tiles of an example."""
    return entries(conv, tile) * channels * conv.accumulate.itemsize


@partial(jax.jit, static_argnums=(1, 2))
def _tiles_of_outputs(dz, tile, conv):
    """A·dz·Aᵀ of every tile."""
    pads = [(0, tile.outputs * count - o) for count, o in zip(tiles(conv, tile), conv.window.output)]
    return _transformed(tile.a, dz.astype(conv.accumulate), pads, tile, conv)


@partial(jax.jit, static_argnums=(1, 2))
def _tiles_of_cells(x, tile, conv):
    """Bᵀ·x̃·B of every tile, which begin m cells apart."""
    ends = zip(tiles(conv, tile), conv.window.input, conv.window.pads)
    pads = [(lo, tile.outputs * count + 2 - a - lo) for count, a, (lo, _) in ends]
    return _transformed(tile.b, x.astype(conv.accumulate), pads, tile, conv)


def _transformed(matrix, a, pads, tile, conv):
    """matrix · a · matrixᵀ of every tile of a, with zeros around it, entry by entry: (n, *tiles, channels) each.

    Columns and channels are one axis while they can be: zeros around (4,56,56,64) are then compiled in 0.03 s for 0.14.
    """
    (n, rows, columns, c), (above, (left, right)), counts = a.shape, pads, tiles(conv, tile)
    joined = [(0, 0, 0), (*above, 0), (left * c, right * c, 0)]
    a = lax.pad(a.reshape(n, rows, columns * c), jnp.zeros((), a.dtype), joined)

    def cells(a, axis):
        stop = lambda i: i + tile.outputs * (counts[axis - 1] - 1) + 1
        return [lax.slice_in_dim(a, i, stop(i), tile.outputs, axis) for i in range(matrix.shape[1])]

    return _grid(matrix, cells(a, 1), lambda row: cells(row.reshape(n, counts[0], left + columns + right, c), 2))


def _grid(matrix, rows, cells):
    """matrix · grid · matrixᵀ, entry by entry, of a grid of rows, each of which gives its cells.

    First down the columns, then along each row: at once large tiles have no vectors, a forward of 11 ms takes 43.
    """
    return [entry for row in _at_points(matrix, rows) for entry in _at_points(matrix, cells(row))]


@partial(jax.jit, static_argnums=1)
def _kernels(w, tile):
    """G·w·Gᵀ."""
    return _grid(tile.g, w, lambda row: row)


@partial(jax.jit, static_argnums=1)
def _outputs_of_tiles(products, tile):
    """Aᵀ · products · A, in its place: (n, *outputs, k)."""
    m, size, (n, rows, columns, k) = tile.outputs, len(tile.b), products[0].shape
    grid = zip(*(_from_points(tile.a, products[i : i + size]) for i in range(0, size**2, size)))
    z = jnp.stack([jnp.stack(_from_points(tile.a, column), 2) for column in grid], 4)
    return z.reshape(n, rows * m, columns * m, k)


def _at_points(matrix, arrays):
    """matrix · arrays, a row for each point.

    Rows of p and −p are the sum and the difference of their even and odd powers: a third less to compute and compile.
    """
    pairs = _pairs(len(matrix))
    return in_one_loop(_times(pairs, _times(np.linalg.inv(pairs) @ matrix, arrays)))


def _from_points(matrix, arrays):
    """matrixᵀ · arrays, likewise."""
    pairs = _pairs(len(matrix))
    return in_one_loop(_times((np.linalg.inv(pairs) @ matrix).T, _times(pairs, arrays)))


def _pairs(points):
    """The sum and the difference of each pair between the first and the last."""
    pairs = np.eye(points)
    for i in range(1, points - 1, 2):
        pairs[i : i + 2, i : i + 2] = [[1, 1], [1, -1]]
    return pairs


def _times(matrix, arrays):
    """matrix · arrays."""
    combine = lambda factors: [a if f == 1 else lax.mul(a, a.dtype.type(f)) for f, a in zip(factors, arrays) if f]
    return [reduce(lax.add, combine(factors)) for factors in matrix]
