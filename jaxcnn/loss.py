"""Losses: one value per example, to be averaged by the caller."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from jaxcnn.arguments import AnyArray, accumulator, error, promote, to_array


def softmax_cross_entropy(
    logits: Float[AnyArray, "*batch classes"], probabilities: Float[AnyArray, "*batch classes"]
) -> Float[Array, "*batch"]:
    """Cross-entropy between target probabilities y and the softmax of the logits x.

        ℓ  = −Σⱼ yⱼ · log pⱼ                 log p = x − lse,  lse = log Σⱼ exp xⱼ
        dx = (p · Σⱼ yⱼ − y) · dℓ            p − y where the targets sum to 1
        dy = −log p · dℓ

    A class of probability 0 adds nothing to the loss, even where its logit is −inf.

    Args:
      logits: (*batch, classes).
      probabilities: (*batch, classes); they need not sum to 1.

    Returns:
      ℓ: (*batch), of the promoted dtype; computed in float32 or better.

    Keeps the arguments and log Σⱼ exp(xⱼ − max x); recomputes p.

    Raises:
      ValueError: shapes that differ, or no class.
      TypeError: an argument that is no array of floats.

    Source: `optax.softmax_cross_entropy` for name and value; `AL − Y` in the classic NumPy notebooks.

    >>> softmax_cross_entropy(jnp.array([0.0, 0.0]), jnp.array([0.5, 0.5]))
    Array(0.6931472, dtype=float32)
    """
    name = "softmax_cross_entropy"
    logits = _to_logits(name, logits)
    probabilities = to_array(name, "probabilities", probabilities, jnp.floating)
    if probabilities.shape != logits.shape:
        raise error(ValueError, name, "probabilities", f"the shape of logits, {logits.shape}", probabilities.shape)
    return _softmax_cross_entropy(*promote(logits, probabilities))


@jax.custom_vjp
def _softmax_cross_entropy(
    logits: Float[Array, "*batch classes"], probabilities: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    return _softmax_cross_entropy_fwd(logits, probabilities)[0]


def _softmax_cross_entropy_fwd(logits, probabilities):
    x, log_sum = _shifted(logits)
    y, surprise = _wide(probabilities), log_sum - x
    loss = jnp.sum(y * jnp.where((y == 0) & jnp.isinf(surprise), 0, surprise), -1)
    return loss.astype(logits.dtype), (logits, probabilities, log_sum)


def _softmax_cross_entropy_bwd(residuals, dl):
    logits, probabilities, log_sum = residuals
    (x, _), y, dl = _shifted(logits), _wide(probabilities), _wide(dl)[..., None]
    dlogits = (jnp.exp(x - log_sum) * jnp.sum(y, -1, keepdims=True) - y) * dl
    dprobabilities = (log_sum - x) * dl
    return dlogits.astype(logits.dtype), dprobabilities.astype(probabilities.dtype)


_softmax_cross_entropy.defvjp(_softmax_cross_entropy_fwd, _softmax_cross_entropy_bwd)


def softmax_cross_entropy_with_integer_labels(
    logits: Float[AnyArray, "*batch classes"], labels: Integer[AnyArray, "*batch"]
) -> Float[Array, "*batch"]:
    """Cross-entropy between the softmax of the logits x and one right class per example.

        ℓ  = lse − x[label]                  lse = log Σⱼ exp xⱼ
        dx = (p − onehot(label)) · dℓ        p = exp(x − lse)

    A label outside 0 … classes − 1 gives NaN, in the loss and in its gradient.

    Args:
      logits: (*batch, classes).
      labels: (*batch), integers.

    Returns:
      ℓ: (*batch), of the dtype of the logits; computed in float32 or better.

    Keeps the arguments and log Σⱼ exp(xⱼ − max x); recomputes p.

    Raises:
      ValueError: labels of another shape than the batch, or no class.
      TypeError: logits that are no floats, labels that are no integers.

    Source: `optax.softmax_cross_entropy_with_integer_labels` for name and value.

    >>> softmax_cross_entropy_with_integer_labels(jnp.array([0.0, 0.0]), jnp.array(1))
    Array(0.6931472, dtype=float32)
    """
    name = "softmax_cross_entropy_with_integer_labels"
    logits = _to_logits(name, logits)
    labels = to_array(name, "labels", labels, jnp.integer)
    if labels.shape != logits.shape[:-1]:
        raise error(ValueError, name, "labels", f"the batch shape of logits, {logits.shape[:-1]}", labels.shape)
    return _softmax_cross_entropy_with_integer_labels(logits, labels)


@jax.custom_vjp
def _softmax_cross_entropy_with_integer_labels(
    logits: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"]
) -> Float[Array, "*batch"]:
    return _softmax_cross_entropy_with_integer_labels_fwd(logits, labels)[0]


def _softmax_cross_entropy_with_integer_labels_fwd(logits, labels):
    x, log_sum = _shifted(logits)
    right = _one_hot(labels, logits)
    loss = jnp.where(right.any(-1), log_sum[..., 0] - jnp.sum(jnp.where(right, x, 0), -1), jnp.nan)
    return loss.astype(logits.dtype), (logits, labels, log_sum)


def _softmax_cross_entropy_with_integer_labels_bwd(residuals, dl):
    logits, labels, log_sum = residuals
    right = _one_hot(labels, logits)
    dl = jnp.where(right.any(-1, keepdims=True), _wide(dl)[..., None], jnp.nan)
    dlogits = (jnp.exp(_shifted(logits)[0] - log_sum) - right.astype(log_sum.dtype)) * dl
    return dlogits.astype(logits.dtype), None


_softmax_cross_entropy_with_integer_labels.defvjp(
    _softmax_cross_entropy_with_integer_labels_fwd, _softmax_cross_entropy_with_integer_labels_bwd
)


def _to_logits(function: str, logits) -> jax.Array:
    logits = to_array(function, "logits", logits, jnp.floating)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise error(ValueError, function, "logits", "at least one class on the last axis", f"shape {logits.shape}")
    return logits


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(accumulator(x.dtype))


def _shifted(logits: Float[Array, "*batch classes"]) -> tuple[Float[Array, "*batch classes"], Float[Array, "*batch 1"]]:
    """x − max x, and the logarithm of the sum of its exponentials: nothing overflows, large logits do not cancel."""
    x = _wide(logits)
    largest = jnp.max(x, -1, keepdims=True)
    x = x - jnp.where(jnp.isfinite(largest), largest, 0)
    return x, jnp.log(jnp.sum(jnp.exp(x), -1, keepdims=True))


def _one_hot(labels: Integer[AnyArray, "*batch"], logits: Float[AnyArray, "*batch classes"]) -> jax.Array:
    """Whether each class is the right one."""
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)  # so that every class has a number
    return labels[..., None] == lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
