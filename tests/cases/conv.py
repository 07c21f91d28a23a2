"""The convolutions."""

import jax.numpy as jnp
import numpy as np

import jaxcnn
from cases.case import Case

X, W, B = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones(8)
DEPTH, POINT = jnp.ones((3, 3, 1, 8)), jnp.ones((8, 5))


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
CASES = [*CONV, *CONV_TRANSPOSE, *DEPTHWISE, *SEPARABLE]
SIMPLE = [CONV[1], CONV[7], CONV_TRANSPOSE[1], DEPTHWISE[1], SEPARABLE[1]]

ERRORS = [
    (
        lambda: jaxcnn.conv(X, jnp.ones((3, 3, 3, 8))),
        ValueError,
        "conv: w expects 4 input channels per group (x has 4, groups=1), got 3",
    ),
    (
        lambda: jaxcnn.conv(X, jnp.ones((3, 3, 4, 8)), groups=2),
        ValueError,
        "conv: w expects 2 input channels per group (x has 4, groups=2), got 4",
    ),
    (
        lambda: jaxcnn.conv(X, W, groups=3),
        ValueError,
        "conv: groups expects a divisor of 4 input and 8 output channels, got 3",
    ),
    (lambda: jaxcnn.conv(X, jnp.ones((3, 3, 2, 7)), groups=2), ValueError, "conv: groups"),
    (lambda: jaxcnn.conv(X, W, groups=0), ValueError, "conv: groups"),
    (lambda: jaxcnn.conv(X, W, groups=1.0), ValueError, "conv: groups"),
    (lambda: jaxcnn.conv(X, jnp.ones((4, 8))), ValueError, "conv: w"),
    (lambda: jaxcnn.conv(X, jnp.ones((1, 1, 1, 1, 4, 8))), ValueError, "conv: w"),
    (lambda: jaxcnn.conv(jnp.ones((5, 4)), W), ValueError, "conv: x"),
    (lambda: jaxcnn.conv(X, jnp.ones((0, 3, 4, 8))), ValueError, "conv: window"),
    (lambda: jaxcnn.conv(X, W, jnp.ones(4)), ValueError, "conv: b expects shape (8,)"),
    (lambda: jaxcnn.conv(X, W, jnp.ones((1, 8))), ValueError, "conv: b"),
    (lambda: jaxcnn.conv([1.0], W), TypeError, "conv: x expects an array, got list"),
    (lambda: jaxcnn.conv(X, None), TypeError, "conv: w"),
    (lambda: jaxcnn.conv(X, W, 0.5), TypeError, "conv: b"),
    (lambda: jaxcnn.conv(X > 0, W), TypeError, "conv: x"),
    (lambda: jaxcnn.conv(np.array(["a"]), W), TypeError, "conv: x"),
    (
        lambda: jaxcnn.conv(X, W, strides=0),
        ValueError,
        "conv: strides expects an int or 2 ints, each at least 1, got 0",
    ),
    (lambda: jaxcnn.conv(X, W, strides=(1, 2, 3)), ValueError, "conv: strides"),
    (lambda: jaxcnn.conv(X, W, strides=1.5), ValueError, "conv: strides"),
    (lambda: jaxcnn.conv(X, W, strides=True), ValueError, "conv: strides"),
    (lambda: jaxcnn.conv(X, W, strides=None), ValueError, "conv: strides"),
    (lambda: jaxcnn.conv(X, W, strides="2"), ValueError, "conv: strides"),
    (lambda: jaxcnn.conv(X, W, dilation=-1), ValueError, "conv: dilation"),
    (lambda: jaxcnn.conv(X, W, padding="FULL"), ValueError, "conv: padding expects VALID, SAME"),
    (lambda: jaxcnn.conv(X, W, padding="CAUSAL"), ValueError, "conv: padding"),
    (lambda: jaxcnn.conv(X, W, padding=(1, 2, 3)), ValueError, "conv: padding"),
    (lambda: jaxcnn.conv(X, W, padding=((1, 2),)), ValueError, "conv: padding"),
    (lambda: jaxcnn.conv(X, W, padding=((1, 2, 3), 1)), ValueError, "conv: padding"),
    (lambda: jaxcnn.conv(X, W, padding=None), ValueError, "conv: padding"),
    (lambda: jaxcnn.conv(X, W, padding=0.5), ValueError, "conv: padding"),
    (lambda: jaxcnn.conv(X, W, padding=-3), ValueError, "conv: padding"),
    (lambda: jaxcnn.conv(X, W, channel_axis=0), ValueError, "conv: channel_axis"),
    (lambda: jaxcnn.conv(X, W, channel_axis=3), ValueError, "conv: channel_axis"),
    (lambda: jaxcnn.conv(X, W, precision="exact"), ValueError, "conv: precision"),
    (lambda: jaxcnn.conv(X, W, precision=("high", "high", "high")), ValueError, "conv: precision"),
    (lambda: jaxcnn.conv(X, W, preferred_element_type=jnp.int32), TypeError, "conv: preferred_element_type"),
    (lambda: jaxcnn.conv(X, W, preferred_element_type=bool), TypeError, "conv: preferred_element_type"),
    (lambda: jaxcnn.conv(X, W, preferred_element_type="float33"), TypeError, "conv: preferred_element_type"),
    *(
        (lambda op=op, x=x, w=w, b=b, options=options: op(x, *w, b, **options), kind, f"{op.__name__}: {argument}")
        for op, *w in (
            (jaxcnn.conv_transpose, W),
            (jaxcnn.depthwise_conv, DEPTH),
            (jaxcnn.separable_conv, DEPTH, POINT),
        )
        for x, b, options, kind, argument in [
            (jnp.ones((5, 4)), None, {}, ValueError, "x expects at least 3 dimensions (2 spatial)"),
            ([1.0], None, {}, TypeError, "x expects an array, got list"),
            (X > 0, None, {}, TypeError, "x expects a dtype that is number, got bool"),
            (X, jnp.ones(3), {}, ValueError, f"b expects shape ({w[-1].shape[-1]},), one bias for each output channel"),
            (X, jnp.ones((1, 8)), {}, ValueError, "b"),
            (X, 0.5, {}, TypeError, "b expects an array, got float"),
            (X, None, {"strides": 0}, ValueError, "strides expects an int or 2 ints, each at least 1, got 0"),
            (X, None, {"strides": (1, 2, 3)}, ValueError, "strides"),
            (X, None, {"strides": None}, ValueError, "strides"),
            (X, None, {"dilation": -1}, ValueError, "dilation"),
            (X, None, {"padding": "FULL"}, ValueError, "padding expects VALID, SAME"),
            (X, None, {"padding": "CAUSAL"}, ValueError, "padding"),
            (X, None, {"padding": (1, 2, 3)}, ValueError, "padding"),
            (X, None, {"padding": None}, ValueError, "padding"),
            (X, None, {"channel_axis": 0}, ValueError, "channel_axis"),
            (X, None, {"precision": "exact"}, ValueError, "precision"),
            (X, None, {"preferred_element_type": jnp.int32}, TypeError, "preferred_element_type"),
        ]
    ),
    (
        lambda: jaxcnn.conv_transpose(X, jnp.ones((3, 3, 8, 4))),
        ValueError,
        "conv_transpose: w expects 4 input channels per group (x has 4, groups=1), got 8",
    ),
    (
        lambda: jaxcnn.conv_transpose(X, W, groups=3),
        ValueError,
        "conv_transpose: groups expects a divisor of 4 input and 8 output channels, got 3",
    ),
    (lambda: jaxcnn.conv_transpose(X, jnp.ones((3, 3, 2, 7)), groups=2), ValueError, "conv_transpose: groups"),
    (lambda: jaxcnn.conv_transpose(X, W, groups=0), ValueError, "conv_transpose: groups"),
    (lambda: jaxcnn.conv_transpose(X, jnp.ones((4, 8))), ValueError, "conv_transpose: w expects 3 to 5 dimensions"),
    (lambda: jaxcnn.conv_transpose(X, jnp.ones((3, 0, 4, 8))), ValueError, "conv_transpose: window"),
    (lambda: jaxcnn.conv_transpose(X, None), TypeError, "conv_transpose: w"),
    (
        lambda: jaxcnn.conv_transpose(X, W, padding=4),
        ValueError,
        "conv_transpose: padding expects to crop at most 7 cells, got (4, 4)",
    ),
    (
        lambda: jaxcnn.conv_transpose(X, W, padding=(0, (-1, 10))),
        ValueError,
        "conv_transpose: padding expects to crop at most 8 cells, got (-1, 10)",
    ),
    *(
        (lambda options=options: jaxcnn.conv_transpose(X, W, **options), ValueError, "conv_transpose: output_padding")
        for options in [
            {"output_padding": 1},
            {"output_padding": 1, "strides": 3, "padding": "same_lower"},
            {"output_padding": 1, "padding": "VALID"},
            {"output_padding": (0, 2), "strides": (3, 2), "padding": "VALID"},
            {"output_padding": 3, "strides": 2, "dilation": 3, "padding": 0},
            {"output_padding": -1, "strides": 2, "padding": "VALID"},
            {"output_padding": (1,), "strides": 2, "padding": "VALID"},
            {"output_padding": 0.5, "strides": 2, "padding": "VALID"},
            {"output_padding": None},
        ]
    ),
    (
        lambda: jaxcnn.conv_transpose(X, W, padding="VALID", strides=2, output_padding=2),
        ValueError,
        "conv_transpose: output_padding expects less than the larger of stride and dilation (strides=(2, 2), "
        "dilation=(1, 1)), and 0 for padding SAME, got 2",
    ),
    (
        lambda: jaxcnn.depthwise_conv(X, W),
        ValueError,
        "depthwise_conv: w expects (*window, 1, a multiple of the 4 channels of x), got shape (3, 3, 4, 8)",
    ),
    (lambda: jaxcnn.depthwise_conv(X, jnp.ones((3, 3, 1, 6))), ValueError, "depthwise_conv: w"),
    (lambda: jaxcnn.depthwise_conv(X, jnp.ones((3, 8))), ValueError, "depthwise_conv: w expects 3 to 5 dimensions"),
    (lambda: jaxcnn.depthwise_conv(X, jnp.ones((3, 0, 1, 8))), ValueError, "depthwise_conv: window"),
    (lambda: jaxcnn.depthwise_conv(X[..., :0], DEPTH), ValueError, "depthwise_conv: x expects at least one channel"),
    (lambda: jaxcnn.depthwise_conv(X, DEPTH, padding=-3), ValueError, "depthwise_conv: padding"),
    (lambda: jaxcnn.depthwise_conv(X, None), TypeError, "depthwise_conv: w"),
    (
        lambda: jaxcnn.separable_conv(X, W, POINT),
        ValueError,
        "separable_conv: w_depth expects (*window, 1, a multiple of the 4 channels of x), got shape (3, 3, 4, 8)",
    ),
    (lambda: jaxcnn.separable_conv(X, POINT, POINT), ValueError, "separable_conv: w_depth expects 3 to 5 dimensions"),
    (
        lambda: jaxcnn.separable_conv(X, DEPTH, POINT[:4]),
        ValueError,
        "separable_conv: w_point expects (1, 1, 8, k) or (8, k), as w_depth gives 8 channels, got shape (4, 5)",
    ),
    (lambda: jaxcnn.separable_conv(X, DEPTH, POINT[None]), ValueError, "separable_conv: w_point"),
    (lambda: jaxcnn.separable_conv(X, DEPTH, POINT[:, 0]), ValueError, "separable_conv: w_point"),
    (lambda: jaxcnn.separable_conv(X, DEPTH, jnp.ones(())), ValueError, "separable_conv: w_point"),
    (lambda: jaxcnn.separable_conv(X, None, POINT), TypeError, "separable_conv: w_depth"),
    (lambda: jaxcnn.separable_conv(X, DEPTH, [[1.0]]), TypeError, "separable_conv: w_point expects an array"),
    (lambda: jaxcnn.separable_conv(X, DEPTH, POINT, padding=-3), ValueError, "separable_conv: padding"),
]
