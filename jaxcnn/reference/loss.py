"""Losses: `jax.nn.logsumexp`, `jax.nn.log_sigmoid`, and autodiff."""

import jax
import jax.numpy as jnp

from jaxcnn.arguments import accumulator, promote


def softmax_cross_entropy(logits, probabilities):
    logits, probabilities = promote(logits, probabilities)
    wide = logits.astype(accumulator(logits.dtype))
    log_p = wide - jax.nn.logsumexp(wide, -1, keepdims=True)
    return -jnp.sum(probabilities.astype(wide.dtype) * log_p, -1).astype(logits.dtype)


def softmax_cross_entropy_with_integer_labels(logits, labels, *, label_smoothing=0, where=None):
    wide = logits.astype(accumulator(logits.dtype))
    if where is not None and where.ndim < logits.ndim:
        where = where[..., None]
    right = jnp.take_along_axis(wide, labels[..., None].astype(jnp.int32), -1, mode="fill")[..., 0]
    loss = jax.nn.logsumexp(wide, -1, where=where) - (1 - label_smoothing) * right
    if label_smoothing:
        loss = loss - label_smoothing * jnp.mean(wide, -1, where=where)
    return (loss if where is None else jnp.where(where.any(-1), loss, 0)).astype(logits.dtype)


def sigmoid_binary_cross_entropy(logits, labels):
    logits, labels = _promoted(logits, labels)
    x, y = (a.astype(accumulator(a.dtype)) for a in (logits, labels))
    return (-y * jax.nn.log_sigmoid(x) - (1 - y) * jax.nn.log_sigmoid(-x)).astype(logits.dtype)


def focal_loss(logits, labels, *, alpha=None, gamma=2.0):
    logits, labels = _promoted(logits, labels)
    x, y = (a.astype(accumulator(a.dtype)) for a in (logits, labels))
    wrong = (1 - y) * jax.nn.sigmoid(x) + y * jax.nn.sigmoid(-x)
    loss = wrong**gamma * sigmoid_binary_cross_entropy(x, y)
    return (loss if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * loss).astype(logits.dtype)


def squared_error(predictions, targets=None):
    error = _error(predictions, targets)
    return (error**2).astype(jnp.result_type(predictions, *([] if targets is None else [targets])))


def huber_loss(predictions, targets=None, *, delta=1.0):
    size = jnp.abs(_error(predictions, targets))
    near = jnp.minimum(size, delta)
    loss = 0.5 * near**2 + delta * (size - near)
    return loss.astype(jnp.result_type(predictions, *([] if targets is None else [targets])))


def _promoted(logits, labels):
    return promote(logits, labels if jnp.issubdtype(labels.dtype, jnp.floating) else labels.astype(logits.dtype))


def _error(predictions, targets):
    predictions, targets = promote(predictions, targets)
    wide = predictions.astype(accumulator(predictions.dtype))
    return wide if targets is None else wide - targets.astype(wide.dtype)
