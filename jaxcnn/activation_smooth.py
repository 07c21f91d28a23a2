"""Smooth activations, entry by entry. Each computes in float32 or better; the result has the dtype of x."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcnn.arguments import AnyArray, to_array, to_choice, widen


def sigmoid(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Logistic function.

        y  = 1 / (1 + exp(−x))
        dx = dy · y · (1 − y)

    Args:
      x: any shape, floats.

    Returns:
      y: of the shape and dtype of x.

    Keeps y; recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: `jax.nn.sigmoid`.

    >>> sigmoid(jnp.array([-jnp.inf, 0.0, 1.0]))
    Array([0.       , 0.5      , 0.7310586], dtype=float32)
    """
    return _sigmoid(to_array("sigmoid", "x", x, jnp.floating))


@jax.custom_vjp
def _sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _sigmoid_fwd(x)[0]


def _sigmoid_fwd(x):
    y = lax.logistic(widen(x)).astype(x.dtype)
    return y, y


def _sigmoid_bwd(y, dy):
    s = widen(y)
    return ((widen(dy) * s * (1 - s)).astype(y.dtype),)


_sigmoid.defvjp(_sigmoid_fwd, _sigmoid_bwd)


def tanh(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Hyperbolic tangent.

        y  = tanh x
        dx = dy · (1 + y)(1 − y)

    Args:
      x: any shape, floats.

    Returns:
      y: of the shape and dtype of x.

    Keeps y; recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: `jnp.tanh`.

    >>> tanh(jnp.array([-jnp.inf, 0.0, 1.0]))
    Array([-1.       ,  0.       ,  0.7615942], dtype=float32)
    """
    return _tanh(to_array("tanh", "x", x, jnp.floating))


@jax.custom_vjp
def _tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _tanh_fwd(x)[0]


def _tanh_fwd(x):
    y = jnp.tanh(widen(x)).astype(x.dtype)
    return y, y


def _tanh_bwd(y, dy):
    t = widen(y)
    return ((widen(dy) * (1 + t) * (1 - t)).astype(y.dtype),)


_tanh.defvjp(_tanh_fwd, _tanh_bwd)


def softplus(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Smooth rectifier.

        y  = log(1 + exp x) = max(x, 0) + log(1 + exp(−|x|))
        dx = dy · sigmoid(x)

    Args:
      x: any shape, floats.

    Returns:
      y: of the shape and dtype of x.

    Keeps x (1 − exp(−y) is the same, and slower); recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: `jax.nn.softplus`.

    >>> softplus(jnp.array([-1e4, 0.0, 1e4]))
    Array([0.000000e+00, 6.931472e-01, 1.000000e+04], dtype=float32)
    """
    return _softplus(to_array("softplus", "x", x, jnp.floating))


@jax.custom_vjp
def _softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _softplus_fwd(x)[0]


def _softplus_fwd(x):
    wide = widen(x)
    y = jnp.where(wide > 0, wide, 0) + jnp.log1p(jnp.exp(jnp.where(wide > 0, -wide, wide)))  # differentiable at 0
    return y.astype(x.dtype), x


def _softplus_bwd(x, dy):
    return ((widen(dy) * lax.logistic(widen(x))).astype(x.dtype),)


_softplus.defvjp(_softplus_fwd, _softplus_bwd)


def gelu(x: Float[AnyArray, "..."], *, approximate: bool = True) -> Float[Array, "..."]:
    """Gaussian error linear unit.

        y  = x·Φ                     Φ = ½(1 + tanh u),  u = √(2/π)·(x + 0.044715·x³); exactly Φ = ½ erfc(−x/√2)
        dx = dy · (Φ + x·φ)          φ = Φ′ = ½(1 + tanh u)(1 − tanh u)·u′;            exactly φ = exp(−x²/2)/√(2π)

    Args:
      x: any shape, floats.
      approximate: by tanh; False is the exact distribution function.

    Returns:
      y: of the shape and dtype of x.

    Keeps x; recomputes tanh u, or Φ.

    Raises:
      ValueError: approximate is neither True nor False.
      TypeError: x is no array of floats.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units (arXiv:1606.08415); `jax.nn.gelu`.

    >>> gelu(jnp.array([-1.0, 0.0, 1.0]))
    Array([-0.15880796,  0.        ,  0.841192  ], dtype=float32)
    """
    approximate = to_choice("gelu", "approximate", approximate, (True, False))
    return _gelu(to_array("gelu", "x", x, jnp.floating), approximate)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gelu(x: Float[Array, "*shape"], approximate: bool) -> Float[Array, "*shape"]:
    return _gelu_fwd(x, approximate)[0]


def _gelu_fwd(x, approximate):
    wide = widen(x)
    cdf = 0.5 * (1 + _tanh_u(wide)) if approximate else 0.5 * lax.erfc(-wide * math.sqrt(0.5))
    return (wide * cdf).astype(x.dtype), x


def _gelu_bwd(approximate, x, dy):
    # On a CPU XLA would keep Φ from the forward pass, besides x.
    wide = widen(lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x))
    if approximate:
        t = _tanh_u(wide)
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * wide * wide)
        derivative = 0.5 * (1 + t) * (1 + wide * (1 - t) * slope)
    else:
        density = jnp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
        derivative = 0.5 * lax.erfc(-wide * math.sqrt(0.5)) + wide * density
    return ((widen(dy) * derivative).astype(x.dtype),)


_gelu.defvjp(_gelu_fwd, _gelu_bwd)


def _tanh_u(x):
    return jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


def silu(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Sigmoid linear unit, also called swish.

        y  = x·s                                                       s = sigmoid(x)
        dx = dy · (s + y·(1 − s))

    Args:
      x: any shape, floats.

    Returns:
      y: of the shape and dtype of x.

    Keeps x; recomputes s.

    Raises:
      TypeError: x is no array of floats.

    Source: `jax.nn.silu`.

    >>> silu(jnp.array([-1.0, 0.0, 1.0]))
    Array([-0.26894143,  0.        ,  0.7310586 ], dtype=float32)
    """
    return _silu(to_array("silu", "x", x, jnp.floating))


@jax.custom_vjp
def _silu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _silu_fwd(x)[0]


def _silu_fwd(x):
    wide = widen(x)
    return (wide * lax.logistic(wide)).astype(x.dtype), x


def _silu_bwd(x, dy):
    wide = widen(x)
    s = lax.logistic(wide)
    return ((widen(dy) * (s + wide * s * (1 - s))).astype(x.dtype),)


_silu.defvjp(_silu_fwd, _silu_bwd)


def mish(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Self-regularised activation, in one exponential.

        y  = x·tanh(softplus(x)) = x·n/(n + 2)                         e = exp x,  n = e·(e + 2)
        dx = dy · (n/(n + 2) + 4x·e·(e + 1)/(n + 2)²)

    Args:
      x: any shape, floats. Beyond 20, tanh(softplus(x)) is 1 to the last bit of float64.

    Returns:
      y: of the shape and dtype of x.

    Keeps x; recomputes e.

    Raises:
      TypeError: x is no array of floats.

    Source: Misra, Mish (arXiv:1908.08681); `jax.nn.mish`.

    >>> mish(jnp.array([-1.0, 0.0, 1e4]))
    Array([-3.0340147e-01,  0.0000000e+00,  1.0000000e+04], dtype=float32)
    """
    return _mish(to_array("mish", "x", x, jnp.floating))


@jax.custom_vjp
def _mish(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _mish_fwd(x)[0]


def _mish_fwd(x):
    wide = widen(x)
    e = jnp.exp(jnp.minimum(wide, 20))
    n = e * (e + 2)
    return (wide * (n / (n + 2))).astype(x.dtype), x


def _mish_bwd(x, dy):
    small = jnp.minimum(widen(x), 20)
    e = jnp.exp(small)
    n = e * (e + 2)
    derivative = (n + 4 * small * e * (e + 1) / (n + 2)) / (n + 2)
    return ((widen(dy) * derivative).astype(x.dtype),)


_mish.defvjp(_mish_fwd, _mish_bwd)
