"""The windows of adaptive pools as tables: which cells each window sees, and which windows see each cell."""

from typing import NamedTuple

import jax
import numpy as np


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
