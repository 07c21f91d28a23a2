"""Pooling: maxima and means over windows. The gradients are fixed sums over window offsets: no scatter anywhere."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from jaxcnn.arguments import AnyArray, accumulator, channels_last, spatial_dims, to_array, to_choice, to_ints
from jaxcnn.switches import Ties, find_maximum, is_switched, share, spread
from jaxcnn.taps import passes, read_taps, repeat, sum_taps
from jaxcnn.window import Ints, Padding, Pads, Window


def max_pool(
    x: Real[AnyArray, "..."],
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    ties: Ties = "first",
    channel_axis: int = -1,
) -> Real[Array, "..."]:
    """Maximum over windows.

        y[n,p,c]  = max_i x[n, a(p,i), c]                            a(p,i) = s·p + d·i − lo
        dx[n,a,c] = Σ_{(p,i): a(p,i) = a} dy[n,p,c] · m[n,p,i,c]

    m says which taps i are the maximum of window p: the first in row-major order (`ties="first"`, as in PyTorch and
    `jax.grad` of `lax.reduce_window`), every maximum in full ("all"), or every maximum with an equal share ("even", as
    `jnp.max`). A NaN is the maximum of its window and takes the gradient. Padding takes none, not even in a window of
    −inf; a window of padding alone gives −inf (the lowest integer for integers).

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      window: a size per spatial dimension; an int is for all of them, with x of one batch dimension.
      strides: None means the window.
      padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL" (1-D), an int, one int per dimension, or (low, high) pairs.
      dilation: steps between the cells of a window.
      ceil_mode: lets the last window overhang the end, unless it would start beyond input and low pad.

    Returns:
      y: (n, *output, c), laid out and typed like x.

    Keeps one unsigned integer for each output: the number of the first maximal tap, or for other ties a bit for each
    tap (an integer for every 32); recomputes nothing.

    Raises:
      ValueError: a window that does not fit x, an option out of its range.
      TypeError: x is no array of real numbers.

    Source: the mask of the classic NumPy notebooks; Zeiler and Fergus (arXiv:1311.2901) call m the switches.

    >>> x = jnp.array([[1.0, 4.0, 4.0, 2.0]])[..., None]
    >>> max_pool(x, 2, strides=1)[0, :, 0]
    Array([4., 4., 4.], dtype=float32)
    >>> jax.grad(lambda x: max_pool(x, 2, strides=1).sum())(x)[0, :, 0]
    Array([0., 2., 1., 0.], dtype=float32)
    """
    x = to_array("max_pool", "x", x, (jnp.integer, jnp.floating))
    ties = to_choice("max_pool", "ties", ties, ("first", "all", "even"))
    x, restore = channels_last("max_pool", x, spatial_dims("max_pool", window, x), channel_axis)
    geometry = Window.of(
        "max_pool",
        x.shape[1:-1],
        window,
        strides=window if strides is None else strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return restore(_max_pool(x, _MaxPool(geometry, ties)))


class _MaxPool(NamedTuple):
    window: Window
    ties: Ties


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Real[Array, "n *spatial c"], static: _MaxPool) -> Real[Array, "n *output c"]:
    return _max_pool_fwd(x, static)[0]


def _max_pool_fwd(x, static):
    return _maximum(x, static)


def _max_pool_bwd(static, switches, dy):
    return (spread(dy, switches, *static).astype(dy.dtype),)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _maximum(x, static):
    return find_maximum(x, *static)


@_maximum.defjvp
def _maximum_jvp(static, primals, tangents):
    """For derivatives of the gradient: the tangent goes through the same switches."""
    window, ties = static
    (x,), (dx,) = primals, tangents
    y, switches = _maximum(x, static)
    read = read_taps(dx, window, 0)
    through = lambda tap, total: total + jnp.where(is_switched(switches, tap, ties), read(tap), 0)
    dy = repeat(window.taps, through, jnp.zeros_like(y)) * share(switches, ties, y.dtype)
    return (y, switches), (dy, tuple(np.zeros(word.shape, jax.dtypes.float0) for word in switches))


def avg_pool(
    x: Float[AnyArray, "..."],
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    channel_axis: int = -1,
) -> Float[Array, "..."]:
    """Mean over windows.

        y[n,p,c]  = 1/N[p] · Σ_i x̃[n, s·p + d·i, c]                  x̃: x, padded with zeros
        dx[n,a,c] = Σ_{(p,i): a(p,i) = a} dy[n,p,c] / N[p]           a(p,i) = s·p + d·i − lo

    N counts the cells of the window that lie in the padded input, with `count_include_pad=False` in the input alone;
    what `ceil_mode` lets overhang never counts. `divisor_override` puts one number in its place. A window that has no
    cell to count gives 0.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      window, strides, padding, dilation, ceil_mode, channel_axis: as in `max_pool`.

    Returns:
      y: (n, *output, c), laid out and typed like x; 16-bit floats are summed and divided in float32.

    Keeps nothing; recomputes nothing.

    Raises:
      ValueError: a window that does not fit x, an option out of its range.
      TypeError: x is no array of floats.

    Source: `distribute_value` of the classic NumPy notebooks; PyTorch's counting.

    >>> avg_pool(jnp.array([[1.0, 2.0, 3.0]])[..., None], 2, strides=2, padding=((0, 1),))[0, :, 0]
    Array([1.5, 1.5], dtype=float32)
    """
    x = to_array("avg_pool", "x", x, jnp.floating)
    x, restore = channels_last("avg_pool", x, spatial_dims("avg_pool", window, x), channel_axis)
    if divisor_override is not None:
        (divisor_override,) = to_ints("avg_pool", "divisor_override", divisor_override, 1, minimum=1)
    geometry = partial(
        Window.of,
        "avg_pool",
        x.shape[1:-1],
        window,
        strides=window if strides is None else strides,
        padding=padding,
        dilation=dilation,
    )
    counted = geometry().pads if count_include_pad else tuple((min(lo, 0), min(hi, 0)) for lo, hi in geometry().pads)
    return restore(_avg_pool(x, _AvgPool(geometry(ceil_mode=ceil_mode), counted, divisor_override)))


class _AvgPool(NamedTuple):
    window: Window
    counted: Pads
    divisor_override: int | None

    def divisor(self, dtype) -> jax.Array:
        """N, of shape (1, *output, 1) or all ones."""
        if self.divisor_override is not None:
            return jnp.full((1,) * (self.window.dims + 2), self.divisor_override, dtype)
        counts = np.maximum(1, self.window.inside(self.counted).sum(-1))
        return jnp.asarray(counts[None, ..., None], dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _avg_pool(x: Float[Array, "n *spatial c"], static: _AvgPool) -> Float[Array, "n *output c"]:
    return _avg_pool_fwd(x, static)[0]


def _avg_pool_fwd(x, static):
    total = x.astype(accumulator(x.dtype))
    for window in passes(static.window):
        total = _sum(total, window)
    return (total / static.divisor(total.dtype)).astype(x.dtype), None


def _avg_pool_bwd(static, _, dy):
    dtype = accumulator(dy.dtype)
    dx = dy.astype(dtype) / static.divisor(dtype)
    for window in reversed(passes(static.window)):
        dx = _spread(dx, window)
    return (dx.astype(dy.dtype),)


_avg_pool.defvjp(_avg_pool_fwd, _avg_pool_bwd)


def _sum(x, window):
    read = read_taps(x, window, 0)
    start = jnp.zeros((x.shape[0], *window.output, x.shape[-1]), x.dtype)
    return repeat(window.taps, lambda tap, total: total + read(tap), start)


def _spread(dy, window):
    return sum_taps(lambda tap, dy: jnp.where(tap < window.taps, dy, 0), (dy,), window)
