"""Local response normalisation."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import reduce_window
from jaxtyping import Array, Float

from jaxcnn.arguments import AnyArray, Number, to_channels, to_ints, to_number, widen


def local_response_norm(
    x: Float[AnyArray, "..."],
    size: int,
    *,
    alpha: Number = 1e-4,
    beta: Number = 0.75,
    k: Number = 1.0,
    channel_axis: int = -1,
) -> Float[Array, "..."]:
    """Each cell divided by a power of the mean square of its neighbours in other channels.

        y[c]  = x[c] · s[c]^−β                                  s[c] = k + α/size · Σ_{j in W(c)} x[j]²
        dx[j] = dy[j] · s[j]^−β − 2αβ/size · x[j] · Σ_{c: j in W(c)} dy[c]·x[c]·s[c]^(−β−1)

    W(c) has the channels from c − ⌊size/2⌋ to c + ⌊(size − 1)/2⌋ that there are, as in PyTorch; of an even size, ONNX's
    has one more above instead of below. The sum in dx runs over the mirrored window.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`.
      size: of the window, in channels.
      alpha, beta, k: α, β and k.

    Returns:
      y: of the shape and dtype of x, computed in float32 or better.

    Keeps x; recomputes s.

    Raises:
      ValueError: an x of less than 2 dimensions, a size below 1, an option that is no number.
      TypeError: x is no array of floats.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", where α
    is not divided by the size; PyTorch.

    >>> local_response_norm(jnp.array([[1.0, 1.0, 1.0]]), 3, alpha=3, beta=1)
    Array([[0.33333334, 0.25      , 0.33333334]], dtype=float32)
    """
    name = "local_response_norm"
    x, axis = to_channels(name, x, channel_axis)
    (size,) = to_ints(name, "size", size, 1, minimum=1)
    alpha, beta, k = (to_number(name, n, value) for n, value in (("alpha", alpha), ("beta", beta), ("k", k)))
    return _local_response_norm(x, _Response(size, alpha, beta, k, axis))


class _Response(NamedTuple):
    size: int
    alpha: float
    beta: float
    k: float
    axis: int


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _local_response_norm(x: Float[Array, "*shape"], static: _Response) -> Float[Array, "*shape"]:
    return _local_response_norm_fwd(x, static)[0]


def _local_response_norm_fwd(x, static):
    wide = widen(x)
    return (wide * _response(wide, static) ** -static.beta).astype(x.dtype), x


def _local_response_norm_bwd(static, x, dy):
    wide, dy = widen(x), widen(dy)
    s = _response(wide, static)
    slope = 2 * static.alpha * static.beta / static.size
    # A CPU has one power to compute, a GPU one array less to store.
    steeper = lax.platform_dependent(s, cpu=lambda s: s**-static.beta / s, default=lambda s: s ** (-static.beta - 1))
    spread = slope * wide * _sum(dy * wide * steeper, static, mirrored=True)
    return ((dy * s**-static.beta - spread).astype(x.dtype),)


_local_response_norm.defvjp(_local_response_norm_fwd, _local_response_norm_bwd)


def _response(x, static):
    """s, of x in the dtype to compute in."""
    return static.k + static.alpha / static.size * _sum(jnp.square(x), static)


def _sum(x, static, mirrored=False):
    """Over the window of each channel, or over the channels whose windows it is in."""
    down, up = static.size // 2, (static.size - 1) // 2
    window, pads = [1] * x.ndim, [(0, 0)] * x.ndim
    window[static.axis], pads[static.axis] = static.size, (up, down) if mirrored else (down, up)
    return reduce_window(x, 0.0, lax.add, window, [1] * x.ndim, pads)
