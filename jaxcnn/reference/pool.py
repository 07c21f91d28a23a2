"""Pools: `lax.reduce_window`, and gathered patches where that has no gradient."""

import jax.numpy as jnp
from jax import lax

from jaxcnn.arguments import accumulator, channels_last, spatial_dims
from jaxcnn.reference.patches import to_patches
from jaxcnn.window import Window


def max_pool(x, window, *, strides=None, padding="VALID", dilation=1, ceil_mode=False, ties="first", channel_axis=-1):
    """`lax.reduce_window`; a maximum over gathered patches where that has no gradient (dilation) or choice (ties)."""
    x, restore = channels_last("max_pool", x, spatial_dims("max_pool", window, x), channel_axis)
    geometry = Window.of(
        "max_pool",
        x.shape[1:-1],
        window,
        strides=window if strides is None else strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    if ties == "first" and set(geometry.dilation) == {1}:
        size, strides = (1, *geometry.size, 1), (1, *geometry.strides, 1)
        x, pads = _crop(x, geometry.pads)
        return restore(lax.reduce_window(x, lowest, lax.max, size, strides, pads))
    cells = to_patches(x, geometry, lowest)
    if ties == "first":
        first = jnp.argmax(cells, -1, keepdims=True)
        return restore(jnp.take_along_axis(cells, first, -1)[..., 0])
    if ties == "even":
        return restore(jnp.max(cells, -1))
    top = lax.stop_gradient(jnp.max(cells, -1, keepdims=True))
    every = (cells == top) & jnp.isfinite(cells)
    return restore(top[..., 0] + jnp.sum(jnp.where(every, cells - lax.stop_gradient(cells), 0), -1))


def avg_pool(
    x,
    window,
    *,
    strides=None,
    padding="VALID",
    dilation=1,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
    channel_axis=-1,
):
    """`lax.reduce_window` of the values, over that of a mask of what counts."""
    x, restore = channels_last("avg_pool", x, spatial_dims("avg_pool", window, x), channel_axis)
    options = {"strides": window if strides is None else strides, "dilation": dilation}
    explicit = Window.of("avg_pool", x.shape[1:-1], window, padding=padding, **options)
    geometry = Window.of("avg_pool", x.shape[1:-1], window, padding=padding, ceil_mode=ceil_mode, **options)

    def sums(x, pads):
        size, strides, dilation = ((1, *ints, 1) for ints in (geometry.size, geometry.strides, geometry.dilation))
        x, pads = _crop(x, pads)
        return lax.reduce_window(x, 0.0, lax.add, size, strides, pads, window_dilation=dilation)

    wide = x.astype(accumulator(x.dtype))
    counted, overhang = jnp.ones((1, *geometry.input, 1), wide.dtype), geometry.pads
    if count_include_pad:
        grown = [(max(lo, 0), max(hi, 0)) for lo, hi in explicit.pads]
        counted = jnp.pad(counted, [(0, 0), *grown, (0, 0)], constant_values=1)
        overhang = tuple((lo - low, hi - high) for (lo, hi), (low, high) in zip(geometry.pads, grown))
    count = divisor_override or jnp.maximum(sums(counted, overhang), 1)
    return restore((sums(wide, geometry.pads) / count).astype(x.dtype))


def _crop(x, pads):
    """x (n, *spatial, c) without what negative pads crop, and the pads of all axes that remain."""
    crop = (slice(max(-lo, 0), a - max(-hi, 0)) for a, (lo, hi) in zip(x.shape[1:-1], pads))
    return x[(slice(None), *crop)], ((0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in pads), (0, 0))
