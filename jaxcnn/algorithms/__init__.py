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

from jaxcnn.algorithms import native
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
    return native.kernel_gradient(x, dz, conv)
