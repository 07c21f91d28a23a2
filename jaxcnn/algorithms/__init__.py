"""The three maps of a convolution, and the choice of how to compute each.

    forward           z[n,p,k]   = Σ_{i,c} x̃[n, s·p + d·i, c] · w[i,c,k]
    input gradient    dx̃[n,a,c]  = Σ_{(p,i): s·p + d·i = a} Σ_k dz[n,p,k] · w[i,c,k]      (then the padding is cropped)
    kernel gradient   dw[i,c,k]  = Σ_{n,p} x̃[n, s·p + d·i, c] · dz[n,p,k]

x̃ is the padded input. All three are linear in each argument and adjoint to one another:
⟨forward(x, w), dz⟩ = ⟨x, input_gradient(dz, w)⟩ = ⟨w, kernel_gradient(x, dz)⟩.

Arrays are channels-last, results have the dtype `conv.accumulate`. Where a sum is empty (no example, no output, no
channel) it is zero.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.algorithms import columns, native
from jaxcnn.taps import UNROLL
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
    if not _by_columns(x, conv):
        return native.kernel_gradient(x, dz, conv)
    return lax.platform_dependent(
        x,
        dz,
        cpu=lambda x, dz: columns.kernel_gradient(x, dz, conv),
        default=lambda x, dz: native.kernel_gradient(x, dz, conv),
    )


def _by_columns(x: jax.Array, conv: Convolution) -> bool:
    """Where the columns of the whole batch outgrow the cache, and for a single channel.

    dw on 2 cores, milliseconds native and by columns, JAX 0.10 (0.12); 3×3 unless said otherwise, columns in MB:
    21 (32,26,26,32)→64: 43, 16 (26, 14); 58 (8,56,56,64)→64: 78, 36 (36, 30); 14 strides 2 (8,56,56,64)→128: 32, 16
    (27, 11); 14 3-D (2,16,16,16,16)→32: 21, 9 (23, 7); 29 (16,14,14,256)→256: 70, 42 (65, 29); 39 5×5 (16,28,28,32)→64:
    42, 18 (19, 18); one channel, 3 (128,28,28,1)→32: 15, 6 (9, 3). Small ones lose: 2 (16,32,32,3)→16: 0.4, 0.9 (0.7,
    1.1); 6 (8,26,27,32)→32: 4.6, 3.8 (2.3, 3.3); 7 7×7/2 (4,112,112,3)→64: 9.0, 6.5 (6.9, 8.1).
    """
    n, c, window = x.shape[0], x.shape[-1], conv.window
    if not isinstance(n, int) or conv.groups > 1 or not 1 < window.taps <= UNROLL:
        return False
    return c == 1 or columns.size(n, c, conv) > 8e6
