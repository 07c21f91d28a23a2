"""Dropout."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from jaxcnn.arguments import AnyArray, Number, error, is_integer, to_array, to_number, widen


def dropout(
    x: Float[AnyArray, "..."],
    rate: Number,
    key: Key[Array, ""] | UInt32[AnyArray, " words"] | None,
    *,
    deterministic: bool = False,
    broadcast_dims: Sequence[int] = (),
) -> Float[Array, "..."]:
    """Entries dropped at random, the others scaled so that the expectation stays.

        y  = mask · x / (1 − rate)                                     mask drawn from key, 1 with probability 1 − rate
        dx = mask · dy / (1 − rate)                                    the map is its own adjoint

    Args:
      x: any shape, floats. A dropped NaN or inf is 0.
      rate: a number from 0 (x itself) to 1 (zeros).
      key: of `jax.random`, of either kind. None will do where nothing is drawn. Inside `jax.shard_map` every device
        draws for its own shard, all the same unless `jax.random.fold_in` tells their keys apart.
      deterministic: return x itself, as at inference.
      broadcast_dims: dimensions along which all entries share their fate, such as (1, 2) to drop whole channels of
        images.

    Returns:
      y: of the shape and dtype of x.

    Keeps key; recomputes the mask.

    Raises:
      ValueError: a rate outside 0 … 1, no key where there must be one, a dimension that x does not have.
      TypeError: x is no array of floats, key is no key.

    Source: Srivastava et al., Dropout (JMLR 15, 2014); `flax.linen.Dropout` for the draw.

    >>> dropout(jnp.ones(6), 0.5, jax.random.key(0))
    Array([0., 0., 2., 2., 0., 2.], dtype=float32)
    """
    x = to_array("dropout", "x", x, jnp.floating)
    rate = to_number("dropout", "rate", rate, 0, 1)
    for dim in broadcast_dims:
        if not is_integer(dim) or not -x.ndim <= dim < x.ndim:
            expected = f"ints from {-x.ndim} to {x.ndim - 1}"
            raise error(ValueError, "dropout", "broadcast_dims", expected, tuple(broadcast_dims))
    if deterministic or rate == 0:
        return x
    if key is None:
        raise error(ValueError, "dropout", "key", "a key, unless deterministic", None)
    key = to_array("dropout", "key", key, (jax.dtypes.prng_key, jnp.uint32))
    if rate == 1:
        return jnp.zeros_like(x)
    return _dropout(x, key, _Dropout(rate, tuple(dim % x.ndim for dim in broadcast_dims)))


class _Dropout(NamedTuple):
    rate: float
    broadcast_dims: tuple[int, ...]

    def drop(self, x, key):
        shape = [1 if dim in self.broadcast_dims else size for dim, size in enumerate(x.shape)]
        mask = jax.random.bernoulli(key, jnp.float32(1 - self.rate), shape)
        return jnp.where(mask, widen(x) / (1 - self.rate), 0).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _dropout(
    x: Float[Array, "*shape"], key: Key[Array, ""] | UInt32[Array, " words"], static: _Dropout
) -> Float[Array, "*shape"]:
    return _dropout_fwd(x, key, static)[0]


def _dropout_fwd(x, key, static):
    return static.drop(x, key), key


def _dropout_bwd(static, key, dy):
    return static.drop(dy, key), None


_dropout.defvjp(_dropout_fwd, _dropout_bwd)
