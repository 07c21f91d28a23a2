"""A window seen tap by tap: the cells that one kernel position reads, and the adjoint, without any scatter.

Taps are the kernel positions, numbered in row-major order. Few steps are unrolled, for XLA to fuse into one loop over
memory; many run as a loop of the program, so that the program does not grow with the window.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.memory import parallel_zero
from jaxcnn.window import Window

UNROLL = 64
FUSE = 16  # taps; a window of more is taken one dimension after the other


def repeat(steps: int, step: Callable[[Any, Any], Any], start: Any) -> Any:
    """step(steps − 1, … step(1, step(0, start)))."""
    if steps > UNROLL:
        return lax.fori_loop(0, steps, step, start)
    for i in range(steps):
        start = step(i, start)
    return start


def passes(window: Window) -> list[Window]:
    """What a maximum over the window is found in, one pass after the other."""
    return [window] if window.taps <= FUSE else window.separate()


def whole_strides(window: Window) -> list[int]:
    """How many strides of cells the windows reach over."""
    return [o + (e - 1) // s for o, e, s in zip(window.output, window.extent, window.strides)]


def padded(x: jax.Array, window: Window, fill: Any = 0) -> tuple[jax.Array, Window]:
    """x̃ in memory, and its window without pads: else XLA pads anew for every tap that it reads."""
    x = _pad(x, to_read(window), parallel_zero(x) + jnp.asarray(fill, x.dtype))
    return lax.optimization_barrier(x), unpadded(x, window)


def unpadded(x: jax.Array, window: Window) -> Window:
    """The window over x, which has its pads already."""
    return replace(window, input=x.shape[1:-1], pads=((0, 0),) * window.dims)


def to_read(window: Window) -> list[tuple[int, int]]:
    """The pads of x̃, for all cells that are read; of whole strides where a loop over many taps splits it into these."""
    if window.taps > UNROLL:
        sizes = [m * s for m, s in zip(whole_strides(window), window.strides)]
    else:
        sizes = [max(0, (o - 1) * s + e) for o, s, e in zip(window.output, window.strides, window.extent)]
    return [(lo, m - a - lo) for a, m, (lo, _) in zip(window.input, sizes, window.pads)]


def read_taps(x: jax.Array, window: Window, fill: Any) -> Callable[[Any], jax.Array]:
    """x (n, *spatial, c) as a function of the tap: (n, *output, c), its cell for every output; padding is `fill`."""
    n, c, output, strides = x.shape[0], x.shape[-1], window.output, window.strides
    if 0 in output:
        return lambda tap: jnp.zeros((n, *output, c), x.dtype)
    blocks = whole_strides(window)
    x = _pad(x, to_read(window), fill)

    def read(tap):
        offset = [d * i for d, i in zip(window.dilation, _unravel(tap, window.size))]
        if isinstance(tap, int):
            stop = [a + (o - 1) * s + 1 for a, o, s in zip(offset, output, strides)]
            return lax.slice(x, (0, *offset, 0), (n, *stop, c), (1, *strides, 1))
        split = x.reshape(n, *interleave(zip(blocks, strides)), c)
        start = interleave((a // s, a % s) for a, s in zip(offset, strides))
        return lax.dynamic_slice(split, (0, *start, 0), (n, *interleave((o, 1) for o in output), c)).reshape(
            n, *output, c
        )

    return read


def cut_taps(x: jax.Array, window: Window) -> Callable[[int], jax.Array]:
    """`read_taps` with zeros, for few taps and one sum over them: without x̃ in memory."""

    def read(tap):
        start = [d * i - lo for d, i, (lo, _) in zip(window.dilation, _unravel(tap, window.size), window.pads)]
        return _cells(x, start, window.strides, window.output)

    return read


def _cells(x: jax.Array, start: Sequence[int], strides: Sequence[int], output: Sequence[int]) -> jax.Array:
    """x[start + s·p] for every output p, and zeros where that is outside x.

    Cells are cut out of x, and zeros put round these: XLA fuses both into a sum over several starts, where the pads of
    x̃, which all of them read, would be a copy of x. At stride 1 columns and channels are one axis for the zeros, which
    is faster.
    """
    n, c = x.shape[0], x.shape[-1]
    joined = max(c, 1) if strides[-1] == 1 else 1
    inside = [_inside(*dim) for dim in zip(start, strides, x.shape[1:-1], output)]
    first = [a + s * low if high > low else 0 for a, s, (low, high) in zip(start, strides, inside)]
    stop = [a + s * (high - low - 1) + 1 if high > low else 0 for a, s, (low, high) in zip(first, strides, inside)]
    cells = lax.slice(x, (0, *first, 0), (n, *stop, c), (1, *strides, 1))
    *edges, (before, after) = [(low, o - high) for o, (low, high) in zip(output, inside)]
    *outer, last = cells.shape[1:-1]
    cells = cells.reshape(n, *outer, last * joined, c // joined)
    return _pad(cells, [*edges, (before * joined, after * joined)], 0).reshape(n, *output, c)


def _inside(start: int, stride: int, size: int, outputs: int) -> tuple[int, int]:
    """From which output p to before which a cell start + stride·p is one of 0 to size − 1."""
    low = min(max(-(start // stride), 0), outputs)
    return low, min(max((size - 1 - start) // stride + 1, low), outputs)


def write_taps(cells: Callable[[Any], jax.Array], x: jax.ShapeDtypeStruct, window: Window) -> jax.Array:
    """The adjoint of reading: the cells (n, *output, c) of each tap summed where they came from, an array like x.

    Write a + lo = s·m + r: each phase r of the strides is a sum over its taps, all phases then lie side by side. Where
    these are many, every tap is added to a whole x̃.
    """
    n, c, output, strides = x.shape[0], x.shape[-1], window.output, window.strides
    if 0 in output:
        return jnp.zeros(x.shape, x.dtype)
    blocks = whole_strides(window)

    def place(tap):
        """The residues of a tap, and its blocks."""
        offset = [d * i for d, i in zip(window.dilation, _unravel(tap, window.size))]
        return [a % s for a, s in zip(offset, strides)], [a // s for a, s in zip(offset, strides)]

    def phase(r):
        total = jnp.zeros((n, *blocks, c), x.dtype)
        for tap in range(window.taps):
            residue, start = place(tap)
            if residue == list(r):
                total += _pad(cells(tap), [(a, m - a - o) for a, m, o in zip(start, blocks, output)], 0)
        return total

    def add(tap, whole):
        start = (0, *interleave(zip(*reversed(place(tap)))), 0)
        part = cells(tap).reshape(n, *interleave((o, 1) for o in output), c)
        return lax.dynamic_update_slice(whole, lax.dynamic_slice(whole, start, part.shape) + part, start)

    if window.taps > UNROLL or math.prod(strides) > UNROLL:
        whole = jnp.zeros((n, *interleave(zip(blocks, strides)), c), x.dtype)
        whole = lax.fori_loop(0, window.taps, add, whole)
    else:
        phases = jnp.stack([phase(r) for r in itertools.product(*map(range, strides))], 1)
        phases = phases.reshape(n, *strides, *blocks, c)
        pairs = interleave((1 + window.dims + i, 1 + i) for i in range(window.dims))
        whole = phases.transpose(0, *pairs, phases.ndim - 1)
    sizes = [m * s for m, s in zip(blocks, strides)]
    pads = [(-lo, a + lo - m) for a, m, (lo, _) in zip(window.input, sizes, window.pads)]
    return _pad(whole.reshape(n, *sizes, c), pads, 0)


def sum_taps(
    term: Callable[..., jax.Array],
    arrays: Sequence[jax.Array],
    window: Window,
    combine: Callable = jnp.add,
    cut: bool = False,
) -> jax.Array:
    """The adjoint of reading, of terms worked out on the way: dx[a] = Σ_{(p,i): a(p,i) = a} term(i, *arrays)[p].

    The arrays are (n, *output, c'). Write a + lo = s·m + r: window p = m − j reaches the cells of block m, by the tap
    with d·i = s·j + r. So dx is a sum over the few shifts j, for all residues r at once. `term` takes the taps as an
    array over r (the number of taps where there is none) and the arrays with axes to broadcast against it; it gives
    the dtype of the first array, and zero where the arrays are zero. `cut`: as in `cut_taps`.
    """
    window, around = window.coarse()
    n, c, strides = arrays[0].shape[0], arrays[0].shape[-1], window.strides
    first = [lo // s for s, (lo, _) in zip(strides, window.pads)]
    blocks = [-(-(lo + a) // s) - f for a, s, (lo, _), f in zip(window.input, strides, window.pads, first)]
    shifts = [(e - 1) // s + 1 for e, s in zip(window.extent, strides)]
    pads = [(j - 1 - f, m + f - o) for j, f, m, o in zip(shifts, first, blocks, window.output)]
    if cut and math.prod(shifts) <= UNROLL:
        at = lambda a, j: _cells(a, [f - i for f, i in zip(first, j)], [1] * window.dims, blocks)
    else:
        arrays = [_pad(a, pads, 0) for a in arrays]
        at = lambda a, j: _cut(a, [last - 1 - i for last, i in zip(shifts, j)], blocks)

    def add(shift, dx):
        j = _unravel(shift, shifts)
        shifted = (at(a, j).reshape(n, *interleave((m, 1) for m in blocks), a.shape[-1]) for a in arrays)
        return combine(dx, term(_taps_of_shift(j, window), *shifted))

    dx = repeat(math.prod(shifts), add, jnp.zeros((n, *interleave(zip(blocks, strides)), c), arrays[0].dtype))
    dx = dx.reshape(n, *(m * s for m, s in zip(blocks, strides)), c)
    dx = _cut(dx, [lo - f * s for s, (lo, _), f in zip(strides, window.pads, first)], window.input)
    return lax.pad(dx, jnp.zeros((), dx.dtype), [(0, 0, 0), *around, (0, 0, 0)])


def _taps_of_shift(j: Sequence[Any], window: Window) -> jax.Array:
    """The tap with d·i = s·j + r for every residue r, of shape (1, 1, s, …, 1, s, 1); or their number."""
    taps, exists = 0, True
    for dim, (k, s, d) in enumerate(zip(window.size, window.strides, window.dilation)):
        residue = np.arange(s).reshape(
            [1, *interleave((1, s if dim == other else 1) for other in range(window.dims)), 1]
        )
        offset = s * j[dim] + residue
        exists = exists & (offset % d == 0) & (offset < k * d)
        taps = taps * k + offset // d
    return jnp.where(exists, taps, math.prod(window.size))


def _pad(x: jax.Array, pads: Sequence[tuple[int, int]], fill: Any) -> jax.Array:
    """Pads (or crops) the spatial axes."""
    return lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)])


def _cut(x: jax.Array, start: Sequence[Any], size: Sequence[int]) -> jax.Array:
    """The stretch of the spatial axes with this start and size."""
    if all(isinstance(a, int) for a in start):
        return lax.slice(x, (0, *start, 0), (x.shape[0], *(a + m for a, m in zip(start, size)), x.shape[-1]))
    return lax.dynamic_slice(x, (0, *start, 0), (x.shape[0], *size, x.shape[-1]))


def _unravel(index: Any, shape: Sequence[int]) -> list[Any]:
    """The position with this row-major index; of ints for an int."""
    return [index // math.prod(shape[dim + 1 :]) % size for dim, size in enumerate(shape)]


def interleave(pairs: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(itertools.chain.from_iterable(pairs))
