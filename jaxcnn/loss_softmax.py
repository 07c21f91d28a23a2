"""Losses over classes: one value per example, to be averaged by the caller."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from jaxcnn.arguments import AnyArray, Number, error, promote, to_array, to_mask, to_number, widen
from jaxcnn.shards import per_shard


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

    Keeps the arguments, max x and Σⱼ exp(xⱼ − max x); recomputes p and Σⱼ yⱼ.

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
    return per_shard(_softmax_cross_entropy, "n…_, n…_ -> n…")(*promote(logits, probabilities))


@jax.custom_vjp
def _softmax_cross_entropy(
    logits: Float[Array, "*batch classes"], probabilities: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    return _softmax_cross_entropy_fwd(logits, probabilities)[0]


def _softmax_cross_entropy_fwd(logits, probabilities):
    largest, total = _largest_and_total(logits)
    x, y = widen(logits) - largest, widen(probabilities)
    mass = jnp.sum(y, -1, keepdims=True)
    loss = jnp.sum(jnp.log(total) * mass, -1) - jnp.sum(y * jnp.where((y == 0) & jnp.isinf(x), 0, x), -1)
    return loss.astype(logits.dtype), (logits, probabilities, largest, total)


def _softmax_cross_entropy_bwd(residuals, dl):
    logits, probabilities, largest, total = residuals
    x, y, dl = widen(logits) - largest, widen(probabilities), widen(dl)[..., None]
    mass = jnp.sum(y, -1, keepdims=True)
    dlogits = jnp.exp(x) * (mass / total * dl) - y * dl
    dprobabilities = (jnp.log(total) - x) * dl
    return dlogits.astype(logits.dtype), dprobabilities.astype(probabilities.dtype)


_softmax_cross_entropy.defvjp(_softmax_cross_entropy_fwd, _softmax_cross_entropy_bwd)


def softmax_cross_entropy_with_integer_labels(
    logits: Float[AnyArray, "*batch classes"],
    labels: Integer[AnyArray, "*batch"],
    *,
    label_smoothing: Number = 0,
    where: Bool[AnyArray, "..."] | None = None,
) -> Float[Array, "*batch"]:
    """Cross-entropy between the softmax of the logits x and one right class per example.

        ℓ  = lse − (1 − α)·x[label] − α·mean x                         lse = log Σⱼ exp xⱼ,  α = label_smoothing
        dx = (p − q) · dℓ                                              p = exp(x − lse)
                                                                       q = (1 − α)·onehot(label) + α/classes

    A label outside 0 … classes − 1 gives NaN, in the loss and in its gradient; with `where=labels >= 0`, negative ones
    are ignored.

    Args:
      logits: (*batch, classes).
      labels: (*batch), integers.
      label_smoothing: α, from 0 to 1: the part of the target that is spread evenly over the classes.
      where: booleans, or None. (*batch) says which examples count: the others have the loss 0, and gradient 0. Of as
        many dimensions as the logits, and broadcasting to them, it says which classes count: sum, mean and number are
        over these. An example with none has the loss 0.

    Returns:
      ℓ: (*batch), of the dtype of the logits; computed in float32 or better.

    Keeps the arguments, max x and Σⱼ exp(xⱼ − max x); recomputes p and q.

    Raises:
      ValueError: labels of another shape than the batch, a `where` that does not broadcast, no class, a smoothing
        outside 0 … 1.
      TypeError: logits that are no floats, labels that are no integers, a `where` that is no booleans.

    Source: `optax.softmax_cross_entropy_with_integer_labels` for name, value and `where`; `optax.smooth_labels`.

    >>> softmax_cross_entropy_with_integer_labels(jnp.array([0.0, 0.0]), jnp.array(1))
    Array(0.6931472, dtype=float32)
    """
    name = "softmax_cross_entropy_with_integer_labels"
    logits = _to_logits(name, logits)
    labels = to_array(name, "labels", labels, jnp.integer)
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)  # so that every class has a number
    if labels.shape != logits.shape[:-1]:
        raise error(ValueError, name, "labels", f"the batch shape of logits, {logits.shape[:-1]}", labels.shape)
    smoothing = to_number(name, "label_smoothing", label_smoothing, 0, 1)
    of_examples = where is not None and np.ndim(where) < logits.ndim
    mask = to_mask(name, where, labels.shape if of_examples else logits.shape)
    mask = mask[..., None] if of_examples and mask is not None else mask
    rule = per_shard(_softmax_cross_entropy_with_integer_labels, "n…_, n…, n…_ -> n…")
    return rule(logits, labels, mask, smoothing)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _softmax_cross_entropy_with_integer_labels(
    logits: Float[Array, "*batch classes"],
    labels: Integer[Array, "*batch"],
    where: Bool[Array, "..."] | None,
    smoothing: float,
) -> Float[Array, "*batch"]:
    return _softmax_cross_entropy_with_integer_labels_fwd(logits, labels, where, smoothing)[0]


def _softmax_cross_entropy_with_integer_labels_fwd(logits, labels, where, smoothing):
    largest, total = _largest_and_total(logits, where)
    legal = (labels >= 0) & (labels < logits.shape[-1])
    right = jnp.take_along_axis(logits, jnp.where(legal, labels, 0)[..., None], -1)
    loss = (jnp.log(total) - (1 - smoothing) * (widen(right) - largest))[..., 0]
    if smoothing:
        loss = loss - smoothing * (_mean(logits, where) - largest[..., 0])
    loss = jnp.where(legal, loss, jnp.nan)
    if where is not None:
        loss = jnp.where(where.any(-1), loss, 0)
    return loss.astype(logits.dtype), (logits, labels, where, largest, total)


def _softmax_cross_entropy_with_integer_labels_bwd(smoothing, residuals, dl):
    logits, labels, where, largest, total = residuals
    legal = (labels >= 0) & (labels < logits.shape[-1])
    x, dl = _among(widen(logits) - largest, where), jnp.where(legal, widen(dl), jnp.nan)[..., None]
    right = labels[..., None] == lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
    spread = jnp.zeros((), dl.dtype)
    if smoothing and where is None:
        spread = smoothing * dl / logits.shape[-1]
    elif smoothing:
        classes = jnp.sum(jnp.broadcast_to(where, logits.shape), -1, keepdims=True)
        spread = jnp.where(where, smoothing * dl / jnp.maximum(classes, 1).astype(dl.dtype), 0)
    dlogits = jnp.exp(x) * (dl / total) - jnp.where(right, (1 - smoothing) * dl + spread, spread)
    if where is not None:
        dlogits = jnp.where(where.any(-1, keepdims=True), dlogits, 0)
    return dlogits.astype(logits.dtype), None, None


_softmax_cross_entropy_with_integer_labels.defvjp(
    _softmax_cross_entropy_with_integer_labels_fwd, _softmax_cross_entropy_with_integer_labels_bwd
)


def _to_logits(function: str, logits) -> jax.Array:
    logits = to_array(function, "logits", logits, jnp.floating)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise error(ValueError, function, "logits", "at least one class on the last axis", f"shape {logits.shape}")
    return logits


def _largest_and_total(
    logits: Float[Array, "*batch classes"], where: Bool[Array, "..."] | None = None
) -> tuple[Float[Array, "*batch 1"], Float[Array, "*batch 1"]]:
    """max x and Σ exp(x − max x): nothing overflows, large logits do not cancel. Without any class, 0 and 1."""
    x = _among(widen(logits), where)
    largest = jnp.max(x, -1, keepdims=True)
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    total = jnp.sum(jnp.exp(x - largest), -1, keepdims=True)
    return largest, total if where is None else jnp.where(where.any(-1, keepdims=True), total, 1)


def _mean(logits: Float[Array, "*batch classes"], where: Bool[Array, "..."] | None) -> Float[Array, "*batch"]:
    """Over the classes; on a CPU as a product, which XLA adds up faster than a short last axis."""
    mean = lambda x: jnp.mean(widen(x), -1, where=where)
    if where is not None or widen(logits).dtype != logits.dtype:
        return mean(logits)
    part = jnp.full(logits.shape[-1:], 1 / logits.shape[-1], logits.dtype)
    product = lambda x: jnp.dot(x, part, precision=lax.Precision.HIGHEST)
    return lax.platform_dependent(logits, cpu=product, default=mean)


def _among(x: Float[Array, "*batch classes"], where: Bool[Array, "..."] | None) -> Float[Array, "*batch classes"]:
    """−inf for the classes that do not count."""
    return x if where is None else jnp.where(where, x, -jnp.inf)
