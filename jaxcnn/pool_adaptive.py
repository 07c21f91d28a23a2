"""Pools to a given output shape: window i of o over n cells begins at ⌊i·n/o⌋ and ends before ⌈(i+1)·n/o⌉.

A dimension is pooled after the other, by a table of the cells that each window sees; the gradient goes back by the
table of the windows that see each cell.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Real

from jaxcnn.arguments import AnyArray, accumulator, channels_last, error, spatial_dims, to_array, to_ints
from jaxcnn.window import Ints


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
    return restore(_adaptive_avg_pool(x, planes))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _adaptive_avg_pool(x: Float[Array, "n *spatial c"], planes: _Planes) -> Float[Array, "n *output c"]:
    return _adaptive_avg_pool_fwd(x, planes)[0]


def _adaptive_avg_pool_fwd(x, planes):
    y = x.astype(accumulator(x.dtype))
    for axis, n, o in _axes(planes):
        cells, inside = _cells(n, o)
        y = jnp.sum(_take(y, cells, inside, axis, 0), axis + 1)
    return (y / _sizes(planes, y.dtype)).astype(x.dtype), None


def _adaptive_avg_pool_bwd(planes, _, dy):
    dx = dy.astype(accumulator(dy.dtype)) / _sizes(planes, accumulator(dy.dtype))
    for axis, n, o in _axes(planes):
        windows, covers = _windows(n, o)
        dx = jnp.sum(_take(dx, windows, covers, axis, 0), axis + 1)
    return (dx.astype(dy.dtype),)


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
    return restore(_adaptive_avg_pool(x, planes))


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
    return restore(_adaptive_max_pool(x, planes))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _adaptive_max_pool(x: Real[Array, "n *spatial c"], planes: _Planes) -> Real[Array, "n *output c"]:
    return _adaptive_max_pool_fwd(x, planes)[0]


def _adaptive_max_pool_fwd(x, planes):
    return _first_maximum(x, planes)


def _adaptive_max_pool_bwd(planes, index, dy):
    dx, below = dy.astype(accumulator(dy.dtype)), math.prod(planes.input)
    for axis, n, o in reversed(list(_axes(planes))):
        below //= max(n, 1)
        windows, covers = _windows(n, o)
        index = _take(index, windows, covers, axis, -1)
        here = index // max(below, 1) == lax.broadcasted_iota(jnp.int32, index.shape, axis)
        dx = jnp.sum(jnp.where(here, _take(dx, windows, covers, axis, 0), 0), axis + 1)
        # Windows that chose the same row chose the same cell in it.
        index = jnp.max(jnp.where(here, index % max(below, 1), -1), axis + 1, initial=-1)
    return (dx.astype(dy.dtype),)


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
    return restore(_adaptive_max_pool(x, planes))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _first_maximum(x, planes):
    """The maximum of each window, and the row-major index of the first cell that has it."""
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    everywhere = np.arange(math.prod(planes.input), dtype=np.int32).reshape(1, *planes.input, 1)
    y, index = x, jnp.broadcast_to(everywhere, x.shape)
    for axis, n, o in _axes(planes):
        table, inside = _cells(n, o)
        cells = _take(y, table, inside, axis, lowest)
        y = jnp.max(cells, axis + 1, initial=lowest)
        found = (cells == jnp.expand_dims(y, axis + 1)) | jnp.isnan(cells)
        nowhere = jnp.iinfo(jnp.int32).max
        places = _take(index, table, inside, axis, nowhere)
        index = jnp.min(jnp.where(found, places, nowhere), axis + 1, initial=nowhere)
    return y, index


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


def _axes(planes):
    """Axis, cells in, cells out, of the last dimension first: its passes are over memory that lies together."""
    for dim in reversed(range(len(planes.input))):
        yield 1 + dim, planes.input[dim], planes.output[dim]


def _bounds(n: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each window begins and ends."""
    p = np.arange(o)
    return p * n // max(o, 1), -(-(p + 1) * n // max(o, 1))


def _cells(n: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells that each window sees, (o, k), and which of these entries count."""
    start, stop = _bounds(n, o)
    cells = start[:, None] + np.arange((stop - start).max(initial=0))
    return cells, cells < stop[:, None]


def _windows(n: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows that see each cell, (n, m), and which of these entries count."""
    start, stop = _bounds(n, o)
    a = np.arange(n)
    first, behind = np.searchsorted(stop, a, side="right"), np.searchsorted(start, a, side="right")
    windows = first[:, None] + np.arange((behind - first).max(initial=0))
    return windows, windows < behind[:, None]


def _sizes(planes, dtype):
    """N, of shape (1, *output, 1); a window that sees no cell counts as one."""
    sizes = np.ones((), int)
    for n, o in zip(*planes):
        start, stop = _bounds(n, o)
        sizes = sizes[..., None] * np.maximum(stop - start, 1)
    return jnp.asarray(sizes[None, ..., None], dtype)


def _take(x, table, valid, axis, fill):
    """x[…, table, …]: an axis of x becomes the two of the table; `fill` where an entry does not count."""
    (rows, width), size = table.shape, x.shape[axis]
    shape = (*x.shape[:axis], rows, width, *x.shape[axis + 1 :])
    if rows * width == size and (table.reshape(-1) == np.arange(size)).all():
        return x.reshape(shape)
    copies = rows // max(size, 1)
    if width == 1 and rows == size * copies and (table[:, 0] == np.repeat(np.arange(size), copies)).all():
        return jnp.repeat(x, copies, axis).reshape(shape)
    taken = jnp.take(x, table.reshape(-1), axis, mode="clip").reshape(shape)
    return taken if valid.all() else jnp.where(valid.reshape(rows, width, *(1,) * (x.ndim - axis - 1)), taken, fill)
