"""The forward map with every product written out, for few of them: XLA fuses the sum into one loop over the outputs.

    z[n,p,k] = Σ_i Σ_c x̃[n, s·p + d·i, c] · w[i,c,k]                   c, k: of one group

No matrices are made. Nothing but z is written, and a product is of one cell and a vector over k.
"""

import operator
from functools import reduce

import jax

from jaxcnn.algorithms.native import flipped
from jaxcnn.taps import padded, read_taps
from jaxcnn.window import Convolution

CHANNELS = 8  # of x; more make matrices worth multiplying
TERMS = 32  # products that make an output,
MORE, PRODUCTS = 80, 600  # or more of them, if those of all channels of a cell are few
GROUPED = 40  # products, in groups: as narrow as the vectors of a processor, they leave a matrix product nothing
TOGETHER = 80  # products of all phases of a stride; XLA fuses the phases, and makes no vectors of longer loops


def fits(conv: Convolution, c: int, k: int) -> bool:
    """For c and k channels of a group."""
    terms = conv.window.taps * c
    if conv.groups > 1:
        return terms <= GROUPED and k <= CHANNELS
    return c <= CHANNELS and (terms <= TERMS or (terms <= MORE and terms * k <= PRODUCTS))


def fits_phases(conv: Convolution, c: int, k: int) -> bool:
    """Whether the phases of the input gradient do, for c channels of dz and k of x in a group."""
    return conv.window.taps * c <= TOGETHER and k <= CHANNELS


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    g, taps, (c, k) = conv.groups, conv.window.taps, w.shape[-2:]
    read = read_taps(*padded(x.astype(conv.accumulate), conv.window), 0)
    w = w.astype(conv.accumulate).reshape(taps, c, *(1 for _ in x.shape[:-1]), g, k // g)
    cells = (read(tap) for tap in range(taps))
    split = (part.reshape(*part.shape[:-1], g, c, 1) for part in cells)
    products = (part[..., channel, :] * w[tap, channel] for tap, part in enumerate(split) for channel in range(c))
    z = reduce(operator.add, products)
    return z.reshape(*z.shape[:-2], k)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """At stride 1 the convolution with the flipped kernel."""
    return forward(dz, flipped(w, conv), conv._replace(window=conv.window.mirrored()))
