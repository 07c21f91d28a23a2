"""The functions of five classic NumPy notebooks, with their names, argument orders and caches, and no loops.

    notebook  functions                                                  cache
       1      ConvBackward                                               (A_prev, W, b, {"stride", "padding"})
       2      forward, backward, pool_backward                           (X, W, b, pad, stride), pools (X, f, stride)
       3      conv_forward, conv_backward, pool_forward, pool_backward   (A_prev, W, b, {"stride", "pad"}),
                                                                         pools (A_prev, {"f", "stride"})
       4      im2col, col2im, col2im_back, conv_backward_naive           (x, w, b)
       5      conv_back, maxpool_back, fc_back, relu_back                (A_prev, W, b, stride), (A_prev, f, stride)

zero_pad, padding, conv_single_step, conv_slice, create_mask, max_mask and distribute_value are their helpers. Where two
notebooks differ, either's cache and either's key, "pad" or "padding", will do.

In the library itself a backward function is `jax.vjp` of its forward one, and each has its counterpart:

    zero_pad, padding                        jaxcnn.pad
    conv_single_step, conv_slice, fc_back    jaxcnn.dense
    conv_…, ConvBackward                     jaxcnn.conv
    pool_…, maxpool_back, forward, backward  jaxcnn.max_pool (ties="all"), jaxcnn.avg_pool; forward's "conv" jaxcnn.conv
    create_mask, max_mask, distribute_value  what those do in one window
    im2col, col2im_back                      jaxcnn.unfold, jaxcnn.fold
    relu_back, the loss of fc_back           jaxcnn.relu, jaxcnn.softmax_cross_entropy

Everything runs on the library's own rules. NumPy arrays alone are computed in their own dtype, whatever JAX is set to
(float64 stays float64), and give NumPy arrays. With a JAX array among them, a function is a pure JAX function, for jit
and vmap, with pad, stride, f and mode static. Integers count as floats in convolutions and pools. Images are
(m, h, w, c), kernels (i, j, c, k); notebook 4 has channels first, the head of notebook 5 (units, m).

What differs from the notebooks, which are wrong there:
  - the bias is added once per output (notebook 1 adds it once per kernel element);
  - a stride greater than 1 is right in the backward pass (a loop strode over the output, as if it were the input) and
    in `col2im_back` (its row was `int((i / w_prime) * stride)`, not `i // w_prime * stride`);
  - pad 0 gives a gradient (`[pad:-pad]` emptied it);
  - inputs and windows need not be square.
As in the notebooks, each maximum of a window takes the whole gradient, also where several tie (`ties="all"`).
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Num, Shaped

from jaxcnn.activation_piecewise import relu
from jaxcnn.arguments import AnyArray as Tensor
from jaxcnn.arguments import error, to_array, to_choice, to_ints
from jaxcnn.conv import conv
from jaxcnn.dense import dense
from jaxcnn.pad import pad as pad_axes
from jaxcnn.patches import fold, unfold
from jaxcnn.pool_max import max_pool
from jaxcnn.pool_sum import avg_pool

Images = Num[Tensor, "m h w c"]
Kernel = Num[Tensor, "i j c k"]
Outputs = Num[Tensor, "m p q k"]
Pooled = Num[Tensor, "m p q c"]
Bias = Num[Tensor, "..."]
HParameters = Mapping[str, int]
Cache = Sequence[Any]
_PAD = ["pad", "padding"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def _numpy_in_numpy_out(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Without any JAX array among the arguments: computes in their own dtypes, and gives NumPy arrays to write to."""

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((args, kwargs))):
            return function(*args, **kwargs)
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            to_numpy = lambda leaf: np.array(leaf) if isinstance(leaf, jax.Array) else leaf
            return jax.tree.map(to_numpy, function(*args, **kwargs), is_leaf=lambda leaf: isinstance(leaf, Mapping))

    return call


@_numpy_in_numpy_out
def zero_pad(X: Shaped[Tensor, "m h w c"], pad: int) -> Shaped[Tensor, "m h_padded w_padded c"]:
    """Zeros around the h rows and the w columns, which become h + 2·pad and w + 2·pad."""
    X, pad = _array("zero_pad", "X", X, "m h w c"), _int("zero_pad", "pad", pad, 0)
    return pad_axes(X, (0, pad, pad, 0))


@_numpy_in_numpy_out
def padding(X: Shaped[Tensor, "..."], pad: int, dims: int, const: float = 0.0) -> Shaped[Tensor, "..."]:
    """The number `const`, `pad` times on both sides of each spatial axis of an X with `dims` axes.

    X is (w,) or (h, w), where all axes grow, or (h, w, c) or (m, h, w, c), where h and w do.
    """
    dims, pad = to_choice("padding", "dims", dims, (1, 2, 3, 4)), _int("padding", "pad", pad, 0)
    X = _array("padding", "X", X, ("w", "h w", "h w c", "m h w c")[dims - 1])
    return pad_axes(X, ((pad,), (pad, pad), (pad, pad, 0), (0, pad, pad, 0))[dims - 1], value=const)


@_numpy_in_numpy_out
def conv_single_step(a_slice_prev: Num[Tensor, "..."], W: Num[Tensor, "..."], b: ArrayLike) -> Num[Tensor, ""]:
    """One output of one filter, a scalar: z = Σ a·W + b. The slice has the shape of W; b is one number.

    >>> conv_single_step(np.array([[0, 1], [2, 4]]), np.array([[0, 1], [0.5, 0.25]]), 1)
    array(4.)
    """
    a, W = _float("conv_single_step", "a_slice_prev", a_slice_prev), _float("conv_single_step", "W", W)
    if a.shape != W.shape:
        raise error(ValueError, "conv_single_step", "a_slice_prev", f"the shape of W, {W.shape}", a.shape)
    return dense(a.reshape(-1), W.reshape(-1, 1), _number("conv_single_step", "b", b).reshape(1))[0]


conv_slice = conv_single_step


@_numpy_in_numpy_out
def conv_forward(A_prev: Images, W: Kernel, b: Bias, hparameters: HParameters) -> tuple[Outputs, Cache]:
    """Z = A_prev ∗ W + b, and the cache (A_prev, W, b, hparameters).

    b has k elements in any shape; hparameters are {"stride", "pad" or "padding"}.
    """
    Z = _conv_forward("conv_forward", "A_prev", A_prev, W, b, hparameters)
    return Z, (A_prev, W, b, hparameters)


@_numpy_in_numpy_out
def conv_backward(dZ: Outputs, cache: Cache) -> tuple[Images, Kernel, Bias]:
    """dA_prev, dW and db for the cache (A_prev, W, b, hparameters) of `conv_forward`; db has the shape of b.

    dA_prev += W·dZ, dW += slice·dZ, db += dZ at every position, summed over m: the rule of `jaxcnn.conv`.
    """
    A_prev, W, b, hparameters = _entries("conv_backward", cache, "A_prev, W, b, hparameters")
    return _conv_backward("conv_backward", dZ, "A_prev", A_prev, W, b, hparameters)


@_numpy_in_numpy_out
def ConvBackward(cache: Cache, dZ: Outputs) -> tuple[Images, Kernel, Bias]:
    """dA_prev, dW and db: `conv_backward` with its arguments exchanged."""
    A_prev, W, b, hparameters = _entries("ConvBackward", cache, "A_prev, W, b, hparameters")
    return _conv_backward("ConvBackward", dZ, "A_prev", A_prev, W, b, hparameters)


@_numpy_in_numpy_out
def pool_forward(A_prev: Images, hparameters: HParameters, mode: str = "max") -> tuple[Pooled, Cache]:
    """A, the "max" or "average" of f×f windows, and the cache (A_prev, hparameters), those being {"f", "stride"}."""
    mode = to_choice("pool_forward", "mode", mode, ("max", "average"))
    return _pool_forward("pool_forward", "A_prev", A_prev, hparameters, mode), (A_prev, hparameters)


@_numpy_in_numpy_out
def pool_backward(dA: Pooled, cache: Cache, mode: str = "max") -> Images:
    """At every window, dA_prev += mask·dA (mode "max") or dA / f² ("average").

    The cache is (A_prev, {"f", "stride"}) or (X, f, stride).
    """
    mode = to_choice("pool_backward", "mode", mode, ("max", "average"))
    if isinstance(cache, Sequence) and len(cache) == 3:
        X, f, stride = cache
        return _pool_backward("pool_backward", dA, "X", X, {"f": f, "stride": stride}, mode)
    A_prev, hparameters = _entries("pool_backward", cache, "A_prev, hparameters")
    return _pool_backward("pool_backward", dA, "A_prev", A_prev, hparameters, mode)


@_numpy_in_numpy_out
def forward(
    X: Images, W: Kernel | None, b: Bias | None, pad: int, stride: int, f: int, mode: str = "conv"
) -> tuple[Num[Tensor, "m p q _"], Cache]:
    """Z of one layer and its cache: (X, W, b, pad, stride) for mode "conv", (X, f, stride) for "maxpool" and "avepool".

    A convolution takes its window from W and ignores f; a pool ignores W, b and pad.
    """
    mode = to_choice("forward", "mode", mode, ("conv", "maxpool", "avepool"))
    if mode == "conv":
        return _conv_forward("forward", "X", X, W, b, {"pad": pad, "stride": stride}), (X, W, b, pad, stride)
    pool = "max" if mode == "maxpool" else "average"
    return _pool_forward("forward", "X", X, {"f": f, "stride": stride}, pool), (X, f, stride)


@_numpy_in_numpy_out
def backward(dZ: Outputs, cache: Cache) -> tuple[Images, Kernel, Bias]:
    """dX, dW and db for the cache (X, W, b, pad, stride) of `forward`; the formulas of `conv_backward`."""
    X, W, b, pad, stride = _entries("backward", cache, "X, W, b, pad, stride")
    return _conv_backward("backward", dZ, "X", X, W, b, {"pad": pad, "stride": stride})


@_numpy_in_numpy_out
def create_mask(x: Num[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Where x has its maximum, every one of them: mask = [x = max x], the gradient of the maximum.

    >>> create_mask(np.array([[1.0, 3.0], [3.0, 2.0]]))
    array([[False,  True],
           [ True, False]])
    """
    cells = _float("create_mask", "x", x).reshape(-1, 1)
    one = jnp.ones((1, 1), cells.dtype)
    return _gradients("create_mask", "x", _pool, (len(cells), 1, "max"), one, cells)[0].astype(bool).reshape(x.shape)


max_mask = create_mask


@_numpy_in_numpy_out
def distribute_value(dz: ArrayLike, shape: Sequence[int]) -> Num[Tensor, "..."]:
    """dz / Πshape in every cell: the gradient of a mean over that shape.

    >>> distribute_value(2.0, (2, 2))
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    shape = to_ints("distribute_value", "shape", shape, np.size(shape), minimum=1)
    dz = _float("distribute_value", "dz", _number("distribute_value", "dz", dz)).reshape(1, 1)
    cells = jnp.zeros((math.prod(shape), 1), dz.dtype)
    return _gradients("distribute_value", "dz", _pool, (len(cells), 1, "average"), dz, cells)[0].reshape(shape)


@_numpy_in_numpy_out
def im2col(x: Num[Tensor, "c h w"], hh: int, ww: int, stride: int) -> Num[Tensor, "positions cells"]:
    """The hh×ww windows as rows: (c, h, w) -> (h'·w', c·hh·ww), cols[p, (c, i)] = x[c, s·p + i]."""
    x = _array("im2col", "x", x, "c h w")
    cols = unfold(x, (hh, ww), strides=stride, channel_axis=1)
    return cols.reshape(cols.shape[0], -1).T


@_numpy_in_numpy_out
def col2im(mul: Num[Tensor, "rows F"], h_prime: int, w_prime: int, C: int) -> Num[Tensor, "F ..."]:
    """The columns as images: out[f] = mul[:, f], (h'·w', F) -> (F, h', w'), with C the F output channels, or 1.

    Columns of C > 1 channels, as of a kernel's gradient, become volumes: (C·h'·w', F) -> (F, C, h', w').
    """
    mul, C = _array("col2im", "mul", mul, "rows F"), _int("col2im", "C", C, 1)
    h, w = _int("col2im", "h_prime", h_prime, 0), _int("col2im", "w_prime", w_prime, 0)
    rows, F = mul.shape
    if rows == h * w and C in (1, F):
        return mul.T.reshape(F, h, w)
    if rows != C * h * w:
        raise error(ValueError, "col2im", "mul", f"{(h * w, C)}, or {C * h * w} rows", f"shape {mul.shape}")
    return mul.T.reshape(F, C, h, w)


@_numpy_in_numpy_out
def col2im_back(
    dim_col: Num[Tensor, "positions cells"], h_prime: int, w_prime: int, stride: int, hh: int, ww: int, c: int
) -> Num[Tensor, "c h w"]:
    """dx[c, s·p + i] += dcols[p, (c, i)], the adjoint of `im2col`: (h'·w', c·hh·ww) -> (c, h, w).

    h = (h' − 1)·stride + hh and likewise w: the input cells that some window reaches.
    """
    dim_col = _array("col2im_back", "dim_col", dim_col, "positions cells")
    positions = to_ints("col2im_back", "h_prime, w_prime", (h_prime, w_prime), 2, minimum=1)
    *window, stride, c = to_ints("col2im_back", "hh, ww, stride, c", (hh, ww, stride, c), 4, minimum=1)
    expected = math.prod(positions), c * math.prod(window)
    if dim_col.shape != expected:
        raise error(ValueError, "col2im_back", "dim_col", f"shape {expected}", dim_col.shape)
    output_shape = [(p - 1) * stride + i for p, i in zip(positions, window)]
    return fold(dim_col.T.reshape(-1, *positions), window, output_shape=output_shape, strides=stride, channel_axis=1)


@_numpy_in_numpy_out
def conv_backward_naive(
    dout: Num[Tensor, "n k p q"], cache: Cache
) -> tuple[Num[Tensor, "n c h w"], Num[Tensor, "k c hh ww"], Num[Tensor, " k"]]:
    """dx, dw and db for the cache (x, w, b): channels first, stride 1, no pad; the formulas of `conv_backward`."""
    x, w, b = _entries("conv_backward_naive", cache, "x, w, b")
    dout = _float("conv_backward_naive", "dout", dout, "n k p q")
    x, w = _array("conv_backward_naive", "x", x, "n c h w"), _array("conv_backward_naive", "w", w, "k c hh ww")
    x, w, dz = jnp.moveaxis(x, 1, -1), w.transpose(2, 3, 1, 0), jnp.moveaxis(dout, 1, -1)
    dx, dw, db = _conv_backward("conv_backward_naive", dz, "x", x, w, b, {"pad": 0, "stride": 1})
    return jnp.moveaxis(dx, -1, 1), dw.transpose(3, 2, 0, 1), db.reshape(-1)


@_numpy_in_numpy_out
def conv_back(dZ: Outputs, cache: Cache) -> tuple[Images, Kernel, Num[Tensor, "1 k"]]:
    """dA_prev, dW and db for the cache (A_prev, W, b, stride), no pad; the formulas of `conv_backward`."""
    A_prev, W, b, stride = _entries("conv_back", cache, "A_prev, W, b, stride")
    dA_prev, dW, db = _conv_backward("conv_back", dZ, "A_prev", A_prev, W, b, {"pad": 0, "stride": stride})
    return dA_prev, dW, db.reshape(1, -1)


@_numpy_in_numpy_out
def maxpool_back(dA: Pooled, cache: Cache) -> Images:
    """At every window, dA_prev += mask·dA, for the cache (A_prev, f, stride)."""
    A_prev, f, stride = _entries("maxpool_back", cache, "A_prev, f, stride")
    return _pool_backward("maxpool_back", dA, "A_prev", A_prev, {"f": f, "stride": stride}, "max")


@_numpy_in_numpy_out
def fc_back(
    AL: Num[Tensor, "classes m"],
    cache: Cache,
    X: Num[Tensor, "u m"],
    Y: Shaped[Tensor, "classes m"],
    paras: Sequence[Tensor],
) -> tuple[tuple[Num[Tensor, "v u"], Bias, Num[Tensor, "classes v"], Bias], Num[Tensor, "u m"]]:
    """(dW3, db3, dW4, db4), dX of the head Z3 = W3·X + b3, A3 = relu(Z3), Z4 = W4·A3 + b4, AL = A4 = softmax(Z4).

    The loss is the cross-entropy with Y, summed over the m columns: dZ4 = AL − Y. Then dZ = dA·[Z > 0], and
    dW = dZ·Aᵀ, db = Σ dZ, dA = Wᵀ·dZ in both layers. The cache is (A4, Z4, A3, Z3), paras are (W3, b3, W4, b4), and
    each gradient has the shape of its parameter.
    """
    _, _, A3, Z3 = _entries("fc_back", cache, "A4, Z4, A3, Z3")
    names = "W3, b3, W4, b4"
    W3, b3, W4, b4 = map(_float, ["fc_back"] * 4, names.split(", "), _entries("fc_back", paras, names, "paras"))
    AL, Y = _float("fc_back", "AL", AL, "classes m"), _array("fc_back", "Y", Y, "classes m")
    if Y.shape != AL.shape:
        raise error(ValueError, "fc_back", "Y", f"the shape of AL, {AL.shape}", Y.shape)
    A3, Z3, X = (_float("fc_back", name, A, "u m") for name, A in (("A3", A3), ("Z3", Z3), ("X", X)))
    dW4, db4, dA3 = _gradients("fc_back", "AL", _layer, (), AL - Y.astype(AL.dtype), W4, b4, A3)
    (dZ3,) = _gradients("fc_back", "A3", relu, (), dA3, Z3)
    dW3, db3, dX = _gradients("fc_back", "Z3", _layer, (), dZ3, W3, b3, X)
    return (dW3, db3, dW4, db4), dX


@_numpy_in_numpy_out
def relu_back(Z: Num[Tensor, "*shape"]) -> Num[Tensor, "*shape"]:
    """[Z > 0], the derivative of relu: dZ = dA · relu_back(Z)."""
    Z = _float("relu_back", "Z", Z)
    return _gradients("relu_back", "Z", relu, (), jnp.ones_like(Z), Z)[0]


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _gradients(function, argument, forward, static, dy, *primals):
    """The gradients of forward(*primals, *static) for the cotangent dy; compiled, which drops the unused value."""
    y, pull = jax.vjp(lambda *primals: forward(*primals, *static), *primals)
    if dy.shape != y.shape:
        raise error(ValueError, function, argument, f"shape {y.shape}, that of the output", dy.shape)
    return pull(dy.astype(y.dtype))


@functools.partial(jax.jit, static_argnums=(3, 4))
def _conv(X, W, b, pad, stride):
    return conv(X, W, b.reshape(-1), strides=stride, padding=pad)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _pool(X, f, stride, mode):
    """X is (m, h, w, c), or (cells, 1) for a window of all its cells."""
    window = (f,) * max(1, X.ndim - 2)
    return max_pool(X, window, strides=stride, ties="all") if mode == "max" else avg_pool(X, window, strides=stride)


def _layer(W, b, A):
    return dense(A.T, W.T, b.reshape(-1)).T


def _conv_forward(function, name, X, W, b, hparameters):
    X, W, b = _float(function, name, X, "m h w c"), _float(function, "W", W, "i j c k"), _float(function, "b", b)
    return _conv(X, W, b, *_read(function, hparameters, _PAD))


def _conv_backward(function, dZ, name, X, W, b, hparameters):
    dZ, X = _float(function, "dZ", dZ, "m p q k"), _float(function, name, X, "m h w c")
    W, b = _float(function, "W", W, "i j c k"), _float(function, "b", b)
    return _gradients(function, "dZ", _conv, _read(function, hparameters, _PAD), dZ, X, W, b)


def _pool_forward(function, name, X, hparameters, mode):
    return _pool(_float(function, name, X, "m h w c"), *_read(function, hparameters, ["f"]), mode)


def _pool_backward(function, dA, name, X, hparameters, mode):
    dA, X = _float(function, "dA", dA, "m p q c"), _float(function, name, X, "m h w c")
    return _gradients(function, "dA", _pool, (*_read(function, hparameters, ["f"]), mode), dA, X)[0]


def _array(function: str, argument: str, value: Any, axes: str = "") -> jax.Array:
    value = to_array(function, argument, value, (jnp.number, jnp.bool_))
    if axes and value.ndim != len(axes.split()):
        raise error(ValueError, function, argument, f"the axes ({axes.replace(' ', ', ')})", f"shape {value.shape}")
    return value


def _float(function: str, argument: str, value: Any, axes: str = "") -> jax.Array:
    value = _array(function, argument, value, axes)
    return value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(float)


def _number(function: str, argument: str, value: ArrayLike) -> jax.Array:
    value = jnp.asarray(value)
    if value.size != 1:
        raise error(ValueError, function, argument, "one number", f"shape {value.shape}")
    return value


def _int(function: str, argument: str, value: Any, minimum: int) -> int:
    """An int, also one that has passed through jit in a cache."""
    value = operator.index(value) if isinstance(value, jax.Array) else value
    return to_ints(function, argument, value, 1, minimum=minimum)[0]


def _entries(function: str, values: Any, names: str, argument: str = "cache") -> Sequence[Any]:
    if not isinstance(values, Sequence) or len(values) != len(names.split(", ")):
        got = f"{len(values)} entries" if isinstance(values, Sequence) else type(values).__name__
        raise error(ValueError, function, argument, f"({names})", got)
    return values


def _read(function: str, hparameters: Any, first: Sequence[str]) -> tuple[int, int]:
    """The setting under one of the `first` keys, and the stride."""
    given, settings = list(hparameters) if isinstance(hparameters, Mapping) else [], []
    for keys in (first, ["stride"]):
        found = [key for key in keys if key in given]
        if len(found) != 1:
            raise error(ValueError, function, "hparameters", "one key " + " or ".join(map(repr, keys)), hparameters)
        settings.append(_int(function, found[0], hparameters[found[0]], 0 if keys == _PAD else 1))
    return settings[0], settings[1]
