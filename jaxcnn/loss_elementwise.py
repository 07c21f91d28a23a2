"""Losses entry by entry: one value for each, to be averaged by the caller. Computed in float32 or better."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Real

from jaxcnn.arguments import AnyArray, Number, error, promote, to_array, to_number, widen
from jaxcnn.shards import per_shard


def sigmoid_binary_cross_entropy(
    logits: Float[AnyArray, "*shape"], labels: Real[AnyArray, "*shape"] | Bool[AnyArray, "*shape"]
) -> Float[Array, "*shape"]:
    """Cross-entropy between the probabilities y of a yes and the sigmoid of the logits x.

        ℓ  = −y·log p − (1 − y)·log(1 − p) = max(x, 0) − x·y + log(1 + exp(−|x|))        p = sigmoid(x)
        dx = ((1 − y)·p − y·sigmoid(−x)) · dℓ                                            p − y, without cancellation
        dy = −x · dℓ

    Args:
      logits: any shape, floats.
      labels: of the same shape; floats, integers or booleans.

    Returns:
      ℓ: of the same shape and of the promoted dtype of the floats.

    Keeps the arguments; recomputes p.

    Raises:
      ValueError: shapes that differ.
      TypeError: logits that are no floats, labels that are no numbers.

    Source: `optax.sigmoid_binary_cross_entropy` for name and value.

    >>> sigmoid_binary_cross_entropy(jnp.array([0.0, 1e4, -1e4]), jnp.array([1, 1, 1]))
    Array([6.931472e-01, 0.000000e+00, 1.000000e+04], dtype=float32)
    """
    return per_shard(_sigmoid_binary_cross_entropy, "*, * -> *")(
        *_to_logits_and_labels("sigmoid_binary_cross_entropy", logits, labels)
    )


@jax.custom_vjp
def _sigmoid_binary_cross_entropy(
    logits: Float[Array, "*shape"], labels: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    return _sigmoid_binary_cross_entropy_fwd(logits, labels)[0]


def _sigmoid_binary_cross_entropy_fwd(logits, labels):
    return _cross_entropy(widen(logits), widen(labels)).astype(logits.dtype), (logits, labels)


def _sigmoid_binary_cross_entropy_bwd(residuals, dl):
    x, y, dl = map(widen, (*residuals, dl))
    p, q = lax.logistic(x), lax.logistic(-x)
    dlogits, dlabels = ((1 - y) * p - y * q) * dl, -x * dl
    return dlogits.astype(residuals[0].dtype), dlabels.astype(residuals[1].dtype)


_sigmoid_binary_cross_entropy.defvjp(_sigmoid_binary_cross_entropy_fwd, _sigmoid_binary_cross_entropy_bwd)


def focal_loss(
    logits: Float[AnyArray, "*shape"],
    labels: Real[AnyArray, "*shape"] | Bool[AnyArray, "*shape"],
    *,
    alpha: Number | None = None,
    gamma: Number = 2.0,
) -> Float[Array, "*shape"]:
    """Binary cross-entropy h that dwells on what is still wrong: m is the probability given to the wrong answer.

        ℓ  = a·mᵞ·h                  m = (1 − y)·p + y·q,  a = α·y + (1 − α)·(1 − y),  p = sigmoid(x) = 1 − q
        dx = a·(mᵞ·((1 − y)·p − y·q) + γ·mᵞ⁻¹·(1 − 2y)·p·q·h) · dℓ
        dy = (a·(γ·mᵞ⁻¹·(q − p)·h − mᵞ·x) + (2α − 1)·mᵞ·h) · dℓ

    Args:
      logits: x, any shape, floats.
      labels: y, of the same shape; floats from 0 to 1, integers or booleans.
      alpha: α, the weight of a yes, 1 − α that of a no; None means a = 1.
      gamma: γ, a number of at least 0, where it is the cross-entropy.

    Returns:
      ℓ: of the same shape and of the promoted dtype of the floats.

    Keeps the arguments; recomputes h and m.

    Raises:
      ValueError: shapes that differ, an alpha or gamma that is no such number.
      TypeError: logits that are no floats, labels that are no numbers.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv:1708.02002); `optax.sigmoid_focal_loss` for value.

    >>> focal_loss(jnp.array([0.0, 1e4, -1e4]), jnp.array([1, 1, 1]))
    Array([1.732868e-01, 0.000000e+00, 1.000000e+04], dtype=float32)
    """
    logits, labels = _to_logits_and_labels("focal_loss", logits, labels)
    alpha = None if alpha is None else to_number("focal_loss", "alpha", alpha)
    gamma = to_number("focal_loss", "gamma", gamma, 0)
    return per_shard(_focal_loss, "*, * -> *")(
        logits, labels, _Focal(alpha, int(gamma) if gamma.is_integer() else gamma)
    )


class _Focal(NamedTuple):
    alpha: float | None
    gamma: float | int  # an int where it can be: such a power is a product


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _focal_loss(
    logits: Float[Array, "*shape"], labels: Float[Array, "*shape"], static: _Focal
) -> Float[Array, "*shape"]:
    return _focal_loss_fwd(logits, labels, static)[0]


def _focal_loss_fwd(logits, labels, static):
    x, y = widen(logits), widen(labels)
    m = (1 - y) * lax.logistic(x) + y * lax.logistic(-x)
    loss = _balance(y, static.alpha) * m**static.gamma * _cross_entropy(x, y)
    return loss.astype(logits.dtype), (logits, labels)


def _focal_loss_bwd(static, residuals, dl):
    x, y, dl = map(widen, (*residuals, dl))
    p, q, h = lax.logistic(x), lax.logistic(-x), _cross_entropy(x, y)
    m = (1 - y) * p + y * q
    focus = m**static.gamma
    steep = static.gamma * jnp.where(m == 0, 1, m) ** (static.gamma - 1) * h
    a = _balance(y, static.alpha) * dl
    dlogits = a * (focus * ((1 - y) * p - y * q) + steep * (1 - 2 * y) * p * q)
    dlabels = a * (steep * (q - p) - focus * x)
    if static.alpha is not None:
        dlabels = dlabels + (2 * static.alpha - 1) * focus * h * dl
    return dlogits.astype(residuals[0].dtype), dlabels.astype(residuals[1].dtype)


_focal_loss.defvjp(_focal_loss_fwd, _focal_loss_bwd)


def squared_error(
    predictions: Float[AnyArray, "*shape"], targets: Float[AnyArray, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """Square of the error e.

        ℓ            = e²                                              e = predictions − targets
        dpredictions = 2e · dℓ
        dtargets     = −2e · dℓ

    Args:
      predictions: any shape, floats.
      targets: of the same shape, floats; None means 0.

    Returns:
      ℓ: of the same shape and of the promoted dtype.

    Keeps the arguments; recomputes e.

    Raises:
      ValueError: shapes that differ.
      TypeError: an argument that is no array of floats.

    Source: `optax.squared_error` for name and value.

    >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([3.0, 2.0]))
    Array([4., 0.], dtype=float32)
    """
    predictions, targets = _to_predictions_and_targets("squared_error", predictions, targets)
    return per_shard(_squared_error, "*, * -> *")(predictions, targets)


@jax.custom_vjp
def _squared_error(
    predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"] | None
) -> Float[Array, "*shape"]:
    return _squared_error_fwd(predictions, targets)[0]


def _squared_error_fwd(predictions, targets):
    e = _error(predictions, targets)
    return (e * e).astype(predictions.dtype), (predictions, targets)


def _squared_error_bwd(residuals, dl):
    return _both(residuals, 2 * _error(*residuals) * widen(dl))


_squared_error.defvjp(_squared_error_fwd, _squared_error_bwd)


def huber_loss(
    predictions: Float[AnyArray, "*shape"], targets: Float[AnyArray, "*shape"] | None = None, *, delta: Number = 1.0
) -> Float[Array, "*shape"]:
    """Half the square of a small error e, and a straight line beyond.

        ℓ            = ½·c² + δ·(|e| − c)                              e = predictions − targets,  c = min(|e|, δ)
        dpredictions = min(max(e, −δ), δ) · dℓ
        dtargets     = −min(max(e, −δ), δ) · dℓ

    Args:
      predictions: any shape, floats.
      targets: of the same shape, floats; None means 0.
      delta: δ, a number of at least 0.

    Returns:
      ℓ: of the same shape and of the promoted dtype.

    Keeps the arguments; recomputes e.

    Raises:
      ValueError: shapes that differ, a delta that is no such number.
      TypeError: an argument that is no array of floats.

    Source: `optax.huber_loss` for name and value.

    >>> huber_loss(jnp.array([0.5, 3.0]), jnp.zeros(2))
    Array([0.125, 2.5  ], dtype=float32)
    """
    predictions, targets = _to_predictions_and_targets("huber_loss", predictions, targets)
    return per_shard(_huber_loss, "*, * -> *")(predictions, targets, to_number("huber_loss", "delta", delta, 0))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _huber_loss(
    predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"] | None, delta: float
) -> Float[Array, "*shape"]:
    return _huber_loss_fwd(predictions, targets, delta)[0]


def _huber_loss_fwd(predictions, targets, delta):
    size = jnp.abs(_error(predictions, targets))
    near = jnp.minimum(size, delta)
    return (0.5 * near * near + delta * (size - near)).astype(predictions.dtype), (predictions, targets)


def _huber_loss_bwd(delta, residuals, dl):
    return _both(residuals, jnp.clip(_error(*residuals), -delta, delta) * widen(dl))


_huber_loss.defvjp(_huber_loss_fwd, _huber_loss_bwd)


def _to_logits_and_labels(function: str, logits: Any, labels: Any) -> tuple[jax.Array, jax.Array]:
    logits = to_array(function, "logits", logits, jnp.floating)
    labels = to_array(function, "labels", labels, (jnp.floating, jnp.integer, jnp.bool_))
    if labels.shape != logits.shape:
        raise error(ValueError, function, "labels", f"the shape of logits, {logits.shape}", labels.shape)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels.astype(logits.dtype)
    return promote(logits, labels)


def _to_predictions_and_targets(function: str, predictions: Any, targets: Any) -> tuple[jax.Array, jax.Array | None]:
    predictions = to_array(function, "predictions", predictions, jnp.floating)
    if targets is None:
        return predictions, None
    targets = to_array(function, "targets", targets, jnp.floating)
    if targets.shape != predictions.shape:
        raise error(ValueError, function, "targets", f"the shape of predictions, {predictions.shape}", targets.shape)
    return promote(predictions, targets)


def _balance(y: Float[Array, "*shape"], alpha: float | None) -> Float[Array, "..."]:
    """The weight a of a yes and of a no."""
    return jnp.ones((1,) * y.ndim, y.dtype) if alpha is None else alpha * y + (1 - alpha) * (1 - y)


def _cross_entropy(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(x, 0) − x·y without the difference of two terms that may be alike, or infinite; differentiable at 0."""
    return jnp.where(x > 0, x * (1 - y), -x * y) + jnp.log1p(jnp.exp(jnp.where(x > 0, -x, x)))


def _error(predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"] | None) -> Float[Array, "*shape"]:
    return widen(predictions) if targets is None else widen(predictions) - widen(targets)


def _both(residuals, gradient):
    """The gradients of predictions and targets, which differ in sign."""
    predictions, targets = residuals
    return gradient.astype(predictions.dtype), None if targets is None else -gradient.astype(targets.dtype)
