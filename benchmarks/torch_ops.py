"""The workloads in PyTorch."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the name that it has everywhere
from measure import CORES
from workloads import Workload

from jaxcnn.window import Window

torch.set_num_threads(CORES)

FORMATS = {
    "channels first": dict.fromkeys((1, 2, 3), torch.contiguous_format),
    "channels last": {2: torch.channels_last, 3: torch.channels_last_3d},
}


def programs(
    workload: Workload, inputs: list[np.ndarray], dz: np.ndarray
) -> dict[str, dict[str, Callable[[], list[torch.Tensor]]]]:
    """For each memory format the parts of a workload; they return tensors laid out as jaxcnn's arrays are."""
    formats = {name: of[len(workload.window)] for name, of in FORMATS.items() if len(workload.window) in of}
    return {name: _parts(workload, inputs, dz, memory_format) for name, memory_format in formats.items()}


def _parts(workload, inputs, dz, memory_format):
    dims = len(workload.window)
    data = (0, dims + 1, *range(1, dims + 1))
    kernel = (*((dims, dims + 1) if workload.op == "conv_transpose" else (dims + 1, dims)), *range(dims))
    orders = [data, *(kernel if array.ndim > 1 else (0,) for array in inputs[1:])]

    def place(array, order):
        tensor = torch.tensor(array).permute(order)
        return tensor.contiguous(memory_format=memory_format if tensor.ndim > 1 else torch.contiguous_format)

    def restore(tensors, orders):
        return [tensor.detach().permute(*np.argsort(order).tolist()) for tensor, order in zip(tensors, orders)]

    function = _function(workload)
    leaves, dz = [place(*pair).requires_grad_() for pair in zip(inputs, orders)], place(dz, data)
    kept = function(*leaves)

    def forward():
        with torch.no_grad():
            return restore([function(*leaves)], [data])

    def total():
        z = function(*leaves)
        return restore([z, *torch.autograd.grad(z, leaves, dz)], [data, *orders])

    def gradient(i):
        return lambda: restore(torch.autograd.grad(kept, leaves[i], dz, retain_graph=True), [orders[i]])

    parts = {"forward": forward, "dx": gradient(0), "total": total}
    if len(leaves) > 1:
        parts["dw"] = gradient(1)
    return {part: parts[part] for part in workload.parts}


def _function(workload: Workload) -> Callable[..., torch.Tensor]:
    dims, window, options = len(workload.window), workload.geometry(), workload.options
    pads = [lo for lo, _ in window.pads]
    groups = options.get("groups", workload.x[-1] if workload.op in ("depthwise_conv", "separable_conv") else 1)

    def conv(x, w, b=None):
        if window.pads == tuple((lo, lo) for lo in pads):
            return _convolve(x, w, b, window, pads, groups)
        return _convolve(F.pad(x, [a for pair in reversed(window.pads) for a in pair]), w, b, window, 0, groups)

    def conv_transpose(x, w, b=None):
        more = options.get("output_padding", 0)
        return getattr(F, f"conv_transpose{dims}d")(x, w, b, window.strides, pads, more, groups, window.dilation)

    def pool(x):
        return getattr(F, f"{workload.op}{dims}d")(x, window.size, window.strides, pads)

    point = getattr(F, f"conv{dims}d")
    functions = {
        "conv": conv,
        "depthwise_conv": conv,
        "conv_transpose": conv_transpose,
        "separable_conv": lambda x, w_depth, w_point: point(conv(x, w_depth), w_point),
    }
    return functions.get(workload.op, pool)


def _convolve(x, w, b, window: Window, padding, groups):
    return getattr(F, f"conv{window.dims}d")(x, w, b, window.strides, padding, window.dilation, groups)
