"""The library's own ops as rows to check: names, arrays and options."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import reference
from jaxcnn.check.compare import check_vjp
from jaxcnn.check.report import Report

DTYPES = ("float64", "float32", "bfloat16", "float16")
SIZE = 11
SMALLEST = 5  # the reach of a 3×3 window of dilation 2

Row = tuple[list[np.ndarray], dict[str, Any]]


def rows(size: int = SIZE) -> dict[str, Row]:
    """By name (an op's, and what is particular); images are of size × (size + 2) pixels."""
    h, w, n = size, size + 2, size + 5
    p, q = (h - 1) // 2, (w - 1) // 2  # a window of 3 and stride 2
    images, logits = _draw(4, h, w, 6), _draw(n, 10)
    places = np.argsort(_draw(4, h * w, 6), 1)[:, : p * q].reshape(4, p, q, 6)
    return {
        "conv": ([images, _draw(3, 3, 6, 8), _draw(8)], {"strides": 2}),
        "conv, groups": ([images, _draw(3, 3, 2, 9), _draw(9)], {"groups": 3, "dilation": 2}),
        "conv_transpose": ([images, _draw(3, 3, 6, 8), _draw(8)], {"strides": 2}),
        "conv_transpose, groups": ([images, _draw(3, 3, 2, 9)], {"groups": 3, "padding": 1, "dilation": 2}),
        "depthwise_conv": ([images, _draw(3, 3, 1, 12), _draw(12)], {}),
        "separable_conv": ([images, _draw(3, 3, 1, 6), _draw(6, 8), _draw(8)], {"strides": 2}),
        "dense": ([logits, _draw(10, 7), _draw(7)], {}),
        "max_pool": ([images], {"window": 2}),
        "max_pool, overlapping": ([images], {"window": 3, "strides": 2, "padding": "SAME"}),
        "max_pool, ties all": ([images], {"window": 2, "ties": "all"}),
        "max_pool, ties even": ([images], {"window": 2, "ties": "even"}),
        "avg_pool": ([images], {"window": 3, "strides": 2, "padding": "SAME", "count_include_pad": False}),
        "min_pool": ([images], {"window": 3, "strides": 2}),
        "max_pool_with_indices": ([images], {"window": 3, "strides": 2, "padding": 1}),
        "max_unpool": ([_draw(4, p, q, 6), places], {"output_shape": (h, w)}),
        "sum_pool": ([images], {"window": 3, "dilation": 2, "ceil_mode": True}),
        "lp_pool": ([images], {"window": 3, "p": 3, "strides": 2}),
        "adaptive_avg_pool": ([images], {"output_shape": (4, 5)}),
        "adaptive_max_pool": ([images], {"output_shape": (4, 5)}),
        "global_avg_pool": ([images], {}),
        "global_max_pool": ([images], {}),
        "pad": ([images], {"padding": ((2, 1), (0, 3)), "mode": "reflect"}),
        "unfold": ([images], {"window": 3, "strides": 2, "padding": "SAME"}),
        "fold": ([_draw(4, p, q, 54)], {"window": 3, "strides": 2, "output_shape": (h, w)}),
        "relu": ([images], {}),
        "batch_norm": ([images, _draw(6), _draw(6)], {}),
        "batch_norm_inference": ([images, _draw(6), np.abs(_draw(6)), _draw(6), _draw(6)], {}),
        "update_running_statistics": (
            [_draw(6), np.abs(_draw(6)), _draw(6), np.abs(_draw(6))],
            {"momentum": 0.9, "unbiased": True, "count": 7},
        ),
        "layer_norm": ([images, _draw(6), _draw(6)], {}),
        "rms_norm": ([images, _draw(6)], {}),
        "group_norm": ([images, _draw(6), _draw(6)], {"groups": 3}),
        "instance_norm": ([images, _draw(6), _draw(6)], {}),
        "weight_standardize": ([_draw(3, 3, 6, 8)], {}),
        "local_response_norm": ([images], {"size": 3, "alpha": 0.5}),
        "relu6": ([images], {}),
        "leaky_relu": ([images], {}),
        "prelu": ([images, _draw(6)], {}),
        "elu": ([images], {"alpha": 0.5}),
        "selu": ([images], {}),
        "celu": ([images], {"alpha": 0.5}),
        "gelu": ([images], {}),
        "gelu, exact": ([images], {"approximate": False}),
        "silu": ([images], {}),
        "mish": ([images], {}),
        "sigmoid": ([images], {}),
        "hard_sigmoid": ([images], {}),
        "hard_swish": ([images], {}),
        "tanh": ([images], {}),
        "hard_tanh": ([images], {}),
        "softplus": ([images], {}),
        "softmax": ([logits], {}),
        "softmax, where": ([images], {"axis": (1, 2), "where": _draw(h, w, 1) > -1}),
        "log_softmax": ([logits], {}),
        "dropout": ([images], {"rate": 0.3, "key": np.array([0, 1], np.uint32), "broadcast_dims": (1, 2)}),
        "softmax_cross_entropy": ([logits, np.abs(_draw(n, 10))], {}),
        "softmax_cross_entropy_with_integer_labels": ([logits, np.arange(n) % 10], {}),
        "softmax_cross_entropy_with_integer_labels, smoothed": (
            [logits, np.arange(n) % 10],
            {"label_smoothing": 0.1, "where": np.arange(n) < n - 3},
        ),
        "sigmoid_binary_cross_entropy": ([logits, np.abs(_draw(n, 10))], {}),
        "focal_loss": ([logits, np.arange(10 * n).reshape(n, 10) % 2], {"alpha": 0.25}),
        "squared_error": ([logits, _draw(10, n).T], {}),
        "huber_loss": ([logits, _draw(10, n).T], {}),
    }


def call(name: str, row: Row, dtype: str) -> tuple[Callable, Callable, list[jax.Array]]:
    """The op of a row, its twin for autodiff, and what to call them with."""
    arrays, options = row
    hand, twin = (functools.partial(getattr(module, name.split(",")[0]), **options) for module in (jaxcnn, reference))
    return hand, twin, [jnp.asarray(a, dtype if a.dtype.kind == "f" else None) for a in arrays]


def check_row(name: str, row: Row, dtype: str = "float32") -> Report:
    """The report of one row."""
    with jax.enable_x64(dtype == "float64"):
        hand, twin, args = call(name, row, dtype)
        return dataclasses.replace(check_vjp(hand, *args, reference=twin), name=name)


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)
