"""Losses."""

import jax.numpy as jnp
import numpy as np

import jaxcnn
from cases.case import Case

X, W, B = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones(8)
LABELS = jnp.zeros(3, jnp.int32)

CASES = [
    Case("softmax_cross_entropy", ((5, 7), (5, 7))),
    Case("softmax_cross_entropy", ((7,), (7,)), positive=True),
    Case("softmax_cross_entropy", ((2, 3, 1), (2, 3, 1))),
    Case("softmax_cross_entropy_with_integer_labels", ((5, 7),), constants=(np.array([0, 6, 3, 3, 1], np.int32),)),
    Case("softmax_cross_entropy_with_integer_labels", ((7,),), constants=(np.array(2, np.uint8),)),
    Case("softmax_cross_entropy_with_integer_labels", ((0, 7),), constants=(np.zeros(0, np.int32),)),
]
SIMPLE = CASES[:4:3]
_CLASSES = np.array([[1, 0, 1, 1, 1, 0, 1], [1] * 7, [1, 1, 1, 1, 0, 0, 0], [0] * 7, [0, 1, 0, 0, 0, 0, 0]], bool)
SMOOTHED = [
    Case("softmax_cross_entropy_with_integer_labels", ((5, 7),), options, (np.array([0, 6, 3, 3, 1], np.int32),))
    for options in (
        {"label_smoothing": 0.2, "where": _CLASSES},
        {"label_smoothing": 1.0},
        {"where": _CLASSES},
        {"label_smoothing": 0.1, "where": np.array([True, False, True, True, False])},
        {"where": np.array([[True, True, False, True, True, True, True]])},
    )
]
ELEMENTWISE = [
    Case("sigmoid_binary_cross_entropy", ((5, 6), (5, 6))),
    Case("focal_loss", ((5, 6), (5, 6)), {"alpha": 0.25}, positive=True),
    Case("squared_error", ((5, 6), (5, 6))),
    Case("huber_loss", ((5, 6), (5, 6)), {"delta": 0.7}),
]
OPTIONS = [
    Case("sigmoid_binary_cross_entropy", ((7,),), constants=(np.array([0, 1, 1, 0, 1, 0, 0], np.int32),)),
    Case("sigmoid_binary_cross_entropy", ((2, 1),), constants=(np.array([[True], [False]]),)),
    Case("focal_loss", ((3, 5), (3, 5)), {"gamma": 0.5}, positive=True),
    Case("focal_loss", ((0, 5), (0, 5)), {"gamma": 0}),
    Case("focal_loss", ((7,),), {"gamma": 3}, (np.array([0, 1, 1, 0, 1, 0, 0], bool),)),
    Case("squared_error", ((),)),
    Case("huber_loss", ((3, 1, 5),)),
]
CASES += [*SMOOTHED, *ELEMENTWISE, *OPTIONS]
SIMPLE += [SMOOTHED[0], *ELEMENTWISE]

ERRORS = [
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
    *(
        (
            lambda options=options: jaxcnn.softmax_cross_entropy_with_integer_labels(
                jnp.ones((3, 4)), LABELS, **options
            ),
            kind,
            f"softmax_cross_entropy_with_integer_labels: {next(iter(options))}",
        )
        for options, kind in [
            ({"label_smoothing": 1.1}, ValueError),
            ({"label_smoothing": "much"}, ValueError),
            ({"where": jnp.ones((3, 5), bool)}, ValueError),
            ({"where": jnp.ones(4, bool)}, ValueError),
            ({"where": jnp.ones((3, 4))}, TypeError),
            ({"where": True}, TypeError),
        ]
    ),
    *(
        (lambda loss=loss: loss(B, B[:3]), ValueError, f"{loss.__name__}: {other} expects the shape of {first}, (8,)")
        for loss, first, other in [
            (jaxcnn.sigmoid_binary_cross_entropy, "logits", "labels"),
            (jaxcnn.focal_loss, "logits", "labels"),
            (jaxcnn.squared_error, "predictions", "targets"),
            (jaxcnn.huber_loss, "predictions", "targets"),
        ]
    ),
    (lambda: jaxcnn.sigmoid_binary_cross_entropy(B.astype(int), B), TypeError, "sigmoid_binary_cross_entropy: logits"),
    (lambda: jaxcnn.focal_loss(B, B.astype(jnp.complex64)), TypeError, "focal_loss: labels"),
    (lambda: jaxcnn.focal_loss(B, B, gamma=-1), ValueError, "focal_loss: gamma"),
    (lambda: jaxcnn.focal_loss(B, B, alpha=B), ValueError, "focal_loss: alpha"),
    (lambda: jaxcnn.squared_error(B.astype(int)), TypeError, "squared_error: predictions"),
    (lambda: jaxcnn.huber_loss(B, [1.0]), TypeError, "huber_loss: targets"),
    (lambda: jaxcnn.huber_loss(B, delta=float("inf")), ValueError, "huber_loss: delta"),
]
