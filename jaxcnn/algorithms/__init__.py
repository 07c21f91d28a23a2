"""The three maps of a convolution, and the choice of how to compute each.

    forward           z[n,p,k]   = Σ_{i,c} x̃[n, s·p + d·i, c] · w[i,c,k]
    input gradient    dx̃[n,a,c]  = Σ_{(p,i): s·p + d·i = a} Σ_k dz[n,p,k] · w[i,c,k]      (then the padding is cropped)
    kernel gradient   dw[i,c,k]  = Σ_{n,p} x̃[n, s·p + d·i, c] · dz[n,p,k]

x̃ is the padded input. All three are linear in each argument and adjoint to one another:
⟨forward(x, w), dz⟩ = ⟨x, input_gradient(dz, w)⟩ = ⟨w, kernel_gradient(x, dz)⟩.

Arrays are channels-last, results have the dtype `conv.accumulate`. Where a sum is empty (no example, no output, no
channel) it is zero.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms import chunked, native
from jaxcnn.window import Convolution


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    if 0 in x.shape + w.shape + conv.window.output:
        return jnp.zeros((x.shape[0], *conv.window.output, w.shape[-1]), conv.accumulate)
    return native.forward(x, w, conv)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    channels = w.shape[-2] * conv.groups
    if 0 in dz.shape + w.shape + conv.window.input:
        return jnp.zeros((dz.shape[0], *conv.window.input, channels), conv.accumulate)
    return native.input_gradient(dz, w, conv)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    if 0 in x.shape + dz.shape:
        shape = (*conv.window.size, x.shape[-1] // conv.groups, dz.shape[-1])
        return jnp.zeros(shape, conv.accumulate)
    if not _in_chunks(x, conv):
        return native.kernel_gradient(x, dz, conv)
    return lax.platform_dependent(
        x,
        dz,
        cpu=lambda x, dz: chunked.kernel_gradient(x, dz, conv),
        default=lambda x, dz: native.kernel_gradient(x, dz, conv),
    )


def _in_chunks(x: jax.Array, conv: Convolution) -> bool:
    """Whether the columns (windows × cells) that the sum runs over outgrow the cache, and the batch can be cut.

    Measured on 2 cores, milliseconds native and in chunks, JAX 0.10 (0.12). Columns of more than 16 MB, 3×3:
    (32,26,26,32)→64 39, 19 (24, 15); batch 128 431, 59 (360, 67); (8,58,58,64)→64 119, 54 (38, 29). Fewer lose:
    (16,32,32,3)→16 0.6, 2.7 (1.3, 3.7); so do 3-D windows: (2,16,16,16,16)→32 23, 28 (24, 31). One channel wins at any
    size: (128,28,28,1)→32 10, 2 (13, 7).
    """
    n, c, window = x.shape[0], x.shape[-1], conv.window
    if not isinstance(n, int) or conv.groups > 1 or window.dims > 2 or n < 2 * chunked.examples(conv):
        return False
    columns = n * math.prod(window.output) * window.taps * c * conv.accumulate.itemsize
    return c == 1 or columns > 16e6
