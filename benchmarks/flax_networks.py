"""The networks in Flax."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from networks import EPSILON, Params


class FlaxNetwork(nn.Module):
    """A network whose initial parameters are these."""

    network: Callable
    start: Params

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return self.network(_Layers(self.start), x)


class _Layers:
    def __init__(self, start):
        rest = iter(start)
        self.take = lambda: next(rest)

    def conv(self, x, k, size, strides=1, padding=0, groups=1):
        options = {"strides": (strides, strides), "padding": padding, "feature_group_count": groups}
        return nn.Conv(k, (size, size), **options, **self._start())(x)

    def depthwise(self, x, size, strides=1):
        return self.conv(x, x.shape[-1], size, strides, size // 2, groups=x.shape[-1])

    def upsample(self, x, k):
        """Flax flips the kernel of a transposed convolution."""
        return nn.ConvTranspose(k, (2, 2), (2, 2), "VALID", **self._start(flip=True))(x)

    def dense(self, x, k):
        return nn.Dense(k, **self._start())(x)

    def norm(self, x):
        start = self.take()
        return nn.LayerNorm(EPSILON, scale_init=lambda *_: start["w"], bias_init=lambda *_: start["b"])(x)

    def _start(self, flip=False):
        start = self.take()
        w = jnp.asarray(start["w"][::-1, ::-1] if flip else start["w"])
        return {"kernel_init": lambda *_: w, "bias_init": lambda *_: jnp.asarray(start["b"])}

    def relu(self, x):
        return nn.relu(x)

    def gelu(self, x):
        return nn.gelu(x, approximate=False)

    def pool(self, x):
        return nn.max_pool(x, (2, 2), (2, 2))

    def mean(self, x):
        return x.mean((1, 2))

    def flatten(self, x):
        return x.reshape(x.shape[0], -1)

    def concatenate(self, *maps):
        return jnp.concatenate(maps, -1)
