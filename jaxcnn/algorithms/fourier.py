"""Depthwise convolution with large windows by the convolution theorem: as many operations for any size of the window.

With F the transform over space of arrays filled up with zeros, u = dz with s − 1 zeros between its cells and w with
d − 1 between its taps,

    F z̃ = F x · (F w)*          z[p]  = z̃[s·p − lo]
    F x̄ = F u · F w             dx[a] = x̄[a + lo]
    F w̃ = Σ_n F x · (F u)*      dw[i] = w̃[d·i − lo]

The transform is circular: its size is one at which nothing that comes round reaches a cell that is read.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.window import Convolution

TAPS = 64  # that read or reach a cell; fewer are faster summed one by one


def fits(conv: Convolution) -> bool:
    """Of a depthwise convolution."""
    return conv.window.taps > TAPS and bool(jnp.issubdtype(conv.accumulate, jnp.floating))


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    window, k = conv.window, w.shape[-1]
    size = _size(conv)
    z = _transform(x, size, conv, repeat=k // conv.groups) * jnp.conj(_transform_kernel(w, size, conv))
    starts = [-lo for lo, _ in window.pads]
    return _read(z, size, starts, window.strides, window.output)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    window, k, size = conv.window, w.shape[-1], _size(conv)
    dx = _transform(dz, size, conv, spread=window.strides) * _transform_kernel(w, size, conv)
    dx = dx.reshape(dx.shape[0], conv.groups, k // conv.groups, *dx.shape[2:]).sum(2)
    lows = [max(0, -lo) for lo, _ in window.pads]  # what no window reaches gets zeros, and not almost zeros
    reach = [
        (o - 1) * s + e - lo for o, s, e, (lo, _) in zip(window.output, window.strides, window.extent, window.pads)
    ]
    counts = [max(0, min(a, end) - low) for a, end, low in zip(window.input, reach, lows)]
    starts = [low + lo for low, (lo, _) in zip(lows, window.pads)]
    dx = _read(dx, size, starts, (1,) * window.dims, counts)
    around = [(low, a - low - count, 0) for a, low, count in zip(window.input, lows, counts)]
    return lax.pad(dx, jnp.zeros((), dx.dtype), [(0, 0, 0), *around, (0, 0, 0)])


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    window, k, size = conv.window, dz.shape[-1], _size(conv)
    spread = _transform(dz, size, conv, spread=window.strides)
    dw = jnp.sum(_transform(x, size, conv, repeat=k // conv.groups) * jnp.conj(spread), 0, keepdims=True)
    starts = [-lo for lo, _ in window.pads]
    return jnp.moveaxis(_read(dw, size, starts, window.dilation, window.size), 0, -2)


def _size(conv: Convolution) -> list[int]:
    """The least product of small primes that is large enough, for each dimension."""
    window = conv.window
    spread = [(o - 1) * s + 1 for o, s in zip(window.output, window.strides)]
    dims = zip(window.input, spread, window.extent, window.pads)
    return [_smooth(max(a + max(lo, 0), u + e - 1 - min(lo, e - 1), u, e)) for a, u, e, (lo, _) in dims]


def _smooth(least: int) -> int:
    def is_smooth(n):
        for prime in (2, 3, 5):
            while n % prime == 0:
                n //= prime
        return n == 1

    return next(n for n in range(least, 2 * least + 1) if is_smooth(n))


def _transform(a: jax.Array, size: Sequence[int], conv: Convolution, spread: Sequence[int] | None = None, repeat=1):
    """F a (n, channels, *frequencies), of a (n, *spatial, channels)."""
    a = jnp.moveaxis(a.astype(conv.accumulate), -1, 1)
    if spread is not None and max(spread) > 1:
        a = lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0), (0, 0, 0), *((0, 0, s - 1) for s in spread)])
    a = jnp.fft.rfftn(a, size, range(2, a.ndim))
    return a if repeat == 1 else jnp.repeat(a, repeat, 1)


def _transform_kernel(w, size, conv):
    return _transform(jnp.moveaxis(w, -2, 0), size, conv, spread=conv.window.dilation)


def _read(transformed, size, starts, steps, counts):
    """The cells start + step · 0, 1, … of the circle, (n, *counts, channels)."""
    a = jnp.fft.irfftn(transformed, size, range(2, transformed.ndim))
    a = jnp.roll(a, [-start for start in starts], range(2, a.ndim))
    ends = [max(0, (count - 1) * step + 1) for count, step in zip(counts, steps)]
    return jnp.moveaxis(lax.slice(a, (0,) * a.ndim, (*a.shape[:2], *ends), (1, 1, *steps)), 1, -1)
