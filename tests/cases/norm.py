"""Normalisations."""

import jax.numpy as jnp
import numpy as np

import jaxcnn
from cases.case import Case

X, C = jnp.ones((2, 5, 3, 4)), jnp.ones(4)

ROWS = np.arange(5)[:, None, None] < 4
CELLS = np.random.default_rng(0).random((5, 3, 2, 3)) < 0.6
FIRST = np.array([[[True, False, True]], [[False, False, False]]])

BATCH = [
    Case("batch_norm", ((5, 3, 2, 3), (3,), (3,))),
    Case("batch_norm", ((5, 3, 2, 3), (3,), (3,)), {"where": CELLS, "epsilon": 0.1}),
    Case("batch_norm", ((7, 3, 5), (3,)), {"channel_axis": 1}, (None,)),
    Case("batch_norm", ((5, 2, 1),), {"where": ROWS}, (None, None)),
    Case("batch_norm", ((7, 1), (1,), (1,)), positive=True),
    Case("batch_norm", ((0, 3, 2), (2,), (2,))),
    Case("batch_norm", ((2, 1, 3), (3,), (3,)), {"where": np.zeros(3, bool)}),
    Case("batch_norm_inference", ((5, 3, 2, 4), (4,), (4,), (4,), (4,)), positive=True),
    Case(
        "batch_norm_inference",
        ((2, 5, 7), (5,), (5,)),
        {"channel_axis": 1, "epsilon": 0.1},
        (None, None),
        positive=True,
    ),
    Case("update_running_statistics", ((3,), (3,), (3,), (3,)), {"momentum": 0.9}),
    Case("update_running_statistics", ((5,),) * 4, {"momentum": 0.3, "unbiased": True, "count": np.array(7)}),
]

EXAMPLE = [
    Case("layer_norm", ((5, 3, 7), (7,), (7,))),
    Case("layer_norm", ((3, 5, 2, 3), (5, 3), (5, 3)), {"axis": (-1, 1), "where": ROWS}),
    Case("layer_norm", ((7,), (7,)), {"epsilon": 0.1}, (None,)),
    Case("layer_norm", ((2, 1, 3), (3,), (3,)), {"where": FIRST}),
    Case("layer_norm", ((2, 0, 3), (0,), (0,)), {"axis": 1}),
    Case("rms_norm", ((5, 3, 7), (7,))),
    Case("rms_norm", ((2, 1, 3),), {"axis": (0, 2), "where": FIRST}, (None,)),
    Case("rms_norm", ((2, 1, 3), (3,)), {"where": FIRST, "epsilon": 0.1}),
    Case("group_norm", ((2, 3, 5, 6), (6,), (6,)), {"groups": 3}),
    Case("group_norm", ((3, 6, 5), (6,)), {"groups": 2, "channel_axis": 1, "where": ROWS[:3]}, (None,)),
    Case("group_norm", ((5, 6), (6,), (6,)), {"groups": 1}),
    Case("instance_norm", ((3, 5, 2, 3), (3,), (3,))),
    Case("instance_norm", ((2, 3, 5),), {"channel_axis": 1, "where": CELLS[0, 0, :, :, None]}, (None, None)),
    Case("weight_standardize", ((3, 2, 3, 5),)),
    Case("weight_standardize", ((5, 3),), {"axis": -1}),
]
RESPONSE = [
    Case("local_response_norm", ((3, 2, 7),), {"alpha": 2.0, "beta": 1.3}, (5,)),
    Case("local_response_norm", ((2, 5, 3),), {"alpha": 2.0, "k": 0.5, "channel_axis": 1}, (4,)),
    Case("local_response_norm", ((5, 1),), {"alpha": 2.0}, (3,)),
    Case("local_response_norm", ((0, 3, 2),), {}, (3,)),
]
CASES = [*BATCH, *EXAMPLE, *RESPONSE]
SIMPLE = [BATCH[0], BATCH[7], BATCH[10], EXAMPLE[0], EXAMPLE[5], RESPONSE[0]]

ERRORS = [
    (lambda: jaxcnn.batch_norm(X, jnp.ones(3), C), ValueError, "batch_norm: scale expects shape (4,)"),
    (lambda: jaxcnn.batch_norm(X, C, jnp.ones((1, 4))), ValueError, "batch_norm: bias"),
    (lambda: jaxcnn.batch_norm(C, C, C), ValueError, "batch_norm: x expects at least 2 dimensions"),
    (lambda: jaxcnn.batch_norm(X, C, C, channel_axis=2), ValueError, "batch_norm: channel_axis"),
    (
        lambda: jaxcnn.batch_norm(X, C, C, epsilon=-1),
        ValueError,
        "batch_norm: epsilon expects a finite number of at least 0",
    ),
    (lambda: jaxcnn.batch_norm(X, C, C, where=jnp.ones((5, 1, 1), bool)[:3]), ValueError, "batch_norm: where"),
    (lambda: jaxcnn.batch_norm(X, C, C, where=X), TypeError, "batch_norm: where"),
    (lambda: jaxcnn.batch_norm(X.astype(int), C, C), TypeError, "batch_norm: x"),
    (lambda: jaxcnn.batch_norm(X, [1.0], C), TypeError, "batch_norm: scale"),
    (lambda: jaxcnn.batch_norm_inference(X, C, C[:3], C, C), ValueError, "batch_norm_inference: var expects shape"),
    (lambda: jaxcnn.batch_norm_inference(X, None, C, C, C), TypeError, "batch_norm_inference: mean"),
    (
        lambda: jaxcnn.update_running_statistics(C, C, C, C[:3], momentum=0.9),
        ValueError,
        "update_running_statistics: var expects the shape of running_mean, (4,), got (3,)",
    ),
    (
        lambda: jaxcnn.update_running_statistics(C, C, C, C, momentum=1.1),
        ValueError,
        "update_running_statistics: momentum expects a finite number from 0 to 1",
    ),
    (
        lambda: jaxcnn.update_running_statistics(C, C, C, C, momentum=0.9, unbiased=True),
        ValueError,
        "update_running_statistics: count",
    ),
    (lambda: jaxcnn.layer_norm(X, C, C, axis=4), ValueError, "layer_norm: axis expects different axes"),
    (lambda: jaxcnn.layer_norm(X, C, C, axis=(1, -3)), ValueError, "layer_norm: axis"),
    (lambda: jaxcnn.layer_norm(X, C, C, axis=(2, 3)), ValueError, "layer_norm: scale expects shape (3, 4)"),
    (lambda: jaxcnn.layer_norm(X.astype(int), C, C), TypeError, "layer_norm: x"),
    (lambda: jaxcnn.rms_norm(X, C, epsilon=None), ValueError, "rms_norm: epsilon"),
    (lambda: jaxcnn.rms_norm(X, C[:3]), ValueError, "rms_norm: scale"),
    (
        lambda: jaxcnn.group_norm(X, C, C, groups=3),
        ValueError,
        "group_norm: groups expects a divisor of the 4 channels",
    ),
    (lambda: jaxcnn.group_norm(X, C, C, groups=0), ValueError, "group_norm: groups"),
    (lambda: jaxcnn.instance_norm(X, C, C, channel_axis=0), ValueError, "instance_norm: channel_axis"),
    (lambda: jaxcnn.instance_norm(X, C, C[:3]), ValueError, "instance_norm: bias"),
    (lambda: jaxcnn.weight_standardize(C), ValueError, "weight_standardize: axis"),
    (lambda: jaxcnn.weight_standardize(X > 0), TypeError, "weight_standardize: w"),
    (lambda: jaxcnn.local_response_norm(X, 0), ValueError, "local_response_norm: size"),
    (lambda: jaxcnn.local_response_norm(X, 3, alpha="x"), ValueError, "local_response_norm: alpha"),
    (lambda: jaxcnn.local_response_norm(C, 3), ValueError, "local_response_norm: x"),
]
