"""The pools."""

import math

import jax.numpy as jnp
import numpy as np

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
    ((2, 2, 7, 2), {"window": 4, "strides": 3, "ceil_mode": True}),
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
MIN_POOL = [
    *(Case("min_pool", (shape,), options) for shape, options in WINDOWS[1:6]),
    Case("min_pool", (WINDOWS[12][0],), {**WINDOWS[12][1], "ties": "even"}, grid=True),
]
SUM_POOL = [Case("sum_pool", (shape,), options) for shape, options in WINDOWS[1:16:2]]
LP_POOL = [
    *(
        Case("lp_pool", (shape,), {**options, "p": p})
        for (shape, options), p in zip(WINDOWS[::2], (2, 3, 1, 4, 2.5, 1.5))
    ),
    Case("lp_pool", ((2, 6, 8, 3),), {"window": 2, "p": 2}, grid=True),
    Case("lp_pool", ((2, 6, 7, 2),), {"window": 3, "strides": 2, "padding": 1, "ceil_mode": True, "p": 3}, grid=True),
]
WITH_INDICES = [
    *(Case("max_pool_with_indices", (shape,), options) for shape, options in WINDOWS[:14]),
    Case("max_pool_with_indices", (WINDOWS[2][0],), WINDOWS[2][1], grid=True),
    Case("max_pool_with_indices", ((2, 3, 1),), {"window": 1, "padding": 1}),
]
_PLACES = np.random.default_rng(0).permuted(np.tile(np.arange(-2, 22, dtype=np.int32)[:, None], (2, 1, 3)), axis=1)
MAX_UNPOOL = [
    Case("max_unpool", ((2, 3, 4, 3),), {"output_shape": (4, 5)}, (_PLACES[:, :12].reshape(2, 3, 4, 3),)),
    Case("max_unpool", ((2, 12, 3),), {"output_shape": 20}, (_PLACES[:, :12],)),
    Case("max_unpool", ((2, 12, 3),), {"output_shape": 4}, (_PLACES[:, :12] % 4,)),
    Case(
        "max_unpool", ((3, 2, 2),), {"output_shape": (3, 2), "channel_axis": 1}, (_PLACES[0, :12, 0].reshape(3, 2, 2),)
    ),
    Case("max_unpool", ((0, 2, 1),), {"output_shape": 3}, (np.zeros((0, 2, 1), np.int8),)),
]
_PLANES = [
    ((2, 7, 5, 3), {"output_shape": (3, 2)}),
    ((2, 8, 5, 3), {"output_shape": (3, 3)}),
    ((2, 6, 8, 3), {"output_shape": (3, 4)}),
    ((2, 3, 4, 2), {"output_shape": (5, 8)}),
    ((2, 3, 7, 6), {"output_shape": (7, 1), "channel_axis": 1}),
    ((11, 3), {"output_shape": (4,)}),
    ((1, 5, 4, 3, 2), {"output_shape": (2, 4, 2)}),
    ((0, 5, 4, 2), {"output_shape": 3}),
    ((2, 5, 4, 2), {"output_shape": (0, 3)}),
]
_GLOBAL = [((2, 5, 7, 3), {}), ((2, 3, 4, 1, 5), {"channel_axis": 1, "keepdims": True}), ((3, 4), {}), ((0, 2, 3), {})]
ADAPTIVE = [
    *(Case(f"adaptive_{kind}_pool", (shape,), options) for kind in ("avg", "max") for shape, options in _PLANES),
    *(Case(f"global_{kind}_pool", (shape,), options) for kind in ("avg", "max") for shape, options in _GLOBAL),
    Case("adaptive_max_pool", ((2, 7, 5, 3),), {"output_shape": (3, 2)}, grid=True),
    Case("global_max_pool", ((2, 7, 5, 3),), grid=True),
]
CASES = [*MAX_POOL, *AVG_POOL, *MIN_POOL, *SUM_POOL, *LP_POOL, *WITH_INDICES, *MAX_UNPOOL, *ADAPTIVE]
_TIED = [next(c for c in MAX_POOL if c.grid and c.options.get("ties", "first") == ties) for ties in ("first", "even")]
SIMPLE = [
    MAX_POOL[1],
    *_TIED,
    AVG_POOL[1],
    MIN_POOL[0],
    SUM_POOL[0],
    LP_POOL[1],
    WITH_INDICES[1],
    MAX_UNPOOL[0],
    ADAPTIVE[0],
    ADAPTIVE[len(_PLANES)],
    *(next(c for c in ADAPTIVE if c.op == op) for op in ("global_avg_pool", "global_max_pool")),
]

ERRORS = [
    *(
        (lambda pool=pool, args=args, options=options: pool(*args, **options), kind, f"{pool.__name__}: {argument}")
        for pool in (
            jaxcnn.max_pool,
            jaxcnn.min_pool,
            jaxcnn.max_pool_with_indices,
            jaxcnn.avg_pool,
            jaxcnn.sum_pool,
            jaxcnn.lp_pool,
        )
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
    (lambda: jaxcnn.min_pool(X, 2, ties="last"), ValueError, "min_pool: ties"),
    (lambda: jaxcnn.lp_pool(X.astype(int), 2), TypeError, "lp_pool: x"),
    *((lambda p=p: jaxcnn.lp_pool(X, 2, p=p), ValueError, "lp_pool: p") for p in (0.5, math.inf, math.nan, None, "2")),
    (
        lambda: jaxcnn.max_unpool(X, jnp.zeros((2, 5, 6, 3), int), output_shape=9),
        ValueError,
        "max_unpool: indices expects the shape of y, (2, 5, 6, 4), got (2, 5, 6, 3)",
    ),
    (lambda: jaxcnn.max_unpool(X, X, output_shape=9), TypeError, "max_unpool: indices"),
    (lambda: jaxcnn.max_unpool(X, X.astype(int), output_shape=-1), ValueError, "max_unpool: output_shape"),
    (lambda: jaxcnn.max_unpool(X, X.astype(int), output_shape=(9,) * 4), ValueError, "max_unpool: y"),
    (
        lambda: jaxcnn.max_unpool(X, X.astype(int), output_shape=9, channel_axis=0),
        ValueError,
        "max_unpool: channel_axis",
    ),
    (lambda: jaxcnn.max_unpool(0.5, X, output_shape=9), TypeError, "max_unpool: y"),
    *(
        (lambda pool=pool, args=args, options=options: pool(*args, **options), kind, f"{pool.__name__}: {argument}")
        for pool in (jaxcnn.adaptive_avg_pool, jaxcnn.adaptive_max_pool)
        for args, options, kind, argument in [
            ((X, -1), {}, ValueError, "output_shape expects an int or 2 ints, each at least 0, got -1"),
            ((X, 1.5), {}, ValueError, "output_shape"),
            ((X, ()), {}, ValueError, "output_shape"),
            ((X, (1, 2, 3, 4)), {}, ValueError, "x"),
            ((X[0, 0], 2), {}, ValueError, "x"),
            ((X, 2), {"channel_axis": 2}, ValueError, "channel_axis"),
            ((X > 0, 2), {}, TypeError, "x"),
        ]
    ),
    (lambda: jaxcnn.adaptive_avg_pool(X.astype(int), 2), TypeError, "adaptive_avg_pool: x"),
    (lambda: jaxcnn.global_avg_pool(X.astype(int)), TypeError, "global_avg_pool: x"),
    (lambda: jaxcnn.global_avg_pool(B), ValueError, "global_avg_pool: x expects (n, *spatial, c), got shape (8,)"),
    (lambda: jaxcnn.global_max_pool(B), ValueError, "global_max_pool: x"),
    (lambda: jaxcnn.global_max_pool(X, channel_axis=2), ValueError, "global_max_pool: channel_axis"),
    (lambda: jaxcnn.global_max_pool([1.0]), TypeError, "global_max_pool: x"),
]
