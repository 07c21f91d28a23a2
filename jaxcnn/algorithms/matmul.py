"""The three maps as one matrix product each, where windows do not overlap: 1×1 kernels and patches.

A cell of x̃ then lies in one window at most: the columns (im2col) of x are x itself, its axes exchanged.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.algorithms.chunks import sum_products
from jaxcnn.memory import examples
from jaxcnn.taps import interleave
from jaxcnn.window import Convolution

CHUNK = 2e6  # bytes of columns and dz that dw looks at in turn


def fits(conv: Convolution) -> bool:
    return conv.groups == 1 and all(e <= s for e, s in zip(conv.window.extent, conv.window.strides))


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """z = columns(x) · w, contracted over window and c."""
    columns, dims = _to_columns(x, conv), conv.window.dims
    return _dot(columns, w, range(dims + 1, columns.ndim), range(dims + 1), conv)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    """columns(dx) = dz · wᵀ, contracted over k."""
    return _from_columns(_dot(dz, w, (dz.ndim - 1,), (w.ndim - 1,), conv), conv)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    """dw = Σ over chunks of columns(x)ᵀ · dz, contracted over n and p."""
    window, c, k = conv.window, x.shape[-1], dz.shape[-1]

    def factors(x, dz):
        columns = _to_columns(x.astype(conv.accumulate), conv).reshape(-1, window.taps * c)
        return [(columns, dz.astype(conv.accumulate).reshape(-1, k))]

    bytes_of_one = math.prod(window.output) * (window.taps * c + k) * conv.accumulate.itemsize
    dw = sum_products(factors, x, dz, examples(CHUNK, bytes_of_one), conv.precision)
    return dw.reshape(*window.size, c, k)


def _dot(a, b, contract_a, contract_b, conv):
    a, b = a.astype(conv.accumulate), b.astype(conv.accumulate)
    return lax.dot_general(a, b, ((tuple(contract_a), tuple(contract_b)), ((), ())), conv.precision)


def _to_columns(x, conv):
    """(n, *input, c) -> (n, *output, *size, c): in every stride, the cells that its window sees."""
    window, around = conv.window, [(0, 0, 0)]
    pads = [(lo, o * s - a - lo, 0) for a, o, s, lo in _strides(window)]
    x = lax.pad(x, jnp.zeros((), x.dtype), around + pads + around)
    x = x.reshape(x.shape[0], *interleave(zip(window.output, window.strides)), x.shape[-1])
    seen = interleave((slice(None), slice(0, e, d)) for e, d in zip(window.extent, window.dilation))
    return x[(slice(None), *seen)].transpose(_columns_last(window.dims))


def _from_columns(columns, conv):
    """The adjoint: a cell that no window sees gets zero."""
    window, around, zero = conv.window, [(0, 0, 0)], jnp.zeros((), columns.dtype)
    x = columns.transpose(np.argsort(_columns_last(window.dims)))
    unseen = [(0, s - e, d - 1) for e, s, d in zip(window.extent, window.strides, window.dilation)]
    x = lax.pad(x, zero, [*around, *interleave(zip(around * window.dims, unseen)), *around])
    x = x.reshape(x.shape[0], *(o * s for o, s in zip(window.output, window.strides)), x.shape[-1])
    return lax.pad(x, zero, around + [(-lo, a + lo - o * s, 0) for a, o, s, lo in _strides(window)] + around)


def _strides(window):
    return [(a, o, s, lo) for a, o, s, (lo, _) in zip(window.input, window.output, window.strides, window.pads)]


def _columns_last(dims):
    """(n, o, k, o, k, …, c) -> (n, o, o, …, k, k, …, c)."""
    return (0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1)
