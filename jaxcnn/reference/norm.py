"""Normalisations: means and `lax.rsqrt`."""

import math

import jax.numpy as jnp
from jax import lax
from jax.lax import reduce_window

from jaxcnn.arguments import accumulator, to_axes, to_mask


def batch_norm(x, scale, bias, *, epsilon=1e-5, axis_name=None, where=None, channel_axis=-1):
    axes = _all_but(x, channel_axis)
    y, mean, var = _normalize(x, scale, bias, axes, epsilon, where, axis_name)
    return y, mean.reshape(-1), var.reshape(-1)


def batch_norm_inference(x, mean, var, scale, bias, *, epsilon=1e-5, channel_axis=-1):
    wide = x.astype(accumulator(x.dtype))
    mean, var, scale, bias = (_broadcast(a, wide, _all_but(x, channel_axis)) for a in (mean, var, scale, bias))
    y = (wide - mean) * lax.rsqrt(var + epsilon)
    y = y if scale is None else y * scale
    return (y if bias is None else y + bias).astype(x.dtype)


def update_running_statistics(running_mean, running_var, mean, var, *, momentum, unbiased=False, count=None):
    dtype = accumulator(running_mean.dtype, running_var.dtype, mean.dtype, var.dtype)
    if unbiased:
        n = lax.stop_gradient(jnp.asarray(count).astype(dtype))
        var = var.astype(dtype) * jnp.where(n > 1, n / jnp.maximum(n - 1, 1), 1)
    blend = lambda old, new: momentum * old.astype(dtype) + (1 - momentum) * new.astype(dtype)
    mean, var = blend(running_mean, mean), blend(running_var, var)
    return mean.astype(running_mean.dtype), var.astype(running_var.dtype)


def layer_norm(x, scale, bias, *, axis=-1, epsilon=1e-5, where=None):
    return _normalize(x, scale, bias, to_axes("layer_norm", "axis", axis, x.ndim), epsilon, where, features=True)[0]


def rms_norm(x, scale, *, axis=-1, epsilon=1e-5, where=None):
    axes = to_axes("rms_norm", "axis", axis, x.ndim)
    wide, where = x.astype(accumulator(x.dtype)), to_mask("rms_norm", where, x.shape)
    scale = _broadcast(scale, wide, [i for i in range(x.ndim) if i not in axes])
    y = wide * lax.rsqrt(_mean(wide**2, axes, where) + epsilon)
    return (y if scale is None else y * scale).astype(x.dtype)


def group_norm(x, scale, bias, *, groups, epsilon=1e-5, where=None, channel_axis=-1):
    axis = channel_axis % x.ndim
    split = lambda a: a.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])
    where = None if where is None else split(jnp.broadcast_to(where, x.shape))
    axes = [i for i in range(1, x.ndim + 1) if i != axis]
    y = _normalize(split(x.astype(accumulator(x.dtype))), None, None, axes, epsilon, where)[0].reshape(x.shape)
    scale, bias = (_broadcast(a, y, _all_but(x, channel_axis)) for a in (scale, bias))
    y = y if scale is None else y * scale
    return (y if bias is None else y + bias).astype(x.dtype)


def instance_norm(x, scale, bias, *, epsilon=1e-5, where=None, channel_axis=-1):
    groups = x.shape[channel_axis]
    return group_norm(x, scale, bias, groups=groups, epsilon=epsilon, where=where, channel_axis=channel_axis)


def weight_standardize(w, *, axis=None, epsilon=1e-5):
    return layer_norm(w, None, None, axis=range(w.ndim - 1) if axis is None else axis, epsilon=epsilon)


def local_response_norm(x, size, *, alpha=1e-4, beta=0.75, k=1.0, channel_axis=-1):
    wide, window, pads = x.astype(accumulator(x.dtype)), [1] * x.ndim, [(0, 0)] * x.ndim
    window[channel_axis], pads[channel_axis] = size, (size // 2, (size - 1) // 2)
    total = reduce_window(wide**2, 0.0, lax.add, window, [1] * x.ndim, pads)
    return (wide / (k + alpha / size * total) ** beta).astype(x.dtype)


def _normalize(x, scale, bias, axes, epsilon, where=None, axis_name=None, features=False):
    """With scale and bias along the other axes, or along the same ones: the features."""
    wide, where = x.astype(accumulator(x.dtype)), to_mask("normalize", where, x.shape)
    mean = _mean(wide, axes, where, axis_name)
    var = _mean((wide - mean) ** 2, axes, where, axis_name)
    others = [i for i in range(x.ndim) if i not in axes] if features else axes
    scale, bias = (_broadcast(a, wide, others) for a in (scale, bias))
    y = (wide - mean) * lax.rsqrt(var + epsilon)
    y = y if scale is None else y * scale
    return (y if bias is None else y + bias).astype(x.dtype), mean, var


def _mean(x, axes, where, axis_name=None):
    """Of what counts, on all devices; 0 where nothing does."""
    total = jnp.sum(x, axes, keepdims=True, where=where)
    if where is None:
        n = jnp.asarray(math.prod(x.shape[axis] for axis in axes)).astype(x.dtype)
    else:
        n = jnp.sum(jnp.broadcast_to(where, x.shape), axes, x.dtype, keepdims=True)
    if axis_name is not None:
        total, n = lax.psum((total, n), axis_name)
    return total / jnp.maximum(n, 1)


def _all_but(x, channel_axis):
    return tuple(i for i in range(x.ndim) if i != channel_axis % x.ndim)


def _broadcast(parameter, x, axes):
    """A parameter that varies along all but these axes of x."""
    return None if parameter is None else jnp.expand_dims(parameter.astype(x.dtype), axes)
