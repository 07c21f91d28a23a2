"""Normalisations of each example by itself, and of weights. The statistics' part in dx is derived in `batch_norm`."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxcnn.arguments import (
    AnyArray,
    Number,
    error,
    to_array,
    to_axes,
    to_channels,
    to_ints,
    to_mask,
    to_number,
    to_parameter,
    widen,
)
from jaxcnn.moments import (
    Statistics,
    constant_axes,
    count,
    counted,
    finished,
    mean_square,
    moments,
    normalize,
    normalize_gradients,
    total,
    weighted_sum,
)
from jaxcnn.shards import aligned, per_shard


def layer_norm(
    x: Float[AnyArray, "..."],
    scale: Float[AnyArray, "..."] | None,
    bias: Float[AnyArray, "..."] | None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: Number = 1e-5,
    where: Bool[AnyArray, "..."] | None = None,
) -> Float[Array, "..."]:
    """Each example, or each of its positions, brought to mean 0 and variance 1 over its features.

        y      = x̂ · scale + bias             x̂ = (x − mean) · rstd,  rstd = 1 / √(var + ε)
        dbias  = Σ dy                         over all other axes
        dscale = Σ dy · x̂                     over all other axes
        dx     = rstd · (g − mean g − x̂ · mean(g·x̂))                  g = dy · scale

    With `where`, only its True cells count in the means and get the last two terms of dx; all are normalised. Where no
    cell counts, mean and variance are 0.

    Args:
      x: any shape of at least one dimension.
      scale, bias: of the shape of x along the axes, or None for 1 and 0.
      axis: that of the features, or several; (1, 2, 3) is a whole example of (n, h, w, c).
      epsilon: ε, added to the variance.
      where: a mask that broadcasts to x.

    Returns:
      y: of the shape and dtype of x; statistics in float32 or better, in two passes.

    Keeps x, mean and rstd; recomputes x̂. Where the features are the last axes, GPUs and TPUs need x alone, and
    recompute mean and rstd.

    Raises:
      ValueError: shapes that do not fit, an axis that x does not have, an ε below 0.
      TypeError: an array that is none of floats, a mask that is none of bools.

    Source: Ba, Kiros and Hinton (arXiv:1607.06450); LayerNormalization of ONNX.

    >>> layer_norm(jnp.array([[1.0, 3.0], [2.0, 2.0]]), None, None, epsilon=3)
    Array([[-0.5,  0.5],
           [ 0. ,  0. ]], dtype=float32)
    """
    x = to_array("layer_norm", "x", x, jnp.floating)
    axes = to_axes("layer_norm", "axis", axis, x.ndim)
    scale, bias = (
        to_parameter("layer_norm", name, value, x, axes) for name, value in (("scale", scale), ("bias", bias))
    )
    static = Statistics(axes, to_number("layer_norm", "epsilon", epsilon, 0))
    where = to_mask("layer_norm", where, x.shape)
    return per_shard(_layer_norm, aligned(4, x.ndim, axes))(x, scale, bias, where, static)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _layer_norm(
    x: Float[Array, "*shape"],
    scale: Float[Array, "*features"] | None,
    bias: Float[Array, "*features"] | None,
    where: Bool[Array, "*mask"] | None,
    static: Statistics,
) -> Float[Array, "*shape"]:
    return _layer_norm_fwd(x, scale, bias, where, static)[0]


def _layer_norm_fwd(x, scale, bias, where, static):
    mean, var = moments(x, where, static)
    residuals = x, scale, bias, where, mean, lax.rsqrt(var + static.epsilon)
    by_moments = lambda x, scale, bias, where, mean, rstd: normalize(x, mean, rstd, scale, bias)
    others = partial(_row, static=static) if _in_rows(x, static) else by_moments
    return lax.platform_dependent(*residuals, cpu=by_moments, default=others), residuals


def _layer_norm_bwd(static, residuals, dy):
    by_moments = lambda dy, *residuals: normalize_gradients(dy, 0, 0, residuals, static)
    others = partial(_row_gradients, static=static) if _in_rows(dy, static) else by_moments
    return *lax.platform_dependent(dy, *residuals, cpu=by_moments, default=others), None


_layer_norm.defvjp(_layer_norm_fwd, _layer_norm_bwd)


def _in_rows(x, static):
    """Whether features lie side by side: then accelerators keep a row in registers, and no moments of it in memory."""
    return static.axes == tuple(range(x.ndim - len(static.axes), x.ndim))


def _row(x, scale, bias, where, *_, static):
    y, _ = _standardize(x, where, static)
    y = y if scale is None else y * scale.astype(y.dtype)
    return (y if bias is None else y + bias.astype(y.dtype)).astype(x.dtype)


def _row_gradients(dy, x, scale, bias, where, *_, static):
    """The formulas of the docstring as they stand."""
    x_hat, rstd = _standardize(x, where, static)
    dy, mean = dy.astype(rstd.dtype), lambda a: total(a, static) / count(x, where, static)
    dscale = None if scale is None else jnp.sum(dy * x_hat, constant_axes(scale), keepdims=True).astype(scale.dtype)
    dbias = None if bias is None else jnp.sum(dy, constant_axes(bias), keepdims=True).astype(bias.dtype)
    g = dy if scale is None else dy * scale.astype(rstd.dtype)
    dx = rstd * (g - counted(mean(g), where) - counted(x_hat * mean(g * x_hat), where))
    return dx.astype(x.dtype), dscale, dbias


def _standardize(x, where, static):
    """x̂ and rstd, as the chain of means of one array that the compilers know."""
    x, mean = widen(x), lambda a: total(a, static, where) / count(x, where, static)
    d = x - mean(x)
    d -= lax.stop_gradient(mean(d))  # as in `moments`
    rstd = lax.rsqrt(mean(jnp.square(d)) + static.epsilon)
    return d * rstd, rstd


def group_norm(
    x: Float[AnyArray, "..."],
    scale: Float[AnyArray, " c"] | None,
    bias: Float[AnyArray, " c"] | None,
    *,
    groups: int,
    epsilon: Number = 1e-5,
    where: Bool[AnyArray, "..."] | None = None,
    channel_axis: int = -1,
) -> Float[Array, "..."]:
    """Each group of channels of each example brought to mean 0 and variance 1, over its space and channels.

        y      = x̂ · scale + bias             x̂ = (x − mean) · rstd,  rstd = 1 / √(var + ε)
        dbias  = Σ dy                         over batch and space
        dscale = Σ dy · x̂                     over batch and space
        dx     = rstd · (g − mean g − x̂ · mean(g·x̂))                  g = dy · scale, means over a group

    It is the rule of `layer_norm`, the channels as two axes (groups, c/groups).

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`.
      scale, bias: (c,), or None for 1 and 0.
      groups: a divisor of c; neighbouring channels make a group.
      epsilon: ε, added to the variance.
      where: a mask that broadcasts to x, as in `layer_norm`.

    Returns:
      y: of the shape and dtype of x; statistics in float32 or better, in two passes.

    Keeps x, mean and rstd; recomputes x̂.

    Raises:
      ValueError: shapes that do not fit, groups that do not divide the channels, an ε below 0.
      TypeError: an array that is none of floats, a mask that is none of bools.

    Source: Wu and He (arXiv:1803.08494); GroupNormalization of ONNX.

    >>> group_norm(jnp.array([[1.0, 3.0, 5.0, 5.0]]), None, None, groups=2, epsilon=3)
    Array([[-0.5,  0.5,  0. ,  0. ]], dtype=float32)
    """
    x, operands, axis = _to_operands("group_norm", x, scale, bias, where, channel_axis)
    (groups,) = to_ints("group_norm", "groups", groups, 1, minimum=1)
    if x.shape[axis] % groups:
        raise error(ValueError, "group_norm", "groups", f"a divisor of the {x.shape[axis]} channels", groups)

    def split(a):
        """The channel axis as (groups, c/groups), or (1, 1)."""
        parts = (groups, a.shape[axis] // groups) if a.shape[axis] > 1 else (1, 1)
        return a.reshape(*a.shape[:axis], *parts, *a.shape[axis + 1 :])

    static = Statistics(
        tuple(i for i in range(1, x.ndim + 1) if i != axis), to_number("group_norm", "epsilon", epsilon, 0)
    )
    arrays = [None if a is None else split(a) for a in (x, *operands)]
    return per_shard(_layer_norm, aligned(4, x.ndim + 1, static.axes))(*arrays, static).reshape(x.shape)


def instance_norm(
    x: Float[AnyArray, "..."],
    scale: Float[AnyArray, " c"] | None,
    bias: Float[AnyArray, " c"] | None,
    *,
    epsilon: Number = 1e-5,
    where: Bool[AnyArray, "..."] | None = None,
    channel_axis: int = -1,
) -> Float[Array, "..."]:
    """Each channel of each example brought to mean 0 and variance 1 over its space.

        y      = x̂ · scale + bias             x̂ = (x − mean) · rstd,  rstd = 1 / √(var + ε)
        dbias  = Σ dy                         over batch and space
        dscale = Σ dy · x̂                     over batch and space
        dx     = rstd · (g − mean g − x̂ · mean(g·x̂))                  g = dy · scale, means over space

    It is the rule of `layer_norm`, over other axes.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`.
      scale, bias: (c,), or None for 1 and 0.
      epsilon: ε, added to the variance.
      where: a mask that broadcasts to x, as in `layer_norm`.

    Returns:
      y: of the shape and dtype of x; statistics in float32 or better, in two passes.

    Keeps x, mean and rstd; recomputes x̂.

    Raises:
      ValueError: shapes that do not fit, an ε below 0.
      TypeError: an array that is none of floats, a mask that is none of bools.

    Source: Ulyanov, Vedaldi and Lempitsky (arXiv:1607.08022); InstanceNormalization of ONNX.

    >>> instance_norm(jnp.array([[[1.0], [3.0]]]), None, None, epsilon=0)[0, :, 0]
    Array([-1.,  1.], dtype=float32)
    """
    x, operands, axis = _to_operands("instance_norm", x, scale, bias, where, channel_axis)
    static = Statistics(
        tuple(i for i in range(1, x.ndim) if i != axis), to_number("instance_norm", "epsilon", epsilon, 0)
    )
    return per_shard(_layer_norm, aligned(4, x.ndim, static.axes))(x, *operands, static)


def weight_standardize(
    w: Float[AnyArray, "..."], *, axis: int | Sequence[int] | None = None, epsilon: Number = 1e-5
) -> Float[Array, "..."]:
    """The weights of each output channel brought to mean 0 and variance 1.

        ŵ  = (w − mean) · rstd                rstd = 1 / √(var + ε)
        dw = rstd · (dŵ − mean dŵ − ŵ · mean(dŵ·ŵ))

    It is the rule of `layer_norm` without parameters.

    Args:
      w: (*window, c/g, k) or (c, k), or any other array.
      axis: of a mean; None means all but the last, the output channels.
      epsilon: ε, added to the variance.

    Returns:
      ŵ: of the shape and dtype of w; statistics in float32 or better, in two passes.

    Keeps w, mean and rstd; recomputes ŵ.

    Raises:
      ValueError: an axis that w does not have, an ε below 0.
      TypeError: w is no array of floats.

    Source: Qiao et al. (arXiv:1903.10520).

    >>> weight_standardize(jnp.array([[1.0, 5.0], [3.0, 5.0]]), epsilon=3)
    Array([[-0.5,  0. ],
           [ 0.5,  0. ]], dtype=float32)
    """
    w = to_array("weight_standardize", "w", w, jnp.floating)
    axes = to_axes("weight_standardize", "axis", range(w.ndim - 1) if axis is None else axis, w.ndim)
    static = Statistics(axes, to_number("weight_standardize", "epsilon", epsilon, 0))
    return per_shard(_layer_norm, aligned(4, w.ndim, axes))(w, None, None, None, static)


def rms_norm(
    x: Float[AnyArray, "..."],
    scale: Float[AnyArray, "..."] | None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: Number = 1e-5,
    where: Bool[AnyArray, "..."] | None = None,
) -> Float[Array, "..."]:
    """Each position brought to a mean square of 1 over its features.

        y      = x̂ · scale                    x̂ = x · r,  r = 1 / √(mean x² + ε)
        dscale = Σ dy · x̂                     over all other axes
        dx     = r · (g − x̂ · mean(g·x̂))      g = dy · scale

    x acts on y directly with slope r, and through r, whose slope is −r³·x/N.

    Args:
      x: any shape of at least one dimension.
      scale: of the shape of x along the axes, or None for 1.
      axis: that of the features, or several.
      epsilon: ε, added to the mean square.
      where: a mask that broadcasts to x, as in `layer_norm`.

    Returns:
      y: of the shape and dtype of x, computed in float32 or better.

    Keeps x and r; recomputes x̂.

    Raises:
      ValueError: shapes that do not fit, an axis that x does not have, an ε below 0.
      TypeError: an array that is none of floats, a mask that is none of bools.

    Source: Zhang and Sennrich (arXiv:1910.07467); RMSNormalization of ONNX.

    >>> rms_norm(jnp.array([1.0, 7.0]), None, epsilon=0)
    Array([0.2, 1.4], dtype=float32)
    """
    x = to_array("rms_norm", "x", x, jnp.floating)
    axes = to_axes("rms_norm", "axis", axis, x.ndim)
    static = Statistics(axes, to_number("rms_norm", "epsilon", epsilon, 0))
    scale, where = to_parameter("rms_norm", "scale", scale, x, axes), to_mask("rms_norm", where, x.shape)
    return per_shard(_rms_norm, aligned(3, x.ndim, axes))(x, scale, where, static)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _rms_norm(
    x: Float[Array, "*shape"],
    scale: Float[Array, "*features"] | None,
    where: Bool[Array, "*mask"] | None,
    static: Statistics,
) -> Float[Array, "*shape"]:
    return _rms_norm_fwd(x, scale, where, static)[0]


def _rms_norm_fwd(x, scale, where, static):
    r = lax.rsqrt(mean_square(widen(x), where, static) + static.epsilon)
    y = x.astype(r.dtype) * r
    return (y if scale is None else y * scale.astype(r.dtype)).astype(x.dtype), (x, scale, where, r)


def _rms_norm_bwd(static, residuals, dy):
    def gradients(dy, x, scale, where, r, summed):
        """`summed(a, b, weight, axes)`: Σ a · b · weight."""
        wide, dy = x.astype(r.dtype), dy.astype(r.dtype)
        factor = None if scale is None else scale.astype(r.dtype)
        dscale = None if scale is None else summed(wide, dy, r, constant_axes(scale)).astype(scale.dtype)
        g = dy if factor is None else dy * factor
        mean = r * summed(dy, wide, factor, static.axes) / count(x, where, static)
        mean, dscale = finished(mean, dscale)
        dx = r * g - counted(wide * (jnp.square(r) * mean), where)
        return dx.astype(x.dtype), dscale

    def in_order(a, b, weight, axes):  # then a GPU's compiler stores the terms of dscale where dx goes later
        return jnp.sum((a if weight is None else a * weight) * b, axes, keepdims=True)

    of_cpu = partial(gradients, summed=lambda a, b, weight, axes: weighted_sum(a * b, weight, axes))
    others = partial(gradients, summed=in_order)
    return *lax.platform_dependent(dy, *residuals, cpu=of_cpu, default=others), None


_rms_norm.defvjp(_rms_norm_fwd, _rms_norm_bwd)


def _to_operands(function: str, x, scale, bias, where, channel_axis: int):
    """x, the other operands in its layout, and the axis of the channels, not negative."""
    x, axis = to_channels(function, x, channel_axis)
    scale, bias = (
        to_parameter(function, name, value, x, (axis,)) for name, value in (("scale", scale), ("bias", bias))
    )
    return x, (scale, bias, to_mask(function, where, x.shape)), axis
