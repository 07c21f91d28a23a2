"""Activations in pieces, linear or quadratic, entry by entry."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Real

from jaxcnn.arguments import AnyArray, Number, error, promote, to_array, to_choice, to_number, widen
from jaxcnn.shards import per_shard


def relu(x: Real[AnyArray, "..."]) -> Real[Array, "..."]:
    """Rectified linear unit.

        y  = max(x, 0)
        dx = dy · [y ≠ 0]                                              relu′(0) = 0

    Args:
      x: any shape, real numbers. NaN stays NaN, and the gradient passes it, as in PyTorch.

    Returns:
      y: of the shape and dtype of x.

    Keeps y, which the next layer keeps anyway; recomputes nothing. A TPU keeps [x ≤ 0], one bit, so that its compiler
    may keep y in 16 of them for the next convolution; between two programs, as of `jax.vjp` outside `jit`, all are
    kept.

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
    off = x <= 0
    y = jnp.where(off, 0, x)
    return y, (off, y)


def _relu_bwd(residuals, dy):
    from_bits = lambda off, y, dy: jnp.where(off, 0, dy)
    from_y = lambda off, y, dy: jnp.where(y == 0, 0, dy)
    return (lax.platform_dependent(*residuals, dy, tpu=from_bits, default=from_y).astype(dy.dtype),)


_relu.defvjp(_relu_fwd, _relu_bwd)


def relu6(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Rectified linear unit, cut at 6.

        y  = min(max(x, 0), 6)
        dx = dy · [0 < y < 6]                                          relu6′(0) = relu6′(6) = 0

    Args:
      x: any shape, floats. NaN stays NaN, with gradient 0.

    Returns:
      y: of the shape and dtype of x.

    Keeps y; recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: `jax.nn.relu6`.

    >>> relu6(jnp.array([-1.0, 2.0, 7.0]))
    Array([0., 2., 6.], dtype=float32)
    """
    return _relu6(to_array("relu6", "x", x, jnp.floating))


@jax.custom_vjp
def _relu6(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _relu6_fwd(x)[0]


def _relu6_fwd(x):
    y = jnp.clip(x, 0, 6)
    return y, y


def _relu6_bwd(y, dy):
    return (jnp.where((y > 0) & (y < 6), dy, 0).astype(y.dtype),)


_relu6.defvjp(_relu6_fwd, _relu6_bwd)


def leaky_relu(x: Float[AnyArray, "..."], *, negative_slope: Number = 0.01) -> Float[Array, "..."]:
    """Rectified linear unit that leaks below 0.

        y  = x ≥ 0 ? x : α·x                                           α = negative_slope
        dx = dy · (x ≥ 0 ? 1 : α)                                      leaky_relu′(0) = 1

    Args:
      x: any shape, floats.
      negative_slope: α, a number of any sign.

    Returns:
      y: of the shape and dtype of x.

    Keeps [x ≥ 0], a byte per entry (an α of 0 or less leaves no sign in y); recomputes nothing.

    Raises:
      ValueError: negative_slope is no finite number.
      TypeError: x is no array of floats.

    Source: `jax.nn.leaky_relu`.

    >>> leaky_relu(jnp.array([-2.0, 0.0, 3.0]), negative_slope=0.5)
    Array([-1.,  0.,  3.], dtype=float32)
    """
    slope = to_number("leaky_relu", "negative_slope", negative_slope)
    return _leaky_relu(to_array("leaky_relu", "x", x, jnp.floating), slope)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _leaky_relu(x: Float[Array, "*shape"], slope: float) -> Float[Array, "*shape"]:
    return _leaky_relu_fwd(x, slope)[0]


def _leaky_relu_fwd(x, slope):
    return jnp.where(x >= 0, x, (slope * widen(x)).astype(x.dtype)), x >= 0


def _leaky_relu_bwd(slope, whole, dy):
    return (jnp.where(whole, dy, (slope * widen(dy)).astype(dy.dtype)),)


_leaky_relu.defvjp(_leaky_relu_fwd, _leaky_relu_bwd)


def prelu(
    x: Float[AnyArray, "..."], slope: Float[AnyArray, ""] | Float[AnyArray, " c"], *, channel_axis: int = -1
) -> Float[Array, "..."]:
    """Leaky rectified linear unit whose slope is learnt, one for all channels or one for each.

        y      = x ≥ 0 ? x : slope·x
        dx     = dy · (x ≥ 0 ? 1 : slope)                              1 at x = 0, as in `leaky_relu`
        dslope = Σ dy·x where x < 0                                    over all entries that share a slope

    Args:
      x: (..., c), or (n, c, ...) with channel_axis=1; floats.
      slope: (), (1,) or (c,), floats.
      channel_axis: -1 or 1, the axis of x that a slope (c,) belongs to.

    Returns:
      y: of the shape of x and of the promoted dtype; dslope is summed in float32 or better.

    Keeps x and slope; recomputes nothing.

    Raises:
      ValueError: a slope of another shape, a channel axis that x does not have.
      TypeError: an argument that is no array of floats.

    Source: He et al., Delving Deep into Rectifiers (arXiv:1502.01852); `flax.linen.PReLU` for the value at 0.

    >>> prelu(jnp.array([[-2.0, -2.0]]), jnp.array([0.5, 0.25]))
    Array([[-1. , -0.5]], dtype=float32)
    """
    axis = to_choice("prelu", "channel_axis", channel_axis, (-1, 1))
    x, slope = to_array("prelu", "x", x, jnp.floating), to_array("prelu", "slope", slope, jnp.floating)
    if slope.ndim and x.ndim < (1 if axis == -1 else 2):
        raise error(ValueError, "prelu", "x", f"a channel axis {axis}", f"shape {x.shape}")
    channels = x.shape[axis] if slope.ndim else 1
    if slope.shape not in ((), (1,), (channels,)):
        raise error(ValueError, "prelu", "slope", f"shape (), (1,) or ({channels},), as x has channels", slope.shape)
    x, slope = promote(x, slope)
    shape = [1] * x.ndim
    if slope.ndim:
        shape[axis] = slope.size
    return per_shard(_prelu, "*, * -> *")(x, slope.reshape(shape))


@jax.custom_vjp
def _prelu(x: Float[Array, "*shape"], slope: Float[Array, "..."]) -> Float[Array, "*shape"]:
    return _prelu_fwd(x, slope)[0]


def _prelu_fwd(x, slope):
    return jnp.where(x >= 0, x, (widen(slope) * widen(x)).astype(x.dtype)), (x, slope)


def _prelu_bwd(residuals, dy):
    x, slope = residuals
    dy = widen(dy)
    shared = [axis for axis, size in enumerate(slope.shape) if size == 1]
    dslope = jnp.sum(dy * (widen(x) - jnp.abs(widen(x))), shared, keepdims=True) / 2  # x − |x| = 2·min(x, 0)
    dx = jnp.where(x >= 0, dy, widen(slope) * dy)
    return dx.astype(x.dtype), dslope.astype(slope.dtype)


_prelu.defvjp(_prelu_fwd, _prelu_bwd)


def hard_sigmoid(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Sigmoid of straight lines.

        y  = min(max(x + 3, 0), 6) / 6
        dx = dy/6 · [0 < y < 1]                                        0 at x = ±3

    Args:
      x: any shape, floats. NaN stays NaN, with gradient 0.

    Returns:
      y: of the shape and dtype of x.

    Keeps y; recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: `jax.nn.hard_sigmoid`.

    >>> hard_sigmoid(jnp.array([-3.0, 0.0, 1.5, 4.0]))
    Array([0.  , 0.5 , 0.75, 1.  ], dtype=float32)
    """
    return _hard_sigmoid(to_array("hard_sigmoid", "x", x, jnp.floating))


@jax.custom_vjp
def _hard_sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _hard_sigmoid_fwd(x)[0]


def _hard_sigmoid_fwd(x):
    y = (jnp.clip(widen(x) + 3, 0, 6) / 6).astype(x.dtype)
    return y, y


def _hard_sigmoid_bwd(y, dy):
    return (jnp.where((y > 0) & (y < 1), widen(dy) / 6, 0).astype(y.dtype),)


_hard_sigmoid.defvjp(_hard_sigmoid_fwd, _hard_sigmoid_bwd)


def hard_swish(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Swish with the hard sigmoid.

        y  = x·min(max(x + 3, 0), 6) / 6
        dx = dy · (x ≤ −3 ? 0 : x ≥ 3 ? 1 : (2x + 3)/6)

    Args:
      x: any shape, floats. As in `jax.nn`, −inf gives NaN, with gradient 0.

    Returns:
      y: of the shape and dtype of x.

    Keeps x; recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: Howard et al., Searching for MobileNetV3 (arXiv:1905.02244); `jax.nn.hard_swish`.

    >>> hard_swish(jnp.array([-3.0, 0.0, 1.5, 4.0]))
    Array([-0.   ,  0.   ,  1.125,  4.   ], dtype=float32)
    """
    return _hard_swish(to_array("hard_swish", "x", x, jnp.floating))


@jax.custom_vjp
def _hard_swish(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _hard_swish_fwd(x)[0]


def _hard_swish_fwd(x):
    wide = widen(x)
    return (wide * (jnp.clip(wide + 3, 0, 6) / 6)).astype(x.dtype), x


def _hard_swish_bwd(x, dy):
    wide = widen(x)
    at_ends = jnp.clip(wide + 3, 0, 6) / 6  # 0 and 1; a CPU takes 1.4 times as long to select one of two constants
    derivative = jnp.where(jnp.abs(wide) < 3, (2 * wide + 3) / 6, at_ends)
    return ((widen(dy) * derivative).astype(x.dtype),)


_hard_swish.defvjp(_hard_swish_fwd, _hard_swish_bwd)


def hard_tanh(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Hyperbolic tangent of straight lines.

        y  = min(max(x, −1), 1)
        dx = dy · [|x| ≤ 1]                                            hard_tanh′(±1) = 1

    Args:
      x: any shape, floats. NaN stays NaN, with gradient dy.

    Returns:
      y: of the shape and dtype of x.

    Keeps [|x| > 1], a byte per entry (y is ±1 at the corners and beyond them); recomputes nothing.

    Raises:
      TypeError: x is no array of floats.

    Source: `jax.nn.hard_tanh`.

    >>> hard_tanh(jnp.array([-2.0, 0.5, 2.0]))
    Array([-1. ,  0.5,  1. ], dtype=float32)
    """
    return _hard_tanh(to_array("hard_tanh", "x", x, jnp.floating))


@jax.custom_vjp
def _hard_tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _hard_tanh_fwd(x)[0]


def _hard_tanh_fwd(x):
    return jnp.clip(x, -1, 1), jnp.abs(x) > 1


def _hard_tanh_bwd(beyond, dy):
    return (jnp.where(beyond, 0, dy),)


_hard_tanh.defvjp(_hard_tanh_fwd, _hard_tanh_bwd)
