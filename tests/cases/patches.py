"""Padding and patches."""

import jax.numpy as jnp

import jaxcnn
from cases.case import Case
from cases.pool import WINDOWS

X, W, B = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones(8)

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
_PATCHES = [(shape, options) for shape, options in WINDOWS if "ceil_mode" not in options]
UNFOLD = [Case("unfold", (shape,), options) for shape, options in _PATCHES]
FOLD = [
    Case("fold", ((2, 3, 4, 12),), {"window": 2, "output_shape": (4, 5)}),
    Case("fold", ((2, 3, 2, 18),), {"window": 3, "strides": (2, 3), "padding": 1, "output_shape": (5, 4)}),
    Case("fold", ((2, 4, 6),), {"window": (3,), "dilation": 2, "padding": ((-1, 2),), "output_shape": 7}),
    Case("fold", ((2, 3, 70),), {"window": (70,), "strides": 7, "output_shape": 90}),
    Case("fold", ((2, 12, 3, 4),), {"window": 2, "output_shape": (4, 5), "channel_axis": 1}),
    Case("fold", ((2, 2, 2, 2),), {"window": (2, 1), "strides": (66, 2), "output_shape": (68, 3)}),
    Case("fold", ((1, 2, 2, 2, 8),), {"window": 2, "strides": 2, "output_shape": (5, 4, 4)}),
    Case("fold", ((0, 3, 4, 4),), {"window": 2, "output_shape": (4, 5)}),
]
CASES = [*PAD, *UNFOLD, *FOLD]
SIMPLE = [PAD[9], UNFOLD[1], FOLD[1]]

ERRORS = [
    (lambda: jaxcnn.pad(X, "SAME"), ValueError, "pad: padding"),
    (lambda: jaxcnn.pad(X, (1, 2, 3, 4, 5)), ValueError, "pad: padding"),
    (lambda: jaxcnn.pad(X[0, 0], 1), ValueError, "pad: padding"),
    (lambda: jaxcnn.pad(X, 1.5), ValueError, "pad: padding"),
    (lambda: jaxcnn.pad(X, ((-3, -3), (0, 0))), ValueError, "pad: padding"),
    (lambda: jaxcnn.pad(X, 1, mode="mirror"), ValueError, "pad: mode"),
    (lambda: jaxcnn.pad(X[:, :0], 1, mode="edge"), ValueError, "pad: padding"),
    (lambda: jaxcnn.pad(X, 1, value="0"), ValueError, "pad: value"),
    (lambda: jaxcnn.pad(X, 1, channel_axis=0), ValueError, "pad: channel_axis"),
    (lambda: jaxcnn.pad([[1.0]], 1), TypeError, "pad: x"),
    (lambda: jaxcnn.unfold(X, 2, padding="FULL"), ValueError, "unfold: padding"),
    (lambda: jaxcnn.unfold(X > 0, 2), TypeError, "unfold: x"),
    (lambda: jaxcnn.fold(X, 2, output_shape=(7, 7)), ValueError, "fold: cols expects (6, 6) windows"),
    (
        lambda: jaxcnn.fold(X[..., :3], 2, output_shape=(6, 7)),
        ValueError,
        "fold: cols expects a multiple of 4 taps as channels, got 3",
    ),
    (lambda: jaxcnn.fold(X, 2, output_shape=-1), ValueError, "fold: output_shape"),
    (lambda: jaxcnn.fold(None, 2, output_shape=3), TypeError, "fold: cols"),
]
