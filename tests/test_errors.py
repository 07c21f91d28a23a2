"""Bad input: the right exception, and a message that names function, argument, expected and got."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn

X, W, B = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones(8)
DEPTH, POINT = jnp.ones((3, 3, 1, 8)), jnp.ones((8, 5))
LABELS = jnp.zeros(3, jnp.int32)

CASES = [
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
    *(
        (lambda pool=pool, args=args, options=options: pool(*args, **options), kind, f"{pool.__name__}: {argument}")
        for pool in (jaxcnn.max_pool, jaxcnn.avg_pool)
        for args, options, kind, argument in [
            ((X, 0), {}, ValueError, "window"),
            ((X, (2, 2, 2, 2)), {}, ValueError, "x"),
            ((X, ()), {}, ValueError, "window"),
            ((X, 2.0), {}, ValueError, "window"),
            ((X, "2"), {}, ValueError, "window"),
            ((X, None), {}, ValueError, "window"),
            ((jnp.ones((4, 3)), 2), {}, ValueError, "x"),
            ((X, 2), {"strides": (1,)}, ValueError, "strides"),
            ((X, 2), {"strides": 0}, ValueError, "strides"),
            ((X, 2), {"padding": "CIRCULAR"}, ValueError, "padding"),
            ((X, 2), {"padding": -3}, ValueError, "padding"),
            ((X, 2), {"padding": -1, "ceil_mode": True}, ValueError, "padding"),
            ((X, 2), {"dilation": 0}, ValueError, "dilation"),
            ((X, 2), {"channel_axis": 2}, ValueError, "channel_axis"),
            ((5, 2), {}, TypeError, "x"),
            ((X > 0, 2), {}, TypeError, "x"),
            ((X.astype(jnp.complex64), 2), {}, TypeError, "x"),
        ]
    ),
    (
        lambda: jaxcnn.max_pool(X, 2, ties="last"),
        ValueError,
        "max_pool: ties expects one of 'first', 'all', 'even', got 'last'",
    ),
    (lambda: jaxcnn.max_pool(X, 2, ties=None), ValueError, "max_pool: ties"),
    (lambda: jaxcnn.avg_pool(X.astype(int), 2), TypeError, "avg_pool: x"),
    (lambda: jaxcnn.avg_pool(X, 2, divisor_override=0), ValueError, "avg_pool: divisor_override"),
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
    (lambda: jaxcnn.dense(X, jnp.ones((5, 3))), ValueError, "dense: x expects 5 features on the last axis"),
    (lambda: jaxcnn.dense(jnp.ones(()), jnp.ones((5, 3))), ValueError, "dense: x"),
    (lambda: jaxcnn.dense(X, jnp.ones(4)), ValueError, "dense: w"),
    (lambda: jaxcnn.dense(X, jnp.ones((4, 3)), jnp.ones(4)), ValueError, "dense: b expects shape (3,)"),
    (lambda: jaxcnn.dense(X, [[1.0]]), TypeError, "dense: w"),
    (lambda: jaxcnn.dense(X, jnp.ones((4, 3)), precision="exact"), ValueError, "dense: precision"),
    (lambda: jaxcnn.relu("x"), TypeError, "relu: x"),
    (lambda: jaxcnn.relu(X.astype(jnp.complex64)), TypeError, "relu: x"),
    (
        lambda: jaxcnn.softmax_cross_entropy(B, B[:3]),
        ValueError,
        "softmax_cross_entropy: probabilities expects the shape of logits, (8,), got (3,)",
    ),
    (
        lambda: jaxcnn.softmax_cross_entropy(jnp.ones((3, 0)), jnp.ones((3, 0))),
        ValueError,
        "softmax_cross_entropy: logits",
    ),
    (lambda: jaxcnn.softmax_cross_entropy(jnp.ones(()), jnp.ones(())), ValueError, "softmax_cross_entropy: logits"),
    (lambda: jaxcnn.softmax_cross_entropy(B, B.astype(int)), TypeError, "softmax_cross_entropy: probabilities"),
    (
        lambda: jaxcnn.softmax_cross_entropy_with_integer_labels(jnp.ones((2, 4)), LABELS),
        ValueError,
        "softmax_cross_entropy_with_integer_labels: labels expects the batch shape of logits, (2,), got (3,)",
    ),
    (
        lambda: jaxcnn.softmax_cross_entropy_with_integer_labels(jnp.ones((3, 4)), jnp.ones(3)),
        TypeError,
        "softmax_cross_entropy_with_integer_labels: labels",
    ),
    (
        lambda: jaxcnn.softmax_cross_entropy_with_integer_labels(jnp.ones((3, 4), int), LABELS),
        TypeError,
        "softmax_cross_entropy_with_integer_labels: logits",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2][:60])
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_message(case, jit, unchecked_types):
    call, kind, start = case
    with pytest.raises(kind) as caught:
        jax.jit(call)() if jit else call()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(start), message
    assert " expects " in message
    assert ", got " in message
