"""The dense (fully connected) layer."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Num

from jaxcnn.arguments import AnyArray, accumulator, error, promote, to_array, to_precision, to_result_dtype
from jaxcnn.shards import per_shard


def dense(
    x: Num[AnyArray, "*batch c"],
    w: Num[AnyArray, "c k"],
    b: Num[AnyArray, " k"] | None = None,
    *,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> Num[Array, "*batch k"]:
    """Matrix product with a bias.

        z  = x · w + b
        dx = dz · wᵀ
        dw = xᵀ · dz           summed over all batch dimensions
        db = Σ dz

    Args:
      x: (*batch, c), with none, one or several batch dimensions.
      w: (c, k).
      b: (k,) or None.
      precision: as in lax, for all three products.
      preferred_element_type: dtype of the result, and to accumulate in.

    Returns:
      z: (*batch, k), of the promoted dtype of the inputs; 16-bit floats accumulate in float32. Each gradient has the
      dtype of its own argument.

    Keeps x and w; recomputes nothing.

    Raises:
      ValueError: shapes that do not fit, a precision that lax does not know.
      TypeError: an argument that is no array of numbers.

    Source: `fc_back` of the classic NumPy notebooks, features last instead of first.

    >>> dense(jnp.array([1.0, 2.0]), jnp.eye(2), jnp.array([0.5, -0.5]))
    Array([1.5, 1.5], dtype=float32)
    """
    x, w = to_array("dense", "x", x), to_array("dense", "w", w)
    b = None if b is None else to_array("dense", "b", b)
    if w.ndim != 2:
        raise error(ValueError, "dense", "w", "2 dimensions, (c, k)", f"shape {w.shape}")
    if x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise error(
            ValueError, "dense", "x", f"{w.shape[0]} features on the last axis, as w has rows", f"shape {x.shape}"
        )
    if b is not None and b.shape != w.shape[1:]:
        raise error(ValueError, "dense", "b", f"shape {w.shape[1:]}, one bias for each column of w", b.shape)
    x, w, b = promote(x, w, b)
    result = to_result_dtype("dense", preferred_element_type, x.dtype)
    static = _Dense(to_precision("dense", precision), accumulator(x.dtype, result), result)
    return per_shard(_dense, "n…_, …k, k -> n…k")(x, w, b, static)


class _Dense(NamedTuple):
    precision: Any
    accumulate: np.dtype
    result: np.dtype


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _dense(
    x: Num[Array, "*batch c"], w: Num[Array, "c k"], b: Num[Array, " k"] | None, static: _Dense
) -> Num[Array, "*batch k"]:
    return _dense_fwd(x, w, b, static)[0]


def _dense_fwd(x, w, b, static):
    z = _dot(x, w, [x.ndim - 1], [0], static)
    if b is not None:
        z = z + b.astype(z.dtype).reshape((1,) * (z.ndim - 1) + b.shape)
    return z.astype(static.result), (x, w, b)


def _dense_bwd(static, residuals, dz):
    x, w, b = residuals
    batch = range(dz.ndim - 1)
    dx = _dot(dz, w, [dz.ndim - 1], [1], static).astype(x.dtype)
    dw = _dot(x, dz, batch, batch, static).astype(w.dtype)
    db = None if b is None else jnp.sum(dz, batch, static.accumulate).astype(b.dtype)
    return dx, dw, db


_dense.defvjp(_dense_fwd, _dense_bwd)


def _dot(lhs, rhs, lhs_axes, rhs_axes, static: _Dense):
    """The product that sums over these axes, in the dtype to accumulate in."""
    if lhs.dtype != rhs.dtype:
        lhs, rhs = lhs.astype(static.accumulate), rhs.astype(static.accumulate)
    contract = (tuple(lhs_axes), tuple(rhs_axes))
    return lax.dot_general(lhs, rhs, (contract, ((), ())), static.precision, static.accumulate)
