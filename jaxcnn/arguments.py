"""Arguments at the public edge: checked, and brought to the one form that the rules see."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

AnyArray = jax.Array | np.ndarray
Number = int | float | np.integer | np.floating


def error(kind: type[Exception], function: str, argument: str, expected: str, got: Any) -> Exception:
    """The one form of every complaint."""
    return kind(f"{function}: {argument} expects {expected}, got {got}")


def is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def to_ints(function: str, argument: str, value: Any, dims: int, *, minimum: int) -> tuple[int, ...]:
    """One int for all dimensions, or one for each."""
    values = (value,) * dims if is_integer(value) else value
    if (
        isinstance(values, (Sequence, np.ndarray))
        and len(values) == dims
        and all(is_integer(v) and v >= minimum for v in values)
    ):
        return tuple(map(operator.index, values))
    raise error(ValueError, function, argument, f"an int or {dims} ints, each at least {minimum}", value)


def to_choice(function: str, argument: str, value: Any, choices: Sequence[Any]) -> Any:
    if isinstance(value, str):
        value = value.lower()
    if value not in choices:
        raise error(ValueError, function, argument, "one of " + ", ".join(map(repr, choices)), repr(value))
    return value


def to_array(function: str, argument: str, value: Any, kind: Any = jnp.number) -> jax.Array:
    """An array of a dtype of the `kind` (a NumPy type, or several); lists and Python scalars are refused."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, (jax.Array, np.ndarray, np.generic)):
        raise error(TypeError, function, argument, "an array", type(value).__name__)
    if not any(jnp.issubdtype(value.dtype, k) for k in kinds):
        names = " or ".join(k.__name__ for k in kinds)
        raise error(TypeError, function, argument, f"a dtype that is {names}", value.dtype)
    return jnp.asarray(value)


def to_number(function: str, argument: str, value: Any, low: Number = -math.inf, high: Number = math.inf) -> float:
    """A finite Python or NumPy number from low to high; inf and NaN are refused."""
    if not isinstance(value, (float, np.floating)) and not is_integer(value):
        raise error(ValueError, function, argument, "a number", repr(value))
    if not (low <= value <= high and math.isfinite(value)):
        bounds = f" from {low:g} to {high:g}" if math.isfinite(high) else f" of at least {low:g}"
        raise error(ValueError, function, argument, "a finite number" + bounds * math.isfinite(low), repr(value))
    return float(value)


def to_axes(function: str, argument: str, value: Any, dims: int) -> tuple[int, ...]:
    """One axis or several of an array of `dims` dimensions, negative ones counted from the end; sorted."""
    values = (value,) if is_integer(value) else value
    if isinstance(values, (Sequence, np.ndarray)) and all(is_integer(v) and -dims <= v < dims for v in values):
        axes = {int(v) % dims for v in values}
        if len(axes) == len(values) > 0:
            return tuple(sorted(axes))
    raise error(ValueError, function, argument, f"different axes of an array of {dims} dimensions", value)


def to_mask(function: str, where: Any, shape: Sequence[Any]) -> jax.Array | None:
    """A mask that broadcasts to this shape, of as many dimensions; None stays None."""
    if where is None:
        return None
    where = to_array(function, "where", where, jnp.bool_)
    full = (1,) * (len(shape) - where.ndim) + where.shape
    if len(full) != len(shape) or any(m not in (1, n) for m, n in zip(full, shape)):
        raise error(ValueError, function, "where", f"a shape that broadcasts to {tuple(shape)}", where.shape)
    return where.reshape(full)


def to_channels(function: str, x: Any, channel_axis: int) -> tuple[jax.Array, int]:
    """x (n, …, c) or, with `channel_axis=1`, (n, c, …), and the axis of its channels, not negative."""
    x = to_array(function, "x", x, jnp.floating)
    to_choice(function, "channel_axis", channel_axis, (-1, 1))
    if x.ndim < 2:
        raise error(ValueError, function, "x", "at least 2 dimensions, batch and channels", f"shape {x.shape}")
    return x, channel_axis % x.ndim


def to_parameter(function: str, argument: str, value: Any, x: jax.Array, axes: Sequence[int]) -> jax.Array | None:
    """One value for each index along these axes of x, with size 1 along the others; None stays None."""
    if value is None:
        return None
    value = to_array(function, argument, value, jnp.floating)
    shape = tuple(x.shape[axis] for axis in axes)
    if value.shape != shape:
        raise error(
            ValueError, function, argument, f"shape {shape}, that of x along its axes {tuple(axes)}", value.shape
        )
    return value.reshape([n if axis in axes else 1 for axis, n in enumerate(x.shape)])


def promote(*arrays: jax.Array | None) -> tuple[Any, ...]:
    """The arrays in the dtype that JAX promotes them to; None stays None."""
    dtype = jnp.result_type(*(a for a in arrays if a is not None))
    return tuple(None if a is None else a.astype(dtype) for a in arrays)


def accumulator(*dtypes: Any) -> np.dtype:
    """The dtype to sum in: the widest of those given, and for floats of 16 bits or fewer float32."""
    widest = max(map(jnp.dtype, reversed(dtypes)), key=lambda dtype: dtype.itemsize)
    return jnp.dtype(jnp.float32) if jnp.issubdtype(widest, jnp.floating) and widest.itemsize < 4 else widest


def widen(x: jax.Array) -> jax.Array:
    """x in the dtype to compute in."""
    return x.astype(accumulator(x.dtype))


def to_result_dtype(function: str, preferred_element_type: Any, dtype: np.dtype) -> np.dtype:
    """`preferred_element_type`, or `dtype` where that is None."""
    if preferred_element_type is None:
        return dtype
    try:
        preferred = jax.dtypes.canonicalize_dtype(preferred_element_type)
    except TypeError:
        raise error(TypeError, function, "preferred_element_type", "a dtype", repr(preferred_element_type)) from None
    for kind in (jnp.complexfloating, jnp.floating):
        if jnp.issubdtype(dtype, kind) and not jnp.issubdtype(preferred, kind):
            raise error(
                TypeError, function, "preferred_element_type", f"a {kind.__name__} dtype for {dtype}", preferred
            )
    if not jnp.issubdtype(preferred, jnp.number):
        raise error(TypeError, function, "preferred_element_type", "a number's dtype", preferred)
    return preferred


def to_precision(function: str, precision: Any) -> Any:
    """A hashable form of what lax takes: None, a name, a `lax.Precision`, or a pair of those for the two operands."""
    if precision is None:
        return None
    pair = precision if isinstance(precision, (tuple, list)) else (precision, precision)
    try:
        lhs, rhs = map(lax.Precision, pair)
    except ValueError:
        names = ", ".join(repr(p.name.lower()) for p in lax.Precision)
        raise error(ValueError, function, "precision", f"None, one of {names}, or a pair", repr(precision)) from None
    return lhs, rhs


def spatial_dims(function: str, window: Any, x: jax.Array, argument: str = "window", name: str = "x") -> int:
    """The number of spatial dimensions, where a single int may stand for all of them."""
    if is_integer(window):
        if x.ndim < 3:
            expected = f"(n, *spatial, c) where {argument} is one int (one per dimension says how many are spatial)"
            raise error(ValueError, function, name, expected, f"shape {x.shape}")
        return x.ndim - 2
    if not isinstance(window, (Sequence, np.ndarray)) or isinstance(window, str) or len(window) == 0:
        raise error(ValueError, function, argument, "an int or one per spatial dimension", repr(window))
    return len(window)


def channels_last(
    function: str, x: jax.Array, dims: int, channel_axis: int, name: str = "x"
) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """x as (n, *spatial, c), and the function that brings a result of that form back to the caller's.

    `channel_axis=1` means channels before the spatial dimensions, with whatever leading batch dimensions there are.
    """
    to_choice(function, "channel_axis", channel_axis, (-1, 1))
    if x.ndim < dims + 1:
        expected = f"at least {dims + 1} dimensions ({dims} spatial)"
        raise error(ValueError, function, name, expected, f"shape {x.shape}")
    axis = -1 if channel_axis == -1 else -1 - dims
    x = jnp.moveaxis(x, axis, -1)
    batch = x.shape[: -1 - dims]

    def restore(z: jax.Array) -> jax.Array:
        return jnp.moveaxis(z.reshape(batch + z.shape[1:]), -1, axis)

    return x.reshape((math.prod(batch), *x.shape[-1 - dims :])), restore
