"""Groups too narrow for a matrix product, merged: neighbours become one dense group with a block-diagonal kernel."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.algorithms import winograd
from jaxcnn.algorithms.chunks import bytes_of_pair, sum_chunks
from jaxcnn.algorithms.native import Algorithm
from jaxcnn.memory import examples, map_parts
from jaxcnn.window import Convolution

WIDTH = 16  # channels that a merged group has at least
MOST, TOGETHER = 16, 4  # merged groups that are written out one by one; more go in a loop, so many in a step
WIDE, MOST_OF_WIDE = 32, 2  # channels of groups whose tiles make the program large, one in a step; so many written out
CHUNK = 3e6  # bytes of x and dz of a 1×1 convolution at a time: ShuffleNet's dw 4.6 (4.5), at once 6.4 (6.1)


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    parts = merged(w.shape[-2], conv)
    return _each(dense, x, _block_diagonal(w, parts, conv), conv, parts)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    parts = merged(w.shape[-2], conv)
    return _each(dense, dz, _block_diagonal(w, parts, conv), conv, parts)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    """The blocks on the diagonal; the others are gradients of zeros that no one asked for."""
    g, c, k = conv.groups, x.shape[-1] // conv.groups, dz.shape[-1] // conv.groups
    parts = merged(c, conv)
    m = g // parts
    of_some = lambda x, dz: _each(dense, x, dz, conv, parts)
    step = examples(CHUNK, bytes_of_pair(x, dz, conv))
    dw = of_some(x, dz) if conv.window.taps > 1 else sum_chunks(of_some, x, dz, step)
    dw = dw.reshape(*conv.window.size, m, c, parts, m, k)
    diagonal = jnp.stack([dw[..., i, :, :, i, :] for i in range(m)], -2)
    return diagonal.reshape(*conv.window.size, c, g * k)


def merged(channels: int, conv: Convolution) -> int:
    """Into how many groups: the most that are wide enough."""
    g = conv.groups
    return max((parts for parts in range(1, g + 1) if g % parts == 0 and g // parts * channels >= WIDTH), default=1)


def _each(dense, a, b, conv, parts):
    """dense(a, b) of each part of the last axes, and the results one after the other in the last.

    16 groups of 48 channels, (8,14,14): in a loop 11 (12) ms, 2 MB, 0.4 s to compile, else 14 (17), 22 MB, 2.5 s.
    """
    one = conv._replace(groups=1)
    of_part, width = partial(dense, conv=one), a.shape[-1] // parts
    in_tiles = winograd.fits(one) and width >= WIDE
    if parts <= (MOST_OF_WIDE if in_tiles else MOST):
        return jnp.concatenate([of_part(*pair) for pair in zip(*(jnp.split(array, parts, -1) for array in (a, b)))], -1)
    together = 1 if in_tiles else max(size for size in range(1, TOGETHER + 1) if parts % size == 0)
    return map_parts(of_part, parts, a, b, axis=-1, together=together)


def _block_diagonal(w, parts, conv):
    """(*window, c, g·k) -> (*window, m·c, g·k), a dense kernel of each part after the other."""
    *size, c, k = w.shape
    m = conv.groups // parts
    on_diagonal = jnp.eye(m, dtype=bool)[:, None, None, :, None]
    w = w.reshape(*size, 1, c, parts, m, k // conv.groups)
    return jnp.where(on_diagonal, w, 0).reshape(*size, m * c, k)
