"""Activations."""

import jax.numpy as jnp
import numpy as np

import jaxcnn
from cases.case import Case

X = jnp.ones((2, 5, 6, 4))
MASK = np.random.default_rng(0).uniform(size=(5, 1, 7)) < 0.6

# What takes one array and works entry by entry, with its options.
POINTWISE: dict[str, dict[str, float]] = {
    "relu6": {},
    "leaky_relu": {"negative_slope": 0.3},
    "elu": {"alpha": 0.7},
    "selu": {},
    "celu": {"alpha": 0.7},
    "gelu": {},
    "silu": {},
    "mish": {},
    "sigmoid": {},
    "hard_sigmoid": {},
    "hard_swish": {},
    "tanh": {},
    "hard_tanh": {},
    "softplus": {},
}

RELU = [Case("relu", ((3, 4, 5),)), Case("relu", ((0,),)), Case("relu", ((),)), Case("relu", ((7, 11),), grid=True)]
ONE_OF_EACH = [Case(op, ((7, 12),), options) for op, options in POINTWISE.items()]
PRELU = [
    Case("prelu", ((2, 5, 3), (3,))),
    Case("prelu", ((2, 3, 1, 5), (3,)), {"channel_axis": 1}),
    Case("prelu", ((8,), ())),
    Case("prelu", ((), ())),
    Case("prelu", ((0, 3), (1,))),
]
SOFTMAX = [
    Case(op, (shape,), options)
    for op in ("softmax", "log_softmax")
    for shape, options in [
        ((5, 7), {}),
        ((5, 3, 7), {"axis": 1}),
        ((2, 3, 4, 5), {"axis": (-2, 1)}),
        ((4, 1), {"axis": None}),
        ((0, 3), {}),
    ]
]
MASKED = [
    Case("softmax", ((5, 3, 7),), {"axis": [0, 2], "where": MASK}),
    Case("softmax", ((5, 7),), {"where": np.array([True, False, True, True, False, True, True])}),
]
CASES = [*RELU, *ONE_OF_EACH, Case("gelu", ((7, 12),), {"approximate": False}), *PRELU, *SOFTMAX, *MASKED]
SIMPLE = [*RELU[::3], *ONE_OF_EACH, PRELU[0], *SOFTMAX[::5]]

ERRORS = [
    *((lambda op=op: getattr(jaxcnn, op)("x"), TypeError, f"{op}: x") for op in ("relu", *POINTWISE)),
    (lambda: jaxcnn.relu(X.astype(jnp.complex64)), TypeError, "relu: x"),
    (lambda: jaxcnn.tanh(X.astype(int)), TypeError, "tanh: x"),
    (lambda: jaxcnn.leaky_relu(X, negative_slope=X), ValueError, "leaky_relu: negative_slope expects a number"),
    (lambda: jaxcnn.elu(X, alpha=-1), ValueError, "elu: alpha expects a finite number of at least 0, got -1"),
    (lambda: jaxcnn.elu(X, alpha=float("nan")), ValueError, "elu: alpha"),
    (lambda: jaxcnn.celu(X, alpha=0), ValueError, "celu: alpha expects a positive number"),
    (lambda: jaxcnn.gelu(X, approximate="tanh"), ValueError, "gelu: approximate"),
    (lambda: jaxcnn.prelu(X, jnp.ones(3)), ValueError, "prelu: slope expects shape (), (1,) or (4,)"),
    (lambda: jaxcnn.prelu(X, jnp.ones((1, 4))), ValueError, "prelu: slope"),
    (lambda: jaxcnn.prelu(jnp.ones(()), jnp.ones(1)), ValueError, "prelu: x"),
    (lambda: jaxcnn.prelu(X, 0.1), TypeError, "prelu: slope"),
    (lambda: jaxcnn.prelu(X, jnp.ones(4), channel_axis=2), ValueError, "prelu: channel_axis"),
    (lambda: jaxcnn.softmax(X, axis=4), ValueError, "softmax: axis expects None, an int or several, each from -4 to 3"),
    (lambda: jaxcnn.softmax(X, axis=(0, -4)), ValueError, "softmax: axis"),
    (lambda: jaxcnn.softmax(X, axis="last"), ValueError, "softmax: axis"),
    (lambda: jaxcnn.softmax(jnp.ones(())), ValueError, "softmax: axis"),
    (lambda: jaxcnn.softmax(X, where=jnp.ones((3, 4), bool)), ValueError, "softmax: where"),
    (lambda: jaxcnn.log_softmax(X, where=X), TypeError, "log_softmax: where"),
    (lambda: jaxcnn.log_softmax(X.astype(int)), TypeError, "log_softmax: x"),
]
