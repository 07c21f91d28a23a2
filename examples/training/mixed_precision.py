"""Mixed precision: float32 parameters, 16-bit computation, and for float16 a dynamic loss scale.

bfloat16 has the range of float32. float16 ends at 65504 and has nothing below 6e-8, where small gradients vanish: the
loss is multiplied by a scale before the backward pass, and the gradients are divided by it after. A step whose
gradients overflow is left out and halves the scale; many that do not double it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

FIRST, LARGEST, GROW_AFTER = 2.0**15, 2.0**24, 200


class LossScale(NamedTuple):
    """A power of two, and how many steps in a row have been good."""

    value: jax.Array
    good_steps: jax.Array


def first_scale(dtype: str) -> LossScale | None:
    return LossScale(jnp.float32(FIRST), jnp.int32(0)) if dtype == "float16" else None


def scaled_value_and_grad(loss: Callable[..., Any], scale: LossScale | None) -> Callable[..., Any]:
    """jax.value_and_grad(loss), through a backward pass of scale·loss."""
    if scale is None:
        return jax.value_and_grad(loss)

    def run(params, x, y):
        value, gradients = jax.value_and_grad(lambda *args: scale.value * loss(*args))(params, x, y)
        return value / scale.value, jax.tree.map(lambda gradient: gradient / scale.value, gradients)

    return run


def skip_overflow(
    scale: LossScale | None, loss: jax.Array, gradients: Any, before: Any, after: Any
) -> tuple[Any, LossScale | None]:
    """What a step leaves, and the next scale: `after`, unless gradients overflowed through the fault of the scale."""
    if scale is None:
        return after, None
    finite = jnp.stack([jnp.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients)]).all()
    skipped = ~finite & jnp.isfinite(loss) & (scale.value >= 1)
    good_steps = jnp.where(finite, scale.good_steps + 1, 0)
    grows = good_steps == GROW_AFTER
    value = scale.value * jnp.where(finite, jnp.where(grows, 2.0, 1.0), 0.5)
    following = LossScale(jnp.minimum(value, LARGEST), jnp.where(grows, 0, good_steps))
    return jax.tree.map(partial(jnp.where, skipped), before, after), following
