"""A strided convolution as a dense one over blocks of cells (space to depth): for few channels.

With a = s·m + r and i = s·t + r, phases r beside the channels,

    z[p,k] = Σ_{t,r,c} x′[p + t, (r,c)] · w′[t, (r,c), k]         x′[m, (r,c)] = x̃[s·m + r, c]

has stride 1, ⌈k/s⌉ taps and s-fold channels per dimension; w′ is cut likewise from w, filled up with zeros. Both are
linear, so the gradients are those of x′ and w′ put back in their places.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.native import Algorithm
from jaxcnn.taps import interleave
from jaxcnn.window import Convolution, Window


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and max(conv.window.strides) > 1 and max(conv.window.dilation) == 1


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    return dense(_input(x, conv), _kernel(w, conv), dense_form(conv))


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    blocks = dense(dz, _kernel(w, conv), dense_form(conv))
    return _to_space(blocks, _input_pads(conv), 1, dense_form(conv).window.input, conv.window.strides)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    blocks = dense(_input(x, conv), dz.astype(conv.accumulate), dense_form(conv))
    return _to_space(blocks, _kernel_pads(conv), 0, dense_form(conv).window.size, conv.window.strides)


def dense_form(conv: Convolution) -> Convolution:
    window = conv.window
    taps = tuple(-(-k // s) for k, s in zip(window.size, window.strides))
    ones, none = (1,) * window.dims, ((0, 0),) * window.dims
    cells = tuple(o + t - 1 for o, t in zip(window.output, taps))
    return conv._replace(window=Window(cells, taps, ones, none, ones))


def _input_pads(conv):
    window, blocks = conv.window, dense_form(conv).window.input
    ends = zip(window.input, blocks, window.strides, window.pads)
    return [(0, 0), *((lo, m * s - a - lo) for a, m, s, (lo, _) in ends), (0, 0)]


def _kernel_pads(conv):
    window, taps = conv.window, dense_form(conv).window.size
    return [*((0, t * s - k) for t, s, k in zip(taps, window.strides, window.size)), (0, 0), (0, 0)]


def _input(x, conv):
    """x′ (n, *blocks, strides · c)."""
    cells = dense_form(conv).window.input
    return _to_depth(x.astype(conv.accumulate), _input_pads(conv), 1, cells, conv.window.strides)


def _kernel(w, conv):
    """w′ (*taps, strides · c, k)."""
    taps = dense_form(conv).window.size
    return _to_depth(w.astype(conv.accumulate), _kernel_pads(conv), 0, taps, conv.window.strides)


def _to_depth(a, pads, first, blocks, strides):
    """Pads, then moves the place within a block, of the axes from `first` on, to the channels after them."""
    a = lax.pad(a, jnp.zeros((), a.dtype), [(lo, hi, 0) for lo, hi in pads])
    dims, before, after = len(blocks), a.shape[:first], a.shape[first + len(blocks) :]
    a = a.reshape(*before, *interleave(zip(blocks, strides)), *after)
    places, within = ([first + start + 2 * dim for dim in range(dims)] for start in (0, 1))
    a = a.transpose(*range(first), *places, *within, *range(first + 2 * dims, a.ndim))
    return a.reshape(*before, *blocks, -1, *after[1:])


def _to_space(a, pads, first, blocks, strides):
    """The way back, and at once the adjoint, as nothing is moved to two places."""
    dims, before, after = len(blocks), a.shape[:first], a.shape[first + len(blocks) + 1 :]
    a = a.reshape(*before, *blocks, *strides, a.shape[first + dims] // math.prod(strides), *after)
    pairs = interleave((first + dim, first + dims + dim) for dim in range(dims))
    a = a.transpose(*range(first), *pairs, *range(first + 2 * dims, a.ndim))
    a = a.reshape(*before, *(m * s for m, s in zip(blocks, strides)), *a.shape[first + 2 * dims :])
    return lax.pad(a, jnp.zeros((), a.dtype), [(-lo, -hi, 0) for lo, hi in pads])
