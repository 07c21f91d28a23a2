"""`python -m jaxcnn.check [op ...]`: checks the library's own rules and prints a report for each."""

import argparse
import functools
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import reference
from jaxcnn.check import Report, check_vjp


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


IMAGES = _draw(4, 11, 13, 6)
LOGITS = _draw(16, 10)
PLACES = np.argsort(_draw(4, 143, 6), 1)[:, :30].reshape(4, 5, 6, 6)
CASES: dict[str, tuple[list[np.ndarray], dict[str, Any]]] = {
    "conv": ([IMAGES, _draw(3, 3, 6, 8), _draw(8)], {"strides": 2}),
    "conv, groups": ([IMAGES, _draw(3, 3, 2, 9), _draw(9)], {"groups": 3, "dilation": 2}),
    "conv_transpose": ([IMAGES, _draw(3, 3, 6, 8), _draw(8)], {"strides": 2}),
    "conv_transpose, groups": ([IMAGES, _draw(3, 3, 2, 9)], {"groups": 3, "padding": 1, "dilation": 2}),
    "depthwise_conv": ([IMAGES, _draw(3, 3, 1, 12), _draw(12)], {}),
    "separable_conv": ([IMAGES, _draw(3, 3, 1, 6), _draw(6, 8), _draw(8)], {"strides": 2}),
    "dense": ([LOGITS, _draw(10, 7), _draw(7)], {}),
    "max_pool": ([IMAGES], {"window": 2}),
    "max_pool, overlapping": ([IMAGES], {"window": 3, "strides": 2, "padding": "SAME"}),
    "max_pool, ties all": ([IMAGES], {"window": 2, "ties": "all"}),
    "max_pool, ties even": ([IMAGES], {"window": 2, "ties": "even"}),
    "avg_pool": ([IMAGES], {"window": 3, "strides": 2, "padding": "SAME", "count_include_pad": False}),
    "min_pool": ([IMAGES], {"window": 3, "strides": 2}),
    "max_pool_with_indices": ([IMAGES], {"window": 3, "strides": 2, "padding": 1}),
    "max_unpool": ([_draw(4, 5, 6, 6), PLACES], {"output_shape": (11, 13)}),
    "sum_pool": ([IMAGES], {"window": 3, "dilation": 2, "ceil_mode": True}),
    "lp_pool": ([IMAGES], {"window": 3, "p": 3, "strides": 2}),
    "adaptive_avg_pool": ([IMAGES], {"output_shape": (4, 5)}),
    "adaptive_max_pool": ([IMAGES], {"output_shape": (4, 5)}),
    "global_avg_pool": ([IMAGES], {}),
    "global_max_pool": ([IMAGES], {}),
    "pad": ([IMAGES], {"padding": ((2, 1), (0, 3)), "mode": "reflect"}),
    "unfold": ([IMAGES], {"window": 3, "strides": 2, "padding": "SAME"}),
    "fold": ([_draw(4, 5, 6, 54)], {"window": 3, "strides": 2, "output_shape": (11, 13)}),
    "relu": ([IMAGES], {}),
    "batch_norm": ([IMAGES, _draw(6), _draw(6)], {}),
    "batch_norm_inference": ([IMAGES, _draw(6), np.abs(_draw(6)), _draw(6), _draw(6)], {}),
    "update_running_statistics": (
        [_draw(6), np.abs(_draw(6)), _draw(6), np.abs(_draw(6))],
        {"momentum": 0.9, "unbiased": True, "count": 7},
    ),
    "layer_norm": ([IMAGES, _draw(6), _draw(6)], {}),
    "rms_norm": ([IMAGES, _draw(6)], {}),
    "group_norm": ([IMAGES, _draw(6), _draw(6)], {"groups": 3}),
    "instance_norm": ([IMAGES, _draw(6), _draw(6)], {}),
    "weight_standardize": ([_draw(3, 3, 6, 8)], {}),
    "local_response_norm": ([IMAGES], {"size": 3, "alpha": 0.5}),
    "relu6": ([IMAGES], {}),
    "leaky_relu": ([IMAGES], {}),
    "prelu": ([IMAGES, _draw(6)], {}),
    "elu": ([IMAGES], {"alpha": 0.5}),
    "selu": ([IMAGES], {}),
    "celu": ([IMAGES], {"alpha": 0.5}),
    "gelu": ([IMAGES], {}),
    "gelu, exact": ([IMAGES], {"approximate": False}),
    "silu": ([IMAGES], {}),
    "mish": ([IMAGES], {}),
    "sigmoid": ([IMAGES], {}),
    "hard_sigmoid": ([IMAGES], {}),
    "hard_swish": ([IMAGES], {}),
    "tanh": ([IMAGES], {}),
    "hard_tanh": ([IMAGES], {}),
    "softplus": ([IMAGES], {}),
    "softmax": ([LOGITS], {}),
    "softmax, where": ([IMAGES], {"axis": (1, 2), "where": _draw(11, 13, 1) > -1}),
    "log_softmax": ([LOGITS], {}),
    "dropout": ([IMAGES], {"rate": 0.3, "key": np.array([0, 1], np.uint32), "broadcast_dims": (1, 2)}),
    "softmax_cross_entropy": ([LOGITS, np.abs(_draw(16, 10))], {}),
    "softmax_cross_entropy_with_integer_labels": ([LOGITS, np.arange(16) % 10], {}),
    "softmax_cross_entropy_with_integer_labels, smoothed": (
        [LOGITS, np.arange(16) % 10],
        {"label_smoothing": 0.1, "where": np.arange(16) < 13},
    ),
    "sigmoid_binary_cross_entropy": ([LOGITS, np.abs(_draw(16, 10))], {}),
    "focal_loss": ([LOGITS, np.arange(160).reshape(16, 10) % 2], {"alpha": 0.25}),
    "squared_error": ([LOGITS, _draw(10, 16).T], {}),
    "huber_loss": ([LOGITS, _draw(10, 16).T], {}),
}


def check_case(name: str, dtype: str) -> Report:
    """The report of one row of CASES."""
    arrays, options = CASES[name]
    op = name.split(",")[0]
    args = [jnp.asarray(a, dtype if a.dtype.kind == "f" else None) for a in arrays]
    hand = functools.wraps(getattr(jaxcnn, op))(lambda *args: getattr(jaxcnn, op)(*args, **options))
    hand.__name__ = name
    return check_vjp(hand, *args, reference=lambda *args: getattr(reference, op)(*args, **options))


def find_cases(op: str) -> list[str]:
    """The rows of the op of this name; if there is none, those whose names begin so."""
    return [name for name in CASES if name.split(",")[0] == op] or [name for name in CASES if name.startswith(op)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jaxcnn.check", description=__doc__)
    parser.add_argument(
        "ops", nargs="*", metavar="op", help=f"names to check, or their beginnings (default: all): {', '.join(CASES)}"
    )
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="default: %(default)s"
    )
    options = parser.parse_args(argv)
    unknown = [op for op in options.ops if not find_cases(op)]
    if unknown:
        parser.error(f"no op called {', '.join(unknown)}; there are {', '.join(CASES)}")
    wanted = {name for op in options.ops for name in find_cases(op)}
    names = [name for name in CASES if not wanted or name in wanted]
    wrong = 0
    for name in names:
        report = check_case(name, options.dtype)
        wrong += not report.ok
        print(report, end="\n\n", flush=True)
    print(f"{len(names) - wrong} of {len(names)} rules are right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
