"""The table of cases: small, prime and awkward on purpose. One body of checks (`compare.py`) runs over it."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import reference


@dataclass(frozen=True)
class Case:
    """A call of an op: float arrays of these shapes, then `constants`, with `options`.

    `grid` draws from few values, so that ties are many; finite differences say nothing there.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    constants: tuple[np.ndarray, ...] = ()
    grid: bool = False
    positive: bool = False

    def __str__(self) -> str:
        shapes = "_".join("x".join(map(str, shape)) for shape in self.shapes)
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.op}-{shapes}-{options}".replace(" ", "") + ("-grid" if self.grid else "")

    def hand(self, *arrays: Any) -> Any:
        return getattr(jaxcnn, self.op)(*arrays, *map(jnp.asarray, self.constants), **self.options)

    def twin(self, *arrays: Any) -> Any:
        return getattr(reference, self.op)(*arrays, *map(jnp.asarray, self.constants), **self.options)

    def draw(self, seed: int = 0) -> list[np.ndarray]:
        """float64; distinct values at least 1e-3 apart and of scale 1, or from the grid."""
        generator = np.random.default_rng(seed)
        arrays = []
        for shape in self.shapes:
            size = int(np.prod(shape))
            if self.grid:
                values = generator.integers(-1, 3, size).astype(np.float64)
            else:
                values = (
                    generator.permutation(np.linspace(-1.7, 1.7, size)) if size < 3000 else generator.normal(size=size)
                )
            arrays.append((np.abs(values) if self.positive else values).reshape(shape))
        return arrays

    @property
    def is_linear(self) -> bool:
        """In each argument alone."""
        return self.op in (*CONVOLUTIONS, "dense", "avg_pool", "pad", "unfold", "fold")

    @property
    def rule(self) -> str:
        """The name of the op whose rule it has."""
        return RULES.get(self.op, self.op)


CONVOLUTIONS = ("conv", "conv_transpose", "depthwise_conv", "separable_conv")
RULES = {"depthwise_conv": "conv"}  # a call of another op's rule


def _conv(x, w, **options) -> list[Case]:
    return [Case("conv", (x, w), options), Case("conv", (x, w, w[-1:]), options)]


CONV = [
    *_conv((2, 5, 7, 3), (3, 3, 3, 4)),
    *_conv((2, 7, 5, 3), (3, 2, 3, 4), strides=2, padding="VALID"),
    Case("conv", ((3, 11, 4), (3, 4, 5)), {"padding": "causal", "dilation": 2}),
    Case("conv", ((2, 13, 1), (5, 1, 3)), {"strides": 3, "padding": "SAME_LOWER"}),
    Case("conv", ((1, 4, 5, 6, 2), (2, 3, 2, 2, 3)), {"strides": (1, 2, 3), "padding": "same"}),
    Case("conv", ((1, 4, 3, 5, 4), (2, 2, 3, 2, 2)), {"groups": 2, "padding": 1}),
    Case("conv", ((2, 7, 9, 6), (3, 3, 2, 9)), {"groups": 3, "strides": (2, 3)}),
    Case("conv", ((2, 6, 5, 4), (3, 3, 1, 4)), {"groups": 4}),
    Case("conv", ((2, 6, 5, 3), (2, 3, 1, 6)), {"groups": 3, "dilation": (2, 1)}),
    Case("conv", ((2, 3, 7, 9), (3, 3, 3, 2), (2,)), {"channel_axis": 1, "strides": 2}),
    Case("conv", ((7, 9, 3), (3, 3, 3, 2), (2,)), {}),
    Case("conv", ((3, 7, 9), (3, 3, 3, 2)), {"channel_axis": 1}),
    Case("conv", ((2, 3, 5, 6, 3), (3, 3, 3, 2)), {"padding": "VALID"}),
    Case("conv", ((2, 9, 8, 2), (2, 2, 2, 3)), {"strides": 3, "padding": "VALID"}),
    Case("conv", ((2, 9, 8, 2), (3, 2, 2, 3)), {"strides": 2, "dilation": 3, "padding": ((4, 1), (0, 5))}),
    Case("conv", ((2, 9, 8, 2), (3, 2, 2, 3)), {"strides": 2, "padding": ((-2, 1), (3, -1))}),
    Case("conv", ((2, 5, 5, 2), (2, 2, 2, 3)), {"padding": ((-1, -1), (4, 4))}),
    Case("conv", ((2, 3, 3, 2), (5, 4, 2, 3)), {"padding": 2}),
    Case("conv", ((2, 3, 3, 2), (5, 4, 2, 3)), {"padding": "VALID"}),
    Case("conv", ((0, 5, 5, 2), (3, 3, 2, 3), (3,)), {}),
    Case("conv", ((2, 5, 5, 3), (1, 1, 3, 4)), {"strides": 2}),
    Case("conv", ((1, 8, 8, 3), (4, 4, 3, 5)), {"strides": 4, "padding": "VALID"}),
    Case("conv", ((2, 0, 5, 2), (3, 3, 2, 3), (3,)), {}),
    Case("conv", ((1, 1, 1, 1), (3, 3, 1, 1)), {}),
]

CONV_TRANSPOSE = [
    Case("conv_transpose", shapes, options)
    for shapes, options in [
        (((2, 5, 4, 3), (3, 3, 3, 4)), {}),
        (((2, 5, 4, 4), (3, 2, 2, 6), (6,)), {"strides": (2, 3), "padding": 1, "output_padding": 1, "groups": 2}),
        (((2, 4, 3, 3), (3, 2, 3, 4), (4,)), {"strides": 2, "padding": "valid"}),
        (((2, 3, 4, 4), (2, 2, 4, 3)), {"strides": 2}),
        (((3, 7, 4), (3, 4, 5)), {"padding": "causal", "dilation": 2, "strides": 2, "output_padding": 1}),
        (((2, 5, 1), (5, 1, 3)), {"strides": 3, "padding": "SAME_LOWER"}),
        (((2, 5, 2), (2, 2, 1), (1,)), {"strides": 5, "padding": "same_lower"}),
        (((1, 4, 2, 3, 2), (2, 3, 2, 2, 3)), {"strides": (1, 2, 3), "padding": "same"}),
        (((1, 4, 3, 2, 4), (2, 2, 3, 2, 2)), {"groups": 2, "padding": [1, 0, (1, 0)], "strides": [1, 2, 1]}),
        (((2, 4, 3, 6), (3, 3, 2, 9)), {"groups": 3, "strides": (2, 3)}),
        (((2, 4, 5, 4), (3, 3, 1, 8), (8,)), {"groups": 4, "strides": 2, "padding": "VALID"}),
        (((2, 3, 4, 5), (3, 3, 3, 2), (2,)), {"channel_axis": 1, "strides": 2}),
        (((4, 5, 3), (3, 3, 3, 2), (2,)), {}),
        (((3, 4, 5), (3, 3, 3, 2)), {"channel_axis": 1, "padding": "VALID"}),
        (((2, 3, 4, 5, 3), (3, 3, 3, 2)), {"padding": "VALID"}),
        (((2, 4, 3, 2), (2, 1, 2, 3), (3,)), {"strides": 3, "padding": "VALID", "output_padding": (0, 2)}),
        (((2, 4, 3, 2), (3, 2, 2, 3)), {"strides": 2, "dilation": 3, "padding": ((4, 1), (0, 5))}),
        (((2, 4, 3, 2), (3, 2, 2, 3)), {"strides": 2, "dilation": (5, 3), "padding": 2, "output_padding": (4, 2)}),
        (((2, 4, 3, 2), (3, 2, 2, 3), (3,)), {"strides": 2, "padding": ((-2, 1), (3, -4))}),
        (((2, 3, 3, 2), (2, 2, 2, 3)), {"padding": ((7, -9), (-8, 7))}),
        (((2, 3, 3, 2), (5, 4, 2, 3)), {"padding": 2}),
        (((2, 5, 5, 3), (1, 1, 3, 4)), {"strides": 2, "padding": "VALID", "output_padding": 1}),
        (((0, 5, 5, 2), (3, 3, 2, 3), (3,)), {}),
        (((2, 1, 5, 2), (3, 3, 2, 3), (3,)), {"padding": ((1, 2), 0)}),
        (((2, 0, 5, 2), (3, 3, 2, 3), (3,)), {"padding": "VALID"}),
        (((2, 0, 5, 2), (3, 3, 2, 3), (3,)), {"strides": 2}),
        (((1, 1, 1, 1), (3, 3, 1, 1)), {}),
    ]
]
DEPTHWISE = [
    Case("depthwise_conv", shapes, options)
    for shapes, options in [
        (((2, 5, 7, 3), (3, 3, 1, 3)), {}),
        (((2, 7, 5, 3), (3, 2, 1, 6), (6,)), {"strides": 2, "padding": "VALID"}),
        (((3, 11, 4), (3, 1, 4), (4,)), {"padding": "Causal", "dilation": 2}),
        (((1, 4, 5, 6, 2), (2, 3, 2, 1, 6)), {"strides": [1, 2, 3]}),
        (((2, 3, 7, 9), (3, 3, 1, 3), (3,)), {"channel_axis": 1, "strides": 2}),
        (((7, 9, 3), (3, 3, 1, 3)), {"padding": "SAME_LOWER", "strides": 2}),
        (((2, 3, 5, 6, 2), (2, 3, 1, 4)), {"padding": 1}),
        (((2, 9, 1), (4, 1, 2), (2,)), {}),
        (((2, 9, 8, 2), (2, 2, 1, 2)), {"strides": 3, "padding": ((-2, 1), (3, -1)), "dilation": (1, 2)}),
        (((0, 5, 5, 2), (3, 3, 1, 2), (2,)), {}),
        (((2, 3, 3, 2), (5, 4, 1, 2), (2,)), {"padding": "VALID"}),
    ]
]
SEPARABLE = [
    Case("separable_conv", shapes, options)
    for shapes, options in [
        (((2, 5, 7, 3), (3, 3, 1, 3), (1, 1, 3, 4)), {}),
        (((2, 7, 5, 3), (3, 2, 1, 6), (6, 5), (5,)), {"strides": 2, "padding": "VALID"}),
        (((3, 11, 4), (3, 1, 4), (1, 4, 2), (2,)), {"padding": "causal", "dilation": 2}),
        (((1, 4, 5, 6, 2), (2, 3, 2, 1, 6), (1, 1, 1, 6, 1)), {"strides": [1, 2, 3]}),
        (((2, 3, 7, 9), (3, 3, 1, 3), (1, 1, 3, 2), (2,)), {"channel_axis": 1, "strides": 2}),
        (((7, 9, 3), (3, 3, 1, 3), (3, 2)), {"padding": "SAME_LOWER", "strides": 2}),
        (((2, 3, 5, 6, 2), (2, 3, 1, 4), (4, 3)), {"padding": 1}),
        (((2, 9, 1), (4, 1, 1), (1, 1)), {}),
        (((2, 9, 8, 2), (2, 2, 1, 2), (2, 3)), {"strides": 3, "padding": ((-2, 1), (3, -1)), "dilation": (1, 2)}),
        (((0, 5, 5, 2), (3, 3, 1, 2), (2, 3), (3,)), {}),
        (((2, 3, 3, 2), (5, 4, 1, 2), (2, 3), (3,)), {"padding": "VALID"}),
    ]
]

_WINDOWS = [
    ((2, 6, 8, 3), {"window": 2}),
    ((2, 7, 9, 3), {"window": 3, "strides": 2, "padding": "SAME"}),
    ((2, 7, 9, 3), {"window": 3, "strides": 1, "padding": "SAME"}),
    ((1, 7, 9, 2), {"window": (2, 3), "strides": (3, 1), "padding": ((1, 0), (2, 2))}),
    ((2, 11, 3), {"window": 3, "dilation": 2, "strides": 2}),
    ((2, 8, 9, 2), {"window": (3, 2), "dilation": (2, 3), "strides": 2, "padding": ((2, 3), (1, 0))}),
    ((1, 5, 6, 7, 2), {"window": 2, "strides": (1, 2, 3)}),
    ((2, 3, 7, 8), {"window": 3, "strides": 2, "padding": 1, "channel_axis": 1}),
    ((7, 8, 3), {"window": (3, 3), "strides": 2}),
    ((2, 2, 5, 6, 3), {"window": (2, 2)}),
    ((2, 6, 7, 2), {"window": 3, "strides": 2, "padding": ((0, -1), (-2, 1))}),
    ((2, 6, 7, 2), {"window": 2, "strides": 3, "ceil_mode": True}),
    ((2, 6, 7, 2), {"window": 3, "strides": 2, "padding": 1, "ceil_mode": True}),
    ((2, 3, 3, 2), {"window": 4}),
    ((0, 4, 4, 2), {"window": 2}),
    ((1, 10, 11, 2), {"window": 9, "strides": 1, "padding": "SAME_LOWER"}),
    ((1, 90, 1), {"window": 70, "strides": 7}),
]
MAX_POOL = [
    *(Case("max_pool", (shape,), options) for shape, options in _WINDOWS),
    *(Case("max_pool", (shape,), options, grid=True) for shape, options in _WINDOWS[:6]),
    *(
        Case("max_pool", (shape,), {**options, "ties": ties}, grid=True)
        for shape, options in [*_WINDOWS[:6], *_WINDOWS[10:13], *_WINDOWS[15:]]
        for ties in ("all", "even")
    ),
]
AVG_POOL = [
    *(Case("avg_pool", (shape,), options) for shape, options in _WINDOWS),
    *(Case("avg_pool", (shape,), {**options, "count_include_pad": False}) for shape, options in _WINDOWS[1:13]),
    Case("avg_pool", ((2, 6, 7, 2),), {"window": 3, "strides": 2, "padding": 1, "divisor_override": 5}),
]
PAD = [
    *(
        Case("pad", ((2, 4, 5, 3),), {"padding": padding, "mode": mode})
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap")
        for padding in (1, ((2, 0), (0, 3)), ((-1, 2), (9, -2)), ((-2, -1), (11, 7)))
    ),
    Case("pad", ((2, 3, 4, 5),), {"padding": 2, "mode": "edge", "channel_axis": 1}),
    Case("pad", ((4, 5),), {"padding": [(1, 2)], "value": 3.5}),
    Case("pad", ((2, 3, 4),), {"padding": ((1, 0), (0, 2), (3, 1)), "mode": "symmetric"}),
    Case("pad", ((2, 1, 1, 2),), {"padding": 3, "mode": "reflect"}),
    Case("pad", ((0, 2, 1, 2),), {"padding": 3, "mode": "wrap"}),
]
_PATCHES = [(shape, options) for shape, options in _WINDOWS if "ceil_mode" not in options]
UNFOLD = [Case("unfold", (shape,), options) for shape, options in _PATCHES]
FOLD = [
    Case("fold", ((2, 3, 4, 12),), {"window": 2, "output_shape": (4, 5)}),
    Case("fold", ((2, 3, 2, 18),), {"window": 3, "strides": (2, 3), "padding": 1, "output_shape": (5, 4)}),
    Case("fold", ((2, 4, 6),), {"window": (3,), "dilation": 2, "padding": ((-1, 2),), "output_shape": 7}),
    Case("fold", ((2, 3, 70),), {"window": (70,), "strides": 7, "output_shape": 90}),
    Case("fold", ((2, 12, 3, 4),), {"window": 2, "output_shape": (4, 5), "channel_axis": 1}),
    Case("fold", ((1, 2, 2, 2, 8),), {"window": 2, "strides": 2, "output_shape": (5, 4, 4)}),
    Case("fold", ((0, 3, 4, 4),), {"window": 2, "output_shape": (4, 5)}),
]
DENSE = [
    Case("dense", ((5, 3), (3, 4), (4,))),
    Case("dense", ((3,), (3, 4), (4,))),
    Case("dense", ((2, 3, 1, 5), (5, 2))),
    Case("dense", ((0, 3), (3, 4), (4,))),
    Case("dense", ((5, 0), (0, 4), (4,))),
]
RELU = [Case("relu", ((3, 4, 5),)), Case("relu", ((0,),)), Case("relu", ((),)), Case("relu", ((7, 11),), grid=True)]
LOSS = [
    Case("softmax_cross_entropy", ((5, 7), (5, 7))),
    Case("softmax_cross_entropy", ((7,), (7,)), positive=True),
    Case("softmax_cross_entropy", ((2, 3, 1), (2, 3, 1))),
    Case("softmax_cross_entropy_with_integer_labels", ((5, 7),), constants=(np.array([0, 6, 3, 3, 1], np.int32),)),
    Case("softmax_cross_entropy_with_integer_labels", ((7,),), constants=(np.array(2, np.uint8),)),
    Case("softmax_cross_entropy_with_integer_labels", ((0, 7),), constants=(np.zeros(0, np.int32),)),
]
CASES = [
    *CONV,
    *CONV_TRANSPOSE,
    *DEPTHWISE,
    *SEPARABLE,
    *MAX_POOL,
    *AVG_POOL,
    *PAD,
    *UNFOLD,
    *FOLD,
    *DENSE,
    *RELU,
    *LOSS,
]

# One plain row of each op, for what does not depend on the geometry, and one with ties of those that have them.
_TIED = [next(c for c in MAX_POOL if c.grid and c.options.get("ties", "first") == ties) for ties in ("first", "even")]
SIMPLE = [
    CONV[1],
    CONV[7],
    CONV_TRANSPOSE[1],
    DEPTHWISE[1],
    SEPARABLE[1],
    MAX_POOL[1],
    *_TIED,
    AVG_POOL[1],
    PAD[9],
    UNFOLD[1],
    FOLD[1],
    DENSE[0],
    *RELU[::3],
    *LOSS[:4:3],
]
