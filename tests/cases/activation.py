"""Activations."""

import jax.numpy as jnp

import jaxcnn
from cases.case import Case

X, W, B = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones(8)

RELU = [Case("relu", ((3, 4, 5),)), Case("relu", ((0,),)), Case("relu", ((),)), Case("relu", ((7, 11),), grid=True)]
CASES = RELU
SIMPLE = RELU[::3]

ERRORS = [
    (lambda: jaxcnn.relu("x"), TypeError, "relu: x"),
    (lambda: jaxcnn.relu(X.astype(jnp.complex64)), TypeError, "relu: x"),
]
