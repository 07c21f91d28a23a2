"""Transposed convolution: the three maps of `jaxcnn.algorithms`, rotated."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Num

from jaxcnn import algorithms
from jaxcnn.arguments import AnyArray, promote
from jaxcnn.operands import add_bias, bias_gradient, to_bias, to_convolution, to_groups, to_layout, to_operands
from jaxcnn.shards import per_shard
from jaxcnn.window import Convolution, Ints, Padding, Window


def conv_transpose(
    x: Num[AnyArray, "..."],
    w: Num[AnyArray, "*window c_per_group k"],
    b: Num[AnyArray, " k"] | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "SAME",
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    channel_axis: int = -1,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> Num[Array, "..."]:
    """Transposed convolution in 1 to 3 dimensions: every cell of x paints the kernel, `strides` apart.

        z̃[n,a,k]  = Σ_{(p,i): s·p + d·i = a} Σ_c x[n,p,c] · w[i,c,k]      then the padding is cropped, and z = z̃ + b
        dx[n,p,c] = Σ_{i,k} dz̃[n, s·p + d·i, k] · w[i,c,k]                dz̃: dz, padded
        dw[i,c,k] = Σ_{n,p} x[n,p,c] · dz̃[n, s·p + d·i, k]
        db[k]     = Σ_{n,a} dz[n,a,k]

    The adjoint of the matching `conv`, which takes z's shape to x's with the same strides, padding and dilation, and
    with c and k exchanged in the kernel. So these are the three maps of `conv`, rotated: z is its input gradient, dx
    its forward. From o cells a kernel e = (window − 1)·d + 1 wide makes (o − 1)·s + e − lo − hi + output_padding, and
    for SAME o·s. The same values elsewhere, from their kernel v:

      torch  w = moveaxis(concatenate(split(v, groups), 1), (0, 1), (-2, -1)), channel_axis=1, the options as they are.
      lax    w = flip(v, spatial axes), or swapaxes(v, -2, -1) where transpose_kernel=True. SAME is the same, VALID is
             with output_padding max(s − e, 0), their pads (lo, hi) are (e − 1 − lo, e − 1 − hi) here.
      Flax   as lax, which it calls.
      keras  w = swapaxes(v, -2, -1); "same" and "valid" as in lax. With its output_padding m, "valid" takes the same m,
             "same" is the padding (lo, 2·(e//2) − m − lo), lo = max(e//2 − (m + 1)//2, 0), without output_padding.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      w: (*window, c/g, k), for either channel axis; output channel k sees the c/g input channels of its own group.
      b: (k,) or None.
      strides, dilation: s and d; an int, or one per dimension.
      padding: of the matching `conv`, in any form that it takes; it crops, and negative numbers add cells.
      output_padding: cells more at the high end; an int, or one per dimension, less than the larger of s and d (as in
        PyTorch), and 0 for SAME.
      groups: g; channel_axis, precision, preferred_element_type: as in `conv`.

    Returns:
      z: (n, *output, k), laid out like x; dtypes as in `conv`. A cell that nothing reaches is b, as is every one that
      comes of an empty spatial axis, for which the length above counts where it is positive.

    Keeps x and w; recomputes nothing.

    Raises:
      ValueError: shapes that do not fit, an option out of its range, padding that crops more than there is.
      TypeError: an argument that is no array of numbers.

    Source: as `conv`; Zeiler et al., "Deconvolutional networks" (CVPR 2010).

    >>> conv_transpose(jnp.array([[1.0], [2.0]]), jnp.ones((3, 1, 1)), strides=2, padding="VALID")[:, 0]
    Array([1., 1., 3., 2., 2.], dtype=float32)
    """
    x, w, restore = to_operands("conv_transpose", x, "w", w, channel_axis)
    groups = to_groups("conv_transpose", x, w, groups)
    x, w, b = promote(x, w, to_bias("conv_transpose", b, w))
    window = Window.of_transpose(
        "conv_transpose",
        x.shape[1:-1],
        w.shape[:-2],
        strides=strides,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
    )
    static = to_convolution("conv_transpose", window, groups, precision, preferred_element_type, x.dtype)
    return restore(per_shard(_conv_transpose, to_layout(groups))(x, w, b, static))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv_transpose(
    x: Num[Array, "n *spatial c"],
    w: Num[Array, "*window c_per_group k"],
    b: Num[Array, " k"] | None,
    static: Convolution,
) -> Num[Array, "n *output k"]:
    return _conv_transpose_fwd(x, w, b, static)[0]


def _conv_transpose_fwd(x, w, b, static):
    z = algorithms.input_gradient(x, _exchange_channels(w, static.groups), static)
    return add_bias(z, b, static), (x, w, b)


def _conv_transpose_bwd(static, residuals, dz):
    x, w, b = residuals
    dx = algorithms.forward(dz, _exchange_channels(w, static.groups), static).astype(x.dtype)
    dw = _exchange_channels(algorithms.kernel_gradient(dz, x, static), static.groups).astype(w.dtype)
    return dx, dw, bias_gradient(dz, b, static)


_conv_transpose.defvjp(_conv_transpose_fwd, _conv_transpose_bwd)


def _exchange_channels(w, groups):
    """(*window, c/g, k) -> (*window, k/g, c), within each group; its own inverse."""
    *window, c, k = w.shape
    w = w.reshape(*window, c, groups, k // groups)
    return jnp.swapaxes(w, -3, -1).reshape(*window, k // groups, groups * c)
