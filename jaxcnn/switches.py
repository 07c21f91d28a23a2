"""Which taps of each window are its maximum, packed into small unsigned integers shaped like the output.

For ties="first" that is the number of the first maximal tap; for "all" and "even" a bit for each tap, in words of up to
32. The maximum passes on what reaches the taps that are switched on, and its gradient goes back through them. A NaN is
maximal; padding is not, even where a whole window is as low as the padding.
"""

import operator
from functools import partial, reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.arguments import accumulator
from jaxcnn.memory import chunk_by_chunk, in_one_loop, made_once
from jaxcnn.taps import FUSE, UNROLL, padded, passes, read_taps, repeat, sum_taps
from jaxcnn.window import Window

Ties = Literal["first", "all", "even"]
Switches = tuple[jax.Array, ...]
PADDED, SPREAD = 16e6, 4e6  # bytes of x, and of dy at stride 1, that are padded as a whole


def lowest_of(dtype: Any) -> Any:
    """What is below every number of this dtype, or equal to the lowest."""
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def turned(x: Any) -> Any:
    """In the order turned round: −x; of integers −1 − x, which the lowest has too."""
    return -x if jnp.issubdtype(x.dtype, jnp.floating) else ~x


def number_type(window: Window) -> np.dtype:
    """The dtype of the number of a tap."""
    return np.min_scalar_type(window.taps)


def find_maximum(x: jax.Array, window: Window, ties: Ties | None) -> tuple[jax.Array, Switches]:
    """The maximum of each window of x (n, *spatial, c), and its switches; for None zeros in their place."""
    if ties is None:
        y = _find_alone(x, window)
        return y, (jnp.zeros_like(y, number_type(window)),)
    lowest = lowest_of(x.dtype)
    y, switches, of_input = (_find_first if ties == "first" else _find_all)(x, window, lowest)
    if not window.inside().all():  # where y is the lowest value, padding equals it, and so do all cells of the input
        switches = tuple(jnp.where(y == lowest, valid, found) for found, valid in zip(switches, of_input))
    return y, switches


def is_switched(switches: Switches, tap: Any, ties: Ties) -> jax.Array:
    dtype = switches[0].dtype
    tap = jnp.asarray(tap, jnp.int32)
    if ties == "first":
        return switches[0] == tap.astype(dtype)
    width = dtype.itemsize * 8
    bit = jnp.asarray(1, dtype) << (tap % width).astype(dtype)
    return reduce(operator.or_, ((tap // width == i) & (word & bit != 0) for i, word in enumerate(switches)))


def share(switches: Switches, ties: Ties, dtype: Any) -> jax.Array:
    """What part of the gradient each switched tap gets."""
    if ties != "even":
        return jnp.ones((), dtype)
    maxima = sum(lax.population_count(word).astype(dtype) for word in switches)
    return 1 / jnp.maximum(maxima, 1)


def spread(dy: jax.Array, switches: Switches, window: Window, ties: Ties) -> jax.Array:
    """dx[a] = Σ_{(p,i): a(p,i) = a} dy[p] where tap i of window p is switched on, summed in float32 or better.

    On a CPU a large dy is read without a padded copy: 3×3 at stride 1 of (16,56,56,64) takes 7 (5) ms for 9 (10), y and
    all, and holds 14 MB for 31; (32,56,56,64) 30 (34) for 41 (47).
    """
    dx = dy.astype(accumulator(dy.dtype))
    if ties != "first":
        through = lambda tap, dy, *switches: jnp.where(is_switched(switches, tap, ties), dy, 0)
        return sum_taps(through, (dx * share(switches, ties, dx.dtype), *switches), window)
    add = partial(_spread_first, window=window)
    if max(window.strides) > 1 or window.taps > FUSE or not _is_padded(dx, window, SPREAD):
        return add(dx, *switches)
    return lax.platform_dependent(dx, *switches, cpu=made_once(partial(add, cut=True)), default=add)


def to_indices(tap: jax.Array, window: Window) -> jax.Array:
    """Where the tap of this number reads, as a row-major index; −1 where no tap reads the input."""
    tap, index, below = tap.astype(jnp.int32), jnp.zeros(tap.shape, jnp.int32), window.taps
    for dim, (n, k, s, d, (lo, _)) in enumerate(
        zip(window.input, window.size, window.strides, window.dilation, window.pads)
    ):
        below //= k
        p = lax.broadcasted_iota(jnp.int32, tap.shape, 1 + dim)
        index = index * n + s * p + d * (tap // below % k) - lo
    return jnp.where(np.asarray(window.inside().any(-1))[None, ..., None], index, -1)


def from_indices(index: jax.Array, window: Window) -> jax.Array:
    """The way back, for windows without padding: the number of the tap that reads the cell of this index."""
    tap, below = jnp.zeros_like(index), 1
    for dim, (n, k, s, d) in reversed([*enumerate(zip(window.input, window.size, window.strides, window.dilation))]):
        p = lax.broadcasted_iota(jnp.int32, index.shape, 1 + dim)
        tap, index, below = tap + below * ((index % n - s * p) // d), index // n, below * k
    return tap.astype(number_type(window))


def _find_alone(x, window):
    for part in passes(window):
        find = partial(_highest, window=part)
        x = lax.platform_dependent(x, cpu=partial(_by_example, find, part), default=find)
    return x


def _find_first(x, window, lowest):
    """The maximum, the number of its first tap, and that of the first tap in the input."""
    dtype = number_type(window)
    y, number, below = x, jnp.zeros(x.shape, dtype), 1
    for part in passes(window):
        y, number = _pass(y, number, below, part, lowest)
        below *= part.taps
    return y, (number,), (jnp.asarray(window.inside().argmax(-1), dtype)[None, ..., None],)


def _pass(x, number, below, window, lowest):
    """The maximum, and the number of its first tap: `below` for each tap of this pass, plus the number that x has.

    On a CPU both in one loop: with the gradient 2×2 takes 0.35 to 0.6 of the time of two loops, 3×3 0.7 to 0.9.
    """

    def of_taps(number):
        read = read_taps(number, window, 0) if below > 1 else lambda tap: jnp.zeros((), number.dtype)
        return lambda tap: jnp.asarray(tap * below, number.dtype) + read(tap)

    def in_two_loops(x, number):
        y, read, at = _highest(x, window), read_taps(x, window, lowest), of_taps(number)

        def earlier(i, found):
            tap = window.taps - 1 - i
            return jnp.where((read(tap) == y) | jnp.isnan(read(tap)), at(tap), found)

        return y, repeat(window.taps, earlier, jnp.zeros(y.shape, number.dtype))

    def in_one(x, number):
        read, at = read_taps(*padded(x, window, lowest), lowest), of_taps(number)

        def higher(i, found):
            y, number = found
            cell = read(i + 1)
            above = ~(y >= cell) & (y == y)  # a NaN is above all but a NaN
            return jnp.maximum(y, cell), jnp.where(above, at(i + 1), number)

        y = read(0)
        return in_one_loop(repeat(window.taps - 1, higher, (y, jnp.broadcast_to(at(0), y.shape))))

    if not 1 < window.taps <= UNROLL:
        return in_two_loops(x, number)
    on_cpu = partial(_by_example, in_one, window)
    return lax.platform_dependent(x, number, cpu=on_cpu, default=in_two_loops)


def _highest(x, window):
    read, shape = read_taps(x, window, lowest_of(x.dtype)), (x.shape[0], *window.output, x.shape[-1])
    start = jnp.full(shape, lowest_of(x.dtype), x.dtype)
    return repeat(window.taps, lambda tap, y: jnp.maximum(y, read(tap)), start)


def _by_example(find, window, *arrays):
    """find(*arrays), for each example of a large batch that is padded: a large x̃ costs more than the rest."""
    return chunk_by_chunk(find, 1, *arrays) if _is_padded(arrays[0], window, PADDED) else find(*arrays)


def _is_padded(x, window, most):
    """Whether there are pads, and x is known to have more bytes."""
    return any(map(any, window.pads)) and isinstance(x.shape[0], int) and x.size * x.dtype.itemsize > most


def _spread_first(dx, number, window, cut=False):
    def chosen(tap, passed, here):
        return jnp.where(here == tap.astype(here.dtype), passed, 0)

    below = window.taps
    for part in reversed(passes(window)):
        below //= part.taps
        here, number = number // np.asarray(below, number.dtype), number % np.asarray(below, number.dtype)
        dx = sum_taps(chosen, (dx, here), part, cut=cut)
        if below > 1:  # windows that chose the same row chose the same cell in it
            number = sum_taps(chosen, (number, here), part, combine=jnp.maximum)
    return dx


def _find_all(x, window, lowest):
    """The maximum, the bits of all its taps, and those of the taps in the input."""
    y, read = _highest(x, window), read_taps(x, window, lowest)
    width = next(bits for bits in (8, 16, 32) if window.taps <= bits or bits == 32)
    dtype, words = f"uint{width}", range(-(-window.taps // width))

    def switch(tap, bits):
        cell = read(tap)
        bit = jnp.asarray(1, dtype) << jnp.asarray(tap % width, dtype)
        bit = jnp.where((cell == y) | jnp.isnan(cell), bit, 0)
        return tuple(word | jnp.where(tap // width == i, bit, 0) for i, word in enumerate(bits))

    bits = repeat(window.taps, switch, tuple(jnp.zeros(y.shape, dtype) for _ in words))
    inside = np.pad(window.inside(), [(0, 0)] * window.dims + [(0, len(words) * width - window.taps)])
    packed = inside.reshape(*window.output, len(words), width) @ (1 << np.arange(width))
    return y, bits, tuple(jnp.asarray(packed[None, ..., None, i], dtype) for i in words)
