"""A convolution in three dimensions as one in two: the planes that a window sees, side by side in the channels.

    z[n, p₀, p₁, p₂, k] = Σ x′[(n,p₀), s·p₁ + d·i₁, s·p₂ + d·i₂, (i₀,c)] · w[i₁, i₂, (i₀,c), k]

with x′[(n,p₀), …, (i₀,c)] = x̃[n, s·p₀ + d·i₀, …, c]. Or each plane of x by itself, of which windows then sum

    z[n, p₀, p₁, p₂, k] = Σ_{i₀} z′[n, s·p₀ + d·i₀, p₁, p₂, (i₀,k)]

with z′[(n,a), …, (i₀,k)] = Σ x̃[(n,a), s·p₁ + d·i₁, s·p₂ + d·i₂, c] · w[i₁, i₂, c, (i₀,k)].
"""

import math
import operator
from dataclasses import replace
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms.chunks import sum_strips
from jaxcnn.algorithms.native import Algorithm
from jaxcnn.memory import examples, parallel_step, parallel_zero
from jaxcnn.taps import read_taps
from jaxcnn.window import Convolution, Window

CHUNK = 3e6  # bytes of what is summed, at a time
LARGE = 2e6  # bytes of an output plane, and of x that it reads, that go by themselves


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and conv.window.dims == 3


def fits_in_sums(conv: Convolution) -> bool:
    """Where every plane of x counts, and its convolution is a dense one."""
    return fits(conv) and conv.window.strides[0] == max(conv.window.dilation) == 1


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    w = jnp.moveaxis(w, 0, 2).reshape(*conv.window.size[1:], -1, w.shape[-1])
    z = dense(_planes(x, conv), w, _in_planes(conv))
    return z.reshape(x.shape[0], *conv.window.output, z.shape[-1])


def forward_in_sums(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    """The other way, a few planes of x at a time: 3×3×3 of (1,16,56,56,64) 38 (36) ms, 25 MB, at once 46 (46), 49."""
    window, (*_, c, k), (n, planes, *_) = conv.window, w.shape, x.shape
    taps, reach, step, dilation = window.size[0], window.extent[0] - 1, window.strides[0], window.dilation[0]
    w = jnp.moveaxis(w, 0, 3).reshape(*window.size[1:], c, taps * k)

    def of_planes(x):
        """What planes of x give to all that they reach: (n, planes + reach, …, k)."""
        z = dense(x.reshape(-1, *x.shape[2:]), w, _in_planes(conv)).reshape(*x.shape[:2], *window.output[1:], -1)
        at = lambda i: _pad_planes(z[..., i * k : (i + 1) * k], reach - dilation * i, dilation * i)
        return reduce(operator.add, map(at, range(taps)))

    def add_some(i, z):
        first = parallel_step(i) * together
        part = of_planes(lax.dynamic_slice_in_dim(x, first, together, 1))
        part += lax.dynamic_slice_in_dim(z, first, together + reach, 1)
        return lax.dynamic_update_slice_in_dim(z, part, first, 1)

    of_one = math.prod(window.output[1:]) * taps * k * conv.accumulate.itemsize
    most = examples(CHUNK, of_one * n if isinstance(n, int) else of_one)
    together = max(size for size in range(1, planes + 1) if planes % size == 0 and size <= most)
    if together == planes:
        z = of_planes(x)
    else:
        zero = parallel_zero(x).astype(conv.accumulate)
        z = jnp.broadcast_to(zero, (n, planes + reach, *window.output[1:], k))
        z = lax.fori_loop(0, planes // together, add_some, z)
    before = window.pads[0][0] - reach
    z = _pad_planes(z, before, (window.output[0] - 1) * step + 1 - before - z.shape[1])
    return z[:, ::step]


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    """Large planes of z one by one: (1,16,56,56,64), 3×3×3, 55 (53) ms and 15 MB, at once 70 (77) and 65."""

    def of_planes(x, dz, conv):
        dw = dense(_planes(x, conv), dz.reshape(-1, *dz.shape[2:]), _in_planes(conv))
        dw = dw.reshape(*conv.window.size[1:], conv.window.size[0], x.shape[-1], dz.shape[-1])
        return jnp.moveaxis(dw, 2, 0)

    channels = conv.window.size[0] * x.shape[-1] + dz.shape[-1]
    of_one = math.prod(dz.shape[2:-1]) * channels * conv.accumulate.itemsize
    return sum_strips(of_planes, x, dz, conv, 1 if of_one > LARGE else dz.shape[1])


def _planes(x, conv):
    """x′ (n·o₀, *plane, k₀·c)."""
    first = replace(conv.window.separate()[-1], input=conv.window.input)
    read = read_taps(x.astype(conv.accumulate), first, 0)
    planes = jnp.concatenate([read(tap) for tap in range(first.taps)], -1)
    return planes.reshape(-1, *planes.shape[2:])


def _pad_planes(a, before, after):
    """Pads (or crops) the first dimension."""
    return lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0), (before, after, 0), *[(0, 0, 0)] * (a.ndim - 2)])


def _in_planes(conv):
    window = conv.window
    return conv._replace(
        window=Window(
            *(value[1:] for value in (window.input, window.size, window.strides, window.pads, window.dilation))
        )
    )
