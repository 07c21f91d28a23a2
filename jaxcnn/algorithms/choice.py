"""Which algorithm computes which map on a CPU: decided by window and shapes, while tracing.

The numbers are milliseconds on 2 cores in float32, JAX 0.10.2 (0.12), of rows of `benchmarks/ops.py`, or of the
shapes that are named, and of the same computed by the algorithm that lost.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from jaxcnn.algorithms import (
    apart,
    blocks,
    columns,
    depthwise,
    dilated,
    direct,
    exchanged,
    flat,
    fourier,
    grouped,
    lanes,
    matmul,
    native,
    phases,
    planes,
    products,
    shifts,
    tapwise,
    winograd,
)
from jaxcnn.algorithms.native import Algorithm
from jaxcnn.memory import are_one
from jaxcnn.taps import UNROLL
from jaxcnn.window import Convolution, Window

Shape = tuple[Any, ...]
NARROW = 8  # channels; fewer leave a convolution with stride 1 too little to multiply
FEW = 16  # convolutions that a program may become
WIDE = 32  # channels; fewer make the transforms of tiles dearer than the products
SHORT = 3  # taps in one dimension; copies of dz for more, and none of x, make no square matrices
SUMMED = 128  # taps of a channel that are summed one by one: 9×9/2 in 1.6 (1.6), by transforms 8.2 (6.3)
LONG = 64  # numbers of a window of x; with no more of them the copies of x are too narrow for a product
SMALL = 9  # taps; the columns of a larger window cost as much as they win
MOST = 64 * 64  # numbers of a tap of a group; with more of them a group has its own dense kernel gradient
FRESH = 48e6  # bytes of columns that the library of one core makes anew for each call, at more cost than the products
CALLS = 6e6  # products of numbers, of a tap; fewer (forward: a quarter) are done sooner than Winograd's are called
LARGE = 8e6  # bytes of the columns of an example; strips of it copy rows that they share
MANY = 32  # examples; with as many or more native kernel gradients of few channels to few are slow
AT_ONCE = 16e6  # bytes of copies; more of them fall out of the cache before they are used
THIN = 16  # channels; no more leave the forward map's columns, and the native kernel gradient, too little to multiply


def forward(x: Shape, w: Shape, conv: Convolution) -> Algorithm:
    if conv.window.taps > 1 and native.on_all_cores(conv) and w[-1] > NARROW and matmul.fits(conv):
        return native.forward  # 8×8/8 of 3 channels, (8,224,224): (3.4), matmul 5.0 (6.0)
    if matmul.fits(conv):  # 3×3/3 of 96 to 48 channels, (2,56,56): 1.9 (1.6), columns 0.85 (0.54)
        small = conv.window.dims < 3 and 4 < conv.window.taps <= SMALL and x[-1] > NARROW
        return columns.forward if small else matmul.forward
    if conv.groups == x[-1] > 1 and conv.window.taps <= SUMMED:  # MobileNet 3×3: 2.4, by autodiff 145
        return depthwise.forward
    if conv.groups == x[-1] > 1:  # RepLKNet 31×31: 1.8 (1.6), tap by tap 42 (11)
        return fourier.forward if fourier.fits(conv) else native.forward
    if conv.groups > 1 and lanes.fits(conv, w[-2], w[-1] // conv.groups):
        # ResNeXt of 4: 4.5 (4.2), direct 7.2; of 8: 4.2 (5.2), merged 5.8 (6.3); 3×3×3 of 4: 1.2 (1.5), 4.9 (4.4)
        return lanes.forward
    if direct.fits(conv, w[-2], w[-1] // conv.groups):  # MobileNet 3×3/2 of 3: 2.5 (2.5), native 9.9 (3.2)
        return direct.forward
    if conv.groups > 1:  # CondenseNet, 4 groups: 9.4 (9.6), by autodiff 78 (29)
        return partial(grouped.forward, dense=_run(forward))
    c, k = w[-2:]
    # C3D's dx: 13 (12) and 20 MB, planes 28 (29) and 45; 3×3×3 of 32 to 2, (1,32,32,32): 2.6 (1.7), products 2.6 (2.1)
    if planes.fits_in_sums(conv) and k <= c and not flat.fits(conv):
        return partial(planes.forward_in_sums, dense=_run(forward))
    of_library = native.on_one_core(conv, c, k)
    shrinks = math.prod(conv.window.output) < math.prod(conv.window.input)
    # 3×3 of 32 to 8 channels, (8,64,64): products 5.8, native 2.2; of 96 to 4, (8,48,48): 1.9, 2.3
    slow = conv.window.dims != 2 or c <= THIN or (of_library and (c > 2 * WIDE or (shrinks and k <= NARROW)))
    if slow and max(conv.window.strides) == 1 and products.fits(conv, k, c):
        return products.forward  # dilated 3×3, 96 to 3 channels: 3.1, native 40 (2.4); 16 to 4: 1.4 (1.2), 3.1 (3.5)
    if flat.fits(conv):  # 3×1×1 of 45 to 64 channels, (1,16,56,56): 10 (6.3), planes 33 (32)
        return partial(flat.forward, dense=_run(forward))
    if blocks.fits(conv) and x[-1] <= NARROW and conv.window.dims == 3:
        return partial(blocks.forward, dense=_run(forward))
    if planes.fits(conv):  # C3D: 47, native 61
        return partial(planes.forward, dense=_run(forward))
    if math.prod(conv.window.input) < conv.window.taps <= UNROLL:  # ResNet 3×3 on (32,2,2,512): 4 (4), native 263 (253)
        return columns.forward
    # ResNet: 24 (24), native 48 (31); (1,150,150,128): 24 (20), 42 (33); (2,112,112,32): 1.9 (2.0), 2.8 (2.5)
    # but 32 groups of 32, (8,7,7): 6.2 (6.8), taller 3.2, native (5.1); 32 of (4,14,14): 0.21 (0.21), 0.18 (0.20)
    called_for = 4 * _products_of_tap(x[0], c, k, conv) >= CALLS
    if winograd.fits(conv) and winograd.pays(conv, x[0], c, k) and min(c, k) >= WIDE and called_for:
        return winograd.forward
    # DeepLab: 11 (11), native 20 (19), dilation 4: 15 (16), 19 (20); but 12 of (2,33,33,256): 15 (16), 13 (17)
    if _pays_interleaved(x[0], c, k, conv, 0.6):
        return partial(dilated.forward, dense=_run(forward))
    if of_library and k <= NARROW and not shrinks:  # 7×7 of 64 to 3 channels, (1,256,256): 12, taller 60
        return native.forward
    if of_library:
        if native.grows(conv):  # U-Net 3×3, 16 to 32 channels: 9.2, native 13 (8.4)
            return native.taller
        # ResNet 7×7/2: 17, native 21 (13); AlexNet 11×11/4: 8.8, 11 (6.9); but 3×3/2 of 8 to 32 channels 0.6, 0.4 (0.3)
        if blocks.fits(conv) and 2 * c <= NARROW and conv.window.taps > SMALL:
            return partial(blocks.forward, dense=_run(forward))
        of_one = columns.size((1, *x[1:]), conv)
        if max(conv.window.strides) > 1 and c > THIN and conv.window.taps <= SMALL and of_one <= columns.CHUNK:
            return columns.forward  # ResNet 3×3/2: 13, native 20 (9.9); DCGAN 4×4/2: 3.5, native 2.7
        return native.in_chunks
    return native.forward


def input_gradient(dz: Shape, w: Shape, conv: Convolution) -> Algorithm:
    if matmul.fits(conv):  # ViT 16×16: 15, by autodiff 526
        return matmul.input_gradient
    if conv.groups > 1 and w[-2] == 1:
        dense, taps = max(conv.window.strides) == 1, conv.window.taps
        if taps <= (SUMMED if dense else fourier.TAPS * math.prod(conv.window.strides)):
            return depthwise.input_gradient
        if fourier.fits(conv):
            return fourier.input_gradient
        return native.input_gradient if dense else depthwise.input_gradient
    if conv.groups > 1 and max(conv.window.strides) == 1 and lanes.fits(conv, w[-1] // conv.groups, w[-2]):
        return lanes.input_gradient  # groups of 2 to 4 channels, (8,28,28,64): 0.9 (0.7), direct 3.0 (1.9)
    if conv.groups > 1 and max(conv.window.strides) == 1 and direct.fits(conv, w[-1] // conv.groups, w[-2]):
        return direct.input_gradient  # of too few products for lanes
    each_apart = 1 < phases.convolutions(conv) == math.prod(conv.window.strides)
    if conv.groups > 1 and each_apart and direct.fits_phases(conv, w[-1] // conv.groups, w[-2]):
        # ResNeXt 3×3/2: 5.8 (5.8), merged 20 (14)
        return partial(phases.input_gradient, forward=direct.forward, summed=True)
    if conv.groups > 1 and each_apart and lanes.fits(conv, w[-1] // conv.groups, w[-2]):
        # 5×5/2, groups of 4, (8,28,28,128): 0.5 (0.6), merged 2.2 (2.4)
        return partial(phases.input_gradient, forward=lanes.forward, summed=True)
    if conv.groups > 1:
        return partial(grouped.input_gradient, dense=_run(input_gradient))
    c, k = w[-2:]
    # voxel decoder: 25 (25), blocks 86 (34); ResNet 7×7/2: 20 (19), 35 (37); 3×3 of 3 to 8, (8,107,107): 0.9 (1.1),
    # direct 2.4 (2.9)
    if (max(conv.window.strides) > 1 or k <= NARROW) and 2 * c <= NARROW and products.fits(conv, c, k):
        return products.input_gradient
    if blocks.fits(conv) and c <= NARROW:  # 5×5/2 of 8 to 64 channels, (8,112,112): 4.5, phases 12
        return partial(blocks.input_gradient, dense=_run(input_gradient))
    flipped = conv._replace(window=conv.window.mirrored())
    if max(conv.window.strides) == 1 and forward(dz, (*w[:-2], w[-1], w[-2]), flipped) is winograd.forward:
        return winograd.input_gradient
    if phases.convolutions(conv) <= FEW:  # at stride 1 the convolution with the flipped kernel
        largest = tuple(-(-size // s) for size, s in zip(conv.window.size, conv.window.strides))
        summed = direct.fits(conv._replace(window=replace(conv.window, size=largest)), k, c)
        return partial(phases.input_gradient, forward=_run(forward), summed=summed)
    return native.input_gradient


def kernel_gradient(x: Shape, dz: Shape, conv: Convolution) -> Algorithm:
    c, k, taps = x[-1], dz[-1], conv.window.taps
    if matmul.fits(conv) and (min(taps, conv.window.dims) == 1 or 2 * c <= NARROW or taps > UNROLL):
        return matmul.kernel_gradient  # ConvNeXt's 4×4/4: 4.9 (4.8), columns 6.2 (6.5)
    if matmul.fits(conv) and not tapwise.fits(x, conv):  # 5×5/5 of 8 channels, (32,88,88): 4.0 (3.9), matmul 6.9 (5.9)
        return columns.kernel_gradient
    if conv.groups > 1:
        return _kernel_gradient_of_groups(x, dz, conv)
    if conv.window.dims == 1:
        return _kernel_gradient_of_lines(x, dz, conv)
    if winograd.fits(conv) and _sums_in_tiles(x[0], c, k, conv):
        return winograd.kernel_gradient
    if _pays_interleaved(x[0], c, k, conv, 0.55):  # DeepLab: 15 (15), apart 20 (21); but dilation 4: 19 (21), 19 (20)
        return partial(dilated.kernel_gradient, dense=_run(kernel_gradient))
    if _pays_apart(c, k, conv):
        return apart.kernel_gradient
    if _sums_in_blocks(x[0], c, k, conv):  # 5×5/2 of 64 to 128, (16,32,32): 11 (12), columns 14 (14), native 20 (20)
        return partial(blocks.kernel_gradient, dense=_run(kernel_gradient))
    # DCGAN 4×4/2, 64 to 128, (64,32,32): 34 (35), native (75), columns 37 (38); of 32, (4,80,80): 3.5 (3.2), 5.9 (4.5)
    strided = conv.window.dims == 2 and max(conv.window.strides) > 1 and SMALL < taps <= UNROLL
    if strided and min(c, k) > NARROW and columns.size((1, *x[1:]), conv) <= LARGE:
        return apart.kernel_gradient if c >= 2 * WIDE and apart.fits(conv) else columns.kernel_gradient
    # 5×5 of 32 to 64 channels, (4,80,80): (15), shifts (22); 8×8/2 of 64 to 48, (8,60,60): (14), tapwise (21); but
    # 3×3/2 of 128 to 256 channels, (32,28,28): (26), columns (25)
    wide_columns = max(conv.window.strides) > 1 and taps <= SMALL and c > 2 * WIDE
    if native.sums_on_all_cores(conv) and min(c, k) >= WIDE and not wide_columns and _keeps_operands(conv.window):
        return native.kernel_gradient_in_chunks
    # 7×7 of 64 to 3 channels, (1,256,256): 19 (15), shifts 109 (87); 3×3×3 of 256 to 4, (2,22,22,22): 13 (12), 86 (85)
    if exchanged.fits(conv) and taps > 1 and 2 * k <= c:
        return partial(exchanged.kernel_gradient, dense=_run(kernel_gradient))
    if flat.fits(conv) and not matmul.fits(conv):  # 3×1×1 of 45 to 64, (1,16,56,56): 12 (9.2), planes 38 (36)
        return partial(flat.kernel_gradient, dense=_run(kernel_gradient))
    if conv.window.dims == 3 and max(conv.window.strides) > 1 and x[-1] <= NARROW:
        return columns.kernel_gradient  # voxel decoder: 7.9 (7.6), planes 14
    if planes.fits(conv) and not matmul.fits(conv):  # C3D: 51, columns 116
        return partial(planes.kernel_gradient, dense=_run(kernel_gradient))
    if tapwise.fits(x, conv) and (min(c, k) >= 2 * WIDE or not shifts.fits(conv)):
        return tapwise.kernel_gradient  # 4×4/2, 96 to 16 channels, (8,86,86): 13 (14), native 37 (44)
    if taps <= UNROLL and shifts.fits(conv) and c >= NARROW and c * taps > LONG:
        # U-Net 3×3, 16: 5.7 (7.4), native 9.2 (12); 7×7 of 8: 2.9 (6.6), native 5.3 (8)
        # dilated 3×3 of 16 to 256, (2,103,103): columns 15 (14), shifts 34 (33)
        narrower = shifts.bytes_of_one(c, k, conv) <= columns.size((1, *x[1:]), conv)
        return shifts.kernel_gradient if narrower else columns.kernel_gradient
    many = isinstance(x[0], int) and x[0] >= MANY
    # 3×3 of 4 to 12 channels, (32,64,64): 4.5 (2.7), native 12 (6.2); 5×5 of 3 to 16, (64,32,32): 3.8 (2.2), 8.8 (3.3)
    if many and 2 < c < NARROW < k <= THIN and taps <= UNROLL and shifts.fits(conv):
        return shifts.kernel_gradient
    if native.on_one_core(conv, c, k) and taps <= UNROLL and isinstance(x[0], int) and columns.size(x, conv) > FRESH:
        return columns.kernel_gradient  # 7×7/2 of 96 to 24, (32,47,47): 53, native 240 (53)
    if _in_columns(x[0], c, k, conv.window):
        return columns.kernel_gradient
    # 16×16/8 of 21 channels, (2,136,136): (2.8), native (9.6); AlexNet 11×11/4: (10), (13); but 9×9/1 of 4 (8.6), (4.9)
    if native.sums_on_all_cores(conv) and min(conv.window.strides) > 2:
        return native.kernel_gradient_in_chunks
    return native.kernel_gradient


def _sums_in_tiles(n: Any, c: int, k: int, conv: Convolution) -> bool:
    """Whether Winograd's form of the kernel gradient pays; with large tiles also of few channels.

    ResNet 3×3, 128 channels: 9.3 (9.0), native 26 (22); 16 to 64, (8,56,56): 2.0 (2.2), columns 4.4 (3.8); 8 to 32,
    (2,112,112): 0.8 (0.9), 1.6 (1.5). But 16 of (32,14,14), a matter of calls: 0.46 (0.47), shifts 0.37 (0.38).
    """
    if winograd.choose(conv, n, c, k) is winograd.SMALL:
        return winograd.pays(conv, n, c, k) and c >= WIDE and k > THIN and c * k > WIDE**2
    return min(c, k) >= NARROW and max(c, k) > THIN and _products_of_tap(n, c, k, conv) >= CALLS


def _products_of_tap(n: Any, c: int, k: int, conv: Convolution) -> int:
    """Of an example, if it is not known how many there are."""
    return (n if isinstance(n, int) else 1) * math.prod(conv.window.output) * c * k


def _sums_in_blocks(n: Any, c: int, k: int, conv: Convolution) -> bool:
    """Whether the blocks of a strided window, beside each other, are a dense one that Winograd's form makes cheap.

    5×5/2 of 3 to 32, (4,224,224): 3.7 (4.5), columns 5.7 (7.1); 6×6/2 of 64, (8,60,60): 8.9 (8.5), tapwise 31, native
    (24); AlexNet: 8.5 (12), native 45 (13). But 5×5/2 of 128 to 256, (16,16,16), few tiles: 22 (20), columns 12 (12).
    """
    if not blocks.fits(conv) or conv.window.dims != 2:
        return False
    form, c = blocks.dense_form(conv), math.prod(conv.window.strides) * c
    if not (winograd.fits(form) and _sums_in_tiles(n, c, k, form)):
        return False
    return _part_in_tiles(conv, math.prod(conv.window.strides), form, n, c, k) <= 0.7


def _part_in_tiles(conv: Convolution, times: int, form: Convolution, n: Any, c: int, k: int) -> float:
    """So many times the products of Winograd's form of `form`, over those of conv."""
    products = times * winograd.entries(form, winograd.choose(form, n, c, k))
    return products / (conv.window.taps * math.prod(conv.window.output))


def _pays_interleaved(n: Any, c: int, k: int, conv: Convolution, most: float) -> bool:
    """Whether a dilated 3×3 has at most this part of its products where Winograd's form makes it of dense images."""
    form, images = dilated.dense_form(conv), math.prod(conv.window.dilation)
    if not (dilated.fits(conv) and winograd.fits(form) and min(c, k) >= WIDE and c * k > WIDE**2):
        return False
    fewer = _part_in_tiles(conv, images, form, n * images, c, k) <= most
    return fewer and winograd.pays(form, n * images, c, k)


def _pays_apart(c: int, k: int, conv: Convolution) -> bool:
    """Whether one group in the plane, at stride 1, is multiplied as several are, XLA transposing neither factor.

    5×5 of 64 channels, (4,64,64): 24, tapwise 43; 3×3 of 256, dilation 2, (4,28,28): 20 (20), native 23 (28); 7×1 of
    128 to 192, (16,17,17): 10 (10), native 44 (32). But 5×5 of 96 to 64, (16,28,28): (23), native (19).
    9×9 of 8, (2,128,128): 6.4 (7.1), native 54 (41); of 32, (4,64,64): 25 (23), 29 (18).
    """
    if conv.window.dims != 2 or max(conv.window.strides) > 1:
        return False
    native_is_fast = native.sums_on_all_cores(conv)
    if conv.window.taps > UNROLL:
        pays = min(c, k) >= NARROW and not (native_is_fast and max(c, k) >= WIDE)
    else:
        pays = min(c, k) >= 2 * WIDE and not (native_is_fast and max(c, k) <= 4 * WIDE)
    return pays and apart.fits(conv) and shifts.bytes_of_one(c, k, conv) <= FRESH


def _kernel_gradient_of_groups(x: Shape, dz: Shape, conv: Convolution) -> Algorithm:
    if conv.groups == x[-1]:  # RepLKNet 31×31: 1.7 (1.4), tap by tap 10 (17); MobileNet 3×3: 2.6 (2.8), as sums 63 (63)
        return fourier.kernel_gradient if fourier.fits(conv) else lanes.kernel_gradient
    dense, c, k = conv._replace(groups=1), x[-1] // conv.groups, dz[-1] // conv.groups
    if lanes.fits_kernel_gradient(conv, c, k):  # groups of 2, (8,56,56,128): 4.9 (4.6), apart 30; of 4: 6.0 (4.5), 24
        return lanes.kernel_gradient
    strided = max(conv.window.strides) > 1 and not matmul.fits(dense)
    if apart.fits(conv) and (strided or c * k <= MOST or are_one(x[0], 1)):
        return apart.kernel_gradient  # ResNeXt: 6.0 (4.7), merged 8.2 (7.9); /2: 8 (6), 20 (20), autodiff 5000
    chosen = matmul.fits(dense) or winograd.fits(dense) or conv.window.dims == 3
    return partial(grouped.kernel_gradient, dense=_run(kernel_gradient) if chosen else native.kernel_gradient)


def _kernel_gradient_of_lines(x: Shape, dz: Shape, conv: Convolution) -> Algorithm:
    (n, c, k), taps, strided = (x[0], x[-1], dz[-1]), conv.window.taps, max(conv.window.strides) > 1
    if not strided and taps <= SHORT and c >= k and c > NARROW:
        return shifts.kernel_gradient  # causal, 128 to 32: 9.8 (11), native 14 (16); WaveNet: 5.9 (4.7), 6.4 (7.7)
    if strided and taps <= SMALL and c > NARROW:  # 4 taps/2 of 32 channels, (2,1837): 0.43 (0.38), native 1.1 (0.7)
        return apart.kernel_gradient
    if strided and taps <= UNROLL and c <= NARROW and k > THIN:  # 25/4 of 1 to 64, (4,16384): 0.8 (1.2), 2.4 (1.4)
        return columns.kernel_gradient
    return columns.kernel_gradient if _in_columns(n, c, k, conv.window) else native.kernel_gradient


def _in_columns(n: Any, c: int, k: int, window: Window) -> bool:
    """Whether the kernel gradient is faster with columns. Of one example, as under vmap, the native one is slow."""
    alone = are_one(n, 1)
    if not _keeps_operands(window) and window.taps <= UNROLL:
        return True  # 4 taps of 96 to 256, (4,1216), 2 pads: 7.5 (11), native 546 (614)
    # 9×9 of 4 to 64, (8,96,96): 39 (30), native 500 (97); but AlexNet 11×11/4: 11 (12), native 13 (9.6)
    widens = 2 * c <= NARROW and k > WIDE and max(window.strides) <= 2
    if not 1 < window.taps <= (2 * UNROLL if c <= NARROW and (alone or widens) else UNROLL):
        return False
    if window.dims == 1:  # M5: 2.8 (2.8), native 2.0 (1.9); one by one 3.0 (3.0), native 13 (12)
        return alone or k <= THIN < c
    if c <= NARROW:  # VGG 3×3 of 3: 4.9 (4.4), native 7.6 (5.6); LeNet 5×5: 0.8 (0.7), native 0.6 (0.5)
        return (k > THIN) != alone
    return k <= THIN or window.taps <= SMALL  # 3×3/2 of 16 to 8 channels, (8,112,112): 1.1 (1.1), native 3.2 (3.5)


def _keeps_operands(window: Window) -> bool:
    """Whether XLA leaves x the input of the native kernel gradient: it convolves the smaller over the larger."""
    return math.prod(window.output) <= math.prod(window.input)


def of_batch(name: str, chosen: Algorithm, size: Any, a: Shape, b: Shape, conv: Convolution) -> Algorithm | None:
    """What computes so many of the maps that `chosen` computes one of, all at once. None: they go one by one."""
    sums = [m for form in (depthwise, direct, lanes) for m in (form.forward, form.input_gradient)]
    if chosen in sums:  # MobileNet 3×3: 10, one by one 30
        return chosen
    if name != "kernel_gradient" or conv.groups > 1 or not (isinstance(size, int) and isinstance(a[0], int)):
        return None
    if conv.window.taps == 1:  # 512 to 128 channels: 11 (11), one by one 17 (17)
        return chosen
    n, c, k = size * a[0], a[-1], b[-1]
    if shifts.fits(conv) and conv.window.dims > 1 and c > 1:
        copies, result = shifts.bytes_of_one(c, k, conv), conv.window.taps * c * k * conv.accumulate.itemsize
        if n * copies <= AT_ONCE and result <= a[0] * copies:  # CIFAR ResNet: 2.2 (2.2), one by one 3.1 (2.5)
            return shifts.kernel_gradient
    if conv.window.taps <= UNROLL and columns.size((n, *a[1:]), conv) <= columns.CHUNK:
        return columns.kernel_gradient  # of 128 examples of 10×10 and 8 channels: 1.4, one by one 5.8
    return None


def _run(choose: Callable[[Shape, Shape, Convolution], Algorithm]) -> Algorithm:
    """For the convolutions that an algorithm is made of."""
    return lambda a, b, conv: choose(a.shape, b.shape, conv)(a, b, conv)
