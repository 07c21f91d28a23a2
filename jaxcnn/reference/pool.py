"""Pools: `lax.reduce_window`, and gathered patches where that has no gradient."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import reduce_window

from jaxcnn.arguments import accumulator, channels_last, spatial_dims, to_ints
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
        return restore(reduce_window(x, lowest, lax.max, size, strides, pads))
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
        return reduce_window(x, 0.0, lax.add, size, strides, pads, window_dilation=dilation)

    wide = x.astype(accumulator(x.dtype))
    counted, overhang = jnp.ones((1, *geometry.input, 1), wide.dtype), geometry.pads
    if count_include_pad:
        grown = [(max(lo, 0), max(hi, 0)) for lo, hi in explicit.pads]
        counted = jnp.pad(counted, [(0, 0), *grown, (0, 0)], constant_values=1)
        overhang = tuple((lo - low, hi - high) for (lo, hi), (low, high) in zip(geometry.pads, grown))
    count = divisor_override or jnp.maximum(sums(counted, overhang), 1)
    return restore((sums(wide, geometry.pads) / count).astype(x.dtype))


def sum_pool(x, window, *, strides=None, padding="VALID", dilation=1, ceil_mode=False, channel_axis=-1):
    options = {"strides": strides, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x, restore = channels_last("sum_pool", x, spatial_dims("sum_pool", window, x), channel_axis)
        options["strides"] = window if strides is None else strides
        cells = to_patches(x, Window.of("sum_pool", x.shape[1:-1], window, **options), 0)
        return restore(jnp.sum(cells, -1, dtype=x.dtype))
    wide = x.astype(accumulator(x.dtype))
    return avg_pool(wide, window, divisor_override=1, channel_axis=channel_axis, **options).astype(x.dtype)


def lp_pool(x, window, *, p=2, strides=None, padding="VALID", dilation=1, ceil_mode=False, channel_axis=-1):
    """A sum of powers; where it is 0 its root has no slope, and autodiff would give NaN."""
    options = {"strides": strides, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    wide = x.astype(accumulator(x.dtype))
    size = wide * jnp.sign(wide)  # as jnp.abs, whose derivative at 0 is 1
    total = sum_pool(size**p, window, channel_axis=channel_axis, **options)
    return jnp.where(total == 0, 0, jnp.where(total == 0, 1, total) ** (1 / p)).astype(x.dtype)


def min_pool(x, window, *, strides=None, padding="VALID", dilation=1, ceil_mode=False, ties="first", channel_axis=-1):
    reverse = jnp.negative if jnp.issubdtype(x.dtype, jnp.floating) else jnp.invert
    options = {"strides": strides, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode, "ties": ties}
    return reverse(max_pool(reverse(x), window, channel_axis=channel_axis, **options))


def max_pool_with_indices(x, window, *, strides=None, padding="VALID", dilation=1, ceil_mode=False, channel_axis=-1):
    """The first maximum among the gathered cells that have a place in x."""
    x, restore = channels_last(
        "max_pool_with_indices", x, spatial_dims("max_pool_with_indices", window, x), channel_axis
    )
    options = {"strides": window if strides is None else strides, "padding": padding, "dilation": dilation}
    geometry = Window.of("max_pool_with_indices", x.shape[1:-1], window, ceil_mode=ceil_mode, **options)
    cells = to_patches(x, geometry, -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min)
    plane = jnp.arange(math.prod(geometry.input), dtype=jnp.int32).reshape(1, *geometry.input, 1)
    places = to_patches(plane, geometry, -1)
    highest = jnp.max(cells, -1, keepdims=True)
    first = jnp.argmax((places >= 0) & ((cells == highest) | jnp.isnan(cells)), -1, keepdims=True)
    y = jnp.take_along_axis(cells, first, -1)[..., 0]
    return restore(y), restore(jnp.take_along_axis(jnp.broadcast_to(places, cells.shape), first, -1)[..., 0])


def max_unpool(y, indices, *, output_shape, channel_axis=-1):
    dims = spatial_dims("max_unpool", output_shape, y)
    output_shape = to_ints("max_unpool", "output_shape", output_shape, dims, minimum=0)
    y, restore = channels_last("max_unpool", y, dims, channel_axis)
    indices, _ = channels_last("max_unpool", indices, dims, channel_axis)
    cells, pooled = math.prod(output_shape), math.prod(y.shape[1:-1])

    def plane(y, indices):
        return jnp.zeros(cells, y.dtype).at[jnp.where(indices < 0, cells, indices)].set(y, mode="drop")

    every = jax.vmap(jax.vmap(plane, -1, -1))
    x = every(y.reshape(y.shape[0], pooled, y.shape[-1]), indices.reshape(y.shape[0], pooled, y.shape[-1]))
    return restore(x.reshape(y.shape[0], *output_shape, y.shape[-1]))


def adaptive_avg_pool(x, output_shape, *, channel_axis=-1):
    mean = lambda cells: jnp.mean(cells.astype(accumulator(x.dtype)), 1).astype(x.dtype)
    return _adaptive("adaptive_avg_pool", mean, x, output_shape, channel_axis)


def adaptive_max_pool(x, output_shape, *, channel_axis=-1):
    first = lambda cells: jnp.take_along_axis(cells, jnp.argmax(cells, 1, keepdims=True), 1)[:, 0]
    return _adaptive("adaptive_max_pool", first, x, output_shape, channel_axis)


def _adaptive(function, pool, x, output_shape, channel_axis):
    """A slice of x for every output, in row-major order, its cells on axis 1."""
    dims = spatial_dims(function, output_shape, x)
    output_shape = to_ints(function, "output_shape", output_shape, dims, minimum=0)
    x, restore = channels_last(function, x, dims, channel_axis)
    windows = [[slice(i * n // o, -(-(i + 1) * n // o)) for i in range(o)] for n, o in zip(x.shape[1:-1], output_shape)]
    cells = [x[(slice(None), *window)] for window in itertools.product(*windows)]
    pooled = [pool(part.reshape(x.shape[0], math.prod(part.shape[1:-1]), x.shape[-1])) for part in cells]
    y = jnp.stack(pooled, 1) if pooled else jnp.zeros((x.shape[0], 0, x.shape[-1]), x.dtype)
    return restore(y.reshape(x.shape[0], *output_shape, x.shape[-1]))


def global_avg_pool(x, *, keepdims=False, channel_axis=-1):
    axes = tuple(range(1, x.ndim - 1)) if channel_axis == -1 else tuple(range(2, x.ndim))
    return jnp.mean(x.astype(accumulator(x.dtype)), axes, keepdims=keepdims).astype(x.dtype)


def global_max_pool(x, *, keepdims=False, channel_axis=-1):
    x, restore = channels_last("global_max_pool", x, x.ndim - 2, channel_axis)
    flat = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
    y = jnp.take_along_axis(flat, jnp.argmax(flat, 1, keepdims=True), 1)
    return restore(y.reshape(x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])) if keepdims else y[:, 0]


def _crop(x, pads):
    """x (n, *spatial, c) without what negative pads crop, and the pads of all axes that remain."""
    crop = (slice(max(-lo, 0), a - max(-hi, 0)) for a, (lo, hi) in zip(x.shape[1:-1], pads))
    return x[(slice(None), *crop)], ((0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in pads), (0, 0))
