"""The autodiff twin: the same names and signatures in lax and jnp, with no rule of our own.

A model that takes the module as an argument, `apply(params, x, ops=jaxcnn)`, is compared with autodiff by
`ops=jaxcnn.reference`. It also is the answer for plain forward mode (`jax.jvp`, `jax.jacfwd`). Arguments mean what they
mean in the function of the same name; this is the code that one writes without the library.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.arguments import (
    accumulator,
    channels_last,
    promote,
    spatial_dims,
    to_ints,
    to_precision,
    to_result_dtype,
)
from jaxcnn.window import Window, to_pairs


def conv(
    x,
    w,
    b=None,
    *,
    strides=1,
    padding="SAME",
    dilation=1,
    groups=1,
    channel_axis=-1,
    precision=None,
    preferred_element_type=None,
):
    x, w, b = promote(x, w, b)
    dims = w.ndim - 2
    batch, x = x.shape[: -1 - dims], x.reshape((math.prod(x.shape[: -1 - dims]), *x.shape[-1 - dims :]))
    letters = "HWD"[:dims]
    layout = f"N{letters}C" if channel_axis == -1 else f"NC{letters}"
    spatial = x.shape[1:-1] if channel_axis == -1 else x.shape[2:]
    window = Window.of("conv", spatial, w.shape[:-2], strides=strides, padding=padding, dilation=dilation)
    result = to_result_dtype("conv", preferred_element_type, x.dtype)
    compute = x.dtype if result == x.dtype else accumulator(x.dtype, result)
    z = lax.conv_general_dilated(
        x.astype(compute),
        w.astype(compute),
        window.strides,
        window.pads,
        rhs_dilation=window.dilation,
        dimension_numbers=(layout, f"{letters}IO", layout),
        feature_group_count=groups,
        precision=to_precision("conv", precision),
    )
    if b is not None:
        z = z + b.astype(compute).reshape((1, *(-1 if axis == "C" else 1 for axis in layout[1:])))
    return z.astype(result).reshape(batch + z.shape[1:])


def conv_transpose(
    x,
    w,
    b=None,
    *,
    strides=1,
    padding="SAME",
    output_padding=0,
    dilation=1,
    groups=1,
    channel_axis=-1,
    precision=None,
    preferred_element_type=None,
):
    """A convolution of x, dilated by the strides, with the flipped kernel, then cropped or padded."""
    x, w, b = promote(x, w, b)
    dims = w.ndim - 2
    x, restore = channels_last("conv_transpose", x, dims, channel_axis)
    strides = to_ints("conv_transpose", "strides", strides, dims, minimum=1)
    dilation = to_ints("conv_transpose", "dilation", dilation, dims, minimum=1)
    added = to_ints("conv_transpose", "output_padding", output_padding, dims, minimum=0)
    margins = [(k - 1) * d for k, d in zip(w.shape, dilation)]
    result = to_result_dtype("conv_transpose", preferred_element_type, x.dtype)
    compute = x.dtype if result == x.dtype else accumulator(x.dtype, result)
    letters = "HWD"[:dims]
    z = lax.conv_general_dilated(
        x.astype(compute),
        jnp.flip(w, range(dims)).astype(compute),
        (1,) * dims,
        [(margin, margin) for margin in margins],
        lhs_dilation=strides,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=groups,
        precision=to_precision("conv_transpose", precision),
    )
    crops = []
    for dim, (o, a, s, margin, more) in enumerate(zip(x.shape[1:], z.shape[1:], strides, margins, added)):
        name = padding.upper() if isinstance(padding, str) else None
        if name in ("SAME", "SAME_LOWER"):
            n, excess = o * s, max(0, margin + 1 - s)
            low = excess // 2 if name == "SAME" else excess - excess // 2
        else:
            named = {"VALID": (0, 0), "CAUSAL": (margin, 0)}
            low, high = named[name] if name else to_pairs("conv_transpose", padding, dims)[dim]
            n = max(0, (o - 1) * s + 1 + margin - low - high + more)
        crops.append((-low, n - a + low, 0))
    z = lax.pad(z, jnp.zeros((), z.dtype), [(0, 0, 0), *crops, (0, 0, 0)])
    if b is not None:
        z = z + b.astype(compute).reshape((1,) * (z.ndim - 1) + b.shape)
    return restore(z.astype(result))


def depthwise_conv(
    x,
    w,
    b=None,
    *,
    strides=1,
    padding="SAME",
    dilation=1,
    channel_axis=-1,
    precision=None,
    preferred_element_type=None,
):
    return conv(
        x,
        w,
        b,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=x.shape[-1 if channel_axis == -1 else 1 - w.ndim],
        channel_axis=channel_axis,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def separable_conv(
    x,
    w_depth,
    w_point,
    b=None,
    *,
    strides=1,
    padding="SAME",
    dilation=1,
    channel_axis=-1,
    precision=None,
    preferred_element_type=None,
):
    x, w_depth, w_point, b = promote(x, w_depth, w_point, b)
    both = {"channel_axis": channel_axis, "precision": precision, "preferred_element_type": preferred_element_type}
    h = depthwise_conv(x, w_depth, strides=strides, padding=padding, dilation=dilation, **both)
    w_point = w_point.reshape((1,) * (w_depth.ndim - 2) + w_point.shape[-2:])
    if h.dtype != x.dtype:
        h, w_point, b = (None if a is None else a.astype(accumulator(x.dtype, h.dtype)) for a in (h, w_point, b))
    return conv(h, w_point, b, **both)


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
    cells = _patches(x, geometry, lowest)
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
    cols = _patches(x, geometry, 0)
    return restore(cols.reshape(*cols.shape[:-2], cols.shape[-2] * cols.shape[-1]))


def fold(cols, window, *, output_shape, strides=1, padding="VALID", dilation=1, channel_axis=-1):
    """The transpose of `unfold`, as autodiff gives it."""
    dims = spatial_dims("fold", window, cols)
    cols, restore = channels_last("fold", cols, dims, channel_axis)
    output_shape = to_ints("fold", "output_shape", output_shape, dims, minimum=0)
    geometry = Window.of("fold", output_shape, window, strides=strides, padding=padding, dilation=dilation)
    cells = cols.reshape(*cols.shape[:-1], cols.shape[-1] // geometry.taps, geometry.taps)
    origin = jax.ShapeDtypeStruct((cols.shape[0], *output_shape, cells.shape[-2]), cols.dtype)
    return restore(jax.linear_transpose(lambda x: _patches(x, geometry, 0), origin)(cells)[0])


def _patches(x, window: Window, fill):
    """The cells of each window on a last axis: (n, *output, c, taps)."""
    x = jnp.pad(x, [(0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in window.pads), (0, 0)], constant_values=fill)
    for dim in range(window.dims):
        cells = window.cells(dim) + max(window.pads[dim][0], 0)
        x = jnp.take(x, jnp.asarray(cells.T.reshape(-1)), axis=1 + dim)
        x = x.reshape(*x.shape[: 1 + dim], *cells.T.shape, *x.shape[2 + dim :])
        x = jnp.moveaxis(x, 1 + dim, -1)
    return x.reshape(*x.shape[: window.dims + 2], window.taps)


def dense(x, w, b=None, *, precision=None, preferred_element_type=None):
    x, w, b = promote(x, w, b)
    result = to_result_dtype("dense", preferred_element_type, x.dtype)
    compute = x.dtype if result == x.dtype else accumulator(x.dtype, result)
    z = jnp.dot(x.astype(compute), w.astype(compute), precision=to_precision("dense", precision))
    return (z if b is None else z + b.astype(compute).reshape((1,) * (z.ndim - 1) + b.shape)).astype(result)


def relu(x):
    return jnp.where(x <= 0, jnp.zeros((), x.dtype), x)


def softmax_cross_entropy(logits, probabilities):
    logits, probabilities = promote(logits, probabilities)
    wide = logits.astype(accumulator(logits.dtype))
    log_p = wide - jax.nn.logsumexp(wide, -1, keepdims=True)
    return -jnp.sum(probabilities.astype(wide.dtype) * log_p, -1).astype(logits.dtype)


def softmax_cross_entropy_with_integer_labels(logits, labels):
    wide = logits.astype(accumulator(logits.dtype))
    right = jnp.take_along_axis(wide, labels[..., None].astype(jnp.int32), -1, mode="fill")[..., 0]
    return (jax.nn.logsumexp(wide, -1) - right).astype(logits.dtype)
