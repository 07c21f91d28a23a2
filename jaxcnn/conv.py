"""Convolutions: the three maps of `jaxcnn.algorithms` as differentiable functions."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Num

from jaxcnn import algorithms
from jaxcnn.arguments import AnyArray, error, promote, to_array
from jaxcnn.operands import (
    add_bias,
    bias_gradient,
    to_bias,
    to_channel_groups,
    to_convolution,
    to_groups,
    to_layout,
    to_operands,
)
from jaxcnn.shards import per_shard
from jaxcnn.window import Convolution, Ints, Padding, Window


def conv(
    x: Num[AnyArray, "..."],
    w: Num[AnyArray, "*window c_per_group k"],
    b: Num[AnyArray, " k"] | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "SAME",
    dilation: Ints = 1,
    groups: int = 1,
    channel_axis: int = -1,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> Num[Array, "..."]:
    """Convolution in 1 to 3 dimensions (as everywhere in deep learning, a correlation: the kernel is not flipped).

        z[n,p,k]  = b[k] + Σ_{i,c} x̃[n, s·p + d·i, c] · w[i,c,k]          x̃: x, padded
        dx̃[n,a,c] = Σ_{(p,i): s·p + d·i = a} Σ_k dz[n,p,k] · w[i,c,k]     then the padding is cropped
        dw[i,c,k] = Σ_{n,p} x̃[n, s·p + d·i, c] · dz[n,p,k]
        db[k]     = Σ_{n,p} dz[n,p,k]

    With `groups` g, output channel k sees only the c/g input channels of its own group.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too. The
        number of spatial dimensions is the kernel's rank less two.
      w: (*window, c/g, k), for either channel axis.
      b: (k,) or None.
      strides, dilation: s and d; an int, or one per dimension.
      padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL" (1-D), an int, one int per dimension, or (low, high) pairs;
        negative numbers crop.
      precision: as in lax, for all three maps.
      preferred_element_type: dtype of the result, and to accumulate in.

    Returns:
      z: (n, *output, k), laid out like x, of the promoted dtype of the inputs. 16-bit floats accumulate in float32, in
      the value and in the gradients; each gradient has the dtype of its own argument.

    Keeps x and w; recomputes nothing.

    Raises:
      ValueError: shapes that do not fit, an option out of its range.
      TypeError: an argument that is no array of numbers.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (arXiv:1603.07285); the pads of
    the gradients are derived in `jaxcnn.window.Window`.

    >>> x, w = jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 1))
    >>> conv(x, w, strides=2)[0, :, :, 0]
    Array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]], dtype=float32)
    """
    x, w, restore = to_operands("conv", x, "w", w, channel_axis)
    groups = to_groups("conv", x, w, groups)
    x, w, b = promote(x, w, to_bias("conv", b, w))
    window = Window.of("conv", x.shape[1:-1], w.shape[:-2], strides=strides, padding=padding, dilation=dilation)
    static = to_convolution("conv", window, groups, precision, preferred_element_type, x.dtype)
    return restore(per_shard(_conv, to_layout(groups))(x, w, b, static))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv(
    x: Num[Array, "n *spatial c"],
    w: Num[Array, "*window c_per_group k"],
    b: Num[Array, " k"] | None,
    static: Convolution,
) -> Num[Array, "n *output k"]:
    return _conv_fwd(x, w, b, static)[0]


def _conv_fwd(x, w, b, static):
    z = algorithms.forward(x, w, static)
    return add_bias(z, b, static), (x, w, b)


def _conv_bwd(static, residuals, dz):
    x, w, b = residuals
    # else what a loop slices dz out of is copied for each of the three
    dz = jax.lax.platform_dependent(dz, cpu=jax.lax.optimization_barrier, default=lambda dz: dz)
    dx = algorithms.input_gradient(dz, w, static).astype(x.dtype)
    dw = algorithms.kernel_gradient(x, dz, static).astype(w.dtype)
    return dx, dw, bias_gradient(dz, b, static)


_conv.defvjp(_conv_fwd, _conv_bwd)


def depthwise_conv(
    x: Num[AnyArray, "..."],
    w: Num[AnyArray, "*window 1 k"],
    b: Num[AnyArray, " k"] | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "SAME",
    dilation: Ints = 1,
    channel_axis: int = -1,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> Num[Array, "..."]:
    """Depthwise convolution in 1 to 3 dimensions: every channel by itself, m of its own kernels on each.

        z[n,p,k]  = b[k] + Σ_i x̃[n, s·p + d·i, c] · w[i,0,k]              k = c·m, …, c·m + m − 1;  x̃: x, padded
        dx̃[n,a,c] = Σ_{(p,i): s·p + d·i = a} Σ_k dz[n,p,k] · w[i,0,k]     then the padding is cropped
        dw[i,0,k] = Σ_{n,p} x̃[n, s·p + d·i, c] · dz[n,p,k]
        db[k]     = Σ_{n,p} dz[n,p,k]

    It is `conv` with as many groups as channels, and has its rule. Flax's kernel with `feature_group_count=c` is w as
    it stands, keras' `DepthwiseConv` has `w.reshape(*window, c, m)`.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      w: (*window, 1, c·m), for either channel axis.
      b: (c·m,) or None.
      strides, padding, dilation, channel_axis, precision, preferred_element_type: as in `conv`.

    Returns:
      z: (n, *output, c·m), laid out like x; dtypes as in `conv`.

    Keeps x and w; recomputes nothing.

    Raises:
      ValueError: shapes that do not fit, an option out of its range.
      TypeError: an argument that is no array of numbers.

    Source: Sifre, "Rigid-motion scattering for image classification" (thesis, 2014).

    >>> x, w = jnp.array([[1.0, 10.0], [2.0, 20.0]]), jnp.ones((2, 1, 2))
    >>> depthwise_conv(x, w, padding="VALID")
    Array([[ 3., 30.]], dtype=float32)
    """
    x, w, restore = to_operands("depthwise_conv", x, "w", w, channel_axis)
    groups = to_channel_groups("depthwise_conv", x, "w", w)
    x, w, b = promote(x, w, to_bias("depthwise_conv", b, w))
    window = Window.of(
        "depthwise_conv", x.shape[1:-1], w.shape[:-2], strides=strides, padding=padding, dilation=dilation
    )
    static = to_convolution("depthwise_conv", window, groups, precision, preferred_element_type, x.dtype)
    return restore(per_shard(_conv, to_layout(groups))(x, w, b, static))


def separable_conv(
    x: Num[AnyArray, "..."],
    w_depth: Num[AnyArray, "*window 1 depth"],
    w_point: Num[AnyArray, "*ones depth k"],
    b: Num[AnyArray, " k"] | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "SAME",
    dilation: Ints = 1,
    channel_axis: int = -1,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> Num[Array, "..."]:
    """Separable convolution in 1 to 3 dimensions: a depthwise one, then one over the channels at each position.

        h[n,p,j]        = Σ_i x̃[n, s·p + d·i, c] · w_depth[i,0,j]             j = c·m, …, c·m + m − 1;  x̃: x, padded
        z[n,p,k]        = b[k] + Σ_j h[n,p,j] · w_point[j,k]
        dh[n,p,j]       = Σ_k dz[n,p,k] · w_point[j,k]
        dx̃[n,a,c]       = Σ_{(p,i): s·p + d·i = a} Σ_j dh[n,p,j] · w_depth[i,0,j]    then the padding is cropped
        dw_depth[i,0,j] = Σ_{n,p} x̃[n, s·p + d·i, c] · dh[n,p,j]
        dw_point[j,k]   = Σ_{n,p} h[n,p,j] · dz[n,p,k]
        db[k]           = Σ_{n,p} dz[n,p,k]

    The value is that of `conv(depthwise_conv(x, w_depth), w_point, b)`: h and dh are rounded to the dtype of z. keras'
    `SeparableConv` has `w_depth.reshape(*window, c, m)`, and w_point as it stands.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      w_depth: (*window, 1, c·m), for either channel axis.
      w_point: (1, …, 1, c·m, k), or (c·m, k).
      b: (k,) or None.
      strides, padding, dilation: of the depthwise convolution, as in `conv`.
      channel_axis, precision, preferred_element_type: as in `conv`.

    Returns:
      z: (n, *output, k), laid out like x; dtypes as in `conv`.

    Keeps x, w_depth, w_point and h; recomputes nothing.

    Raises:
      ValueError: shapes that do not fit, an option out of its range.
      TypeError: an argument that is no array of numbers.

    Source: Chollet, "Xception: deep learning with depthwise separable convolutions" (arXiv:1610.02357).

    >>> x, w_depth = jnp.array([[1.0, 10.0], [2.0, 20.0]]), jnp.ones((2, 1, 2))
    >>> separable_conv(x, w_depth, jnp.array([[1.0], [0.1]]), padding="VALID")
    Array([[6.]], dtype=float32)
    """
    x, w_depth, restore = to_operands("separable_conv", x, "w_depth", w_depth, channel_axis)
    groups = to_channel_groups("separable_conv", x, "w_depth", w_depth)
    w_point = to_array("separable_conv", "w_point", w_point)
    channels, ones = w_depth.shape[-1], (1,) * (w_depth.ndim - 2)
    if w_point.shape[:-1] not in ((*ones, channels), (channels,)):
        expected = f"({'1, ' * len(ones)}{channels}, k) or ({channels}, k), as w_depth gives {channels} channels"
        raise error(ValueError, "separable_conv", "w_point", expected, f"shape {w_point.shape}")
    w_point = jnp.reshape(w_point, (*ones, *w_point.shape[-2:]))
    x, w_depth, w_point, b = promote(x, w_depth, w_point, to_bias("separable_conv", b, w_point))
    window = Window.of(
        "separable_conv", x.shape[1:-1], w_depth.shape[:-2], strides=strides, padding=padding, dilation=dilation
    )
    depth = to_convolution("separable_conv", window, groups, precision, preferred_element_type, x.dtype)
    position = Window.of("separable_conv", window.output, ones, strides=1, padding="VALID")
    static = _Separable(depth, depth._replace(window=position, groups=1))
    return restore(per_shard(_separable_conv, "n…, …, …k, k -> n…k")(x, w_depth, w_point, b, static))


class _Separable(NamedTuple):
    depth: Convolution
    point: Convolution


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _separable_conv(
    x: Num[Array, "n *spatial c"],
    w_depth: Num[Array, "*window 1 depth"],
    w_point: Num[Array, "*ones depth k"],
    b: Num[Array, " k"] | None,
    static: _Separable,
) -> Num[Array, "n *output k"]:
    return _separable_conv_fwd(x, w_depth, w_point, b, static)[0]


def _separable_conv_fwd(x, w_depth, w_point, b, static):
    h = algorithms.forward(x, w_depth, static.depth).astype(static.depth.result)
    z = algorithms.forward(h, w_point, static.point)
    return add_bias(z, b, static.point), (x, w_depth, w_point, b, h)


def _separable_conv_bwd(static, residuals, dz):
    x, w_depth, w_point, b, h = residuals
    dh = algorithms.input_gradient(dz, w_point, static.point).astype(h.dtype)
    dw_point = algorithms.kernel_gradient(h, dz, static.point).astype(w_point.dtype)
    dx = algorithms.input_gradient(dh, w_depth, static.depth).astype(x.dtype)
    dw_depth = algorithms.kernel_gradient(x, dh, static.depth).astype(w_depth.dtype)
    return dx, dw_depth, dw_point, bias_gradient(dz, b, static.point)


_separable_conv.defvjp(_separable_conv_fwd, _separable_conv_bwd)
