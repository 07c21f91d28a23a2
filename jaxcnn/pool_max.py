"""Maxima over windows. The gradient is a fixed sum over window offsets; on a TPU, where that is native and costs less,
select-and-scatter."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32, Real

from jaxcnn import selection
from jaxcnn.arguments import AnyArray, to_array, to_choice
from jaxcnn.shards import per_shard
from jaxcnn.switches import Ties, find_maximum, is_switched, share, spread, to_indices, turned
from jaxcnn.taps import read_taps, repeat
from jaxcnn.window import Ints, Padding, Window, to_pool


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
    `jnp.max`). A NaN is the maximum of its window and takes the gradient, the first of several (PyTorch: the last).
    Padding takes none, not even in a window of −inf; a window of padding alone gives −inf (the lowest integer for
    integers).

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
    tap (an integer for every 32); recomputes nothing. A TPU keeps x instead, but for windows of up to 16 taps with an
    output as large as x, and chooses between equal maxima itself; between two programs, as of `jax.vjp` outside `jit`,
    both are kept.

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
    x, geometry, restore = to_pool("max_pool", x, window, strides, padding, dilation, ceil_mode, channel_axis)
    return restore(per_shard(_max_pool, "n…c -> n…c")(x, _MaxPool(geometry, ties)))


class _MaxPool(NamedTuple):
    window: Window
    ties: Ties | None  # None: no switches, where the value alone is asked for
    of_least: bool = False

    def turn(self, x: jax.Array) -> jax.Array:
        """The minimum is the maximum in the order turned round."""
        return turned(x) if self.of_least else x


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Real[Array, "n *spatial c"], static: _MaxPool) -> Real[Array, "n *output c"]:
    return _max_pool_fwd(x, static._replace(ties=None))[0]


def _max_pool_fwd(x, static):
    if not selection.fits(static.window, static.ties):
        return _maximum(x, static)
    y, switches = _maximum_of_platform(x, static)
    return y, (x, *switches)


def _max_pool_bwd(static, residuals, dy):
    if not selection.fits(static.window, static.ties):
        return (spread(dy, residuals, static.window, static.ties).astype(dy.dtype),)
    return (_give_back(dy, *residuals, static).astype(dy.dtype),)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _maximum(x, static):
    y, switches = find_maximum(static.turn(x), static.window, static.ties)
    return static.turn(y), switches


@_maximum.defjvp
def _maximum_jvp(static, primals, tangents):
    """For derivatives of the gradient: the tangent goes through the same switches."""
    window, ties, _ = static
    (x,), (dx,) = primals, tangents
    y, switches = _maximum(x, static)
    read = read_taps(dx, window, 0)
    through = lambda tap, total: total + jnp.where(is_switched(switches, tap, ties), read(tap), 0)
    dy = repeat(window.taps, through, jnp.zeros_like(y)) * share(switches, ties, y.dtype)
    return (y, switches), (dy, tuple(np.zeros(word.shape, jax.dtypes.float0) for word in switches))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _maximum_of_platform(x, static):
    """`_maximum`; on a TPU without switches."""
    without = lambda x: selection.find_maximum(x, static.window, static.of_least)
    return lax.platform_dependent(x, tpu=without, default=partial(_maximum, static=static))


_maximum_of_platform.defjvp(_maximum_jvp)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _give_back(dy, x, switches, static):
    """`spread`; on a TPU, which has no switches, of the maxima in x."""
    of_tpu = lambda dy, x, switches: selection.spread(dy, x, static.window, static.of_least)
    of_others = lambda dy, x, switches: spread(dy, (switches,), static.window, static.ties)
    return lax.platform_dependent(dy, x, switches, tpu=of_tpu, default=of_others)


@partial(_give_back.defjvp, symbolic_zeros=True)
def _give_back_jvp(static, primals, tangents):
    """For derivatives of the gradient, which is linear in dy and piecewise constant in x."""
    (dy, x, switches), (ddy, *_) = primals, tangents
    dx = _give_back(dy, x, switches, static)
    if isinstance(ddy, jax.custom_derivatives.SymbolicZero):
        return dx, jnp.zeros_like(dx)
    found = lambda x, switches: _maximum(x, static)[1][0]
    switches = lax.platform_dependent(x, switches, tpu=found, default=lambda x, switches: switches)
    return dx, spread(ddy, (switches,), static.window, static.ties)


def min_pool(
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
    """Minimum over windows: the maximum of −x.

        y[n,p,c]  = min_i x[n, a(p,i), c] = −max_i −x[n, a(p,i), c]      a(p,i) = s·p + d·i − lo
        dx[n,a,c] = Σ_{(p,i): a(p,i) = a} dy[n,p,c] · m[n,p,i,c]         both signs cancel

    m says which taps i are the minimum of window p, with the `ties` of `max_pool`. A NaN is the minimum of its window
    and takes the gradient; a window of padding alone gives +inf (the highest integer for integers).

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      window, strides, padding, dilation, ceil_mode, ties, channel_axis: as in `max_pool`.

    Returns:
      y: (n, *output, c), laid out and typed like x.

    Keeps what `max_pool` keeps, for the minimal taps; recomputes nothing.

    Raises:
      ValueError: a window that does not fit x, an option out of its range.
      TypeError: x is no array of real numbers.

    Source: `max_pool`.

    >>> min_pool(jnp.array([[1.0, 4.0, 4.0, 2.0]])[..., None], 2)[0, :, 0]
    Array([1., 2.], dtype=float32)
    """
    x = to_array("min_pool", "x", x, (jnp.integer, jnp.floating))
    ties = to_choice("min_pool", "ties", ties, ("first", "all", "even"))
    x, geometry, restore = to_pool("min_pool", x, window, strides, padding, dilation, ceil_mode, channel_axis)
    return restore(per_shard(_max_pool, "n…c -> n…c")(x, _MaxPool(geometry, ties, of_least=True)))


def max_pool_with_indices(
    x: Real[AnyArray, "..."],
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    channel_axis: int = -1,
) -> tuple[Real[Array, "..."], Int32[Array, "..."]]:
    """Maximum over windows, and where it stands.

        y[n,p,c]       = max_i x[n, a(p,i), c]                       a(p,i) = s·p + d·i − lo
        indices[n,p,c] = the row-major index of the first maximal cell a(p,i) in the plane of x, without padding
        dx[n,a,c]      = Σ_{p: indices[n,p,c] = a} dy[n,p,c]

    `max_pool` with `ties="first"`; a window of padding alone gives −inf and the index −1.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      window, strides, padding, dilation, ceil_mode, channel_axis: as in `max_pool`.

    Returns:
      y, indices: (n, *output, c), laid out like x; y typed like x, indices int32, for each example and channel.

    Keeps one unsigned integer for each output, the number of the first maximal tap; recomputes nothing.

    Raises:
      ValueError: a window that does not fit x, an option out of its range.
      TypeError: x is no array of real numbers.

    Source: PyTorch's `return_indices`; ONNX MaxPool.

    >>> y, indices = max_pool_with_indices(jnp.array([[1.0, 4.0, 4.0, 2.0]])[..., None], 2)
    >>> indices[0, :, 0]
    Array([1, 2], dtype=int32)
    """
    x = to_array("max_pool_with_indices", "x", x, (jnp.integer, jnp.floating))
    x, geometry, restore = to_pool(
        "max_pool_with_indices", x, window, strides, padding, dilation, ceil_mode, channel_axis
    )
    y, indices = per_shard(_max_pool_with_indices, "n…c -> n…c, n…c")(x, geometry)
    return restore(y), restore(indices)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool_with_indices(
    x: Real[Array, "n *spatial c"], window: Window
) -> tuple[Real[Array, "n *output c"], Int32[Array, "n *output c"]]:
    return _max_pool_with_indices_fwd(x, window)[0]


def _max_pool_with_indices_fwd(x, window):
    y, switches = _maximum(x, _MaxPool(window, "first"))
    return (y, to_indices(switches[0], window)), switches


def _max_pool_with_indices_bwd(window, switches, cotangents):
    dy, _ = cotangents
    return (spread(dy, switches, window, "first").astype(dy.dtype),)


_max_pool_with_indices.defvjp(_max_pool_with_indices_fwd, _max_pool_with_indices_bwd)
