"""Convolutions: `lax.conv_general_dilated`."""

import math

import jax.numpy as jnp
from jax import lax
from jax.lax import conv_general_dilated

from jaxcnn.arguments import accumulator, channels_last, promote, to_ints, to_precision, to_result_dtype
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
    z = conv_general_dilated(
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
    z = conv_general_dilated(
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
