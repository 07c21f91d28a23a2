"""The ops that are no convolutions and no plain pools: one call each, of sizes that training has."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

Shape = tuple[int, ...]
Struct = jax.ShapeDtypeStruct

IMAGES, CHANNELS, LOGITS = (32, 56, 56, 64), (64,), (1024, 1000)
LABELS = {"labels": Struct((1024,), np.int32)}
INDICES = {"indices": Struct((32, 28, 28, 64), np.int32)}
KEY = {"key": Struct((2,), np.uint32)}


@dataclass(frozen=True)
class Call:
    """A call of an op with float arrays of these shapes, and `others`: arrays that have no gradient."""

    kind: str
    op: str
    floats: tuple[Shape, ...]
    options: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Struct] = field(default_factory=dict)

    @property
    def name(self) -> str:
        shapes = " ".join(f"({','.join(map(str, shape))})" for shape in self.floats)
        options = "".join(f", {key} {value}" for key, value in self.options.items())
        return f"{self.op}{options}, {shapes}"

    def function(self, ops: Any) -> Callable[..., Any]:
        """The op of a module, as a function of the float arrays and the others."""
        names = list(self.others)

        def call(*arrays):
            floats, others = arrays[: len(self.floats)], arrays[len(self.floats) :]
            return getattr(ops, self.op)(*floats, **dict(zip(names, others)), **self.options)

        return call


def _images(kind: str, *ops: str, **options: Any) -> list[Call]:
    return [Call(kind, op, (IMAGES,), options) for op in ops]


POINTWISE = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "hard_sigmoid"),
    *("hard_swish", "tanh", "hard_tanh", "softplus"),
)
CALLS = (
    *_images("activation", *POINTWISE),
    *_images("activation", "gelu", approximate=False),
    Call("activation", "prelu", (IMAGES, CHANNELS)),
    Call("activation", "softmax", (LOGITS,)),
    Call("activation", "log_softmax", (LOGITS,)),
    Call("norm", "batch_norm", (IMAGES, CHANNELS, CHANNELS)),
    Call("norm", "batch_norm_inference", (IMAGES, CHANNELS, CHANNELS, CHANNELS, CHANNELS)),
    Call("norm", "update_running_statistics", (CHANNELS,) * 4, {"momentum": 0.9}),
    Call("norm", "layer_norm", ((32, 14, 14, 384), (384,), (384,))),
    Call("norm", "rms_norm", ((32, 14, 14, 384), (384,))),
    Call("norm", "group_norm", (IMAGES, CHANNELS, CHANNELS), {"groups": 8}),
    Call("norm", "instance_norm", (IMAGES, CHANNELS, CHANNELS)),
    Call("norm", "weight_standardize", ((3, 3, 256, 256),)),
    Call("norm", "local_response_norm", (IMAGES,), {"size": 5, "alpha": 1e-4}),
    Call("loss", "softmax_cross_entropy", (LOGITS, LOGITS)),
    Call("loss", "softmax_cross_entropy_with_integer_labels", (LOGITS,), {}, LABELS),
    Call("loss", "softmax_cross_entropy_with_integer_labels", (LOGITS,), {"label_smoothing": 0.1}, LABELS),
    Call("loss", "sigmoid_binary_cross_entropy", (LOGITS, LOGITS)),
    Call("loss", "focal_loss", (LOGITS, LOGITS), {"alpha": 0.25}),
    Call("loss", "squared_error", (LOGITS, LOGITS)),
    Call("loss", "huber_loss", (LOGITS, LOGITS)),
    Call("other", "dense", ((256, 2048), (2048, 1000), (1000,))),
    Call("other", "dropout", (IMAGES,), {"rate": 0.1}, KEY),
    *_images("other", "pad", padding=1),
    *_images("other", "pad", padding=1, mode="reflect"),
    *_images("other", "unfold", window=3, strides=2),
    Call("other", "fold", ((32, 27, 27, 576),), {"window": 3, "strides": 2, "output_shape": (56, 56)}),
    *_images("pool", "min_pool", "max_pool_with_indices", "sum_pool", "lp_pool", window=2),
    *_images("pool", "max_pool", window=3, strides=2, dilation=2),
    *_images("pool", "max_pool", window=2, ties="all"),
    *_images("pool", "max_pool", window=2, ties="even"),
    Call("pool", "max_unpool", ((32, 28, 28, 64),), {"output_shape": (56, 56)}, INDICES),
    *_images("pool", "adaptive_avg_pool", "adaptive_max_pool", output_shape=(7, 7)),
    *_images("pool", "adaptive_avg_pool", output_shape=(5, 6)),
    *_images("pool", "global_avg_pool", "global_max_pool"),
)
