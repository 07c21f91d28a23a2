"""Where a window looks: the integers behind every convolution and every pool.

One relation holds everything. Per dimension, output position p reads at kernel position i the input cell

    a(p, i) = s·p + d·i − lo            a cell outside 0 ≤ a < n is padding

and the forward, the input gradient and the kernel gradient are sums over that relation with p, a or i held fixed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.arguments import channels_last, error, is_integer, spatial_dims, to_ints

Ints = int | Sequence[int]
Pads = tuple[tuple[int, int], ...]
Padding = str | int | Sequence[int | Sequence[int]]


@dataclass(frozen=True)
class Window:
    """A window of `size` k moved in `strides` s over `input` n with `pads` (lo, hi) and `dilation` d, per dimension.

    extent   e = (k − 1)·d + 1
    output   o = ⌊(n + lo + hi − e) / s⌋ + 1, at least 0
    """

    input: tuple[int, ...]
    size: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]

    @property
    def dims(self) -> int:
        return len(self.size)

    @property
    def extent(self) -> tuple[int, ...]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation))

    @property
    def output(self) -> tuple[int, ...]:
        return tuple(
            max(0, (n + lo + hi - e) // s + 1)
            for n, e, s, (lo, hi) in zip(self.input, self.extent, self.strides, self.pads)
        )

    @property
    def input_gradient_pads(self) -> Pads:
        """Pads of the convolution of dz, dilated by s, with the flipped kernel, dilated by d, that gives dx.

        With i = k − 1 − i′ the relation reads s·p = a + d·i′ − (e − 1 − lo): cell a sees the dilated dz from the low
        pad e − 1 − lo on. The dilated dz is (o − 1)·s + 1 long, and n results are wanted: the high pad is what lacks.
        Either may be negative; cells behind the last stride then get exact zeros.
        """
        return tuple(
            (e - 1 - lo, n + lo - (o - 1) * s - 1)
            for n, e, o, s, (lo, _) in zip(self.input, self.extent, self.output, self.strides, self.pads)
        )

    def mirrored(self) -> "Window":
        """The window of the adjoint, at stride 1, which reads dz with the flipped kernel."""
        return Window(self.output, self.size, self.strides, self.input_gradient_pads, self.dilation)

    def in_row(self) -> "Window":
        """The taps along a row alone, over the rows of x itself."""
        first = {"size": 1, "strides": 1, "dilation": 1, "pads": (0, 0)}
        return replace(self, **{name: (value, *getattr(self, name)[1:]) for name, value in first.items()})

    @property
    def kernel_gradient_pads(self) -> Pads:
        """Pads of the convolution of x with dz as its kernel, strides d and dilation s, that gives dw.

        Kernel position i sees x̃ from d·i on, in steps of s: the low pad stays lo, and the high pad is what x̃ lacks
        (or has too much) for exactly k results: (o − 1)·s + e − n − lo.
        """
        return tuple(
            (lo, (o - 1) * s + e - n - lo)
            for n, e, o, s, (lo, _) in zip(self.input, self.extent, self.output, self.strides, self.pads)
        )

    @property
    def taps(self) -> int:
        """How many kernel positions there are."""
        return math.prod(self.size)

    def cells(self, dim: int) -> np.ndarray:
        """a(p, i) along one dimension, shape (o, k)."""
        p, i = np.arange(self.output[dim])[:, None], np.arange(self.size[dim])
        return self.strides[dim] * p + self.dilation[dim] * i - self.pads[dim][0]

    def inside(self, pads: Pads | None = None) -> np.ndarray:
        """Which cells lie in the input, grown by `pads`; shape (*output, taps)."""
        inside = np.ones((1, 1), bool)
        for dim, (n, (lo, hi)) in enumerate(zip(self.input, pads or ((0, 0),) * self.dims)):
            cells = self.cells(dim)
            along = (-lo <= cells) & (cells < n + hi)
            both = inside[:, None, :, None] & along[None, :, None, :]
            inside = both.reshape(both.shape[0] * both.shape[1], both.shape[2] * both.shape[3])
        return inside.reshape(*self.output, self.taps)

    def separate(self) -> list["Window"]:
        """Windows along one dimension each, the last first, to be applied in turn: sums and maxima separate."""
        passes, input = [], self.input
        for dim in reversed(range(self.dims)):
            only = [dim == other for other in range(self.dims)]
            passes.append(
                Window(
                    input,
                    tuple(k if here else 1 for k, here in zip(self.size, only)),
                    tuple(s if here else 1 for s, here in zip(self.strides, only)),
                    tuple(pads if here else (0, 0) for pads, here in zip(self.pads, only)),
                    tuple(d if here else 1 for d, here in zip(self.dilation, only)),
                )
            )
            input = passes[-1].output
        return passes

    def coarse(self) -> tuple["Window", list[tuple[int, int, int]]]:
        """The window over the cells that it may read, and what of the input lies before, behind and between them.

        Where g divides s and d, it reads every g-th cell alone: a = g·b + f with f = −lo mod g, and

            b(p, i) = s/g·p + d/g·i − (lo + f)/g
        """
        axes, around = [], []
        for n, o, e, s, d, (lo, _) in zip(self.input, self.output, self.extent, self.strides, self.dilation, self.pads):
            g = math.gcd(s, d)
            first = -lo % g
            m, low = max(0, -((first - n) // g)), (lo + first) // g
            axes.append((m, s // g, (low, (o - 1) * (s // g) + (e - 1) // g + 1 - m - low), d // g))
            around.append((first, n - first - max(0, (m - 1) * g + 1), g - 1))
        input, strides, pads, dilation = zip(*axes)
        return Window(input, self.size, strides, pads, dilation), around

    @classmethod
    def of(
        cls,
        function: str,
        input: Sequence[int],
        size: Ints,
        *,
        strides: Ints,
        padding: Padding,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> "Window":
        """Canonicalises what a caller may write.

        With `ceil_mode` the high pad is made such that the stride leaves no cell out, less one window if the last would
        start beyond the input and its low pad (PyTorch's rule).
        """
        input = tuple(input)
        size, strides, dilation, extent = _to_steps(function, len(input), size, strides, dilation)
        pads = _to_pads(function, padding, input, extent, strides)
        check_crop(function, input, pads)
        if ceil_mode:
            if any(hi < 0 for _, hi in pads):
                raise error(ValueError, function, "padding", "no crop of the end that ceil_mode lets overhang", padding)
            pads = tuple(map(_ceil_pads, input, extent, strides, pads))
        return cls(input, size, strides, pads, dilation)

    @classmethod
    def of_transpose(
        cls,
        function: str,
        output: Sequence[int],
        size: Ints,
        *,
        strides: Ints,
        padding: Padding,
        output_padding: Ints,
        dilation: Ints,
    ) -> "Window":
        """The window whose convolution a transposed one transposes: it leads from the result, n, to the argument, o.

        input    n = (o − 1)·s + e − lo − hi + output_padding, for SAME n = o·s; of an empty axis at least 0
        pads     (lo, (o − 1)·s + e − n − lo): the high pad ends where the last window does, whatever is left over
        """
        output = tuple(output)
        size, strides, dilation, extent = _to_steps(function, len(output), size, strides, dilation)
        more = to_ints(function, "output_padding", output_padding, len(output), minimum=0)
        same = isinstance(padding, str) and padding.upper() in ("SAME", "SAME_LOWER")
        if any(m >= (1 if same else max(s, d)) for m, s, d in zip(more, strides, dilation)):
            expected = f"less than the larger of stride and dilation ({strides=}, {dilation=}), and 0 for padding SAME"
            raise error(ValueError, function, "output_padding", expected, output_padding)
        multiple = tuple(o * s for o, s in zip(output, strides))
        pads = _to_pads(function, padding, multiple, extent, strides)
        span = tuple((o - 1) * s + e for o, s, e in zip(output, strides, extent))
        input = multiple if same else tuple(a + m - lo - hi for a, m, (lo, hi) in zip(span, more, pads))
        for o, n, (lo, hi) in zip(output, input, pads):
            if o and n < 0:
                raise error(ValueError, function, "padding", f"to crop at most {n + lo + hi} cells", (lo, hi))
        input = tuple(max(0, n) for n in input)
        pads = tuple((lo, a - n - lo) for a, n, (lo, _) in zip(span, input, pads))
        return cls(input, size, strides, pads, dilation)


class Convolution(NamedTuple):
    """What is static in a convolution: its window, and how channels and numbers pass through it.

    `accumulate` is the dtype that products are summed in, `result` that of the output.
    """

    window: Window
    groups: int
    precision: Any
    accumulate: np.dtype
    result: np.dtype


def to_pool(
    function: str,
    x: jax.Array,
    window: Ints,
    strides: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
    channel_axis: int,
) -> tuple[jax.Array, Window, Callable[[jax.Array], jax.Array]]:
    """x as (n, *spatial, c), its window, and the function that brings a result to the layout of x."""
    x, restore = channels_last(function, x, spatial_dims(function, window, x), channel_axis)
    geometry = Window.of(
        function,
        x.shape[1:-1],
        window,
        strides=window if strides is None else strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    taken = zip(geometry.output, geometry.extent, geometry.strides)
    strides = tuple(max(s, e) if o == 1 else s for o, e, s in taken)  # one window overlaps with none
    return x, replace(geometry, strides=strides), restore


def to_pairs(function: str, padding: Padding, dims: int) -> Pads:
    """(low, high) for each dimension from an int, one int per dimension or (low, high) pairs."""

    def pair(entry):
        if is_integer(entry):
            return int(entry), int(entry)
        if isinstance(entry, (Sequence, np.ndarray)) and len(entry) == 2 and all(map(is_integer, entry)):
            return int(entry[0]), int(entry[1])
        raise error(ValueError, function, "padding", expected, padding)

    expected = f"an int, or {dims} entries that are ints or (low, high) pairs"
    if is_integer(padding):
        return (pair(padding),) * dims
    if isinstance(padding, str) or not isinstance(padding, (Sequence, np.ndarray)) or len(padding) != dims:
        raise error(ValueError, function, "padding", expected, padding)
    return tuple(map(pair, padding))


def check_crop(function: str, shape: Sequence[Any], pads: Pads) -> None:
    """Negative pads may crop an axis to nothing, not to less."""
    for n, (low, high) in zip(shape, pads):
        if n + low + high < 0:
            raise error(ValueError, function, "padding", f"to crop at most the {n} cells of an axis", (low, high))


def _to_steps(function, dims, size, strides, dilation) -> tuple[tuple[int, ...], ...]:
    """Size, strides, dilation and extent."""
    size = to_ints(function, "window", size, dims, minimum=1)
    strides = to_ints(function, "strides", strides, dims, minimum=1)
    dilation = to_ints(function, "dilation", dilation, dims, minimum=1)
    return size, strides, dilation, tuple((k - 1) * d + 1 for k, d in zip(size, dilation))


def _to_pads(function, padding, input, extent, strides) -> Pads:
    if isinstance(padding, str):
        name = padding.upper()
        if name == "VALID":
            return ((0, 0),) * len(input)
        if name in ("SAME", "SAME_LOWER"):
            return tuple(_same_pads(*axis, lower=name == "SAME_LOWER") for axis in zip(input, extent, strides))
        if name == "CAUSAL" and len(input) == 1:
            return ((extent[0] - 1, 0),)
        expected = "VALID, SAME, SAME_LOWER, CAUSAL (one spatial dimension only), an int, ints or (low, high) pairs"
        raise error(ValueError, function, "padding", expected, f"{padding!r} for {len(input)} dimensions")
    return to_pairs(function, padding, len(input))


def _same_pads(n: int, e: int, s: int, *, lower: bool) -> tuple[int, int]:
    """The pads that give ⌈n / s⌉ results; an odd cell goes to the high end, or to the low end if `lower`."""
    total = max(0, (-(-n // s) - 1) * s + e - n)
    half = total // 2
    return (total - half, half) if lower else (half, total - half)


def _ceil_pads(n: int, e: int, s: int, pads: tuple[int, int]) -> tuple[int, int]:
    low, high = pads
    last = -(-(n + low + high - e) // s)
    if last * s >= n + low:
        last -= 1
    return low, last * s + e - n - low
