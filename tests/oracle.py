"""NumPy loops, the independent oracle: slow, in float64, and written from the formulas alone.

First in any number of spatial dimensions, channels last; strides, pads ((low, high) pairs, negative ones crop) and
dilation have an entry per dimension. Then the notebooks' own nests, for 2 dimensions, right for strides and for inputs
and windows that are not square.
"""

import numpy as np


def steps(dims, strides, pads, dilation):
    return strides or (1,) * dims, pads or ((0, 0),) * dims, dilation or (1,) * dims


def output_shape(spatial, window, strides=None, pads=None, dilation=None):
    sizes = zip(spatial, window, *steps(len(window), strides, pads, dilation))
    return tuple(max(0, (n + lo + hi - (k - 1) * d - 1) // s + 1) for n, k, s, (lo, hi), d in sizes)


def visits(spatial, window, strides=None, pads=None, dilation=None):
    """Output positions p, each with its taps (i, a) in row-major order: the cells a = s·p + d·i − lo in the input."""
    moves = list(zip(*steps(len(window), strides, pads, dilation)))
    for p in np.ndindex(*output_shape(spatial, window, strides, pads, dilation)):
        cells = (
            (i, tuple(s * q + d * j - lo for q, j, (s, (lo, _), d) in zip(p, i, moves))) for i in np.ndindex(*window)
        )
        yield p, [(i, a) for i, a in cells if all(0 <= cell < n for cell, n in zip(a, spatial))]


def at(position, channels=slice(None)):
    return (slice(None), *position, channels)


def group_channels(g, groups, w):
    """Of group g: its input channels and its output channels."""
    c, k = w.shape[-2], w.shape[-1] // groups
    return slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)


def conv(x, w, b=None, strides=None, pads=None, dilation=None, groups=1):
    """z[n,p,k] = b[k] + Σ_{i,c} x̃[n, s·p + d·i, c] · w[i,c,k]."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    geometry = x.shape[1:-1], w.shape[:-2], strides, pads, dilation
    z = np.zeros((x.shape[0], *output_shape(*geometry), w.shape[-1])) + (0 if b is None else np.float64(b))
    for p, taps in visits(*geometry):
        for i, a in taps:
            for g in range(groups):
                c, k = group_channels(g, groups, w)
                z[at(p, k)] += x[at(a, c)] @ w[i][:, k]
    return z


def conv_grad(x, w, dz, strides=None, pads=None, dilation=None, groups=1):
    """dx += dz·wᵀ, dw += xᵀ·dz, db += dz, at every output position and every tap."""
    x, w, dz = (np.asarray(a, np.float64) for a in (x, w, dz))
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(w.shape[-1])
    for p, taps in visits(x.shape[1:-1], w.shape[:-2], strides, pads, dilation):
        db += dz[at(p)].sum(0)
        for i, a in taps:
            for g in range(groups):
                c, k = group_channels(g, groups, w)
                dx[at(a, c)] += dz[at(p, k)] @ w[i][:, k].T
                dw[i][:, k] += x[at(a, c)].T @ dz[at(p, k)]
    return dx, dw, db


def paint(spatial, window, strides, pads, dilation, output_padding):
    """A canvas that also has what negative pads add: its shape, where each (p, i) paints on it, and what is kept."""
    moves = list(zip(*steps(len(window), strides, pads, dilation), output_padding or (0,) * len(window)))
    sizes = [(o - 1) * s + (k - 1) * d + 1 + more for o, k, (s, _, d, more) in zip(spatial, window, moves)]
    sizes = [size + max(0, -lo) + max(0, -hi) for size, (_, (lo, hi), _, _) in zip(sizes, moves)]
    kept = tuple(slice(max(0, lo), size - max(0, hi)) for size, (_, (lo, hi), _, _) in zip(sizes, moves))
    strokes = [
        (p, i, tuple(s * q + d * j + max(0, -lo) for q, j, (s, (lo, _), d, _) in zip(p, i, moves)))
        for p in np.ndindex(*spatial)
        for i in np.ndindex(*window)
    ]
    return sizes, strokes, at(kept)


def conv_transpose(x, w, b=None, strides=None, pads=None, dilation=None, groups=1, output_padding=None):
    """z[n, s·p + d·i, k] += x[n,p,c] · w[i,c,k]; then the padding is cropped, and b[k] added."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    canvas, strokes, kept = paint(x.shape[1:-1], w.shape[:-2], strides, pads, dilation, output_padding)
    z = np.zeros((x.shape[0], *canvas, w.shape[-1]))
    for p, i, cell in strokes:
        for g in range(groups):
            c, k = group_channels(g, groups, w)
            z[at(cell, k)] += x[at(p, c)] @ w[i][:, k]
    return z[kept] + (0 if b is None else np.float64(b))


def conv_transpose_grad(x, w, dz, strides=None, pads=None, dilation=None, groups=1, output_padding=None):
    """dx += dz·wᵀ, dw += xᵀ·dz, db += dz, at every input position and every tap."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    canvas, strokes, kept = paint(x.shape[1:-1], w.shape[:-2], strides, pads, dilation, output_padding)
    dx, dw, padded = np.zeros(x.shape), np.zeros(w.shape), np.zeros((x.shape[0], *canvas, w.shape[-1]))
    padded[kept] = dz
    for p, i, cell in strokes:
        for g in range(groups):
            c, k = group_channels(g, groups, w)
            dx[at(p, c)] += padded[at(cell, k)] @ w[i][:, k].T
            dw[i][:, k] += x[at(p, c)].T @ padded[at(cell, k)]
    return dx, dw, np.asarray(dz, np.float64).reshape(-1, w.shape[-1]).sum(0)


def max_pool(x, window, strides=None, pads=None, dilation=None):
    """y[n,p,c] = max_i x[n, a(p,i), c]; −inf where a window has no cell of the input, NaN where it has one."""
    x = np.asarray(x, np.float64)
    geometry = x.shape[1:-1], window, strides or window, pads, dilation
    y = np.full((x.shape[0], *output_shape(*geometry), x.shape[-1]), -np.inf)
    for p, taps in visits(*geometry):
        for _, a in taps:
            y[at(p)] = np.maximum(y[at(p)], x[at(a)])
    return y


def max_pool_grad(x, dy, window, strides=None, pads=None, dilation=None, ties="first"):
    """dx += dy·mask at every window: its first maximum, all of them in full, or all with even shares."""
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    dx = np.zeros(x.shape)
    for p, taps in visits(x.shape[1:-1], window, strides or window, pads, dilation):
        if taps:
            cells = np.stack([x[at(a)] for _, a in taps])
            mask = (cells == cells.max(0)) | np.isnan(cells)
            share = {"first": mask & (mask.cumsum(0) == 1), "all": mask, "even": mask / mask.sum(0)}[ties]
            for (_, a), part in zip(taps, share):
                dx[at(a)] += dy[at(p)] * part
    return dx


def avg_pool(x, window, strides=None, pads=None, dilation=None, count_include_pad=True):
    """y[n,p,c] = 1/N[p] · Σ_i x̃[n, s·p + d·i, c], N all taps or those in the input."""
    x = np.asarray(x, np.float64)
    geometry = x.shape[1:-1], window, strides or window, pads, dilation
    y = np.zeros((x.shape[0], *output_shape(*geometry), x.shape[-1]))
    for p, taps in visits(*geometry):
        for _, a in taps:
            y[at(p)] += x[at(a)] / (np.prod(window) if count_include_pad else len(taps))
    return y


def avg_pool_grad(x, dy, window, strides=None, pads=None, dilation=None, count_include_pad=True):
    """dx += dy / N at every window."""
    dx = np.zeros(np.shape(x))
    for p, taps in visits(dx.shape[1:-1], window, strides or window, pads, dilation):
        for _, a in taps:
            dx[at(a)] += np.float64(dy[at(p)]) / (np.prod(window) if count_include_pad else len(taps))
    return dx


def zero_pad(x, pad):
    return np.pad(np.asarray(x, np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))


def slices(x, f_h, f_w, stride, pad=0):
    """The notebooks' nest over examples, rows and columns: (i, h, w) and where the window lies in the padded input."""
    for i in range(x.shape[0]):
        for h in range((x.shape[1] + 2 * pad - f_h) // stride + 1):
            for w in range((x.shape[2] + 2 * pad - f_w) // stride + 1):
                yield i, h, w, np.s_[i, h * stride : h * stride + f_h, w * stride : w * stride + f_w]


def conv_forward(x, w, b, stride, pad, bias_per_element=False):
    f_h, f_w, _, k = w.shape
    padded, b = zero_pad(x, pad), b.reshape(-1)
    height, width = ((n + 2 * pad - f) // stride + 1 for n, f in zip(x.shape[1:3], (f_h, f_w)))
    z = np.zeros((x.shape[0], height, width, k))
    for i, row, column, window in slices(x, f_h, f_w, stride, pad):
        for c in range(k):
            products = padded[window] * w[..., c]
            z[i, row, column, c] = np.sum(products + b[c]) if bias_per_element else np.sum(products) + b[c]
    return z


def conv_forward_bias_per_element(x, w, b, stride, pad):
    """The forward pass of notebook 1, with its mistake: Σ (slice·w + b), a bias for every element of the kernel."""
    return conv_forward(x, w, b, stride, pad, bias_per_element=True)


def conv_backward(x, w, dz, stride, pad):
    padded, d_padded = zero_pad(x, pad), zero_pad(np.zeros(x.shape), pad)
    dw, db = np.zeros(w.shape), np.zeros(w.shape[-1])
    for i, row, column, window in slices(x, *w.shape[:2], stride, pad):
        for c in range(w.shape[-1]):
            d_padded[window] += w[..., c] * dz[i, row, column, c]
            dw[..., c] += padded[window] * dz[i, row, column, c]
            db[c] += dz[i, row, column, c]
    return d_padded[:, pad : pad + x.shape[1], pad : pad + x.shape[2]], dw, db


def pool_forward(x, f, stride, mode):
    height, width = ((n - f) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((x.shape[0], height, width, x.shape[3]))
    for i, row, column, window in slices(x, f, f, stride):
        for c in range(x.shape[3]):
            y[i, row, column, c] = (np.max if mode == "max" else np.mean)(x[window][..., c])
    return y


def pool_backward(x, dy, f, stride, mode):
    dx = np.zeros(x.shape)
    for i, row, column, window in slices(x, f, f, stride):
        for c in range(x.shape[3]):
            cells = x[window][..., c]
            share = cells == np.max(cells) if mode == "max" else np.full((f, f), 1 / f**2)
            dx[window][..., c] += share * dy[i, row, column, c]
    return dx
