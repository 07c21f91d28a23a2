"""The ops that convolutional networks are made of: one row each, named after a network that it comes from."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

import jaxcnn
from jaxcnn.window import Window

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Workload:
    """One call of an op: x (n, *spatial, c), a window, and a kernel with k output channels if the op has one."""

    kind: str
    op: str
    network: str
    x: Shape
    window: Shape
    k: int = 0
    bias: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        words = {"conv": "", "conv_transpose": "transposed ", "avg_pool": "average ", "max_pool": "max "}
        word = words.get(self.op, self.op.removesuffix("_conv") + " ")
        size = "x".join(map(str, self.window)) if len(self.window) > 1 else f"{self.window[0]} taps"
        extras = "".join(
            f", {key} {self.options[key]}" for key in ("strides", "dilation", "groups") if key in self.options
        )
        shape = ",".join(map(str, self.x))
        return f"{self.network} {word}{size}{extras}, ({shape})" + f"->{self.k}" * bool(self.k)

    @property
    def pools(self) -> bool:
        return self.op.endswith("pool")

    @property
    def parts(self) -> tuple[str, ...]:
        """What is timed: each map alone where there are three, and forward and backward as one program."""
        return ("forward", "total") if self.pools or self.op == "separable_conv" else ("forward", "dx", "dw", "total")

    @property
    def weights(self) -> tuple[Shape, ...]:
        """The shapes of what the op takes behind x."""
        c, groups = self.x[-1], self.options.get("groups", 1)
        kernels = {
            "conv": [(*self.window, c // groups, self.k)],
            "conv_transpose": [(*self.window, c // groups, self.k)],
            "depthwise_conv": [(*self.window, 1, self.k)],
            "separable_conv": [(*self.window, 1, c), (*(1 for _ in self.window), c, self.k)],
        }
        return (*kernels.get(self.op, []), *[(self.k,)] * self.bias)

    def function(self, ops: Any) -> Callable[..., jax.Array]:
        """The op of a module, as a function of x and the weights alone."""
        op = partial(getattr(ops, self.op), **self.options)
        return (lambda x: op(x, self.window)) if self.pools else op

    @property
    def z(self) -> Shape:
        arrays = [jax.ShapeDtypeStruct(shape, np.float32) for shape in (self.x, *self.weights)]
        return jax.eval_shape(self.function(jaxcnn.reference), *arrays).shape

    def arrays(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Normal x and weights, such that z is of scale 1, and a normal cotangent of z."""
        draw = np.random.default_rng(0).normal
        fans = [1] + [math.prod(shape[:-1]) for shape in self.weights]
        inputs = [draw(0, fan**-0.5, shape) for fan, shape in zip(fans, (self.x, *self.weights))]
        return [array.astype(np.float32) for array in inputs], draw(size=self.z).astype(np.float32)

    def geometry(self) -> Window:
        """Of the op; of the matching convolution if it is a transposed one."""
        spatial = (self.z if self.op == "conv_transpose" else self.x)[1:-1]
        strides = self.options.get("strides", self.window if self.pools else 1)
        padding = self.options.get("padding", "VALID" if self.pools else "SAME")
        dilation = self.options.get("dilation", 1)
        return Window.of(self.op, spatial, self.window, strides=strides, padding=padding, dilation=dilation)

    @property
    def flops(self) -> int:
        """Of the forward, and as many for each gradient: a product and a sum for each pair of numbers that meet."""
        n, c = self.x[0], self.x[-1]
        pairs = n * int(self.geometry().inside().sum())
        match self.op:
            case "max_pool" | "avg_pool":
                return pairs * c
            case "separable_conv":
                return 2 * pairs * c + 2 * math.prod(self.z[:-1]) * c * self.k
            case _:
                return 2 * pairs * self.weights[0][-2] * self.k

    @property
    def bytes(self) -> int:
        """What the forward must read and write, and as much for each gradient."""
        return sum(4 * math.prod(shape) for shape in (self.x, *self.weights, self.z))


def _rows(kind: str, op: str) -> Callable[..., Workload]:
    def row(network: str, x: Shape, window: Shape, k: int = 0, *, bias: bool = False, **options: Any) -> Workload:
        return Workload(kind, op, network, x, window, k, bias, options)

    return row


plain, pointwise, stem, large = (_rows(kind, "conv") for kind in ("plain", "1x1", "stem", "large kernel"))
dilated, grouped, patches, causal = (
    _rows(kind, "conv") for kind in ("dilated", "grouped", "patch embedding", "causal")
)
depthwise, large_depthwise = (_rows(kind, "depthwise_conv") for kind in ("depthwise", "large kernel"))
transposed, separable = _rows("transposed", "conv_transpose"), _rows("separable", "separable_conv")
maximum, average = _rows("pool", "max_pool"), _rows("pool", "avg_pool")

WORKLOADS = (
    plain("CIFAR ResNet", (32, 32, 32, 16), (3, 3), 16),
    plain("U-Net", (32, 64, 64, 16), (3, 3), 16),
    plain("digits CNN", (32, 26, 26, 32), (3, 3), 64, bias=True, padding="VALID"),
    plain("VGG", (8, 112, 112, 64), (3, 3), 64, bias=True),
    plain("ResNet", (16, 56, 56, 64), (3, 3), 64),
    plain("ResNet", (16, 28, 28, 128), (3, 3), 128),
    plain("ResNet", (16, 14, 14, 256), (3, 3), 256),
    plain("ResNet", (16, 7, 7, 512), (3, 3), 512),
    plain("ResNet", (16, 56, 56, 64), (3, 3), 128, strides=2, padding=1),
    plain("LeNet", (64, 14, 14, 6), (5, 5), 16, bias=True, padding="VALID"),
    plain("Inception", (16, 28, 28, 32), (5, 5), 96, bias=True),
    plain("C3D", (2, 16, 28, 28, 32), (3, 3, 3), 64, bias=True),
    pointwise("ResNet", (16, 14, 14, 256), (1, 1), 256),
    pointwise("ResNet", (16, 28, 28, 512), (1, 1), 128),
    pointwise("ResNet", (16, 28, 28, 256), (1, 1), 512, strides=2),
    plain("digits CNN", (32, 28, 28, 1), (3, 3), 32, bias=True, padding="VALID"),
    plain("VGG", (8, 112, 112, 3), (3, 3), 64, bias=True),
    plain("MobileNet", (8, 224, 224, 3), (3, 3), 32, strides=2),
    stem("ResNet", (8, 224, 224, 3), (7, 7), 64, strides=2, padding=3),
    large("AlexNet", (8, 224, 224, 3), (11, 11), 64, bias=True, strides=4, padding=2),
    large_depthwise("RepLKNet", (2, 32, 32, 64), (31, 31), 64),
    large("M5", (8, 16000, 1), (80,), 32, bias=True, strides=4, padding="VALID"),
    dilated("DeepLab", (4, 28, 28, 256), (3, 3), 256, dilation=2),
    dilated("DeepLab", (4, 28, 28, 256), (3, 3), 256, dilation=4),
    depthwise("MobileNet", (8, 56, 56, 128), (3, 3), 128),
    depthwise("MobileNet", (8, 56, 56, 128), (3, 3), 128, strides=2),
    depthwise("EfficientNet", (8, 28, 28, 240), (5, 5), 240),
    depthwise("ConvNeXt", (8, 28, 28, 192), (7, 7), 192, bias=True),
    depthwise("DeepLab", (8, 28, 28, 256), (3, 3), 256, dilation=2),
    depthwise("GhostNet", (8, 56, 56, 64), (3, 3), 128),
    depthwise("Conformer", (8, 512, 256), (31,), 256, bias=True),
    grouped("AlexNet", (8, 27, 27, 96), (5, 5), 256, bias=True, groups=2),
    grouped("ShuffleNet", (16, 28, 28, 240), (1, 1), 240, groups=3),
    grouped("CondenseNet", (8, 28, 28, 256), (3, 3), 256, groups=4),
    grouped("ResNeXt", (8, 56, 56, 128), (3, 3), 128, groups=32),
    grouped("ResNeXt", (8, 28, 28, 256), (3, 3), 256, groups=32),
    grouped("ResNeXt", (8, 56, 56, 256), (3, 3), 256, strides=2, padding=1, groups=32),
    patches("ConvNeXt", (8, 224, 224, 3), (4, 4), 96, bias=True, strides=4),
    patches("DINO", (8, 224, 224, 3), (8, 8), 384, bias=True, strides=8),
    patches("ViT", (8, 224, 224, 3), (16, 16), 768, bias=True, strides=16),
    transposed("U-Net", (4, 32, 32, 128), (2, 2), 64, bias=True, strides=2, padding=0),
    transposed("CycleGAN", (4, 32, 32, 128), (3, 3), 64, bias=True, strides=2, padding=1, output_padding=1),
    transposed("DCGAN", (8, 16, 16, 128), (4, 4), 64, strides=2, padding=1),
    transposed("WaveGAN", (8, 1024, 64), (25,), 32, bias=True, strides=4, padding=11, output_padding=1),
    transposed("vocoder", (1, 256, 513), (1024,), 1, strides=256, padding=0),
    transposed("V-Net", (1, 16, 16, 16, 64), (2, 2, 2), 32, bias=True, strides=2, padding=0),
    transposed("voxel decoder", (1, 64, 64, 32, 64), (3, 3, 3), 1, strides=2, padding=1, output_padding=1),
    causal("WaveNet", (8, 4096, 64), (2,), 64, bias=True, padding="CAUSAL", dilation=1),
    causal("WaveNet", (8, 4096, 64), (2,), 64, bias=True, padding="CAUSAL", dilation=64),
    causal("TCN", (8, 4096, 64), (3,), 64, bias=True, padding="CAUSAL", dilation=8),
    separable("Xception", (8, 28, 28, 128), (3, 3), 256),
    maximum("digits CNN", (32, 24, 24, 64), (2, 2)),
    maximum("ResNet", (16, 112, 112, 64), (3, 3), strides=2, padding=1),
    maximum("Inception", (16, 56, 56, 64), (3, 3), strides=1, padding=1),
    maximum("M5", (8, 4000, 128), (4,)),
    maximum("C3D", (2, 16, 28, 28, 64), (2, 2, 2)),
    average("DenseNet", (16, 28, 28, 256), (2, 2)),
    average("Inception", (16, 28, 28, 192), (3, 3), strides=1, padding=1),
    average("ResNet", (16, 7, 7, 512), (7, 7)),
    average("CIFAR ResNet", (32, 8, 8, 64), (8, 8)),
    average("SampleCNN", (8, 4096, 64), (4,)),
    average("3-D ResNet", (2, 16, 28, 28, 64), (2, 2, 2)),
)
