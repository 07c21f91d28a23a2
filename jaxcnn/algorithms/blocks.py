"""A strided convolution as a dense one over blocks of cells (space to depth): for few channels.

With a = s·m + r and i = s·t + r, phases r beside the channels,

    z[p,k] = Σ_{t,r,c} x′[p + t, (r,c)] · w′[t, (r,c), k]         x′[m, (r,c)] = x̃[s·m + r, c]

has stride 1, ⌈k/s⌉ taps and s-fold channels per dimension; w′ is cut likewise from w, filled up with zeros. Both are
linear, so the gradients are those of x′ and w′ put back in their places.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.native import Algorithm
from jaxcnn.taps import interleave
from jaxcnn.window import Convolution, Window


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and max(conv.window.strides) > 1 and max(conv.window.dilation) == 1


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    return dense(_input(x, conv), _kernel(w, conv), _dense(conv))


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    x = jax.ShapeDtypeStruct((dz.shape[0], *conv.window.input, w.shape[-2]), conv.accumulate)
    (dx,) = jax.linear_transpose(lambda x: _input(x, conv), x)(dense(dz, _kernel(w, conv), _dense(conv)))
    return dx


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    w = jax.ShapeDtypeStruct((*conv.window.size, x.shape[-1], dz.shape[-1]), conv.accumulate)
    (dw,) = jax.linear_transpose(lambda w: _kernel(w, conv), w)(dense(_input(x, conv), dz, _dense(conv)))
    return dw


def _dense(conv):
    window = conv.window
    taps = tuple(-(-k // s) for k, s in zip(window.size, window.strides))
    ones, none = (1,) * window.dims, ((0, 0),) * window.dims
    cells = tuple(o + t - 1 for o, t in zip(window.output, taps))
    return conv._replace(window=Window(cells, taps, ones, none, ones))


def _input(x, conv):
    """x′ (n, *blocks, strides · c)."""
    window, blocks = conv.window, _dense(conv).window.input
    pads = [(lo, m * s - a - lo) for a, m, s, (lo, _) in zip(window.input, blocks, window.strides, window.pads)]
    return _to_depth(x.astype(conv.accumulate), [(0, 0), *pads, (0, 0)], 1, blocks, window.strides)


def _kernel(w, conv):
    """w′ (*taps, strides · c, k)."""
    window, taps = conv.window, _dense(conv).window.size
    pads = [(0, t * s - k) for t, s, k in zip(taps, window.strides, window.size)]
    return _to_depth(w.astype(conv.accumulate), [*pads, (0, 0), (0, 0)], 0, taps, window.strides)


def _to_depth(a, pads, first, blocks, strides):
    """Pads, then moves the place within a block, of the axes from `first` on, to the channels after them."""
    a = lax.pad(a, jnp.zeros((), a.dtype), [(lo, hi, 0) for lo, hi in pads])
    dims, before, after = len(blocks), a.shape[:first], a.shape[first + len(blocks) :]
    a = a.reshape(*before, *interleave(zip(blocks, strides)), *after)
    places, within = ([first + start + 2 * dim for dim in range(dims)] for start in (0, 1))
    a = a.transpose(*range(first), *places, *within, *range(first + 2 * dims, a.ndim))
    return a.reshape(*before, *blocks, -1, *after[1:])
