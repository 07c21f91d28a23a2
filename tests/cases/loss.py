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
]
