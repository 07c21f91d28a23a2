"""The windows of adaptive pools as tables, and how these are read: the cells of a window, and the windows of a cell."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.taps import UNROLL


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
