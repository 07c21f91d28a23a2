"""Groups too narrow for a matrix product, merged: neighbours become one dense group with a block-diagonal kernel."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.chunks import bytes_of_pair, sum_chunks
from jaxcnn.algorithms.native import Algorithm
from jaxcnn.memory import examples
from jaxcnn.window import Convolution

WIDTH = 16  # channels that a merged group has at least
MOST = 16  # merged groups that are each a convolution of its own in the program; more go in a loop
CHUNK = 3e6  # bytes of x and dz of a 1×1 convolution at a time: ShuffleNet's dw 4.6 (4.5), at once 6.4 (6.1)


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    parts = merged(w.shape[-2], conv)
    return jnp.concatenate(_each(dense, _split(x, parts), _block_diagonal(w, parts, conv), conv), -1)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    parts = merged(w.shape[-2], conv)
    return jnp.concatenate(_each(dense, _split(dz, parts), _block_diagonal(w, parts, conv), conv), -1)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    """The blocks on the diagonal; the others are gradients of zeros that no one asked for."""
    g, c, k = conv.groups, x.shape[-1] // conv.groups, dz.shape[-1] // conv.groups
    parts = merged(c, conv)
    m = g // parts
    of_some = lambda x, dz: jnp.stack(_each(dense, _split(x, parts), _split(dz, parts), conv), -2)
    step = examples(CHUNK, bytes_of_pair(x, dz, conv))
    dw = of_some(x, dz) if conv.window.taps > 1 else sum_chunks(of_some, x, dz, step)
    dw = dw.reshape(*conv.window.size, m, c, parts, m, k)
    diagonal = jnp.stack([dw[..., i, :, :, i, :] for i in range(m)], -2)
    return diagonal.reshape(*conv.window.size, c, g * k)


def merged(channels: int, conv: Convolution) -> int:
    """Into how many groups: the most that are wide enough."""
    g = conv.groups
    return max((parts for parts in range(1, g + 1) if g % parts == 0 and g // parts * channels >= WIDTH), default=1)


def _each(dense, arrays, others, conv):
    """64 groups of 16 channels, (8, 14, 14): 9.4 ms, as 16 groups of 64 24."""
    of_one = lambda pair: dense(*pair, conv._replace(groups=1))
    if len(arrays) > MOST:
        return [*lax.map(of_one, (jnp.stack(arrays), jnp.stack(others)))]
    return [*map(of_one, zip(arrays, others))]


def _split(a, parts):
    return jnp.split(a, parts, -1)


def _block_diagonal(w, parts, conv):
    """(*window, c, g·k) -> for each part (*window, m·c, m·k)."""
    *size, c, k = w.shape
    m, k = conv.groups // parts, k // conv.groups
    w = w.reshape(*size, 1, c, parts, m, k)
    on_diagonal = jnp.eye(m, dtype=bool)[:, None, None, :, None]
    w = jnp.where(on_diagonal, w, 0).reshape(*size, m * c, parts, m * k)
    return [w[..., part, :] for part in range(parts)]
