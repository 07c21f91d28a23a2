"""Exponential linear units, entry by entry: computed in float32 or better, and each derivative read off the output."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.arguments import AnyArray, Number, error, to_array, to_number, widen

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def elu(x: Float[AnyArray, "..."], *, alpha: Number = 1.0) -> Float[Array, "..."]:
    """Exponential linear unit.

        y  = x > 0 ? x : α·(exp x − 1)
        dx = dy · (y > 0 ? 1 : y + α)                                  elu′(0) = α

    Args:
      x: any shape, floats.
      alpha: α, a number of at least 0, so that y has the sign of x.

    Returns:
      y: of the shape and dtype of x.

    Keeps y; recomputes nothing.

    Raises:
      ValueError: alpha is negative or no number.
      TypeError: x is no array of floats.

    Source: `jax.nn.elu`.

    >>> elu(jnp.array([-1e4, 0.0, 2.0]))
    Array([-1.,  0.,  2.], dtype=float32)
    """
    return _elu(to_array("elu", "x", x, jnp.floating), to_number("elu", "alpha", alpha, 0))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _elu(x: Float[Array, "*shape"], alpha: float) -> Float[Array, "*shape"]:
    return _elu_fwd(x, alpha)[0]


def _elu_fwd(x, alpha):
    wide = widen(x)
    y = jnp.where(wide > 0, wide, alpha * jnp.expm1(jnp.where(wide > 0, 0, wide))).astype(x.dtype)
    return y, y


def _elu_bwd(alpha, y, dy):
    return ((widen(dy) * jnp.where(y > 0, 1, widen(y) + alpha)).astype(y.dtype),)


_elu.defvjp(_elu_fwd, _elu_bwd)


def selu(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Scaled exponential linear unit, which keeps mean 0 and variance 1 through many layers.

        y  = λ·x where x > 0, λα·(exp x − 1) elsewhere                 λ = 1.0507…, α = 1.6732…
        dx = dy · (y > 0 ? λ : y + λα)                                 selu′(0) = λα

    Args:
      x: any shape, floats.

    Returns:
      y: of the shape and dtype of x.

    Keeps y; recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: Klambauer et al., Self-Normalizing Neural Networks (arXiv:1706.02515); `jax.nn.selu`.

    >>> selu(jnp.array([-1e4, 0.0, 1.0]))
    Array([-1.7580993,  0.       ,  1.050701 ], dtype=float32)
    """
    return _selu(to_array("selu", "x", x, jnp.floating))


@jax.custom_vjp
def _selu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _selu_fwd(x)[0]


def _selu_fwd(x):
    wide = widen(x)
    y = SELU_SCALE * jnp.where(wide > 0, wide, SELU_ALPHA * jnp.expm1(jnp.where(wide > 0, 0, wide)))
    y = y.astype(x.dtype)
    return y, y


def _selu_bwd(y, dy):
    return ((widen(dy) * jnp.where(y > 0, SELU_SCALE, widen(y) + SELU_SCALE * SELU_ALPHA)).astype(y.dtype),)


_selu.defvjp(_selu_fwd, _selu_bwd)


def celu(x: Float[AnyArray, "..."], *, alpha: Number = 1.0) -> Float[Array, "..."]:
    """Exponential linear unit with a continuous derivative for every α.

        y  = x > 0 ? x : α·(exp(x/α) − 1)
        dx = dy · (y > 0 ? 1 : 1 + y/α)                                celu′(0) = 1

    Args:
      x: any shape, floats.
      alpha: α, a positive number.

    Returns:
      y: of the shape and dtype of x.

    Keeps y; recomputes nothing.

    Raises:
      ValueError: alpha is no positive number.
      TypeError: x is no array of floats.

    Source: Barron, Continuously Differentiable Exponential Linear Units (arXiv:1704.07483); `jax.nn.celu`.

    >>> celu(jnp.array([-1e4, 0.0, 2.0]), alpha=0.5)
    Array([-0.5,  0. ,  2. ], dtype=float32)
    """
    x, alpha = to_array("celu", "x", x, jnp.floating), to_number("celu", "alpha", alpha, 0)
    if alpha == 0:
        raise error(ValueError, "celu", "alpha", "a positive number", alpha)
    return _celu(x, alpha)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _celu(x: Float[Array, "*shape"], alpha: float) -> Float[Array, "*shape"]:
    return _celu_fwd(x, alpha)[0]


def _celu_fwd(x, alpha):
    wide = widen(x)
    y = jnp.where(wide > 0, wide, alpha * jnp.expm1(jnp.where(wide > 0, 0, wide) / alpha)).astype(x.dtype)
    return y, y


def _celu_bwd(alpha, y, dy):
    return ((widen(dy) * jnp.where(y > 0, 1, 1 + widen(y) / alpha)).astype(y.dtype),)


_celu.defvjp(_celu_fwd, _celu_bwd)
