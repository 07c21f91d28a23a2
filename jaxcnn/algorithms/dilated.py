"""A dilated convolution with stride 1 as a dense one: of d interleaved images in each dimension, each an example.

With p = d·m + r, and p + d·i = d·(m + i) + r,

    z[n, d·m + r, k] = Σ_{i,c} x′[(n,r), m + i, c] · w[i,c,k]         x′[(n,r), m, c] = x̃[n, d·m + r, c]

so no kernel is stretched, and what is fast for dense windows alone serves dilated ones.
"""

import math

import jax
from jax import lax

from jaxcnn.algorithms.native import Algorithm
from jaxcnn.taps import interleave
from jaxcnn.window import Convolution, Window


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and max(conv.window.strides) == 1 and max(conv.window.dilation) > 1


def dense_form(conv: Convolution) -> Convolution:
    """Of x′: without pads, for as many outputs in every image."""
    window, ones, none = conv.window, (1,) * conv.window.dims, ((0, 0),) * conv.window.dims
    cells = tuple(-(-o // d) + k - 1 for o, d, k in zip(window.output, window.dilation, window.size))
    return conv._replace(window=Window(cells, window.size, ones, none, ones))


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    z = dense(_images(x, conv), w, dense_form(conv))
    d, cells = conv.window.dilation, z.shape[1:-1]
    z = z.reshape(x.shape[0], *d, *cells, z.shape[-1])
    pairs = interleave((1 + len(d) + dim, 1 + dim) for dim in range(len(d)))
    z = z.transpose(0, *pairs, z.ndim - 1).reshape(x.shape[0], *(m * r for m, r in zip(cells, d)), z.shape[-1])
    return z[(slice(None), *map(slice, conv.window.output))]


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    form = dense_form(conv)
    pads = [(0, d * m - o) for d, m, o in zip(conv.window.dilation, form.window.output, conv.window.output)]
    return dense(_images(x, conv), _split(dz, pads, conv), form)


def _images(x, conv):
    """x′ (n·∏d, *cells, c)."""
    window, form = conv.window, dense_form(conv).window
    ends = zip(window.input, window.dilation, form.input, window.pads)
    return _split(x, [(lo, d * m - a - lo) for a, d, m, (lo, _) in ends], conv)


def _split(a, pads, conv):
    a, d = a.astype(conv.accumulate), conv.window.dilation
    a = lax.pad(a, a.dtype.type(0), [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)])
    cells = [size // r for size, r in zip(a.shape[1:-1], d)]
    images = a.reshape(a.shape[0], *interleave(zip(cells, d)), a.shape[-1])
    places, within = ([start + 2 * dim for dim in range(len(d))] for start in (1, 2))
    images = images.transpose(0, *within, *places, images.ndim - 1)
    return images.reshape(a.shape[0] * math.prod(d), *cells, a.shape[-1])
