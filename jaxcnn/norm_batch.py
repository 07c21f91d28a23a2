"""Batch normalisation: in training, in inference, and the running statistics between the two."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxcnn.arguments import (
    AnyArray,
    Number,
    accumulator,
    error,
    to_array,
    to_channels,
    to_mask,
    to_number,
    to_parameter,
)
from jaxcnn.moments import Statistics, moments, normalize, normalize_gradients
from jaxcnn.shards import per_shard, vary_alike


def batch_norm(
    x: Float[AnyArray, "..."],
    scale: Float[AnyArray, " c"] | None,
    bias: Float[AnyArray, " c"] | None,
    *,
    epsilon: Number = 1e-5,
    axis_name: Hashable | Sequence[Hashable] = None,
    where: Bool[AnyArray, "..."] | None = None,
    channel_axis: int = -1,
) -> tuple[Float[Array, "..."], Float[Array, " c"], Float[Array, " c"]]:
    """Each channel brought to mean 0 and variance 1 over batch and space, then scaled and shifted: for training.

        y      = x̂ · scale + bias             x̂ = (x − mean) · rstd,  rstd = 1 / √(var + ε)
        mean   = 1/N · Σ x                    var = 1/N · Σ (x − mean)²
        dbias  = Σ dy
        dscale = Σ dy · x̂
        dx     = rstd·g + 1/N · (Dmean + 2(x − mean) · Dvar)           g = dy · scale
                 Dmean = dmean − rstd · Σ g
                 Dvar  = dvar − ½ rstd² · Σ g·x̂

    Derivation: x acts on x̂ directly, with slope rstd, and through the two statistics, with slopes 1/N and 2(x − mean)/N
    (that mean also stands in var does not matter: its slope there is −2/N · Σ (x − mean) = 0). The mean acts on each x̂
    with slope −rstd, which makes Dmean. The variance acts on rstd with slope −½ rstd³, and rstd on each x̂ with slope
    x − mean = x̂ / rstd, which makes Dvar. Without dmean and dvar this is dx = rstd · (g − Σg/N − x̂ · Σ(g·x̂)/N).

    With `where`, only its True cells count in N, mean and var, and only they get the terms in 1/N; all are normalised.
    A channel in which no cell counts has mean and variance 0. With `axis_name`, N, mean, var, Dmean and Dvar are sums
    over all devices; dscale and dbias are the device's own share, and `jax.shard_map` sums those of what all share.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; also (n, c).
      scale, bias: (c,), or None for 1 and 0.
      epsilon: ε, added to the variance.
      axis_name: of a mapped axis (`jax.vmap`, `jax.shard_map`), or several, to normalise over as well.
      where: a mask that broadcasts to x.

    Returns:
      y: of the shape and dtype of x.
      mean, var: (c,), in float32 or better, computed in two passes; var is biased, over N. Both may be differentiated.

    Keeps x, mean and rstd; recomputes x̂.

    Raises:
      ValueError: shapes that do not fit, an ε below 0.
      TypeError: an array that is none of floats, a mask that is none of bools.

    Source: Ioffe and Szegedy (arXiv:1502.03167); BatchNormalization of ONNX.

    >>> y, mean, var = batch_norm(jnp.array([[1.0], [3.0]]), None, None, epsilon=0)
    >>> print(y[:, 0], mean, var)
    [-1.  1.] [2.] [1.]
    """
    x, axes, (scale, bias) = _to_operands("batch_norm", x, channel_axis, scale=scale, bias=bias)
    axis_name = tuple(axis_name) if isinstance(axis_name, list) else axis_name
    static = Statistics(axes, to_number("batch_norm", "epsilon", epsilon, 0), axis_name)
    y, mean, var = _batch_norm(*vary_alike(x, scale, bias, to_mask("batch_norm", where, x.shape)), static)
    return y, mean.reshape(-1), var.reshape(-1)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _batch_norm(
    x: Float[Array, "*shape"],
    scale: Float[Array, "*c"] | None,
    bias: Float[Array, "*c"] | None,
    where: Bool[Array, "*mask"] | None,
    static: Statistics,
) -> tuple[Float[Array, "*shape"], Float[Array, "*c"], Float[Array, "*c"]]:
    return _batch_norm_fwd(x, scale, bias, where, static)[0]


def _batch_norm_fwd(x, scale, bias, where, static):
    mean, var = moments(x, where, static)
    rstd = lax.rsqrt(var + static.epsilon)
    return (normalize(x, mean, rstd, scale, bias), mean, var), (x, scale, bias, where, mean, rstd)


def _batch_norm_bwd(static, residuals, cotangents):
    dy, dmean, dvar = cotangents
    return *normalize_gradients(dy, dmean, dvar, residuals, static), None


_batch_norm.defvjp(_batch_norm_fwd, _batch_norm_bwd)


def batch_norm_inference(
    x: Float[AnyArray, "..."],
    mean: Float[AnyArray, " c"],
    var: Float[AnyArray, " c"],
    scale: Float[AnyArray, " c"] | None,
    bias: Float[AnyArray, " c"] | None,
    *,
    epsilon: Number = 1e-5,
    channel_axis: int = -1,
) -> Float[Array, "..."]:
    """Each channel normalised with given statistics, as a rule the running ones of the training.

        y      = x̂ · scale + bias             x̂ = (x − mean) · rstd,  rstd = 1 / √(var + ε)
        dx     = dy · scale · rstd
        dbias  = Σ dy
        dscale = Σ dy · x̂
        dmean  = −rstd · scale · Σ dy
        dvar   = −½ rstd² · scale · Σ dy·x̂

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; also (n, c).
      mean, var: (c,).
      scale, bias: (c,), or None for 1 and 0.
      epsilon: ε, added to the variance.

    Returns:
      y: of the shape and dtype of x, computed in float32 or better.

    Keeps x and the parameters; recomputes rstd and x̂.

    Raises:
      ValueError: shapes that do not fit, an ε below 0.
      TypeError: an array that is none of floats.

    Source: Ioffe and Szegedy (arXiv:1502.03167); BatchNormalization of ONNX.

    >>> x, mean, var = jnp.array([[5.0]]), jnp.array([1.0]), jnp.array([4.0])
    >>> batch_norm_inference(x, mean, var, None, None, epsilon=0)
    Array([[2.]], dtype=float32)
    """
    name = "batch_norm_inference"
    mean, var = (to_array(name, argument, value, jnp.floating) for argument, value in (("mean", mean), ("var", var)))
    x, axes, parameters = _to_operands(name, x, channel_axis, mean=mean, var=var, scale=scale, bias=bias)
    static = Statistics(axes, to_number(name, "epsilon", epsilon, 0))
    return per_shard(_batch_norm_inference, "*, *, *, *, * -> *")(x, *parameters, static)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _batch_norm_inference(
    x: Float[Array, "*shape"],
    mean: Float[Array, "*c"],
    var: Float[Array, "*c"],
    scale: Float[Array, "*c"] | None,
    bias: Float[Array, "*c"] | None,
    static: Statistics,
) -> Float[Array, "*shape"]:
    return _batch_norm_inference_fwd(x, mean, var, scale, bias, static)[0]


def _batch_norm_inference_fwd(x, mean, var, scale, bias, static):
    wide = accumulator(x.dtype)
    rstd = lax.rsqrt(var.astype(wide) + static.epsilon)
    return normalize(x, mean.astype(wide), rstd, scale, bias), (x, mean, var, scale, bias)


def _batch_norm_inference_bwd(static, residuals, dy):
    x, mean, var, scale, bias = residuals
    wide = accumulator(x.dtype)
    rstd = lax.rsqrt(var.astype(wide) + static.epsilon)
    dy, d = dy.astype(wide), x.astype(wide) - mean.astype(wide)
    factor = rstd if scale is None else rstd * scale.astype(wide)
    sum_dy, sum_dyx = jnp.sum(dy, static.axes, keepdims=True), rstd * jnp.sum(dy * d, static.axes, keepdims=True)
    dx, dvar = dy * factor, factor * rstd * sum_dyx / -2
    of_tpu = lambda dx, sum_dy: -jnp.sum(dx, static.axes, keepdims=True)  # then all sums are in the pass that writes dx
    dmean = lax.platform_dependent(dx, sum_dy, tpu=of_tpu, default=lambda dx, sum_dy: -factor * sum_dy)
    gradients = ((mean, dmean), (var, dvar), (scale, sum_dyx), (bias, sum_dy))
    cast = (None if primal is None else gradient.astype(primal.dtype) for primal, gradient in gradients)
    return dx.astype(x.dtype), *cast


_batch_norm_inference.defvjp(_batch_norm_inference_fwd, _batch_norm_inference_bwd)


def update_running_statistics(
    running_mean: Float[AnyArray, " c"],
    running_var: Float[AnyArray, " c"],
    mean: Float[AnyArray, " c"],
    var: Float[AnyArray, " c"],
    *,
    momentum: Number,
    unbiased: bool = False,
    count: Any = None,
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Running statistics moved towards those of a batch.

        mean′ = momentum · running_mean + (1 − momentum) · mean
        var′  = momentum · running_var + (1 − momentum) · u · var      u = N / (N − 1), or 1
        drunning_mean = momentum · dmean′
        drunning_var  = momentum · dvar′
        dmean = (1 − momentum) · dmean′
        dvar  = (1 − momentum) · u · dvar′

    The momentum is the share of what was there before, as in Flax and ONNX; PyTorch's is one less this.

    Args:
      running_mean, running_var: (c,).
      mean, var: (c,), of a batch, as `batch_norm` returns them.
      momentum: from 0 to 1.
      unbiased: whether var is made unbiased, as in PyTorch, or goes in as it is, as in Flax.
      count: N, the number of cells that went into each mean, or a scalar array; needed where unbiased. It has no
        gradient. Where it is 1 the variance goes in as it is.

    Returns:
      running_mean, running_var: (c,), each of the dtype that it had.

    Keeps u; recomputes nothing.

    Raises:
      ValueError: shapes that differ, a momentum out of its range, an unbiased variance without a count.
      TypeError: an array that is none of floats.

    Source: the recurrence of PyTorch's and Flax's BatchNorm.

    >>> zero, one = jnp.zeros(1), jnp.ones(1)
    >>> update_running_statistics(zero, one, 2 * one, 3 * one, momentum=0.5, unbiased=True, count=4)
    (Array([1.], dtype=float32), Array([2.5], dtype=float32))
    """
    name = "update_running_statistics"
    arguments = {"running_mean": running_mean, "running_var": running_var, "mean": mean, "var": var}
    arrays = [to_array(name, argument, value, jnp.floating) for argument, value in arguments.items()]
    for argument, array in zip(arguments, arrays):
        if array.shape != arrays[0].shape:
            raise error(ValueError, name, argument, f"the shape of running_mean, {arrays[0].shape}", array.shape)
    if unbiased and count is None:
        raise error(ValueError, name, "count", "a number where unbiased", count)
    dtype = accumulator(*(array.dtype for array in arrays))
    n = jnp.asarray(count if unbiased else 0, dtype)
    factor = lax.stop_gradient(jnp.where(n > 1, n / jnp.maximum(n - 1, 1), 1))
    momentum = to_number(name, "momentum", momentum, 0, 1)
    mean, var = _update_running_statistics(*vary_alike(*(array.astype(dtype) for array in arrays)), factor, momentum)
    return mean.astype(arrays[0].dtype), var.astype(arrays[1].dtype)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _update_running_statistics(
    running_mean: Float[Array, " c"],
    running_var: Float[Array, " c"],
    mean: Float[Array, " c"],
    var: Float[Array, " c"],
    factor: Float[Array, ""],
    momentum: float,
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    return _update_running_statistics_fwd(running_mean, running_var, mean, var, factor, momentum)[0]


def _update_running_statistics_fwd(running_mean, running_var, mean, var, factor, momentum):
    mean = momentum * running_mean + (1 - momentum) * mean
    var = momentum * running_var + (1 - momentum) * factor * var
    return (mean, var), factor


def _update_running_statistics_bwd(momentum, factor, cotangents):
    dmean, dvar = cotangents
    return momentum * dmean, momentum * dvar, (1 - momentum) * dmean, (1 - momentum) * factor * dvar, None


_update_running_statistics.defvjp(_update_running_statistics_fwd, _update_running_statistics_bwd)


def _to_operands(function: str, x, channel_axis: int, **parameters) -> tuple[jax.Array, tuple[int, ...], list]:
    """x, all axes but that of its channels, and the parameters, one for each channel, in the layout of x."""
    x, channels = to_channels(function, x, channel_axis)
    axes = tuple(axis for axis in range(x.ndim) if axis != channels)
    return x, axes, [to_parameter(function, name, value, x, [channels]) for name, value in parameters.items()]
