"""Activations: jax.nn's own."""

import jax
import jax.numpy as jnp

from jaxcnn.arguments import accumulator, promote


def relu(x):
    return jnp.where(x <= 0, jnp.zeros((), x.dtype), x)


def relu6(x):
    return jax.nn.relu6(x)


def leaky_relu(x, *, negative_slope=0.01):
    return jax.nn.leaky_relu(x, negative_slope)


def prelu(x, slope, *, channel_axis=-1):
    x, slope = promote(x, slope)
    shape = [1] * x.ndim
    if slope.ndim:
        shape[channel_axis] = slope.size
    wide = x.astype(accumulator(x.dtype))
    return jnp.where(wide >= 0, wide, slope.reshape(shape).astype(wide.dtype) * wide).astype(x.dtype)


def elu(x, *, alpha=1.0):
    return jax.nn.elu(x, alpha)


def selu(x):
    return jax.nn.selu(x)


def celu(x, *, alpha=1.0):
    return jax.nn.celu(x, alpha)


def gelu(x, *, approximate=True):
    return jax.nn.gelu(x, approximate)


def silu(x):
    return jax.nn.silu(x)


def mish(x):
    return jax.nn.mish(x)


def sigmoid(x):
    return jax.nn.sigmoid(x)


def hard_sigmoid(x):
    return jax.nn.hard_sigmoid(x)


def hard_swish(x):
    return jax.nn.hard_swish(x)


def tanh(x):
    return jnp.tanh(x)


def hard_tanh(x):
    return jax.nn.hard_tanh(x)


def softplus(x):
    return jax.nn.softplus(x)


def softmax(x, *, axis=-1, where=None):
    return jax.nn.softmax(x, _hashable(axis), _of_rank(where, x))


def log_softmax(x, *, axis=-1, where=None):
    return jax.nn.log_softmax(x, _hashable(axis), _of_rank(where, x))


def _hashable(axis):
    return tuple(axis) if isinstance(axis, list) else axis


def _of_rank(where, x):
    return where if where is None else where.reshape((1,) * (x.ndim - where.ndim) + where.shape)
