"""The windows of adaptive pools as tables, the cells of a window and the windows of a cell, and what reads these."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.memory import made_once
from jaxcnn.taps import UNROLL, repeat

NOWHERE = np.iinfo(np.int32).max


class Table(NamedTuple):
    """For each row the numbers of what it sees, and which of these count: both (rows, width)."""

    numbers: np.ndarray
    counts: np.ndarray

    @property
    def width(self) -> int:
        return self.numbers.shape[1]

    def splits(self, x: jax.Array, axis: int) -> bool:
        """Whether each cell of this axis stands in one row."""
        return self.numbers.size == x.shape[axis] > 0

    def split(self, x: jax.Array, axis: int) -> jax.Array:
        """An axis that splits, as rows and what these see."""
        return x.reshape(*x.shape[:axis], *self.numbers.shape, *x.shape[axis + 1 :])

    @classmethod
    def of(cls, start: np.ndarray, stop: np.ndarray, size: int) -> "Table":
        """The numbers from start to before stop; as many for all rows, below `size`, at least one."""
        width = (stop - start).max(initial=1)
        numbers = np.minimum(start, max(size - width, 0))[:, None] + np.arange(width)
        return cls(numbers, (start[:, None] <= numbers) & (numbers < stop[:, None]))


def cells_of(n: int, o: int) -> Table:
    """The cells that each window sees."""
    return Table.of(*bounds(n, o), n)


def windows_of(n: int, o: int) -> Table:
    """The windows that see each cell."""
    (start, stop), a = bounds(n, o), np.arange(n)
    return Table.of(np.searchsorted(stop, a, side="right"), np.searchsorted(start, a, side="right"), o)


def bounds(n: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each window begins and ends."""
    p = np.arange(o)
    return p * n // max(o, 1), -(-(p + 1) * n // max(o, 1))


def unless_tpu(by_table: Callable, by_mask: Callable, table: Table, axis: int, *arrays: jax.Array) -> Any:
    """by_table(*arrays); on a TPU, to which reads of single rows cost copies, under a mask of rows and cells."""
    if min(len(table.numbers), arrays[0].shape[axis]) > UNROLL:
        return by_table(*arrays)
    return lax.platform_dependent(*arrays, tpu=by_mask, default=by_table)


def mask(x: jax.Array, table: Table, axis: int, fill: Any) -> jax.Array:
    """x on an axis behind one of rows, with `fill` where a row does not see the cell."""
    cells = np.arange(x.shape[axis])
    seen = ((table.numbers[..., None] == cells) & table.counts[..., None]).any(1)
    seen = np.expand_dims(seen, [*range(axis), *range(axis + 2, x.ndim + 1)])
    return jnp.where(seen, jnp.expand_dims(x, axis), fill)


def reader(x: jax.Array, table: Table, axis: int, fill: Any) -> Callable[[Any], jax.Array]:
    """x as a function of t: x[…, table[·, t], …], with `fill` where an entry does not count."""
    (rows, width), size = table.numbers.shape, x.shape[axis]
    if size == 0:
        return lambda t: jnp.full((*x.shape[:axis], rows, *x.shape[axis + 1 :]), fill, x.dtype)
    copies = rows // size
    if width == 1 and rows == size * copies:
        return lambda t: jnp.repeat(x, copies, axis)
    spread = (1,) * axis + (rows,) + (1,) * (x.ndim - axis - 1)
    numbers, counts = jnp.asarray(table.numbers.T), jnp.asarray(table.counts.T)

    def read(t):
        taken = jnp.take(x, numbers[t], axis, mode="clip")
        return taken if table.counts.all() else jnp.where(counts[t].reshape(spread), taken, fill)

    return read


def sum_over(x: jax.Array, table: Table, axis: int) -> jax.Array:
    """Σ_t x[…, table[·, t], …]."""

    def by_table(x):
        if table.splits(x, axis):
            return jnp.sum(table.split(x, axis), axis + 1)
        if table.width <= 2:  # read so seldom, a sum may be made anew
            return cell_by_cell(x)
        return lax.platform_dependent(x, cpu=made_once(cell_by_cell), default=cell_by_cell)

    def cell_by_cell(x):
        read = reader(x, table, axis, 0)
        return repeat(table.width, lambda t, total: total + read(t), jnp.zeros_like(read(0)))

    by_mask = lambda x: jnp.sum(mask(x, table, axis, 0), axis + 1)
    return unless_tpu(by_table, by_mask, table, axis, x)


def highest(x: jax.Array, index: jax.Array, table: Table, axis: int, lowest: Any) -> tuple[jax.Array, jax.Array]:
    """The maximum over t of x[…, table[·, t], …], and the lowest index of those that have it."""

    def by_table(x, index):
        if table.splits(x, axis):
            cells, places = table.split(x, axis), table.split(index, axis)
            y = jnp.max(cells, axis + 1)
            here = (cells == jnp.expand_dims(y, axis + 1)) | jnp.isnan(cells)
            return y, jnp.min(jnp.where(here, places, NOWHERE), axis + 1)
        read, place = reader(x, table, axis, lowest), reader(index, table, axis, NOWHERE)
        y = repeat(table.width, lambda t, y: jnp.maximum(y, read(t)), jnp.full_like(read(0), lowest))

        def first(t, index):
            here = (read(t) == y) | jnp.isnan(read(t))
            return jnp.where(here, jnp.minimum(index, place(t)), index)

        return y, repeat(table.width, first, jnp.full(y.shape, NOWHERE, jnp.int32))

    def by_mask(x, index):
        return reduce_to_highest(mask(x, table, axis, lowest), mask(index, table, axis, NOWHERE), lowest, (axis + 1,))

    return unless_tpu(by_table, by_mask, table, axis, x, index)


def reduce_to_highest(cells: jax.Array, places: jax.Array, lowest: Any, axes: tuple[int, ...]) -> tuple:
    """The maximum over the axes and the lowest place that has it, in one pass."""
    start = jnp.asarray(lowest, cells.dtype), jnp.asarray(NOWHERE, jnp.int32)
    return tuple(lax.reduce((cells, jnp.broadcast_to(places, cells.shape)), start, _higher, axes))


def _higher(one, other):
    """Of two pairs of value and index the one with the higher value, or with the lower index; NaN is the highest."""
    (a, i), (b, j) = one, other
    above, below = (a > b) | (a != a), (b > a) | (b != b)
    first = (above & ~below) | ((above == below) & (i < j))
    return jnp.where(first, a, b), jnp.where(first, i, j)


def give_back(dy: jax.Array, index: jax.Array, below: int, table: Table, axis: int) -> tuple[jax.Array, jax.Array]:
    """What the windows of `table` give to each cell: of dy, and of the index the part that later axes want."""

    def by_table(dy, index):
        read, place = reader(dy, table, axis, 0), reader(index, table, axis, -1)

        def add(t, found):
            dx, index = found
            cell = place(t)
            here = cell // below == lax.broadcasted_iota(jnp.int32, dx.shape, axis)
            # Windows that chose the same row chose the same cell in it.
            return dx + jnp.where(here, read(t), 0), jnp.where(here, cell % below, index)

        shape = read(0).shape
        return repeat(table.width, add, (jnp.zeros(shape, dy.dtype), jnp.full(shape, -1, jnp.int32)))

    def by_mask(dy, index):
        dx, cell = mask(dy, table, axis, 0), mask(index, table, axis, -1)
        here = cell // below == lax.broadcasted_iota(jnp.int32, cell.shape, axis)
        rest = jnp.max(jnp.where(here, cell % below, -1), axis + 1, initial=-1)
        return jnp.sum(jnp.where(here, dx, 0), axis + 1), rest

    return unless_tpu(by_table, by_mask, table, axis, dy, index)
