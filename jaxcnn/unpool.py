"""Unpooling: values go back to the cells that they were the maximum of.

Several windows may name one cell, so that the last has to be found. A CPU scatters. A GPU compares every place with
every cell, or in large planes sorts the places and searches them; a TPU, where reads of single numbers are slow, sorts
places and cells together.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int32, Integer, Num

from jaxcnn.arguments import AnyArray, channels_last, error, spatial_dims, to_array, to_ints
from jaxcnn.shards import per_shard
from jaxcnn.window import Ints

PAIRS = 4e6  # of a place and a cell; more take longer to compare than places to sort


def max_unpool(
    y: Num[AnyArray, "..."],
    indices: Integer[AnyArray, "..."],
    *,
    output_shape: Ints,
    channel_axis: int = -1,
) -> Num[Array, "..."]:
    """Puts values back to the cells that they were the maximum of, zeros elsewhere.

        x[n,a,c]  = y[n,p,c] with the last p for which indices[n,p,c] = a; 0 if there is none
        dy[n,p,c] = dx[n, indices[n,p,c], c] where p is that last one, else 0

    Of windows that do not overlap no two name one cell, and every p is the last: dy gathers dx. Where they overlap,
    PyTorch gives dx to each p that names the cell, which is no derivative of what it computes. An index outside the
    plane, such as the −1 of a window without a cell, writes nothing and takes no gradient.

    Args:
      y: (n, *pooled, c), or (n, c, *pooled) with `channel_axis=1`; none or several batch dimensions work too.
      indices: of the shape of y, row-major indices in the plane of x for each example and channel.
      output_shape: the spatial shape of x, an int for each dimension; an int is for all, with y of one batch dimension.

    Returns:
      x: (n, *output_shape, c), laid out and typed like y.

    Keeps the indices of those p that are the last, −1 for others; recomputes nothing.

    Raises:
      ValueError: indices of another shape than y, an output shape that does not fit.
      TypeError: y is no array of numbers, indices none of integers.

    Source: Zeiler and Fergus (arXiv:1311.2901); PyTorch and ONNX MaxUnpool.

    >>> y, indices = jnp.array([[4.0, 3.0]])[..., None], jnp.array([[1, 2]])[..., None]
    >>> max_unpool(y, indices, output_shape=4)[0, :, 0]
    Array([0., 4., 3., 0.], dtype=float32)
    """
    y, indices = to_array("max_unpool", "y", y), to_array("max_unpool", "indices", indices, jnp.integer)
    if indices.shape != y.shape:
        raise error(ValueError, "max_unpool", "indices", f"the shape of y, {y.shape}", indices.shape)
    dims = spatial_dims("max_unpool", output_shape, y, "output_shape", "y")
    output_shape = to_ints("max_unpool", "output_shape", output_shape, dims, minimum=0)
    y, restore = channels_last("max_unpool", y, dims, channel_axis, "y")
    indices, _ = channels_last("max_unpool", indices, dims, channel_axis, "indices")
    return restore(per_shard(_max_unpool, "n…c, n…c -> n…c")(y, indices.astype(jnp.int32), output_shape))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _max_unpool(
    y: Num[Array, "n *pooled c"], indices: Int32[Array, "n *pooled c"], output_shape: tuple[int, ...]
) -> Num[Array, "n *spatial c"]:
    return _max_unpool_fwd(y, indices, output_shape)[0]


def _max_unpool_fwd(y, indices, output_shape):
    n, c, pooled, cells = y.shape[0], y.shape[-1], math.prod(y.shape[1:-1]), math.prod(output_shape)
    if pooled == 0:
        return jnp.zeros((n, *output_shape, c), y.dtype), indices

    def by_gathers(y, places, find_last):
        p = lax.broadcasted_iota(jnp.int32, places.shape, 1)
        of_cells, of_places = find_last(places, p, cells)
        inside = (places >= 0) & (places < cells)
        return jnp.where(of_cells < 0, 0, _take(y, of_cells)), inside & (of_places == p)

    def by_sorts(y, places):
        is_last, x = _exchange(places, y, jnp.ones((n, cells, c), y.dtype))
        return x, is_last != 0

    places = indices.reshape(n, pooled, c)
    of_cpu = partial(by_gathers, find_last=_scatter)
    of_gpu = partial(_by_pairs, cells=cells) if pooled * cells <= PAIRS else partial(by_gathers, find_last=_search)
    x, is_last = lax.platform_dependent(y.reshape(n, pooled, c), places, cpu=of_cpu, tpu=by_sorts, default=of_gpu)
    return x.reshape(n, *output_shape, c), jnp.where(is_last, places, -1).reshape(indices.shape)


def _max_unpool_bwd(output_shape, places, dx):
    n, c, pooled = dx.shape[0], dx.shape[-1], math.prod(places.shape[1:-1])
    by_gather = lambda dx, places: jnp.where(places < 0, 0, _take(dx, places))
    by_sorts = lambda dx, places: _exchange(places, jnp.zeros(places.shape, dx.dtype), dx)[0]
    flat = dx.reshape(n, math.prod(output_shape), c), places.reshape(n, pooled, c)
    return lax.platform_dependent(*flat, tpu=by_sorts, default=by_gather).reshape(places.shape), None


_max_unpool.defvjp(_max_unpool_fwd, _max_unpool_bwd)


def _take(x, rows):
    """x[n, rows[n,p,c], c]."""
    return jnp.take_along_axis(x, rows, 1, mode="clip")


def _scatter(places, p, cells):
    """The last p that names each cell, −1 if there is none, and the last that names the cell of each place."""
    channel = lax.broadcasted_iota(jnp.int32, places.shape[1:], 1)
    nobody = jnp.full((cells, places.shape[-1]), -1, jnp.int32)
    write = lambda places, p: nobody.at[places, channel].max(p, mode="drop")
    last = jax.vmap(write)(jnp.where(places < 0, cells, places), p)
    return last, _take(last, places)


def _search(places, p, cells):
    """The same, with what names a cell side by side."""
    place, p = lax.sort((places, p), dimension=1, num_keys=2)
    upper = partial(jnp.searchsorted, side="right", method="scan_unrolled")

    def last(cell):
        found = jnp.maximum(jax.vmap(jax.vmap(upper, -1, -1))(place, cell) - 1, 0)
        return jnp.where(_take(place, found) == cell, _take(p, found), -1)

    return last(lax.broadcasted_iota(jnp.int32, (places.shape[0], cells, places.shape[2]), 1)), last(places)


def _by_pairs(y, places, cells):
    """x, and which p are the last, without reads or writes of single numbers: sums and maxima over pairs."""
    p = lax.broadcasted_iota(jnp.int32, places.shape, 1)
    last = jnp.max(jnp.where(places[:, None] == places[:, :, None], p[:, None], -1), 2)
    is_last = (last == p) & (places >= 0) & (places < cells)
    cell = lax.broadcasted_iota(jnp.int32, (1, cells, 1, 1), 1)
    named = jnp.where(is_last, places, -1)[:, None] == cell
    return jnp.sum(jnp.where(named, y[:, None], 0), 2, dtype=y.dtype), is_last


def _exchange(places, of_places, of_cells):
    """Each cell and the last place that names it give each other what they have; all others get 0.

    One example after the other: sorts take several times the memory of what they sort.
    """
    pooled, (before, behind) = places.shape[1], (partial(jnp.roll, shift=shift, axis=0) for shift in (1, -1))

    def exchange(of_one):
        places, of_places, of_cells = of_one
        held = jnp.concatenate([of_places, of_cells])
        number = lax.broadcasted_iota(jnp.int32, held.shape, 0)
        cell = jnp.concatenate([places, number[pooled:] - pooled])
        cell, number, held = lax.sort((cell, number, held), dimension=0, num_keys=2)  # each cell behind its last place
        is_cell = number >= pooled
        pair = (cell == behind(cell)) & behind(is_cell)
        given = jnp.where(is_cell, jnp.where(before(pair), before(held), 0), jnp.where(pair, behind(held), 0))
        given = lax.sort((number, given), dimension=0, num_keys=1)[1]
        return given[:pooled], given[pooled:]

    return lax.map(exchange, (places, of_places, of_cells))
