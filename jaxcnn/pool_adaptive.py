"""Pools to a given output shape: window i of o over n cells begins at ⌊i·n/o⌋ and ends before ⌈(i+1)·n/o⌉.

A dimension is pooled after the other, by a table of the cells that each window sees; the gradient goes back by the
table of the windows that see each cell. A TPU reduces under the table's mask instead.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Real

from jaxcnn.adaptive_tables import (
    NOWHERE,
    bounds,
    cells_of,
    give_back,
    highest,
    reduce_to_highest,
    sum_over,
    windows_of,
)
from jaxcnn.arguments import AnyArray, channels_last, error, spatial_dims, to_array, to_ints, widen
from jaxcnn.shards import per_shard
from jaxcnn.switches import find_maximum, from_indices, spread, to_indices
from jaxcnn.window import Ints, Window
from jaxcnn.window_sums import spread_windows, sum_windows


class _Planes(NamedTuple):
    """The spatial shapes of x and y."""

    input: tuple[int, ...]
    output: tuple[int, ...]


def adaptive_avg_pool(x: Float[AnyArray, "..."], output_shape: Ints, *, channel_axis: int = -1) -> Float[Array, "..."]:
    """Mean over as many windows as the output has cells.

        y[n,p,c]  = 1/N[p] · Σ_{a ∈ W(p)} x[n,a,c]                   W(p): from ⌊p·n/o⌋ to before ⌈(p+1)·n/o⌉
        dx[n,a,c] = Σ_{p: a ∈ W(p)} dy[n,p,c] / N[p]                 N(p): the cells in W(p)

    Windows overlap where o does not divide n, and repeat where o > n.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      output_shape: o for each spatial dimension; an int is for all of them, with x of one batch dimension.

    Returns:
      y: (n, *output_shape, c), laid out and typed like x; 16-bit floats are summed and divided in float32.

    Keeps nothing; recomputes nothing.

    Raises:
      ValueError: an output shape that does not fit x, an option out of its range.
      TypeError: x is no array of floats.

    Source: PyTorch's windows.

    >>> adaptive_avg_pool(jnp.array([[1.0, 2.0, 3.0]])[..., None], 2)[0, :, 0]
    Array([1.5, 2.5], dtype=float32)
    """
    x = to_array("adaptive_avg_pool", "x", x, jnp.floating)
    x, planes, restore = _to_planes("adaptive_avg_pool", x, output_shape, channel_axis)
    return restore(per_shard(_adaptive_avg_pool, "n…c -> n…c")(x, planes))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _adaptive_avg_pool(x: Float[Array, "n *spatial c"], planes: _Planes) -> Float[Array, "n *output c"]:
    return _adaptive_avg_pool_fwd(x, planes)[0]


def _adaptive_avg_pool_fwd(x, planes):
    def by_tables(x):
        for axis, n, o in _axes(planes):
            x = sum_over(x, cells_of(n, o), axis)
        return x / _sizes(planes, x.dtype)

    by_windows = lambda x, window: sum_windows(x, window, lambda total: total / window.taps)
    return _unless_regular(by_tables, by_windows, widen(x), planes).astype(x.dtype), None


def _adaptive_avg_pool_bwd(planes, _, dy):
    def by_tables(dy):
        dx = dy / _sizes(planes, dy.dtype)
        for axis, n, o in _axes(planes):
            dx = sum_over(dx, windows_of(n, o), axis)
        return dx

    by_windows = lambda dy, window: spread_windows(dy / window.taps, window)
    return (_unless_regular(by_tables, by_windows, widen(dy), planes).astype(dy.dtype),)


_adaptive_avg_pool.defvjp(_adaptive_avg_pool_fwd, _adaptive_avg_pool_bwd)


def global_avg_pool(
    x: Float[AnyArray, "n *spatial c"], *, keepdims: bool = False, channel_axis: int = -1
) -> Float[Array, "..."]:
    """Mean over all spatial dimensions: `adaptive_avg_pool` to one cell.

        y[n,c]    = 1/N · Σ_a x[n,a,c]
        dx[n,a,c] = dy[n,c] / N

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`: one batch dimension.
      keepdims: keeps the spatial dimensions, of size 1.

    Returns:
      y: (n, c), typed like x; 16-bit floats are summed and divided in float32.

    Keeps nothing; recomputes nothing.

    Raises:
      ValueError: x without a batch or a channel dimension.
      TypeError: x is no array of floats.

    Source: Lin et al. (arXiv:1312.4400).

    >>> global_avg_pool(jnp.array([[1.0, 2.0, 6.0]])[..., None])
    Array([[3.]], dtype=float32)
    """
    x = to_array("global_avg_pool", "x", x, jnp.floating)
    x, planes, restore = _to_one_cell("global_avg_pool", x, keepdims, channel_axis)
    return restore(per_shard(_adaptive_avg_pool, "n…c -> n…c")(x, planes))


def adaptive_max_pool(x: Real[AnyArray, "..."], output_shape: Ints, *, channel_axis: int = -1) -> Real[Array, "..."]:
    """Maximum over as many windows as the output has cells.

        y[n,p,c]  = max_{a ∈ W(p)} x[n,a,c]                          W(p): from ⌊p·n/o⌋ to before ⌈(p+1)·n/o⌉
        dx[n,a,c] = Σ_{p: a first maximum of W(p)} dy[n,p,c]

    The first maximum in row-major order takes the gradient, a NaN before all others, as in `max_pool`.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      output_shape: o for each spatial dimension; an int is for all of them, with x of one batch dimension.

    Returns:
      y: (n, *output_shape, c), laid out and typed like x.

    Keeps one int32 for each output, the row-major index of its cell; recomputes nothing.

    Raises:
      ValueError: an output shape that does not fit x, an option out of its range.
      TypeError: x is no array of real numbers.

    Source: PyTorch's windows.

    >>> adaptive_max_pool(jnp.array([[1.0, 2.0, 3.0]])[..., None], 2)[0, :, 0]
    Array([2., 3.], dtype=float32)
    """
    x = to_array("adaptive_max_pool", "x", x, (jnp.integer, jnp.floating))
    x, planes, restore = _to_planes("adaptive_max_pool", x, output_shape, channel_axis)
    return restore(per_shard(_adaptive_max_pool, "n…c -> n…c")(x, planes))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _adaptive_max_pool(x: Real[Array, "n *spatial c"], planes: _Planes) -> Real[Array, "n *output c"]:
    return _adaptive_max_pool_fwd(x, planes)[0]


def _adaptive_max_pool_fwd(x, planes):
    return _first_maximum(x, planes)


def _adaptive_max_pool_bwd(planes, index, dy):
    by_tables = partial(_spread, planes=planes)
    if window := _regular(planes):
        by_taps = lambda dy, index: spread(dy, (from_indices(index, window),), window, "first")
        return (lax.platform_dependent(dy, index, tpu=by_tables, default=by_taps).astype(dy.dtype),)
    return (by_tables(dy, index).astype(dy.dtype),)


_adaptive_max_pool.defvjp(_adaptive_max_pool_fwd, _adaptive_max_pool_bwd)


def global_max_pool(
    x: Real[AnyArray, "n *spatial c"], *, keepdims: bool = False, channel_axis: int = -1
) -> Real[Array, "..."]:
    """Maximum over all spatial dimensions: `adaptive_max_pool` to one cell.

        y[n,c]    = max_a x[n,a,c]
        dx[n,a,c] = dy[n,c] where a is the first maximum, else 0

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`: one batch dimension.
      keepdims: keeps the spatial dimensions, of size 1.

    Returns:
      y: (n, c), typed like x.

    Keeps one int32 for each output, the row-major index of its cell; recomputes nothing.

    Raises:
      ValueError: x without a batch or a channel dimension.
      TypeError: x is no array of real numbers.

    Source: `max_pool`.

    >>> global_max_pool(jnp.array([[1.0, 2.0, 6.0]])[..., None])
    Array([[6.]], dtype=float32)
    """
    x = to_array("global_max_pool", "x", x, (jnp.integer, jnp.floating))
    x, planes, restore = _to_one_cell("global_max_pool", x, keepdims, channel_axis)
    return restore(per_shard(_adaptive_max_pool, "n…c -> n…c")(x, planes))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _first_maximum(x, planes):
    """The maximum of each window, and the row-major index of the first cell that has it."""
    by_tables = partial(_search, planes=planes)
    if window := _regular(planes):

        def by_taps(x):
            y, (tap,) = find_maximum(x, window, "first")
            return y, to_indices(tap, window)

        return lax.platform_dependent(x, tpu=by_tables, default=by_taps)
    return by_tables(x)


@_first_maximum.defjvp
def _first_maximum_jvp(planes, primals, tangents):
    """For derivatives of the gradient: the tangent of the cell that was chosen."""
    (x,), (dx,) = primals, tangents
    y, index = _first_maximum(x, planes)
    cells = math.prod(planes.input)
    flat = (dx.shape[0], cells, dx.shape[-1])
    chosen = index.reshape(index.shape[0], math.prod(planes.output), index.shape[-1])
    dy = jnp.take_along_axis(dx.reshape(flat), chosen, 1, mode="clip").reshape(y.shape) if cells else jnp.zeros_like(y)
    return (y, index), (dy, np.zeros(index.shape, jax.dtypes.float0))


def _search(x, planes):
    """`_first_maximum` of any windows, one dimension after the other; of one window at once."""
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    if not _one_window(planes):
        y, index = x, _places(planes)
        for axis, n, o in _axes(planes):
            y, index = highest(y, index, cells_of(n, o), axis, lowest)
        return y, index
    axes = tuple(range(1, x.ndim - 1))

    def in_two_passes(x):
        y = jnp.max(x, axes, keepdims=True)
        return y, jnp.min(jnp.where((x == y) | jnp.isnan(x), _places(planes), NOWHERE), axes, keepdims=True)

    def in_one_pass(x):
        return tuple(jnp.expand_dims(a, axes) for a in reduce_to_highest(x, _places(planes), lowest, axes))

    return lax.platform_dependent(x, cpu=in_two_passes, default=in_one_pass)


def _spread(dy, index, planes):
    """Σ of dy over the windows whose cell of this index it is."""
    dx, below = widen(dy), math.prod(planes.input)
    if _one_window(planes):
        return jnp.where(index == _places(planes), dx, 0)
    for axis, n, o in reversed(_axes(planes)):
        below //= max(n, 1)
        dx, index = give_back(dx, index, below, windows_of(n, o), axis)
    return dx


def _one_window(planes):
    """Whether there is one alone, and it sees cells."""
    return set(planes.output) == {1} and 0 not in planes.input


def _places(planes):
    """The row-major index of each cell, of shape (1, *spatial, 1)."""
    shape, index = (1, *planes.input, 1), jnp.zeros((), jnp.int32)
    for axis, n, _ in reversed(_axes(planes)):
        index = index * n + lax.broadcasted_iota(jnp.int32, shape, axis)
    return index


def _to_planes(function, x, output_shape, channel_axis):
    """x as (n, *spatial, c), its planes, and the function that brings a result to the layout of x."""
    dims = spatial_dims(function, output_shape, x, "output_shape")
    output = to_ints(function, "output_shape", output_shape, dims, minimum=0)
    x, restore = channels_last(function, x, dims, channel_axis)
    return x, _Planes(x.shape[1:-1], output), restore


def _to_one_cell(function, x, keepdims, channel_axis):
    if x.ndim < 2:
        raise error(ValueError, function, "x", "(n, *spatial, c)", f"shape {x.shape}")
    dims = x.ndim - 2
    x, restore = channels_last(function, x, dims, channel_axis)
    planes = _Planes(x.shape[1:-1], (1,) * dims)
    return x, planes, restore if keepdims else lambda y: y.reshape(y.shape[0], y.shape[-1])


def _regular(planes):
    """The windows of the max-pool that this is, if they are evenly spaced and overlap; None if not."""
    dims = list(zip(*planes))
    if any(not 0 < o <= n or n % o > 1 for n, o in dims) or all(n % o == 0 for n, o in dims):
        return None
    size, strides = zip(*((n // o + n % o, n // o) for n, o in dims))
    return Window(planes.input, size, strides, ((0, 0),) * len(dims), (1,) * len(dims))


def _axes(planes):
    """Axis, cells in, cells out; the last dimension first, as its passes are over memory that lies together."""
    return [(1 + dim, *sizes) for dim, sizes in enumerate(zip(*planes))][::-1]


def _unless_regular(by_tables, by_windows, x, planes):
    """by_tables(x); on a CPU by_windows(x, window) if windows of averages are evenly spaced and overlap.

    Forward and backward of (8,13,13,256) to 6×6: 0.22 (0.30) ms and 0.3 MB, by tables 0.34 (0.66) and 1.6.
    """
    if window := _regular(planes):
        return lax.platform_dependent(x, cpu=partial(by_windows, window=window), default=by_tables)
    return by_tables(x)


def _sizes(planes, dtype):
    """N, of shape (1, *output, 1); a window that sees no cell counts as one."""
    sizes = np.ones((), int)
    for n, o in zip(*planes):
        start, stop = bounds(n, o)
        sizes = sizes[..., None] * np.maximum(stop - start, 1)
    return jnp.asarray(sizes[None, ..., None], dtype)
