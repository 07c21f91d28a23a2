"""The training script with a network that compiles in a second: run as a script, or put into it by a test."""

import jax
import jax.numpy as jnp
import train_digits


def init(key, height, width):
    flat = (height - 2) // 2 * ((width - 2) // 2) * 4
    draw = lambda *shape: {"w": 0.3 * jax.random.normal(key, shape, jnp.float32), "b": jnp.zeros(shape[-1:])}
    return {"conv1": draw(3, 3, 1, 4), "dense": draw(flat, 10)}


def apply(params, x, ops):
    x = ops.max_pool(ops.relu(ops.conv(x, **params["conv1"], padding="VALID")), 2)
    return ops.dense(x.reshape(len(x), -1), **params["dense"])


if __name__ == "__main__":
    train_digits.init, train_digits.apply = init, apply
    train_digits.main()
