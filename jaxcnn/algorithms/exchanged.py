"""The kernel gradient of few outputs with x and dz exchanged: what copies the taps then copies the narrower of both.

    dw[i,c,k] = Σ_{n,a} dz̃[n, a + d·i′ − lo′, k] · x[n,a,c],    i′ = size − 1 − i,    lo′ = extent − 1 − lo

which is the kernel gradient of the adjoint, that at stride 1 is a convolution too: its window is the mirrored one.
"""

import jax
import jax.numpy as jnp

from jaxcnn.algorithms.native import Algorithm
from jaxcnn.window import Convolution


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and max(conv.window.strides) == 1


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution, dense: Algorithm) -> jax.Array:
    dw = dense(dz, x, conv._replace(window=conv.window.mirrored()))
    return jnp.swapaxes(jnp.flip(dw, range(conv.window.dims)), -2, -1)
