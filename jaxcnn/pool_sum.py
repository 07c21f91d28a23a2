"""Sums over windows: means, sums, p-norms. The gradients are fixed sums over window offsets."""

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Real

from jaxcnn.arguments import AnyArray, error, to_array, to_ints, widen
from jaxcnn.shards import per_shard
from jaxcnn.window import Ints, Padding, Pads, Window, to_pool
from jaxcnn.window_sums import spread_windows, sum_windows


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
    if divisor_override is not None:
        (divisor_override,) = to_ints("avg_pool", "divisor_override", divisor_override, 1, minimum=1)
    x, geometry, restore = to_pool("avg_pool", x, window, strides, padding, dilation, ceil_mode, channel_axis)
    explicit = to_pool("avg_pool", x, geometry.size, geometry.strides, padding, dilation, False, -1)[1].pads
    counted = explicit if count_include_pad else tuple((min(lo, 0), min(hi, 0)) for lo, hi in explicit)
    return restore(per_shard(_avg_pool, "n…c -> n…c")(x, _AvgPool(geometry, counted, divisor_override)))


class _AvgPool(NamedTuple):
    window: Window
    counted: Pads
    divisor_override: int | None

    def divisor(self, dtype) -> jax.Array:
        """N, of shape (1, *output, 1); of one number where all are alike."""
        number = self.divisor_override
        if number is None:
            counts = np.maximum(1, self.window.inside(self.counted).sum(-1))
            number = counts.max(initial=1)
            if (counts < number).any():
                return jnp.asarray(counts[None, ..., None], dtype)
        return jnp.full((1,) * (self.window.dims + 2), number, dtype)

    def mean(self, total: jax.Array) -> jax.Array:
        """total / N. A TPU counts padded windows in the program: its model reads x once more where a number divides."""
        by_number = lambda total: total / self.divisor(total.dtype)
        if self.divisor_override is not None or not any(map(any, self.window.pads)):
            return by_number(total)
        uncounted = tuple((lo - low, hi - high) for (lo, hi), (low, high) in zip(self.window.pads, self.counted))

        def by_counting(total):
            one = np.ones((), total.dtype)
            ones = jnp.ones((1, *self.window.input, 1), total.dtype)
            ones = lax.pad(ones, one, [(0, 0, 0), *((lo, hi, 0) for lo, hi in self.counted), (0, 0, 0)])
            counts = sum_windows(ones, replace(self.window, input=ones.shape[1:-1], pads=uncounted))
            return total / jnp.maximum(counts, 1)

        return lax.platform_dependent(total, tpu=by_counting, default=by_number)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _avg_pool(x: Float[Array, "n *spatial c"], static: _AvgPool) -> Float[Array, "n *output c"]:
    return _avg_pool_fwd(x, static)[0]


def _avg_pool_fwd(x, static):
    return sum_windows(widen(x), static.window, lambda total: static.mean(total).astype(x.dtype)), None


def _avg_pool_bwd(static, _, dy):
    narrow = lambda dx: dx.astype(dy.dtype)
    before = lambda dy: spread_windows(static.mean(dy), static.window, narrow)
    after = lambda dy: spread_windows(dy, static.window, lambda dx: narrow(dx / static.divisor(dx.dtype)))
    # Of one divisor after the sum: once, not for every tap.
    default = after if static.divisor(dy.dtype).size == 1 else before
    return (lax.platform_dependent(widen(dy), tpu=before, default=default),)


_avg_pool.defvjp(_avg_pool_fwd, _avg_pool_bwd)


def sum_pool(
    x: Real[AnyArray, "..."],
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    channel_axis: int = -1,
) -> Real[Array, "..."]:
    """Sum over windows.

        y[n,p,c]  = Σ_i x̃[n, s·p + d·i, c]                            x̃: x, padded with zeros
        dx[n,a,c] = Σ_{(p,i): a(p,i) = a} dy[n,p,c]                  a(p,i) = s·p + d·i − lo

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      window, strides, padding, dilation, ceil_mode, channel_axis: as in `max_pool`.

    Returns:
      y: (n, *output, c), laid out and typed like x; 16-bit floats are summed in float32.

    Keeps nothing; recomputes nothing.

    Raises:
      ValueError: a window that does not fit x, an option out of its range.
      TypeError: x is no array of real numbers.

    Source: `lax.reduce_window` with `lax.add`.

    >>> sum_pool(jnp.array([[1.0, 2.0, 3.0]])[..., None], 2, strides=1)[0, :, 0]
    Array([3., 5.], dtype=float32)
    """
    x = to_array("sum_pool", "x", x, (jnp.integer, jnp.floating))
    x, geometry, restore = to_pool("sum_pool", x, window, strides, padding, dilation, ceil_mode, channel_axis)
    return restore(per_shard(_sum_pool, "n…c -> n…c")(x, geometry))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _sum_pool(x: Real[Array, "n *spatial c"], window: Window) -> Real[Array, "n *output c"]:
    return _sum_pool_fwd(x, window)[0]


def _sum_pool_fwd(x, window):
    return sum_windows(widen(x), window, lambda total: total.astype(x.dtype)), None


def _sum_pool_bwd(window, _, dy):
    return (spread_windows(widen(dy), window, lambda dx: dx.astype(dy.dtype)),)


_sum_pool.defvjp(_sum_pool_fwd, _sum_pool_bwd)


def lp_pool(
    x: Float[AnyArray, "..."],
    window: Ints,
    *,
    p: int | float = 2,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    channel_axis: int = -1,
) -> Float[Array, "..."]:
    """The p-norm of each window.

        y[n,q,c]  = (Σ_i |x̃[n, s·q + d·i, c]|ᵖ)^(1/p)                 x̃: x, padded with zeros
        dx[n,a,c] = sign(x)·|x[n,a,c]|ᵖ⁻¹ · Σ_{(q,i): a(q,i) = a} dy[n,q,c] · y[n,q,c]¹⁻ᵖ       0 where y is 0

    A window without a nonzero cell has the norm 0, and no gradient; sign(0) = 0. PyTorch takes xᵖ without the absolute
    value, and with `ceil_mode` scales up what overhangs; ONNX LpPool is as here.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      p: the exponent, a number from 1 on.
      window, strides, padding, dilation, ceil_mode, channel_axis: as in `max_pool`.

    Returns:
      y: (n, *output, c), laid out and typed like x; 16-bit floats are computed in float32.

    Keeps x and y, in float32 or better; recomputes the powers.

    Raises:
      ValueError: a window that does not fit x, an option out of its range.
      TypeError: x is no array of floats.

    Source: Gulcehre et al. (arXiv:1311.1780); ONNX LpPool.

    >>> lp_pool(jnp.array([[3.0, -4.0, 0.0, 0.0]])[..., None], 2)[0, :, 0]
    Array([5., 0.], dtype=float32)
    """
    x = to_array("lp_pool", "x", x, jnp.floating)
    if not isinstance(p, (int, float, np.number)) or isinstance(p, bool) or not 1 <= p < math.inf:
        raise error(ValueError, "lp_pool", "p", "a number from 1 on", p)
    x, geometry, restore = to_pool("lp_pool", x, window, strides, padding, dilation, ceil_mode, channel_axis)
    return restore(per_shard(_lp_pool, "n…c -> n…c")(x, _LpPool(geometry, int(p) if p == int(p) else float(p))))


class _LpPool(NamedTuple):
    window: Window
    p: int | float


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _lp_pool(x: Float[Array, "n *spatial c"], static: _LpPool) -> Float[Array, "n *output c"]:
    return _lp_pool_fwd(x, static)[0]


def _lp_pool_fwd(x, static):
    window, p = static
    size = jnp.where(x < 0, -x, x)  # of the square of jnp.abs XLA makes x · x, which its model for TPUs reads twice

    def root(total):
        zero = total == 0
        positive = jnp.where(zero, 1, total)
        return jnp.where(zero, 0, jnp.sqrt(positive) if p == 2 else positive ** (1 / p))

    y = sum_windows(widen(size) ** p, window, root)
    return y.astype(x.dtype), (x, y)


def _lp_pool_bwd(static, residuals, dy):
    window, p = static
    x, y = residuals
    zero, wide = y == 0, x.astype(y.dtype)
    scaled = jnp.where(zero, 0, dy.astype(y.dtype) * jnp.where(zero, 1, y) ** (1 - p))
    slope = wide ** (p - 1) if p % 2 == 0 else jnp.sign(wide) * jnp.abs(wide) ** (p - 1)
    return ((slope * spread_windows(scaled, window)).astype(x.dtype),)


_lp_pool.defvjp(_lp_pool_fwd, _lp_pool_bwd)
