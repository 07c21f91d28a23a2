"""Which taps of each window are its maximum, packed into small unsigned integers shaped like the output.

For ties="first" that is the number of the first maximal tap; for "all" and "even" a bit for each tap, in words of up to
32. The maximum passes on what reaches the taps that are switched on, and its gradient goes back through them.
"""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.taps import fold
from jaxcnn.window import Window

Ties = Literal["first", "all", "even"]
Switches = tuple[jax.Array, ...]


def find_switches(read: Callable[[Any], jax.Array], y: jax.Array, lowest: Any, window: Window, ties: Ties) -> Switches:
    """The switches of the maxima y of the taps that `read` gives. A NaN equals the maximum, which it has made NaN."""
    is_maximal = lambda tap: (read(tap) == y) | jnp.isnan(read(tap))
    inside = window.inside()
    find = _find_first if ties == "first" else _find_all
    switches, of_input = find(is_maximal, y.shape, inside)
    if inside.all():
        return switches
    # Padding equals y where y is the lowest value; there, all cells of the input do too.
    return tuple(jnp.where(y == lowest, valid, found) for found, valid in zip(switches, of_input))


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


def _find_first(is_maximal, shape, inside):
    """The number of the first maximal tap, and of the first in the input."""
    taps = inside.shape[-1]
    dtype = np.min_scalar_type(taps)

    def earlier(i, first):
        tap = taps - 1 - i
        return jnp.where(is_maximal(tap), jnp.asarray(tap, dtype), first)

    first = fold(taps, earlier, jnp.zeros(shape, dtype))
    return (first,), (jnp.asarray(inside.argmax(-1), dtype)[None, ..., None],)


def _find_all(is_maximal, shape, inside):
    """The bits of the maximal taps, and of those in the input."""
    taps = inside.shape[-1]
    width = next(bits for bits in (8, 16, 32) if taps <= bits or bits == 32)
    dtype = f"uint{width}"
    words = range(-(-taps // width))

    def switch(tap, bits):
        bit = jnp.where(is_maximal(tap), jnp.asarray(1, dtype) << jnp.asarray(tap % width, dtype), 0)
        return tuple(word | jnp.where(tap // width == i, bit, 0) for i, word in enumerate(bits))

    bits = fold(taps, switch, tuple(jnp.zeros(shape, dtype) for _ in words))
    padded = np.pad(inside, [(0, 0)] * (inside.ndim - 1) + [(0, len(words) * width - taps)])
    packed = padded.reshape(*inside.shape[:-1], len(words), width) @ (1 << np.arange(width))
    return bits, tuple(jnp.asarray(packed[None, ..., None, i], dtype) for i in words)
