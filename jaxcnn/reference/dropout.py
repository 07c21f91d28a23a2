"""Dropout: `jax.random.bernoulli`."""

import jax
import jax.numpy as jnp


def dropout(x, rate, key, *, deterministic=False, broadcast_dims=()):
    if deterministic or rate == 0:
        return x
    if rate == 1:
        return jnp.zeros_like(x)
    shared = {dim % x.ndim for dim in broadcast_dims}
    mask = jax.random.bernoulli(
        key, jnp.float32(1 - rate), [1 if dim in shared else size for dim, size in enumerate(x.shape)]
    )
    return jnp.where(mask, x / (1 - rate), 0)
