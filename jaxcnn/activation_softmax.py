"""Activations over an axis: probabilities, and their logarithms."""

import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxcnn.arguments import AnyArray, error, is_integer, to_array, to_mask, widen
from jaxcnn.shards import aligned, per_shard

LONG = 512  # neighbours in a row; of as many the gradient is faster from x: (1024,1000) 0.65 ms, from y 0.9


def softmax(
    x: Float[AnyArray, "..."], *, axis: int | Sequence[int] | None = -1, where: Bool[AnyArray, "..."] | None = None
) -> Float[Array, "..."]:
    """Probabilities from logits.

        y  = exp(x − max x) / Σ exp(x − max x)                         over the axis
        dx = y · (dy − Σ y·dy)

    Args:
      x: any shape, floats.
      axis: an int, several, or None for all.
      where: booleans that broadcast to x, or None: which entries count. The others get 0, and gradient 0, as does a
        whole row where none counts.

    Returns:
      y: of the shape and dtype of x; computed in float32 or better. +inf gives NaN, as does a row of −inf.

    Keeps y; recomputes nothing. For rows of 512 or more, and on accelerators, it keeps x and where, and recomputes y;
    between two programs, as of `jax.vjp` outside `jit`, all are kept.

    Raises:
      ValueError: an axis that x does not have, a `where` that does not broadcast to x.
      TypeError: x is no array of floats, where is none of booleans.

    Source: `jax.nn.softmax`.

    >>> softmax(jnp.array([0.0, 0.0, 5.0]), where=jnp.array([True, True, False]))
    Array([0.5, 0.5, 0. ], dtype=float32)
    """
    x = to_array("softmax", "x", x, jnp.floating)
    where = to_mask("softmax", where, x.shape)
    axes = _to_axes("softmax", axis, x.ndim)
    return per_shard(_softmax, aligned(2, x.ndim, axes))(x, where, axes)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _softmax(
    x: Float[Array, "*shape"], where: Bool[Array, "..."] | None, axes: tuple[int, ...]
) -> Float[Array, "*shape"]:
    return _softmax_fwd(x, where, axes)[0]


def _softmax_fwd(x, where, axes):
    y = jax.nn.softmax(widen(x), axes, where).astype(x.dtype)
    return y, (x, where, y)


def _softmax_bwd(axes, residuals, dy):
    x, where, y = residuals
    from_y = lambda x, y, dy: y * (dy - jnp.sum(y * dy, axes, keepdims=True))
    from_x = lambda x, y, dy: _softmax_gradient(x, where, dy, axes)
    in_rows = axes == (x.ndim - 1,) and x.shape[-1] >= LONG
    dx = lax.platform_dependent(widen(x), widen(y), widen(dy), cpu=from_x if in_rows else from_y, default=from_x)
    return dx.astype(y.dtype), None


def _softmax_gradient(x, where, dy, axes):
    """y·(dy − Σ y·dy) from x: the exponentials of the forward pass serve once more, or cost less than reading y."""
    largest, total = _largest_and_total(x, where, axes)
    e = jnp.exp(_among(x, where) - largest)
    dy = dy if where is None else jnp.where(where, dy, 0)
    return (dy / total - jnp.sum(e * dy, axes, keepdims=True) / jnp.square(total)) * e


_softmax.defvjp(_softmax_fwd, _softmax_bwd)


def log_softmax(
    x: Float[AnyArray, "..."], *, axis: int | Sequence[int] | None = -1, where: Bool[AnyArray, "..."] | None = None
) -> Float[Array, "..."]:
    """Logarithms of probabilities, from logits.

        y  = x − lse                                                   lse = log Σ exp x over the axis
        dx = dy − p·Σ dy                                               p = exp(x − max x) / Σ exp(x − max x)

    Args:
      x: any shape, floats.
      axis: an int, several, or None for all.
      where: booleans that broadcast to x, or None: which entries count. The others get −inf, and gradient 0.

    Returns:
      y: of the shape and dtype of x; computed in float32 or better. +inf gives NaN, as does a row of −inf.

    Keeps x, where, max x and Σ exp(x − max x); recomputes p.

    Raises:
      ValueError: an axis that x does not have, a `where` that does not broadcast to x.
      TypeError: x is no array of floats, where is none of booleans.

    Source: `jax.nn.log_softmax`.

    >>> log_softmax(jnp.array([0.0, 0.0, -jnp.inf]))
    Array([-0.6931472, -0.6931472,       -inf], dtype=float32)
    """
    x = to_array("log_softmax", "x", x, jnp.floating)
    where = to_mask("log_softmax", where, x.shape)
    axes = _to_axes("log_softmax", axis, x.ndim)
    return per_shard(_log_softmax, aligned(2, x.ndim, axes))(x, where, axes)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _log_softmax(
    x: Float[Array, "*shape"], where: Bool[Array, "..."] | None, axes: tuple[int, ...]
) -> Float[Array, "*shape"]:
    return _log_softmax_fwd(x, where, axes)[0]


def _log_softmax_fwd(x, where, axes):
    largest, total = _largest_and_total(widen(x), where, axes)
    y = _among(widen(x), where) - largest - jnp.log(total)
    return y.astype(x.dtype), (x, where, largest, total)


def _log_softmax_bwd(axes, residuals, dy):
    x, where, largest, total = residuals
    dy = widen(dy) if where is None else jnp.where(where, widen(dy), 0)
    e = jnp.exp(_among(widen(x), where) - largest)
    return (dy - e * (jnp.sum(dy, axes, keepdims=True) / total)).astype(x.dtype), None


_log_softmax.defvjp(_log_softmax_fwd, _log_softmax_bwd)


def _among(x: Float[Array, "*shape"], where: Bool[Array, "..."] | None) -> Float[Array, "*shape"]:
    return x if where is None else jnp.where(where, x, -jnp.inf)


def _largest_and_total(
    x: Float[Array, "*shape"], where: Bool[Array, "..."] | None, axes: tuple[int, ...]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """max x and Σ exp(x − max x) over what counts; 0 and 1 where nothing does."""
    x = _among(x, where)
    largest = lax.stop_gradient(jnp.max(x, axes, keepdims=True, initial=-jnp.inf))
    some = None if where is None else jnp.broadcast_to(where, x.shape).any(axes, keepdims=True)
    largest = largest if some is None else jnp.where(some, largest, 0)
    total = jnp.sum(jnp.exp(x - largest), axes, keepdims=True)
    return largest, total if some is None else jnp.where(some, total, 1)


def _to_axes(function: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """From 0, in order."""
    axes = range(ndim) if axis is None else (axis,) if is_integer(axis) else axis
    if not isinstance(axes, Sequence) or not all(is_integer(a) and -ndim <= a < ndim for a in axes):
        expected = f"None, an int or several, each from {-ndim} to {ndim - 1}"
        raise error(ValueError, function, "axis", expected, repr(axis))
    if len({a % ndim for a in axes}) < len(axes):
        raise error(ValueError, function, "axis", "axes that differ", repr(axis))
    return tuple(sorted(operator.index(a) % ndim for a in axes))
