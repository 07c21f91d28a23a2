"""Trains Flax's networks as they are and with the drop-ins of `jaxcnn.lax`: `python benchmarks/flax_dropin.py`.

The networks are those of Flax's own examples: the one for MNIST in linen and in nnx, and the smallest ResNet of the
ImageNet one, on images of 64×64. Each is trained with momentum on random images, with stock layers and with the
drop-ins: the losses must agree, the times of a step are taken in turns in one process.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import nnx
from measure import Effort, Roof, interleave, summary
from report import Table, parser, run

import jaxcnn

STEPS = 10
HEADER = ("network", "ms", "quartiles", "stock ms", "/ stock", "first loss", "last loss", "apart")
LEGEND = (
    "Median of a training step with the drop-ins and its quartiles, of one with stock layers, and the ratio. The loss",
    f"before the first and the last of {STEPS} steps with the drop-ins, and how far any is from that with stock",
    "layers, relatively.",
)


class Layers(NamedTuple):
    """What a network is to be given: of `STOCK` or of `HAND`."""

    conv: Callable
    max_pool: Callable
    avg_pool: Callable


STOCK = Layers(jax.lax.conv_general_dilated, nn.max_pool, nn.avg_pool)
HAND = Layers(jaxcnn.lax.conv_general_dilated, jaxcnn.lax.max_pool, jaxcnn.lax.avg_pool)


class Mnist(nn.Module):
    layers: Layers

    @nn.compact
    def __call__(self, x):
        for width in (32, 64):
            x = nn.relu(nn.Conv(width, (3, 3), conv_general_dilated=self.layers.conv)(x))
            x = self.layers.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(256)(x.reshape(len(x), -1))))


class NnxMnist(nnx.Module):
    def __init__(self, layers: Layers):
        rngs, self.avg_pool = nnx.Rngs(0), layers.avg_pool
        self.first = nnx.Conv(1, 32, (3, 3), conv_general_dilated=layers.conv, rngs=rngs)
        self.second = nnx.Conv(32, 64, (3, 3), conv_general_dilated=layers.conv, rngs=rngs)
        self.hidden, self.head = nnx.Linear(3136, 256, rngs=rngs), nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x):
        for conv in (self.first, self.second):
            x = self.avg_pool(nnx.relu(conv(x)), (2, 2), (2, 2))
        return self.head(nnx.relu(self.hidden(x.reshape(len(x), -1))))


class ResNet(nn.Module):
    """ResNet-18, with batch norm in training."""

    layers: Layers

    @nn.compact
    def __call__(self, x):
        conv = partial(nn.Conv, use_bias=False, conv_general_dilated=self.layers.conv)
        norm = partial(nn.BatchNorm, use_running_average=False)
        x = nn.relu(norm()(conv(64, (7, 7), 2, [(3, 3), (3, 3)])(x)))
        x = self.layers.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage in range(4):
            for block in range(2):
                width, strides = 64 * 2**stage, 2 if stage and not block else 1
                y = nn.relu(norm()(conv(width, (3, 3), strides)(x)))
                y = norm(scale_init=nn.initializers.zeros_init())(conv(width, (3, 3))(y))
                x = x if x.shape == y.shape else norm()(conv(width, (1, 1), strides)(x))
                x = nn.relu(x + y)
        return nn.Dense(10)(x.mean((1, 2)))


class Training(NamedTuple):
    network: Any
    image: tuple[int, int, int]
    batch: int = 32
    kind: str = "drop-in"

    @property
    def name(self) -> str:
        return f"{self.network.__name__}, ({','.join(map(str, (self.batch, *self.image)))})"

    def build(self, layers: Layers, x: jax.Array) -> tuple[Any, Callable]:
        """The state, and (state, x) -> logits and the state after."""
        model = self.network(layers)
        if isinstance(model, nnx.Module):
            graph, params = nnx.split(model)
            return (params, {}), lambda params, rest, x: (nnx.merge(graph, params)(x), rest)
        variables = model.init(jax.random.key(0), x)
        rest = {name: values for name, values in variables.items() if name != "params"}
        apply = lambda params, rest, x: model.apply({"params": params, **rest}, x, mutable=[*rest])
        return (variables["params"], rest), apply


class Step:
    """A compiled training step and its state; a call takes the step and returns the loss before it."""

    def __init__(self, workload: Training, layers: Layers):
        draw = np.random.default_rng(0)
        x = jnp.asarray(draw.normal(size=(workload.batch, *workload.image)), jnp.float32)
        labels, optimizer = jnp.asarray(draw.integers(0, 10, workload.batch)), optax.sgd(0.005, 0.9)
        (params, rest), apply = workload.build(layers, x)

        def loss(params, rest):
            logits, rest = apply(params, rest, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), rest

        def step(params, rest, moments):
            (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(params, rest)
            updates, moments = optimizer.update(gradients, moments)
            return (optax.apply_updates(params, updates), rest, moments), value

        self.state = (params, rest, optimizer.init(params))
        self.program = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*self.state).compile()

    def __call__(self) -> jax.Array:
        self.state, value = jax.block_until_ready(self.program(*self.state))
        return value


def measure(workload: Training, effort: Effort) -> dict[str, Any]:
    Roof()  # so that the first compilation of the process is not one that counts
    programs = {"hand": Step(workload, HAND), "stock": Step(workload, STOCK)}
    losses = {name: [float(step()) for _ in range(STEPS)] for name, step in programs.items()}
    times = interleave(programs, effort._replace(most=10 * effort.most))
    return {
        "seconds": {name: summary(samples) for name, samples in times.items()},
        "ratio": summary(times["hand"] / times["stock"]),
        "losses": losses,
    }


def apart(result: dict[str, Any]) -> float:
    hand, stock = map(np.asarray, result["losses"].values())
    return float(np.max(np.abs(hand - stock) / stock))


def cells(result: dict[str, Any]) -> list[str]:
    median, low, high = (1e3 * seconds for seconds in result["seconds"]["hand"])
    first, *_, last = result["losses"]["hand"]
    return [
        f"{median:.3g}",
        f"{low:.3g} – {high:.3g}",
        f"{1e3 * result['seconds']['stock'][0]:.3g}",
        f"{result['ratio'][0]:.2f}",
        f"{first:.4f}",
        f"{last:.4f}",
        f"{apart(result):.0e}",
    ]


def misses(result: dict[str, Any]) -> list[str]:
    complaints = [f"the losses are {apart(result):.0e} apart, wanted 1e-3"] * (apart(result) > 1e-3)
    return complaints + [f"{result['ratio'][0]:.2f} times the time of stock layers"] * (result["ratio"][0] > 1)


if __name__ == "__main__":
    table = Table(HEADER, LEGEND, measure, cells, lambda result: {"stock": result["ratio"][0]}, misses)
    networks = [Training(Mnist, (28, 28, 1)), Training(NnxMnist, (28, 28, 1)), Training(ResNet, (64, 64, 3))]
    run(table, networks, parser(__doc__).parse_args())
