"""The three maps as one `lax.conv_general_dilated` each, as a CPU wants them written: fits every window.

Operands and results are always written channels-last (NHWC, HWIO), transposed explicitly where a gradient needs it. The
layouts that autodiff writes instead (CHWN, HWOI) fall off the fast path of the CPU backend inside a loop.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import conv_general_dilated

from jaxcnn.algorithms import columns
from jaxcnn.algorithms.chunks import bytes_of_pair, sum_chunks
from jaxcnn.memory import are_one, examples, map_chunks
from jaxcnn.window import Convolution

CHUNK = 8e6  # bytes of columns made at a time
LARGE = 1.2e6  # bytes of an example of x and dz
Algorithm = Callable[[jax.Array, jax.Array, Convolution], jax.Array]


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    window = conv.window
    return _convolve(x, w, conv, strides=window.strides, pads=window.pads, rhs_dilation=window.dilation)


def taller(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """`forward` with more rows of output than input has, which are cut off again.

    The XLA of JAX 0.10 hands a convolution in the plane to a library that takes one core for it, unless it grows.
    """
    window = conv.window
    (low, high), *pads = window.pads
    high += max(0, window.input[0] + 1 - window.output[0])
    z = forward(x, w, conv._replace(window=replace(window, pads=((low, high), *pads))))
    return z[:, : window.output[0]]


def in_chunks(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """`forward` for a few examples at a time, of which that library makes columns: 32 MB are new memory for each call.

    5×5 of 64 to 32 channels, (16,28,28), without pads 11 ms, at once 45; 7×7/2 of 96 to 24, (32,47,47), 49 and 198.
    """
    return map_chunks(lambda x: forward(x, w, conv), examples(CHUNK, columns.size((1, *x.shape[1:]), conv)), x)


def on_one_core(conv: Convolution, c: int, k: int) -> bool:
    """Whether `forward` is: planar, and wide enough for the library that `taller` avoids."""
    return jax.__version_info__ < (0, 11) and _in_library(conv) and max(c, k) > 16


def on_all_cores(conv: Convolution) -> bool:
    """Whether `forward` is: planar, in the library of JAX 0.11 and later, which holds no columns."""
    return jax.__version_info__ >= (0, 11) and _in_library(conv)


def sums_on_all_cores(conv: Convolution) -> bool:
    """Whether `kernel_gradient` is: with more than one column. 5×1/2 of 48 to 96, (16,28,28): 5.5 ms, columns 2.5."""
    return on_all_cores(conv) and conv.window.size[-1] > 1


def _in_library(conv):
    floats = jnp.issubdtype(conv.accumulate, jnp.floating)
    return conv.window.dims == 2 and conv.groups == 1 and floats


def grows(conv: Convolution) -> bool:
    """Whether `taller` adds little to compute."""
    window = conv.window
    return max(window.strides) == 1 and window.input[0] - window.output[0] < window.output[0] // 8


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """dz, dilated by the strides, with the flipped kernel."""
    window, w = conv.window, flipped(w, conv)
    return _convolve(
        dz, w, conv, pads=window.input_gradient_pads, lhs_dilation=window.strides, rhs_dilation=window.dilation
    )


def flipped(w: jax.Array, conv: Convolution) -> jax.Array:
    """The kernel with its taps in reverse, and the channel axes exchanged within each group: (*window, k/g, c)."""
    *size, c, k = w.shape
    w = jnp.flip(w, range(conv.window.dims)).reshape(*size, c, conv.groups, k // conv.groups)
    return jnp.swapaxes(w, -3, -1).reshape(*size, k // conv.groups, conv.groups * c)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """x with dz as its kernel, strides and dilation exchanged: channels in the place of the batch, the batch summed."""
    window, g = conv.window, conv.groups
    n, *spatial, c = x.shape
    x = jnp.swapaxes(x.reshape(n, *spatial, g, c // g), 0, -1).reshape(c // g, *spatial, g * n)
    dz = jnp.moveaxis(dz, 0, -2)
    dw = _convolve(x, dz, conv, strides=window.dilation, pads=window.kernel_gradient_pads, rhs_dilation=window.strides)
    return jnp.moveaxis(dw, 0, -2)


def kernel_gradient_in_chunks(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """`kernel_gradient`, of large or few examples one by one: (8,56,56,128), 3×3 with dilation 2, 55 ms, at once 74.

    XLA makes the layout of x where x is made, and holds both, unless told not to: ResNet's step 66 MB, else 89.
    """
    step = 1 if bytes_of_pair(x, dz, conv) > LARGE or are_one(x.shape[0], 2) else x.shape[0]

    def term(x, dz):
        x, dz = lax.optimization_barrier((x, dz))
        return kernel_gradient(x, dz, conv)

    return sum_chunks(term, x, dz, step)


def _convolve(lhs, rhs, conv: Convolution, *, strides=None, pads, lhs_dilation=None, rhs_dilation):
    dims = conv.window.dims
    spatial = tuple(range(1, dims + 1))
    layout = lax.ConvDimensionNumbers(
        lhs_spec=(0, dims + 1, *spatial),
        rhs_spec=(dims + 1, dims, *range(dims)),
        out_spec=(0, dims + 1, *spatial),
    )
    return conv_general_dilated(
        lhs.astype(conv.accumulate),
        rhs.astype(conv.accumulate),
        window_strides=strides or (1,) * dims,
        padding=pads,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=layout,
        feature_group_count=conv.groups,
        precision=conv.precision,
    )
