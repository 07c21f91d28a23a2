"""The networks in PyTorch."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the name that it has everywhere
from measure import CORES
from networks import EPSILON, Params
from torch import nn

torch.set_num_threads(CORES)
MEMORY_FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


class TorchStep:
    """A step of Adam: each call returns the loss before it."""

    def __init__(self, network: Callable, start: Params, data: tuple[np.ndarray, ...], rate: float, memory_format: str):
        place = {"memory_format": MEMORY_FORMATS[memory_format]}
        x, labels = (torch.tensor(array) for array in data)
        self.x, self.labels = x.permute(0, 3, 1, 2).contiguous(**place), labels.long()
        self.model = TorchNetwork(network, start)
        with torch.no_grad():
            self.model(self.x)
        self.model.to(**place)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate, fused=True)

    def __call__(self) -> float:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class TorchNetwork(nn.Module):
    """A network whose first call makes the layers, with these parameters."""

    def __init__(self, network: Callable, start: Params):
        super().__init__()
        self.network, self.start, self.made = network, start, nn.ModuleList()
        self.flattened: tuple[int, ...] = ()

    def forward(self, x):
        self.position = 0
        return self.network(self, x)

    def _layer(self, make, kernel=lambda w: w):
        """The next layer; `kernel` puts our kernel into PyTorch's order."""
        if self.position == len(self.made):
            layer, start = make(), self.start[self.position]
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(kernel(start["w"])))
                layer.bias.copy_(torch.tensor(start["b"]))
            self.made.append(layer)
        self.position += 1
        return self.made[self.position - 1]

    def conv(self, x, k, size, strides=1, padding=0, groups=1):
        make = lambda: nn.Conv2d(x.shape[1], k, size, strides, padding, groups=groups)
        return self._layer(make, lambda w: w.transpose(3, 2, 0, 1))(x)

    def depthwise(self, x, size, strides=1):
        return self.conv(x, x.shape[1], size, strides, size // 2, groups=x.shape[1])

    def upsample(self, x, k):
        return self._layer(lambda: nn.ConvTranspose2d(x.shape[1], k, 2, 2), lambda w: w.transpose(2, 3, 0, 1))(x)

    def dense(self, x, k):
        """Behind a `flatten`, the channels of our kernel come last and those of PyTorch's first."""
        channels, *spatial = self.flattened or x.shape[1:]
        self.flattened = ()
        kernel = lambda w: np.moveaxis(w.reshape(*spatial, channels, k), (-1, -2), (0, 1)).reshape(k, -1)
        return self._layer(lambda: nn.Linear(x.shape[1], k), kernel)(x)

    def norm(self, x):
        norm = self._layer(lambda: nn.LayerNorm(x.shape[1], EPSILON))
        return norm(x.movedim(1, -1)).movedim(-1, 1)

    def relu(self, x):
        return F.relu(x)

    def gelu(self, x):
        return F.gelu(x)

    def pool(self, x):
        return F.max_pool2d(x, 2)

    def mean(self, x):
        return x.mean((2, 3))

    def flatten(self, x):
        self.flattened = x.shape[1:]
        return x.flatten(1)

    def concatenate(self, *maps):
        return torch.cat(maps, 1)
