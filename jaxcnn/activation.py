"""Activations."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Real

from jaxcnn.arguments import AnyArray, to_array


def relu(x: Real[AnyArray, "..."]) -> Real[Array, "..."]:
    """Rectified linear unit.

        y  = max(x, 0)
        dx = dy · [y > 0]                                              relu′(0) = 0

    Args:
      x: any shape, real numbers. NaN stays NaN, with gradient 0.

    Returns:
      y: of the shape and dtype of x.

    Keeps y, which the next layer keeps anyway; recomputes nothing.

    Raises:
      TypeError: x is no array of real numbers.

    Source: `relu_back` of the classic NumPy notebooks; `jax.nn.relu` for the value at 0.

    >>> relu(jnp.array([-1.0, 0.0, 2.0]))
    Array([0., 0., 2.], dtype=float32)
    """
    return _relu(to_array("relu", "x", x, (jnp.integer, jnp.floating)))


@jax.custom_vjp
def _relu(x: Real[Array, "*shape"]) -> Real[Array, "*shape"]:
    return _relu_fwd(x)[0]


def _relu_fwd(x):
    y = jnp.where(x <= 0, 0, x)
    return y, y


def _relu_bwd(y, dy):
    return (jnp.where(y > 0, dy, 0).astype(y.dtype),)


_relu.defvjp(_relu_fwd, _relu_bwd)
