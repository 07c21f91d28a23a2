"""Groups too narrow for a matrix product, merged: neighbours become one dense group with a block-diagonal kernel."""

import jax
import jax.numpy as jnp

from jaxcnn.algorithms.native import Algorithm
from jaxcnn.window import Convolution

WIDTH = 16  # channels that a merged group has at least
MOST = 16  # merged groups: each is a convolution of its own in the program


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    parts = merged(w.shape[-2], conv)
    return _each(dense, _split(x, parts), _block_diagonal(w, parts, conv), conv)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    parts = merged(w.shape[-2], conv)
    return _each(dense, _split(dz, parts), _block_diagonal(w, parts, conv), conv)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    """The blocks on the diagonal; the others are gradients of zeros that no one asked for."""
    g, c, k = conv.groups, x.shape[-1] // conv.groups, dz.shape[-1] // conv.groups
    parts = merged(c, conv)
    m = g // parts
    blocks = [dense(*pair, conv._replace(groups=1)) for pair in zip(_split(x, parts), _split(dz, parts))]
    dw = jnp.stack(blocks, -2).reshape(*conv.window.size, m, c, parts, m, k)
    diagonal = jnp.stack([dw[..., i, :, :, i, :] for i in range(m)], -2)
    return diagonal.reshape(*conv.window.size, c, g * k)


def merged(channels: int, conv: Convolution) -> int:
    """Into how many groups: the most that are wide enough, and not too many."""
    g = conv.groups
    fit = [parts for parts in range(1, g + 1) if g % parts == 0 and parts <= MOST and g // parts * channels >= WIDTH]
    return max(fit, default=1)


def _each(dense, arrays, kernels, conv):
    return jnp.concatenate([dense(a, w, conv._replace(groups=1)) for a, w in zip(arrays, kernels)], -1)


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
