"""The networks that are trained: each is written once, over the layers that it is given, for every framework.

A network is a function of `layers` and images; each layer takes the next of a list of parameters, {"w", "b"}. Those of
`JaxLayers` are jaxcnn's or `jaxcnn.reference`'s; flax_networks.py and torch_networks.py have their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn

Params = list[dict[str, Any]]
EPSILON = 1e-6  # of the layer norms


class JaxLayers:
    """`take` gives the parameters of the next layer, when told the shape of its kernel."""

    def __init__(self, ops: Any, take: Callable[..., dict[str, Any]]):
        self.ops, self.take = ops, take

    def conv(self, x, k, size, strides=1, padding=0):
        return self.ops.conv(x, **self.take(size, size, x.shape[-1], k), strides=strides, padding=padding)

    def depthwise(self, x, size, strides=1):
        w = self.take(size, size, 1, x.shape[-1])
        return self.ops.depthwise_conv(x, **w, strides=strides, padding=size // 2)

    def upsample(self, x, k):
        return self.ops.conv_transpose(x, **self.take(2, 2, x.shape[-1], k), strides=2, padding=0)

    def dense(self, x, k):
        return self.ops.dense(x, **self.take(x.shape[-1], k))

    def norm(self, x):
        p = self.take(x.shape[-1])
        return self.ops.layer_norm(x, p["w"], p["b"], epsilon=EPSILON)

    def relu(self, x):
        return self.ops.relu(x)

    def gelu(self, x):
        return self.ops.gelu(x, approximate=False)

    def pool(self, x):
        return self.ops.max_pool(x, 2)

    def mean(self, x):
        return self.ops.global_avg_pool(x)

    def flatten(self, x):
        return x.reshape(x.shape[0], -1)

    def concatenate(self, *maps):
        return jnp.concatenate(maps, -1)


def digits(layers, x):
    """The network of examples/train_digits.py."""
    x = layers.relu(layers.conv(x, 32, 3))
    x = layers.pool(layers.relu(layers.conv(x, 64, 3)))
    return layers.dense(layers.relu(layers.dense(layers.flatten(x), 128)), 10)


def vgg(layers, x):
    for width in (32, 64, 128):
        for _ in range(2):
            x = layers.relu(layers.conv(x, width, 3, padding=1))
        x = layers.pool(x)
    return layers.dense(layers.relu(layers.dense(layers.flatten(x), 256)), 10)


def resnet(layers, x):
    """Batch statistics left out."""
    x = layers.relu(layers.conv(x, 32, 3, padding=1))
    for width, strides in ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        shortcut = x if strides == 1 else layers.conv(x, width, 1, strides)
        x = layers.conv(layers.relu(layers.conv(x, width, 3, strides, padding=1)), width, 3, padding=1)
        x = layers.relu(x + shortcut)
    return layers.dense(layers.mean(x), 10)


def mobilenet(layers, x):
    """Batch statistics left out."""
    x = layers.relu(layers.conv(x, 32, 3, padding=1))
    for width, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = layers.relu(layers.depthwise(x, 3, strides))
        x = layers.relu(layers.conv(x, width, 1))
    return layers.dense(layers.mean(x), 10)


def convnext(layers, x):
    for width, patch in ((64, 4), (128, 2)):
        x = layers.norm(layers.conv(x, width, patch, strides=patch))
        for _ in range(3):
            y = layers.norm(layers.depthwise(x, 7))
            x = x + layers.conv(layers.gelu(layers.conv(y, 4 * width, 1)), width, 1)
    return layers.dense(layers.norm(layers.mean(x)), 10)


def unet(layers, x):
    """A class for every pixel."""

    def block(x, width):
        for _ in range(2):
            x = layers.relu(layers.conv(x, width, 3, padding=1))
        return x

    skipped = []
    for width in (16, 32):
        skipped.append((width, block(x, width)))
        x = layers.pool(skipped[-1][1])
    x = block(x, 64)
    for width, skip in reversed(skipped):
        x = block(layers.concatenate(skip, layers.upsample(x, width)), width)
    return layers.conv(x, 10, 1)


@dataclass(frozen=True)
class Training:
    """A network, the images that it is trained on, and how many in a step."""

    network: Callable
    image: tuple[int, int, int]
    batch: int = 32
    kind: str = "training"

    @property
    def name(self) -> str:
        return f"{self.network.__name__}, ({','.join(map(str, (self.batch, *self.image)))})"

    def init(self) -> Params:
        """Normal kernels after He et al., biases of zero; the scales of a norm are one."""
        draw, params = np.random.default_rng(0), []

        def take(*kernel):
            scale, shape = (2 / math.prod(kernel[:-1])) ** 0.5, kernel
            w = draw.normal(0, scale, shape) if len(kernel) > 1 else np.ones(kernel)
            params.append({"w": w.astype(np.float32), "b": np.zeros(kernel[-1], np.float32)})
            return params[-1]

        jax.eval_shape(lambda x: self.network(JaxLayers(jaxcnn.reference, take), x), self.data()[0])
        return params

    def apply(self, params: Params, x: jax.Array, ops: Any) -> jax.Array:
        rest = iter(params)
        return self.network(JaxLayers(ops, lambda *kernel: next(rest)), x)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Normal images, and a class for each or for each of its pixels."""
        draw = np.random.default_rng(1)
        x = draw.normal(size=(self.batch, *self.image)).astype(np.float32)
        labels = x.shape[:3] if self.network is unet else x.shape[:1]
        return x, draw.integers(0, 10, labels, np.int32)


NETWORKS = (
    Training(digits, (28, 28, 1)),
    Training(digits, (28, 28, 1), 128),
    Training(vgg, (32, 32, 3)),
    Training(resnet, (32, 32, 3)),
    Training(mobilenet, (32, 32, 3)),
    Training(convnext, (64, 64, 3)),
    Training(unet, (64, 64, 3)),
)
