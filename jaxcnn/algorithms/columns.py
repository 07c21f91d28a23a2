"""Columns (im2col): every window of x̃ as a row of one matrix, taps and channels along it.

The columns of a whole batch fall out of the cache, and fresh memory is slow; those of a few examples stay in it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.algorithms import matmul
from jaxcnn.algorithms.chunks import rows_of_strip, sum_chunks, sum_products, sum_strips
from jaxcnn.memory import examples, map_chunks
from jaxcnn.taps import UNROLL, interleave, read_taps, whole_strides
from jaxcnn.window import Convolution

CHUNK = 4e6  # bytes of columns made at a time
NARROW, FEW = 8, 16  # channels, taps; with no more channels and more taps the columns are made transposed


def size(x: tuple[int, ...], conv: Convolution) -> int:
    """Bytes of the columns of an array of this shape."""
    return x[0] * math.prod(conv.window.output) * conv.window.taps * x[-1] * conv.accumulate.itemsize


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """z = columns(x) · w, in chunks."""
    w = w.astype(conv.accumulate).reshape(-1, w.shape[-1])
    product = lambda x: lax.dot_general(to_columns(x, conv), w, (((x.ndim - 1,), (0,)), ((), ())), conv.precision)
    return map_chunks(product, examples(CHUNK, size((1, *x.shape[1:]), conv)), x)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """dw = Σ over chunks of columns(x)ᵀ · dz."""
    return sum_strips(_kernel_gradient, x, dz, conv, rows_of_strip(dz.shape[1], size((1, x.shape[-1]), conv), CHUNK))


def _kernel_gradient(x, dz, conv):
    c, k, taps = x.shape[-1], dz.shape[-1], conv.window.taps
    outputs = lambda dz: dz.astype(conv.accumulate).reshape(-1, k)
    step = examples(CHUNK, size((1, c), conv))
    if c <= NARROW and taps > FEW:
        product = lambda x, dz: lax.dot_general(_rows(x, conv), outputs(dz), (((1,), (0,)), ((), ())), conv.precision)
        dw = sum_chunks(product, x, dz, step)
    else:
        factors = lambda x, dz: [(to_columns(x, conv).reshape(-1, taps * c), outputs(dz))]
        wide = None if matmul.fits(conv) else conv.accumulate
        dw = sum_products(factors, x, dz, step, conv.precision, wide)
    return dw.reshape(*conv.window.size, c, k)


def _rows(x, conv):
    """columns(x)ᵀ (taps · c, n · outputs): of few channels, in long runs of cells, of one phase of the strides each."""
    window, n, c = conv.window, x.shape[0], x.shape[-1]
    blocks, around = whole_strides(window), [(0, 0, 0)]
    x = jnp.moveaxis(x.astype(conv.accumulate), -1, 0)
    pads = [(lo, m * s - a - lo, 0) for m, s, a, (lo, _) in zip(blocks, window.strides, window.input, window.pads)]
    x = lax.pad(x, jnp.zeros((), x.dtype), around * 2 + pads).reshape(c, n, *interleave(zip(blocks, window.strides)))
    of_block, within = range(2, x.ndim, 2), range(3, x.ndim, 2)
    phases = lax.optimization_barrier(x.transpose(*within, 0, 1, *of_block))
    offsets = np.array(window.dilation) * np.array(list(np.ndindex(*window.size)))
    starts = np.insert(np.concatenate([*divmod(offsets, window.strides)][::-1], 1), [window.dims] * 2, 0, 1)
    row = lambda start: lax.dynamic_slice(phases, start, ((1,) * window.dims + (c, n) + window.output))
    rows = jnp.stack([*map(row, starts)]) if window.taps <= UNROLL else lax.map(row, jnp.asarray(starts))
    return rows.reshape(window.taps * c, -1)


def to_columns(x: jax.Array, conv: Convolution) -> jax.Array:
    """(n, *output, taps · c)."""
    read = read_taps(x.astype(conv.accumulate), conv.window, 0)
    return jnp.concatenate([read(tap) for tap in range(conv.window.taps)], -1)
