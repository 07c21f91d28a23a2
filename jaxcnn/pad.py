"""Padding."""

from collections.abc import Sequence
from functools import partial
from numbers import Number
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Shaped

from jaxcnn.arguments import AnyArray, accumulator, error, is_integer, to_array, to_choice
from jaxcnn.window import Padding, Pads, check_crop, to_pairs

Mode = Literal["constant", "edge", "reflect", "symmetric", "wrap"]


def pad(
    x: Shaped[AnyArray, "..."],
    padding: Padding,
    *,
    mode: Mode = "constant",
    value: int | float = 0,
    channel_axis: int = -1,
) -> Shaped[Array, "..."]:
    """Grows (or crops) the spatial axes.

        y[a]  = x[src(a − lo)]               src: the extension of 0 … n − 1 to all integers that the mode means
        dx[j] = Σ_{a: src(a − lo) = j} dy[a]                                       copies fold back onto their origin

    "constant" writes `value` outside, which takes no gradient; "edge" repeats the last cell; "reflect" mirrors at the
    last cell and "symmetric" behind it; "wrap" starts again from the other end. All of them know the whole axis, also
    where the other side is cropped (PyTorch's "circular" crops first).

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      padding: an int for every spatial axis of an x with one batch dimension; one entry per spatial axis, each an int
        or a (low, high) pair; or one entry for each axis of x. Negative numbers crop.
      value: a number.

    Returns:
      y: of the dtype of x.

    Keeps nothing; recomputes nothing.

    Raises:
      ValueError: a padding that does not fit x, that crops more than there is, or that copies from an empty axis.
      TypeError: x is no array of numbers or booleans.

    Source: `zero_pad` of the classic NumPy notebooks; `numpy.pad` for the modes.

    >>> x = jnp.arange(1.0, 4)[:, None]
    >>> pad(x, [(2, 1)], mode="reflect")[:, 0]
    Array([3., 2., 1., 2., 3., 2.], dtype=float32)
    >>> jax.grad(lambda x: pad(x, [(2, 1)], mode="reflect").sum())(x)[:, 0]
    Array([1., 3., 2.], dtype=float32)
    """
    x = to_array("pad", "x", x, (jnp.number, jnp.bool_))
    mode = to_choice("pad", "mode", mode, ("constant", "edge", "reflect", "symmetric", "wrap"))
    if not isinstance(value, (Number, np.generic)):
        raise error(ValueError, "pad", "value", "a number", repr(value))
    to_choice("pad", "channel_axis", channel_axis, (-1, 1))
    entries = len(padding) if isinstance(padding, (Sequence, np.ndarray)) else x.ndim - 2
    pads = to_pairs("pad", padding, entries)
    if len(pads) > x.ndim or (is_integer(padding) and x.ndim < 3):
        expected = "an int for x of at least 3 dimensions, or at most one entry for each axis of x"
        raise error(ValueError, "pad", "padding", expected, f"{padding} for shape {x.shape}")
    if len(pads) < x.ndim:
        channel = ((0, 0),) if channel_axis == -1 else ()
        pads = ((0, 0),) * (x.ndim - len(pads) - len(channel)) + pads + channel
    check_crop("pad", x.shape, pads)
    if mode != "constant" and any(n == 0 and max(sides) > 0 for n, sides in zip(x.shape, pads)):
        raise error(ValueError, "pad", "padding", f"no copies of cells of an empty axis (mode={mode!r})", padding)
    return _pad(x, _Pad(pads, mode, value))


class _Pad(NamedTuple):
    pads: Pads
    mode: Mode
    value: int | float


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pad(x: Shaped[Array, "..."], static: _Pad) -> Shaped[Array, "..."]:
    return _pad_fwd(x, static)[0]


def _pad_fwd(x, static):
    if static.mode == "constant":
        return lax.pad(x, jnp.asarray(static.value, x.dtype), [(lo, hi, 0) for lo, hi in static.pads]), None
    for axis, pads in enumerate(static.pads):
        if pads != (0, 0):
            x = lax.concatenate([run.copy(x, axis) for run in _runs(x.shape[axis], pads, static.mode)], axis)
    return x, None


def _pad_bwd(static, _, dy):
    if static.mode == "constant":
        return (lax.pad(dy, jnp.zeros((), dy.dtype), [(-lo, -hi, 0) for lo, hi in static.pads]),)
    dx = dy.astype(accumulator(dy.dtype))
    for axis, (lo, hi) in reversed(list(enumerate(static.pads))):
        if (lo, hi) != (0, 0):
            n, position = dx.shape[axis] - lo - hi, 0
            parts = []
            for run in _runs(n, (lo, hi), static.mode):
                parts.append(run.fold_back(lax.slice_in_dim(dx, position, position + run.length, axis=axis), axis, n))
                position += run.length
            dx = sum(parts)
    return (dx.astype(dy.dtype),)


_pad.defvjp(_pad_fwd, _pad_bwd)


class _Run(NamedTuple):
    """Cells start, start + step, … of an axis, copied next to each other; step is 1, −1 or 0 (the same cell)."""

    start: int
    length: int
    step: int

    @property
    def low(self) -> int:
        return min(self.start, self.start + self.step * (self.length - 1))

    def copy(self, x: jax.Array, axis: int) -> jax.Array:
        if self.step == 0:
            cell = lax.slice_in_dim(x, self.start, self.start + 1, axis=axis)
            return jnp.broadcast_to(cell, (*x.shape[:axis], self.length, *x.shape[axis + 1 :]))
        cells = lax.slice_in_dim(x, self.low, self.low + self.length, axis=axis)
        return cells if self.step == 1 else lax.rev(cells, (axis,))

    def fold_back(self, dy: jax.Array, axis: int, n: int) -> jax.Array:
        """The adjoint of `copy`, from an axis of n cells."""
        if self.step == 0:
            dy = dy.sum(axis, keepdims=True)
        elif self.step == -1:
            dy = lax.rev(dy, (axis,))
        return lax.pad(
            dy,
            jnp.zeros((), dy.dtype),
            [(self.low, n - self.low - dy.shape[axis], 0) if a == axis else (0, 0, 0) for a in range(dy.ndim)],
        )


def _runs(n: int, pads: tuple[int, int], mode: Mode) -> list[_Run]:
    """Where the cells of a padded axis come from: those before the axis, the axis as a whole, and those behind."""
    lo, hi = pads
    source = np.pad(np.arange(n), (max(lo, 0), max(hi, 0)), mode=mode)
    source = source[max(-lo, 0) : len(source) - max(-hi, 0)]
    parts = np.split(source, [max(lo, 0), max(len(source) - max(hi, 0), 0)])
    return [run for part in parts for run in _split(part.tolist())]


def _split(cells: list[int]) -> list[_Run]:
    """In as few runs as there are."""
    runs: list[_Run] = []
    for cell in cells:
        if runs:
            start, length, step = runs[-1]
            if length == 1 and cell - start in (-1, 0, 1):
                step = cell - start
            if cell == start + step * length:
                runs[-1] = _Run(start, length + 1, step)
                continue
        runs.append(_Run(cell, 1, 1))
    return runs
