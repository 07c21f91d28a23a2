"""Which algorithm computes which map on a CPU: decided by window and shapes, while tracing."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from jaxcnn.algorithms import columns, depthwise, grouped, matmul, native, phases
from jaxcnn.taps import UNROLL
from jaxcnn.window import Convolution

Algorithm = Callable[[jax.Array, jax.Array, Convolution], jax.Array]
Shape = tuple[Any, ...]


def forward(x: Shape, w: Shape, conv: Convolution) -> Algorithm:
    if matmul.fits(conv):
        return matmul.forward
    if conv.groups == x[-1] > 1:
        return depthwise.forward
    if conv.groups > 1:
        return partial(grouped.forward, dense=_run(forward))
    return native.forward


def input_gradient(dz: Shape, w: Shape, conv: Convolution) -> Algorithm:
    if matmul.fits(conv):
        return matmul.input_gradient
    if conv.groups > 1 and w[-2] == 1:
        return depthwise.input_gradient
    if conv.groups > 1:
        return partial(grouped.input_gradient, dense=_run(input_gradient))
    if phases.convolutions(conv) <= 16:
        return partial(phases.input_gradient, forward=_run(forward))
    return native.input_gradient


def kernel_gradient(x: Shape, dz: Shape, conv: Convolution) -> Algorithm:
    if matmul.fits(conv):
        return matmul.kernel_gradient
    if conv.groups == x[-1] > 1:
        return depthwise.kernel_gradient
    if conv.groups > 1:
        return partial(grouped.kernel_gradient, dense=_run(kernel_gradient))
    if 1 < conv.window.taps <= UNROLL and (x[-1] == 1 or columns.size(x, conv) > 8e6):
        return columns.kernel_gradient
    return native.kernel_gradient


def _run(choose: Callable[[Shape, Shape, Convolution], Algorithm]) -> Algorithm:
    """For the convolutions that an algorithm is made of."""
    return lambda a, b, conv: choose(a.shape, b.shape, conv)(a, b, conv)
