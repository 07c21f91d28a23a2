"""The three maps as one `lax.conv_general_dilated` each, in the layouts that GPUs and TPUs know as gradients.

Axes are exchanged by naming them, so that nothing is transposed, and XLA takes the calls for cuDNN's convForward,
convBackwardInput and convBackwardFilter. Of 16-bit operands the result has 16 bits too, as libraries want it: their
matrix units sum in float32 and round once.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import conv_general_dilated

from jaxcnn.window import Convolution

Layout = tuple[int, ...]  # where an array has its batch and channels (a kernel: output and input channels), then space


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    window = conv.window
    layouts = _channels_last(x.ndim), _kernel(x.ndim), _channels_last(x.ndim)
    return _convolve(
        x, w, conv, layouts, window.pads, strides=window.strides, dilation=window.dilation, groups=conv.groups
    )


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """dz, dilated by the strides, with the flipped kernel, its channel axes exchanged within each group."""
    window, g = conv.window, conv.groups
    *size, c, k = w.shape
    if g > 1:
        w = jnp.moveaxis(w.reshape(*size, c, g, k // g), -2, -3).reshape(*size, g * c, k // g)
    w = jnp.flip(w, range(window.dims))  # last, so that XLA sees it
    layouts = _channels_last(dz.ndim), _exchange(_kernel(dz.ndim)), _channels_last(dz.ndim)
    return _convolve(
        dz, w, conv, layouts, window.input_gradient_pads, spread=window.strides, dilation=window.dilation, groups=g
    )


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """x with dz as its kernel, strides and dilation exchanged: channels in the place of the batch, the batch summed."""
    window = conv.window
    exchanged = _exchange(_channels_last(x.ndim))
    layouts = exchanged, exchanged, _exchange(_kernel(x.ndim))
    return _convolve(
        x,
        dz,
        conv,
        layouts,
        window.kernel_gradient_pads,
        strides=window.dilation,
        dilation=window.strides,
        batch_groups=conv.groups,
    )


def _channels_last(ndim: int) -> Layout:
    return (0, ndim - 1, *range(1, ndim - 1))


def _kernel(ndim: int) -> Layout:
    return (ndim - 1, ndim - 2, *range(ndim - 2))


def _exchange(layout: Layout) -> Layout:
    first, second, *spatial = layout
    return (second, first, *spatial)


def _convolve(lhs, rhs, conv, layouts, pads, *, strides=None, spread=None, dilation, groups=1, batch_groups=1):
    compute = lhs.dtype if lhs.dtype == rhs.dtype == conv.result else conv.accumulate
    result = conv_general_dilated(
        lhs.astype(compute),
        rhs.astype(compute),
        strides or (1,) * conv.window.dims,
        pads,
        lhs_dilation=spread,
        rhs_dilation=dilation,
        dimension_numbers=lax.ConvDimensionNumbers(*layouts),
        feature_group_count=groups,
        batch_group_count=batch_groups,
        precision=conv.precision,
    )
    return result.astype(conv.accumulate)
