"""A convolution in three dimensions as one in two: the planes that a window sees, side by side in the channels.

    z[n, p₀, p₁, p₂, k] = Σ x′[(n,p₀), s·p₁ + d·i₁, s·p₂ + d·i₂, (i₀,c)] · w[i₁, i₂, (i₀,c), k]

with x′[(n,p₀), …, (i₀,c)] = x̃[n, s·p₀ + d·i₀, …, c]. Or each plane of x by itself, of which windows then sum

    z[n, p₀, p₁, p₂, k] = Σ_{i₀} z′[n, s·p₀ + d·i₀, p₁, p₂, (i₀,k)]

with z′[(n,a), …, (i₀,k)] = Σ x̃[(n,a), s·p₁ + d·i₁, s·p₂ + d·i₂, c] · w[i₁, i₂, c, (i₀,k)].
"""

import operator
from dataclasses import replace
from functools import reduce

import jax
import jax.numpy as jnp

from jaxcnn.algorithms.native import Algorithm
from jaxcnn.taps import cut_taps, read_taps
from jaxcnn.window import Convolution, Window


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and conv.window.dims == 3


def forward(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    w = jnp.moveaxis(w, 0, 2).reshape(*conv.window.size[1:], -1, w.shape[-1])
    z = dense(_planes(x, conv), w, _in_planes(conv))
    return z.reshape(x.shape[0], *conv.window.output, z.shape[-1])


def forward_in_sums(x: jax.Array, w: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    """The other way, with fewer copies where z has fewer channels than x."""
    *_, c, k = w.shape
    taps, first = conv.window.size[0], conv.window.separate()[-1]
    w = jnp.moveaxis(w, 0, 3).reshape(*conv.window.size[1:], c, taps * k)
    z = dense(x.reshape(-1, *x.shape[2:]), w, _in_planes(conv)).reshape(x.shape[0], *first.input, taps * k)
    return reduce(operator.add, (cut_taps(z[..., i * k : (i + 1) * k], first)(i) for i in range(taps)))


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    dw = dense(_planes(x, conv), dz.reshape(-1, *dz.shape[2:]), _in_planes(conv))
    dw = dw.reshape(*conv.window.size[1:], conv.window.size[0], x.shape[-1], dz.shape[-1])
    return jnp.moveaxis(dw, 2, 0)


def _planes(x, conv):
    """x′ (n·o₀, *plane, k₀·c)."""
    first = replace(conv.window.separate()[-1], input=conv.window.input)
    read = read_taps(x.astype(conv.accumulate), first, 0)
    planes = jnp.concatenate([read(tap) for tap in range(first.taps)], -1)
    return planes.reshape(-1, *planes.shape[2:])


def _in_planes(conv):
    window = conv.window
    return conv._replace(
        window=Window(
            *(value[1:] for value in (window.input, window.size, window.strides, window.pads, window.dilation))
        )
    )
