"""What a user may write, for `mypy --strict` with the wheel installed: the gate checks it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn.check import assert_vjp, check_vjp, vjp_cases

Params = dict[str, jax.Array]


def logits(params: Params, x: jax.Array) -> jax.Array:
    x = jaxcnn.conv(x, params["conv"], strides=(2, 1), padding=[(1, 1), (0, 1)], preferred_element_type=jnp.float32)
    x, mean, var = jaxcnn.batch_norm(x, None, None)
    mean, var = jaxcnn.update_running_statistics(mean, var, mean, var, momentum=0.9)
    x = jaxcnn.max_pool(jaxcnn.gelu(x), 2, ties="all")
    x, indices = jaxcnn.max_pool_with_indices(x, (2, 2))
    x = jaxcnn.max_unpool(x, indices, output_shape=4)
    x = jaxcnn.dropout(x, 0.5, jax.random.key(0), deterministic=True)
    return jaxcnn.dense(jaxcnn.global_avg_pool(x), params["dense"])


@jax.jit
@jaxcnn.lax.hand_rules()
def loss(params: Params, x: jax.Array, labels: jax.Array) -> jax.Array:
    x = jaxcnn.lax.conv_general_dilated(x, params["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = jaxcnn.lax.avg_pool(x, (2, 2), strides=(2, 2))
    return jaxcnn.softmax_cross_entropy_with_integer_labels(logits(params, x), labels, label_smoothing=0.1).mean()


def compare(op: Callable[[jax.Array], jax.Array]) -> str:
    assert_vjp(op, jnp.ones(3))
    return str(check_vjp(op, jnp.ones(3), reference=jaxcnn.reference.relu))


@vjp_cases((jaxcnn.relu, [jnp.ones(3)]), dtypes=["float32", "bfloat16"])
def test_of_a_user(check: Callable[[], object]) -> None:
    check()


def notebook(x: np.ndarray) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]:
    y, cache = jaxcnn.notebook.pool_forward(x, {"f": 2, "stride": 2}, mode="max")
    return y, jaxcnn.notebook.pool_backward(y, cache)


version: str = jaxcnn.__version__
