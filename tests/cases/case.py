"""A case: a call of an op, by hand and of its twin."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import reference

CONVOLUTIONS = ("conv", "conv_transpose", "depthwise_conv", "separable_conv")
SUMS = ("avg_pool", "sum_pool", "adaptive_avg_pool", "global_avg_pool", "max_unpool")
# In each argument alone.
LINEAR = {*CONVOLUTIONS, *SUMS, "dense", "pad", "unfold", "fold", "dropout", "update_running_statistics"}
RULES = {  # a call of another op's rule
    "depthwise_conv": "conv",
    "global_avg_pool": "adaptive_avg_pool",
    "global_max_pool": "adaptive_max_pool",
    "group_norm": "layer_norm",
    "instance_norm": "layer_norm",
    "min_pool": "max_pool",
    "weight_standardize": "layer_norm",
}


@dataclass(frozen=True, eq=False)
class Case:
    """A call of an op: float arrays of these shapes, then `constants` (arrays or plain values), with `options`.

    `grid` draws from few values, so that ties are many; finite differences say nothing there.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    constants: tuple[Any, ...] = ()
    grid: bool = False
    positive: bool = False

    def __str__(self) -> str:
        shapes = "_".join("x".join(map(str, shape)) for shape in self.shapes)
        show = lambda value: "array" if isinstance(value, np.ndarray) else value
        options = ",".join(f"{name}={show(value)}" for name, value in self.options.items())
        return f"{self.op}-{shapes}-{options}".replace(" ", "") + ("-grid" if self.grid else "")

    def hand(self, *arrays: Any) -> Any:
        return self._call(jaxcnn, arrays)

    def twin(self, *arrays: Any) -> Any:
        return self._call(reference, arrays)

    def _call(self, ops: ModuleType, arrays: tuple[Any, ...]) -> Any:
        to_jax = lambda value: jnp.asarray(value) if isinstance(value, np.ndarray) else value
        options = {name: to_jax(value) for name, value in self.options.items()}
        return getattr(ops, self.op)(*arrays, *map(to_jax, self.constants), **options)

    def draw(self, seed: int = 0) -> list[np.ndarray]:
        """float64; distinct values at least 1e-3 apart and of scale 1, or from the grid."""
        generator = np.random.default_rng(seed)
        arrays = []
        for shape in self.shapes:
            size = int(np.prod(shape))
            if self.grid:
                values = generator.integers(-1, 3, size).astype(np.float64)
            else:
                values = (
                    generator.permutation(np.linspace(-1.7, 1.7, size)) if size < 3000 else generator.normal(size=size)
                )
            arrays.append((np.abs(values) if self.positive else values).reshape(shape))
        return arrays

    @property
    def is_linear(self) -> bool:
        return self.op in LINEAR

    @property
    def rule(self) -> str:
        """The name of the op whose rule it has."""
        return RULES.get(self.op, self.op)
