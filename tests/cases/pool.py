"""The pools."""

import jax.numpy as jnp

import jaxcnn
from cases.case import Case

X, W, B = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones(8)

WINDOWS = [
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
    *(Case("max_pool", (shape,), options) for shape, options in WINDOWS),
    *(Case("max_pool", (shape,), options, grid=True) for shape, options in WINDOWS[:6]),
    *(
        Case("max_pool", (shape,), {**options, "ties": ties}, grid=True)
        for shape, options in [*WINDOWS[:6], *WINDOWS[10:13], *WINDOWS[15:]]
        for ties in ("all", "even")
    ),
]
AVG_POOL = [
    *(Case("avg_pool", (shape,), options) for shape, options in WINDOWS),
    *(Case("avg_pool", (shape,), {**options, "count_include_pad": False}) for shape, options in WINDOWS[1:13]),
    Case("avg_pool", ((2, 6, 7, 2),), {"window": 3, "strides": 2, "padding": 1, "divisor_override": 5}),
]
CASES = [*MAX_POOL, *AVG_POOL]
_TIED = [next(c for c in MAX_POOL if c.grid and c.options.get("ties", "first") == ties) for ties in ("first", "even")]
SIMPLE = [MAX_POOL[1], *_TIED, AVG_POOL[1]]

ERRORS = [
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
]
