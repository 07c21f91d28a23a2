"""Maxima over windows as TPUs have them: a reduction, and select-and-scatter, which finds the maxima in x once more.

Select-and-scatter is native there and needs no switches. `lax.reduce_window` has it as its gradient, but with a
comparison that a NaN loses, and which sums 16 bits in 16 bits: here it is called with one that a NaN wins.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jax.lax import reduce_window

from jaxcnn.arguments import widen
from jaxcnn.shards import vary_alike
from jaxcnn.switches import Switches, Ties, lowest_of, number_type, turned
from jaxcnn.taps import FUSE
from jaxcnn.window import Window


def fits(window: Window, ties: Ties | None) -> bool:
    """Whether it is possible, and by a TPU's cost model takes no longer than with switches.

    Switches take 4.2 ms for 3×3 at stride 2, for 1.2. At stride 1 they take 1.65 of its time for 3×3 without pads and
    2.1 for 5×5, but 0.16 to 0.94 for 3×3 with an output as large as the input.
    """
    possible = ties in ("first", None) and set(window.dilation) == {1} and 0 not in window.input + window.output
    return possible and not (window.output == window.input and window.taps <= FUSE)


def find_maximum(x: jax.Array, window: Window, of_least: bool = False) -> tuple[jax.Array, Switches]:
    """The maximum (or minimum) of each window of x (n, *spatial, c), and zeros in the place of switches."""
    cropped, pads = _crop(x, window)
    lowest = np.asarray(lowest_of(x.dtype), x.dtype)
    start, better = (turned(lowest), lax.min) if of_least else (lowest, lax.max)
    y = reduce_window(cropped, start, better, _full(window.size), _full(window.strides), pads)
    return y, (jnp.zeros_like(y, number_type(window)),)


def spread(dy: jax.Array, x: jax.Array, window: Window, of_least: bool = False) -> jax.Array:
    """dx[a] = Σ_{(p,i): a(p,i) = a} dy[p] where tap i is the first extreme of window p, in float32 or better."""
    wins = (lambda a, b: (a <= b) | jnp.isnan(a)) if of_least else (lambda a, b: (a >= b) | jnp.isnan(a))

    @custom_vmap
    def select_and_scatter(dy, x):
        cropped, pads = _crop(x, window)
        dx = lax.select_and_scatter_p.bind(
            *vary_alike(cropped, dy, jnp.zeros((), x.dtype)),
            **_jaxpr("select", wins, x.dtype),
            **_jaxpr("scatter", lax.add, x.dtype),
            window_dimensions=_full(window.size),
            window_strides=_full(window.strides),
            padding=pads,
        )
        uncropped = [(max(-lo, 0), max(-hi, 0), 0) for lo, hi in window.pads]
        return lax.pad(dx, jnp.zeros((), x.dtype), [(0, 0, 0), *uncropped, (0, 0, 0)])

    @select_and_scatter.def_vmap
    def of_batch(size, batched, dy, x):
        dy, x = (a if is_batched else jnp.broadcast_to(a, (size, *a.shape)) for a, is_batched in zip((dy, x), batched))
        dx = spread(dy.reshape(-1, *dy.shape[2:]), x.reshape(-1, *x.shape[2:]), window, of_least)
        return dx.reshape(x.shape), True

    return select_and_scatter(widen(dy), widen(x))


def _crop(x, window):
    """x without what negative pads crop, and the pads of all axes that remain."""
    crops = [(min(lo, 0), min(hi, 0), 0) for lo, hi in window.pads]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crops, (0, 0, 0)])
    return x, ((0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in window.pads), (0, 0))


def _full(ints):
    """A size or stride of every axis."""
    return (1, *ints, 1)


def _jaxpr(name, function, dtype):
    closed = jax.make_jaxpr(function)(*[jax.ShapeDtypeStruct((), dtype)] * 2)
    return {f"{name}_jaxpr": closed.jaxpr, f"{name}_consts": tuple(closed.consts)}
