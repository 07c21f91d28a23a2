"""Losses: `jax.nn.logsumexp`."""

import jax
import jax.numpy as jnp

from jaxcnn.arguments import accumulator, promote


def softmax_cross_entropy(logits, probabilities):
    logits, probabilities = promote(logits, probabilities)
    wide = logits.astype(accumulator(logits.dtype))
    log_p = wide - jax.nn.logsumexp(wide, -1, keepdims=True)
    return -jnp.sum(probabilities.astype(wide.dtype) * log_p, -1).astype(logits.dtype)


def softmax_cross_entropy_with_integer_labels(logits, labels):
    wide = logits.astype(accumulator(logits.dtype))
    right = jnp.take_along_axis(wide, labels[..., None].astype(jnp.int32), -1, mode="fill")[..., 0]
    return (jax.nn.logsumexp(wide, -1) - right).astype(logits.dtype)
