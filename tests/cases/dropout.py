"""Dropout."""

import jax
import jax.numpy as jnp

import jaxcnn
from cases.case import Case

X = jnp.ones((2, 5, 6, 4))
KEY = jax.random.key(3)

CASES = [
    Case("dropout", ((5, 7),), constants=(0.4, KEY)),
    Case("dropout", ((3, 5, 7),), {"broadcast_dims": (1, -1)}, (0.5, jax.random.PRNGKey(3))),
    Case("dropout", ((5, 7),), constants=(1, KEY)),
    Case("dropout", ((0, 3),), constants=(0.5, KEY)),
    Case("dropout", ((),), {"deterministic": True}, (0.5, None)),
]
SIMPLE = CASES[:1]

ERRORS = [
    (lambda: jaxcnn.dropout("x", 0.5, KEY), TypeError, "dropout: x"),
    (lambda: jaxcnn.dropout(X.astype(int), 0.5, KEY), TypeError, "dropout: x"),
    (lambda: jaxcnn.dropout(X, 1.5, KEY), ValueError, "dropout: rate expects a finite number from 0 to 1, got 1.5"),
    (lambda: jaxcnn.dropout(X, "half", KEY), ValueError, "dropout: rate"),
    (lambda: jaxcnn.dropout(X, 0.5, None), ValueError, "dropout: key"),
    (lambda: jaxcnn.dropout(X, 0.5, 0), TypeError, "dropout: key"),
    (lambda: jaxcnn.dropout(X, 0.5, X), TypeError, "dropout: key"),
    (lambda: jaxcnn.dropout(X, 0.5, KEY, broadcast_dims=(4,)), ValueError, "dropout: broadcast_dims"),
]
