"""Convolution: the three maps of `jaxcnn.algorithms` as one differentiable function."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Num

from jaxcnn import algorithms
from jaxcnn.arguments import (
    AnyArray,
    accumulator,
    channels_last,
    error,
    promote,
    to_array,
    to_ints,
    to_precision,
    to_result_dtype,
)
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
    x, w = to_array("conv", "x", x), to_array("conv", "w", w)
    b = None if b is None else to_array("conv", "b", b)
    dims = w.ndim - 2
    if dims not in (1, 2, 3):
        raise error(ValueError, "conv", "w", "3 to 5 dimensions, (*window, c/groups, k)", f"shape {w.shape}")
    x, restore = channels_last("conv", x, dims, channel_axis)
    (groups,) = to_ints("conv", "groups", groups, 1, minimum=1)
    c, k = x.shape[-1], w.shape[-1]
    if c % groups or k % groups:
        raise error(ValueError, "conv", "groups", f"a divisor of {c} input and {k} output channels", groups)
    if w.shape[-2] * groups != c:
        expected = f"{c // groups} input channels per group (x has {c}, groups={groups})"
        raise error(ValueError, "conv", "w", expected, w.shape[-2])
    if b is not None and b.shape != (k,):
        raise error(ValueError, "conv", "b", f"shape {(k,)}, one bias for each output channel of w", b.shape)
    x, w, b = promote(x, w, b)
    result = to_result_dtype("conv", preferred_element_type, x.dtype)
    static = Convolution(
        Window.of("conv", x.shape[1:-1], w.shape[:-2], strides=strides, padding=padding, dilation=dilation),
        groups,
        to_precision("conv", precision),
        accumulator(x.dtype, result),
        result,
    )
    return restore(_conv(x, w, b, static))


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
    if b is not None:
        z = z + b.astype(z.dtype).reshape((1,) * (z.ndim - 1) + b.shape)
    return z.astype(static.result), (x, w, b)


def _conv_bwd(static, residuals, dz):
    x, w, b = residuals
    dx = algorithms.input_gradient(dz, w, static).astype(x.dtype)
    dw = algorithms.kernel_gradient(x, dz, static).astype(w.dtype)
    db = None if b is None else jnp.sum(dz, range(dz.ndim - 1), static.accumulate).astype(b.dtype)
    return dx, dw, db


_conv.defvjp(_conv_fwd, _conv_bwd)
