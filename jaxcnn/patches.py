"""Patches: the cells of each window side by side (im2col), and their sum back into place (col2im)."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Num

from jaxcnn.arguments import AnyArray, accumulator, channels_last, error, spatial_dims, to_array, to_ints
from jaxcnn.shards import per_shard
from jaxcnn.taps import UNROLL, read_taps, write_taps
from jaxcnn.window import Ints, Padding, Window


def unfold(
    x: Num[AnyArray, "..."],
    window: Ints,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    channel_axis: int = -1,
) -> Num[Array, "..."]:
    """The cells of each window side by side (im2col).

        cols[n, p, c·T + i] = x̃[n, s·p + d·i, c]                     x̃: x, padded with zeros; T taps, row-major
        dx                  = fold(dcols)

    The channel is the slow index, as in `lax.conv_general_dilated_patches` and PyTorch. A convolution is
    `unfold(x, w.shape[:-2]) @ jnp.moveaxis(w, -2, 0).reshape(-1, k)`.

    Args:
      x: (n, *spatial, c), or (n, c, *spatial) with `channel_axis=1`; none or several batch dimensions work too.
      window: a size per spatial dimension; an int is for all of them, with x of one batch dimension.
      strides, padding, dilation: as in `jaxcnn.conv`.

    Returns:
      cols: (n, *output, c·T), laid out and typed like x.

    Keeps nothing; recomputes nothing.

    Raises:
      ValueError: a window that does not fit x, an option out of its range.
      TypeError: x is no array of numbers.

    Source: `im2col` of the classic NumPy notebooks.

    >>> unfold(jnp.arange(4)[:, None], (2,))
    Array([[0, 1],
           [1, 2],
           [2, 3]], dtype=int32)
    """
    x = to_array("unfold", "x", x)
    x, restore = channels_last("unfold", x, spatial_dims("unfold", window, x), channel_axis)
    geometry = Window.of("unfold", x.shape[1:-1], window, strides=strides, padding=padding, dilation=dilation)
    return restore(per_shard(_unfold, "n… -> n…")(x, geometry))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _unfold(x: Num[Array, "n *spatial c"], window: Window) -> Num[Array, "n *output c_taps"]:
    return _unfold_fwd(x, window)[0]


def _unfold_fwd(x, window):
    return _read(x, window), None


def _unfold_bwd(window, _, dcols):
    return (_write(dcols, window),)


_unfold.defvjp(_unfold_fwd, _unfold_bwd)


def fold(
    cols: Num[AnyArray, "..."],
    window: Ints,
    *,
    output_shape: Ints,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    channel_axis: int = -1,
) -> Num[Array, "..."]:
    """The sum of patches in their places (col2im), the adjoint of `unfold`.

        x[n,a,c] = Σ_{(p,i): s·p + d·i − lo = a} cols[n, p, c·T + i]
        dcols    = unfold(dx)

    Args:
      cols: (n, *positions, c·T), or (n, c·T, *positions) with `channel_axis=1`, as `unfold` gives them.
      window, strides, padding, dilation: as given to `unfold`.
      output_shape: the spatial shape of the result.

    Returns:
      x: (n, *output_shape, c), laid out and typed like cols; 16-bit floats are summed in float32.

    Keeps nothing; recomputes nothing.

    Raises:
      ValueError: cols of another shape than `unfold` of the result would have, an option out of its range.
      TypeError: cols is no array of numbers.

    Source: `col2im_back` of the classic NumPy notebooks, with the row that their stride gets wrong.

    >>> fold(jnp.ones((3, 2)), (2,), output_shape=4)[:, 0]
    Array([1., 2., 2., 1.], dtype=float32)
    """
    cols = to_array("fold", "cols", cols)
    dims = spatial_dims("fold", window, cols)
    cols, restore = channels_last("fold", cols, dims, channel_axis)
    output_shape = to_ints("fold", "output_shape", output_shape, dims, minimum=0)
    geometry = Window.of("fold", output_shape, window, strides=strides, padding=padding, dilation=dilation)
    if cols.shape[1:-1] != geometry.output:
        expected = f"{geometry.output} windows, as unfold of shape {output_shape} gives"
        raise error(ValueError, "fold", "cols", expected, cols.shape[1:-1])
    if cols.shape[-1] % geometry.taps:
        raise error(ValueError, "fold", "cols", f"a multiple of {geometry.taps} taps as channels", cols.shape[-1])
    return restore(per_shard(_fold, "n… -> n…")(cols, geometry))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _fold(cols: Num[Array, "n *output c_taps"], window: Window) -> Num[Array, "n *spatial c"]:
    return _fold_fwd(cols, window)[0]


def _fold_fwd(cols, window):
    return _write(cols, window), None


def _fold_bwd(window, _, dx):
    return (_read(dx, window),)


_fold.defvjp(_fold_fwd, _fold_bwd)


def _read(x, window):
    n, c = x.shape[0], x.shape[-1]
    columns = n, *window.output, c * window.taps

    def by_index(x):
        before = [max(lo, 0) for lo, _ in window.pads]
        x = jnp.pad(x, [(0, 0), *((lo, max(hi, 0)) for lo, (_, hi) in zip(before, window.pads)), (0, 0)])
        for dim, lo in enumerate(before):
            x = jnp.moveaxis(jnp.take(x, window.cells(dim) + lo, 1 + dim, mode="clip"), 2 + dim, -1)
        return x.reshape(columns)

    def positions_last(x):
        read = read_taps(x, window, 0)
        cells = [read(tap).reshape(n, -1, c).swapaxes(1, 2) for tap in range(window.taps)]
        return jnp.stack(cells, 2).reshape(n, c * window.taps, -1).swapaxes(1, 2).reshape(columns)

    return _unless_tpu(by_index, positions_last, x, window)


def _write(cols, window):
    n, c = cols.shape[0], cols.shape[-1] // window.taps
    x = jax.ShapeDtypeStruct((n, *window.input, c), accumulator(cols.dtype))

    def by_index(cols):
        cells = cols.astype(x.dtype).reshape(n, *window.output, c, window.taps)
        return write_taps(lambda tap: lax.dynamic_index_in_dim(cells, tap, -1, keepdims=False), x, window)

    def positions_last(cols):
        cells = cols.astype(x.dtype).reshape(n, -1, c * window.taps).swapaxes(1, 2).reshape(n, c, window.taps, -1)
        return write_taps(lambda tap: cells[:, :, tap].swapaxes(1, 2).reshape(n, *window.output, c), x, window)

    return _unless_tpu(by_index, positions_last, cols, window).astype(cols.dtype)


def _unless_tpu(by_index, positions_last, array, window):
    """by_index(array); on a TPU, which moves the cells of the last axis one by one, positions stand there meanwhile."""
    if window.taps > UNROLL or 0 in array.shape or 0 in window.output:
        return by_index(array)
    return lax.platform_dependent(array, tpu=positions_last, default=by_index)
