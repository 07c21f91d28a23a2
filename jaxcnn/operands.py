"""Operands of a convolution: at the public edge made to fit each other, and the bias in the rules."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.arguments import accumulator, channels_last, error, to_array, to_ints, to_precision, to_result_dtype
from jaxcnn.window import Convolution, Window


def to_operands(
    function: str, x: Any, name: str, w: Any, channel_axis: int
) -> tuple[jax.Array, jax.Array, Callable[[jax.Array], jax.Array]]:
    """x as (n, *spatial, c), the kernel of this name, and the function that brings a result to the layout of x."""
    x, w = to_array(function, "x", x), to_array(function, name, w)
    if w.ndim not in (3, 4, 5):
        raise error(ValueError, function, name, "3 to 5 dimensions, (*window, c/groups, k)", f"shape {w.shape}")
    x, restore = channels_last(function, x, w.ndim - 2, channel_axis)
    return x, w, restore


def to_groups(function: str, x: jax.Array, w: jax.Array, groups: Any) -> int:
    """For w (*window, c/groups, k)."""
    (groups,) = to_ints(function, "groups", groups, 1, minimum=1)
    c, k = x.shape[-1], w.shape[-1]
    if c % groups or k % groups:
        raise error(ValueError, function, "groups", f"a divisor of {c} input and {k} output channels", groups)
    if w.shape[-2] * groups != c:
        expected = f"{c // groups} input channels per group (x has {c}, groups={groups})"
        raise error(ValueError, function, "w", expected, w.shape[-2])
    return groups


def to_channel_groups(function: str, x: jax.Array, name: str, w: jax.Array) -> int:
    """As many groups as channels, for a depthwise w (*window, 1, c·m)."""
    c = x.shape[-1]
    if c == 0:
        raise error(ValueError, function, "x", "at least one channel", f"shape {x.shape}")
    if w.shape[-2] != 1 or w.shape[-1] % c:
        expected = f"(*window, 1, a multiple of the {c} channels of x)"
        raise error(ValueError, function, name, expected, f"shape {w.shape}")
    return c


def to_bias(function: str, b: Any, w: jax.Array) -> jax.Array | None:
    """(k,) for w (..., k), or None."""
    if b is None:
        return None
    b = to_array(function, "b", b)
    if b.shape != w.shape[-1:]:
        raise error(ValueError, function, "b", f"shape {w.shape[-1:]}, one bias for each output channel", b.shape)
    return b


def to_convolution(
    function: str, window: Window, groups: int, precision: Any, preferred_element_type: Any, dtype: np.dtype
) -> Convolution:
    """What is static, for operands of this dtype."""
    result = to_result_dtype(function, preferred_element_type, dtype)
    return Convolution(window, groups, to_precision(function, precision), accumulator(dtype, result), result)


def to_layout(groups: int) -> str:
    """How x, w, b and the result may lie on devices: the batch divided, and the output channels of one group."""
    return "n…, …k, k -> n…k" if groups == 1 else "n…, …, … -> n…"


def add_bias(z: jax.Array, b: jax.Array | None, conv: Convolution) -> jax.Array:
    """z + b in the dtype of the result. Accelerators have z in it already, and their libraries add b on the way."""
    if b is None:
        return z.astype(conv.result)
    b = b.reshape((1,) * (z.ndim - 1) + b.shape)
    if z.dtype == conv.result or b.dtype != conv.result:
        return (z + b.astype(z.dtype)).astype(conv.result)
    of_cpu, others = lambda z, b: (z + b.astype(z.dtype)).astype(conv.result), lambda z, b: z.astype(conv.result) + b
    return lax.platform_dependent(z, b, cpu=of_cpu, default=others)


def bias_gradient(dz: jax.Array, b: jax.Array | None, conv: Convolution) -> jax.Array | None:
    """db[k] = Σ_{n,p} dz[n,p,k]."""
    return None if b is None else jnp.sum(dz, range(dz.ndim - 1), conv.accumulate).astype(b.dtype)
