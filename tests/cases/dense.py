"""Dense layers."""

import jax.numpy as jnp

import jaxcnn
from cases.case import Case

X, W, B = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones(8)

CASES = [
    Case("dense", ((5, 3), (3, 4), (4,))),
    Case("dense", ((3,), (3, 4), (4,))),
    Case("dense", ((2, 3, 1, 5), (5, 2))),
    Case("dense", ((0, 3), (3, 4), (4,))),
    Case("dense", ((5, 0), (0, 4), (4,))),
]
SIMPLE = CASES[:1]

ERRORS = [
    (lambda: jaxcnn.dense(X, jnp.ones((5, 3))), ValueError, "dense: x expects 5 features on the last axis"),
    (lambda: jaxcnn.dense(jnp.ones(()), jnp.ones((5, 3))), ValueError, "dense: x"),
    (lambda: jaxcnn.dense(X, jnp.ones(4)), ValueError, "dense: w"),
    (lambda: jaxcnn.dense(X, jnp.ones((4, 3)), jnp.ones(4)), ValueError, "dense: b expects shape (3,)"),
    (lambda: jaxcnn.dense(X, [[1.0]]), TypeError, "dense: w"),
    (lambda: jaxcnn.dense(X, jnp.ones((4, 3)), precision="exact"), ValueError, "dense: precision"),
]
