"""The forward map with every product written out, for few of them: XLA fuses the sum into one loop over the outputs.

    z[n,p,k] = Σ_i Σ_c x̃[n, s·p + d·i, c] · w[i,c,k]

No matrices are made. Nothing but z is written, and a product is of one cell and a vector over k.
"""

import operator
from functools import reduce

import jax

from jaxcnn.taps import padded, read_taps
from jaxcnn.window import Convolution

CHANNELS = 8  # of x; more make matrices worth multiplying
TERMS = 32  # products that make an output,
MORE, PRODUCTS = 80, 600  # or more of them, if those of all channels of a cell are few


def fits(conv: Convolution, c: int, k: int) -> bool:
    terms = conv.window.taps * c
    return conv.groups == 1 and c <= CHANNELS and (terms <= TERMS or (terms <= MORE and terms * k <= PRODUCTS))


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    taps, c, k = conv.window.taps, *w.shape[-2:]
    read = read_taps(*padded(x.astype(conv.accumulate), conv.window), 0)
    w = w.astype(conv.accumulate).reshape(taps, c, *(1 for _ in x.shape[1:]), k)
    products = (read(tap)[..., channel, None] * w[tap, channel] for tap in range(taps) for channel in range(c))
    return reduce(operator.add, products)
