"""Drop-ins: functions of `jax.lax` with lax's own arguments, and pools with Flax's, on the rules of this library.

Value and gradient are lax's. What has no rule here goes on to lax, and what lax refuses fails with lax's own error: lax
reads the arguments first, and the rule starts from what it read. Where a layer takes the function as an argument, name
it there: `flax.linen.Conv(..., conv_general_dilated=jaxcnn.lax.conv_general_dilated)`, and `flax.nnx.Conv` alike. For
every other layer there is `hand_rules`.

As everywhere here, there is no plain forward mode (`jax.jvp`).
"""

import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Real

from jaxcnn import pool_max, pool_sum
from jaxcnn.arguments import AnyArray
from jaxcnn.conv import conv
from jaxcnn.conv_transpose import conv_transpose as transposed_conv
from jaxcnn.window import Ints, Padding

LaxPadding = str | Sequence[tuple[int, int]]

_LAX = {name: getattr(jax.lax, name) for name in ("conv_general_dilated", "conv_transpose", "reduce_window")}
_POOLS = {
    "reduce_window_max": pool_max.max_pool,
    "reduce_window_min": pool_max.min_pool,
    "reduce_window_sum": pool_sum.sum_pool,
}
_FLOATS = {"float16", "bfloat16", "float32", "float64"}
_SWAPPING = threading.RLock()


def conv_general_dilated(
    lhs: AnyArray,
    rhs: AnyArray,
    window_strides: Sequence[int],
    padding: LaxPadding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: jax.lax.ConvGeneralDilatedDimensionNumbers = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
) -> Array:
    """`jax.lax.conv_general_dilated` by the rule of `jaxcnn.conv` or, with lhs_dilation, of `jaxcnn.conv_transpose`.

    A convolution of lhs, dilated by L, with pads (lo, hi) is the transposed one with strides L, the kernel flipped and
    padding (e − 1 − lo, e − 1 − hi), where e = (window − 1)·rhs_dilation + 1.

    To lax go window strides together with lhs_dilation, batch_group_count, out_sharding, a precision that names an
    algorithm, none or more than three spatial dimensions, arrays of size 0, and dtypes other than float16, bfloat16,
    float32 and float64.

    Args:
      lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
        batch_group_count, precision, preferred_element_type, out_sharding: lax's, in its order.

    Returns:
      lax's shape, layout and dtype. 16-bit floats accumulate in float32, in the value and in the gradients.

    Raises:
      What lax raises.

    >>> x, w = jnp.ones((1, 1, 4)), jnp.ones((1, 1, 3))
    >>> conv_general_dilated(x, w, (1,), "SAME")[0, 0]
    Array([2., 3., 3., 2.], dtype=float32)
    """
    convolve = partial(
        _LAX["conv_general_dilated"],
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        out_sharding=out_sharding,
    )
    call = _read(("conv_general_dilated",), convolve, lhs, rhs)
    if not _conv_has_rule(call):
        return _LAX["conv_general_dilated"](lhs, rhs, **call.params)
    return _conv(lhs, rhs, call.params)


def conv_transpose(
    lhs: AnyArray,
    rhs: AnyArray,
    strides: Sequence[int],
    padding: LaxPadding,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: jax.lax.ConvGeneralDilatedDimensionNumbers = None,
    transpose_kernel: bool = False,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    use_consistent_padding: bool = False,
) -> Array:
    """`jax.lax.conv_transpose` by the rule of `jaxcnn.conv_transpose`; what goes to lax: see `conv_general_dilated`.

    Args:
      lhs, rhs, strides, padding, rhs_dilation, dimension_numbers, transpose_kernel, precision, preferred_element_type,
        use_consistent_padding: lax's, in its order.

    Returns:
      lax's shape, layout and dtype, as `conv_general_dilated`.

    Raises:
      What lax raises.

    >>> conv_transpose(jnp.array([[[1.0], [2.0]]]), jnp.array([[[1.0]], [[3.0]]]), (2,), "VALID")[0, :, 0]
    Array([3., 1., 6., 2.], dtype=float32)
    """
    convolve = partial(
        _LAX["conv_transpose"],
        strides=strides,
        padding=padding,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        transpose_kernel=transpose_kernel,
        precision=precision,
        preferred_element_type=preferred_element_type,
        use_consistent_padding=use_consistent_padding,
    )
    options = _read(("conv_general_dilated",), convolve, lhs, rhs).params
    if transpose_kernel:
        k, c, *window = options["dimension_numbers"].rhs_spec
        rhs = jnp.swapaxes(jnp.flip(rhs, window), k, c)
    return conv_general_dilated(lhs, rhs, **options)


def reduce_window(
    operand: Any,
    init_value: Any,
    computation: Callable,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: LaxPadding = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """`jax.lax.reduce_window` by the rules of `jaxcnn.max_pool`, `min_pool` and `sum_pool`.

    Those are for `lax.max` from −inf, `lax.min` from inf and `lax.add` from 0, over one to three dimensions of an array
    of float16, bfloat16, float32 or float64. All else goes to lax, as do base_dilation and arrays of size 0.

    Args:
      operand, init_value, computation, window_dimensions, window_strides, padding, base_dilation, window_dilation:
        lax's, in its order.

    Returns:
      lax's shape and dtype; sums of 16-bit floats accumulate in float32. A dilated maximum has a gradient here.

    Raises:
      What lax raises.

    >>> reduce_window(jnp.array([1.0, 4.0, 2.0]), -jnp.inf, jax.lax.max, (2,))
    Array([4., 4.], dtype=float32)
    """
    if isinstance(init_value, jax.Array) and not isinstance(init_value, jax.core.Tracer):
        init_value = np.asarray(init_value)  # a value still, where lax is traced to read the call
    reduce = partial(
        _LAX["reduce_window"],
        init_value=init_value,
        computation=computation,
        window_dimensions=window_dimensions,
        window_strides=window_strides,
        padding=padding,
        base_dilation=base_dilation,
        window_dilation=window_dilation,
    )
    call = _read(_POOLS, reduce, operand)
    if call is None or not isinstance(operand, AnyArray) or not _pool_has_rule(call):
        return reduce(operand)
    return _pool(operand, _POOLS[call.primitive.name], call.params)


def max_pool(
    inputs: Real[AnyArray, "..."],
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
) -> Real[Array, "..."]:
    """`flax.linen.max_pool` by the rule of `jaxcnn.max_pool`: the strides are 1 by default, not the window.

    Args:
      inputs: (*batch, *spatial, c).
      window_shape, strides: one int per spatial dimension.
      padding: "VALID", "SAME" or (low, high) pairs.

    Returns:
      (*batch, *output, c), typed like inputs.

    Raises:
      What `jaxcnn.max_pool` raises.

    >>> max_pool(jnp.array([[[1.0], [4.0], [2.0]]]), (2,))[0, :, 0]
    Array([4., 4.], dtype=float32)
    """
    return pool_max.max_pool(inputs, window_shape, strides=1 if strides is None else strides, padding=padding)


def min_pool(
    inputs: Real[AnyArray, "..."],
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
) -> Real[Array, "..."]:
    """Flax's `min_pool` by the rule of `jaxcnn.min_pool`; arguments, result and errors as in `max_pool`.

    >>> min_pool(jnp.array([[[1.0], [4.0], [2.0]]]), (2,))[0, :, 0]
    Array([1., 2.], dtype=float32)
    """
    return pool_max.min_pool(inputs, window_shape, strides=1 if strides is None else strides, padding=padding)


def avg_pool(
    inputs: Float[AnyArray, "..."],
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Float[Array, "..."]:
    """`flax.linen.avg_pool` by the rule of `jaxcnn.avg_pool`; arguments, result and errors as in `max_pool`.

    A window of padding alone gives 0 where Flax divides 0 by 0. 16-bit floats are summed in float32 and keep their
    dtype; Flax's result is float32 where `count_include_pad` is False.

    >>> avg_pool(jnp.array([[[1.0], [4.0], [2.0]]]), (2,), padding="SAME", count_include_pad=False)[0, :, 0]
    Array([2.5, 3. , 2. ], dtype=float32)
    """
    return pool_sum.avg_pool(
        inputs,
        window_shape,
        strides=1 if strides is None else strides,
        padding=padding,
        count_include_pad=count_include_pad,
    )


@contextmanager
def hand_rules() -> Iterator[None]:
    """Puts the functions above in the place of jax.lax's own, for layers that call those by name.

    What counts is that a model is traced inside. As a decorator it stands below `jit` and `grad`:

        @jax.jit
        @jaxcnn.lax.hand_rules()
        def loss(params, x): ...                    # with Haiku's, Equinox's, Flax's convolutions and pools

    and around code that traces, `with jaxcnn.lax.hand_rules():`. A program that jit has traced before, or that it
    traces again outside, has lax's own. They are replaced for the whole process: another thread that traces meanwhile
    gets the rules too, and one that comes here waits.

    >>> pool = lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), window_dilation=(2,)).sum()
    >>> with hand_rules():
    ...     jax.grad(pool)(jnp.arange(4.0))  # lax has no gradient of a dilated maximum
    Array([0., 0., 1., 1.], dtype=float32)
    """
    ours = {function.__name__: function for function in (conv_general_dilated, conv_transpose, reduce_window)}
    with _SWAPPING:
        before = {name: getattr(jax.lax, name) for name in ours}
        try:
            for name, function in ours.items():
                setattr(jax.lax, name, function)
            yield
        finally:
            for name, function in before.items():
                setattr(jax.lax, name, function)


def _read(names: Container[str], function: Callable, *arrays: Any) -> Any:
    """lax's own reading of a call: the first operation of one of these names that the function makes of its arguments.

    Its parameters are the arguments of the public function in canonical form. None if there is no such operation.
    """
    operations = jax.make_jaxpr(function)(*arrays).eqns
    return next((operation for operation in operations if operation.primitive.name in names), None)


def _has_rule(call) -> bool:
    arrays = [variable.aval for variable in (*call.invars, *call.outvars)]
    return all(str(array.dtype) in _FLOATS and 0 not in array.shape for array in arrays)


def _conv_has_rule(call) -> bool:
    (lhs, rhs), options = [variable.aval for variable in call.invars], call.params
    return (
        _has_rule(call)
        and lhs.dtype == rhs.dtype
        and 3 <= lhs.ndim <= 5
        and (set(options["window_strides"]) == {1} or set(options["lhs_dilation"]) == {1})
        and options["batch_group_count"] == 1
        and not isinstance(options["precision"], (jax.lax.DotAlgorithm, jax.lax.DotAlgorithmPreset))
        and options["out_sharding"] is None
    )


def _conv(lhs, rhs, options):
    """By the rule: to channels last, and back."""
    (n, c, *spatial), (k, c_per_group, *window), (n_out, k_out, *output) = options["dimension_numbers"]
    x, w = jnp.transpose(lhs, (n, *spatial, c)), jnp.transpose(rhs, (*window, c_per_group, k))
    rule, strides, padding, dilation = conv, *(options[key] for key in ("window_strides", "padding", "rhs_dilation"))
    if set(options["lhs_dilation"]) != {1}:
        rule, strides, w = transposed_conv, options["lhs_dilation"], jnp.flip(w, range(len(window)))
        reach = [(size - 1) * d for size, d in zip(w.shape, dilation)]
        padding = [(e - low, e - high) for e, (low, high) in zip(reach, padding)]
    z = rule(
        x,
        w,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=options["feature_group_count"],
        precision=options["precision"],
        preferred_element_type=options["preferred_element_type"],
    )
    return jnp.moveaxis(z, range(z.ndim), (n_out, *output, k_out))


def _pooled_axes(options) -> list[int]:
    settings = zip(options["window_dimensions"], options["window_strides"], options["padding"])
    return [axis for axis, setting in enumerate(settings) if setting != (1, 1, (0, 0))]


def _pool_has_rule(call) -> bool:
    return _has_rule(call) and 1 <= len(_pooled_axes(call.params)) <= 3 and set(call.params["base_dilation"]) == {1}


def _pool(x, pool, options):
    """By the rule: to (*batch, *spatial, c), and back. The last axis that is not pooled is c."""
    spatial = _pooled_axes(options)
    rest = [axis for axis in range(x.ndim) if axis not in spatial]
    order = (*rest[:-1], *spatial, *rest[-1:])
    names = ("window_dimensions", "window_strides", "padding", "window_dilation")
    window, strides, padding, dilation = ([options[name][axis] for axis in spatial] for name in names)
    x = jnp.transpose(x, order)
    y = pool(x if rest else x[..., None], window, strides=strides, padding=padding, dilation=dilation)
    return jnp.moveaxis(y if rest else y[..., 0], range(len(order)), order)
