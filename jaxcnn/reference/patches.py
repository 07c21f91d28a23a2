"""Padding and patches: `jnp.pad` and indexing."""

import jax
import jax.numpy as jnp

from jaxcnn.arguments import channels_last, spatial_dims, to_ints
from jaxcnn.window import Window


def pad(x, padding, *, mode="constant", value=0, channel_axis=-1):
    """`jnp.pad`, cropped where the padding is negative."""
    entries = [padding] * (x.ndim - 2) if isinstance(padding, int) else padding
    pads = [(entry, entry) if isinstance(entry, int) else tuple(entry) for entry in entries]
    if len(pads) < x.ndim:
        channel = [(0, 0)] if channel_axis == -1 else []
        pads = [(0, 0)] * (x.ndim - len(pads) - len(channel)) + pads + channel
    options = {"constant_values": value} if mode == "constant" else {}
    y = jnp.pad(x, [(max(lo, 0), max(hi, 0)) for lo, hi in pads], mode=mode, **options)
    return y[tuple(slice(max(-lo, 0), a - max(-hi, 0)) for a, (lo, hi) in zip(y.shape, pads))]


def unfold(x, window, *, strides=1, padding="VALID", dilation=1, channel_axis=-1):
    """Indexing with the cells of every window."""
    x, restore = channels_last("unfold", x, spatial_dims("unfold", window, x), channel_axis)
    geometry = Window.of("unfold", x.shape[1:-1], window, strides=strides, padding=padding, dilation=dilation)
    cols = to_patches(x, geometry, 0)
    return restore(cols.reshape(*cols.shape[:-2], cols.shape[-2] * cols.shape[-1]))


def fold(cols, window, *, output_shape, strides=1, padding="VALID", dilation=1, channel_axis=-1):
    """The transpose of `unfold`, as autodiff gives it."""
    dims = spatial_dims("fold", window, cols)
    cols, restore = channels_last("fold", cols, dims, channel_axis)
    output_shape = to_ints("fold", "output_shape", output_shape, dims, minimum=0)
    geometry = Window.of("fold", output_shape, window, strides=strides, padding=padding, dilation=dilation)
    cells = cols.reshape(*cols.shape[:-1], cols.shape[-1] // geometry.taps, geometry.taps)
    origin = jax.ShapeDtypeStruct((cols.shape[0], *output_shape, cells.shape[-2]), cols.dtype)
    return restore(jax.linear_transpose(lambda x: to_patches(x, geometry, 0), origin)(cells)[0])


def to_patches(x, window: Window, fill):
    """The cells of each window on a last axis: (n, *output, c, taps)."""
    x = jnp.pad(x, [(0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in window.pads), (0, 0)], constant_values=fill)
    for dim in range(window.dims):
        cells = window.cells(dim) + max(window.pads[dim][0], 0)
        x = jnp.take(x, jnp.asarray(cells.T.reshape(-1)), axis=1 + dim)
        x = x.reshape(*x.shape[: 1 + dim], *cells.T.shape, *x.shape[2 + dim :])
        x = jnp.moveaxis(x, 1 + dim, -1)
    return x.reshape(*x.shape[: window.dims + 2], window.taps)
