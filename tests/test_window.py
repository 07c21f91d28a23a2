"""The geometry against brute force over indices: no arrays, no library."""

import itertools

import numpy as np
import pytest

from jaxcnn.window import Window


def positions(n, k, s, lo, hi, d):
    """The cells a(p, i) by walking: the window starts at −lo and moves by s while it ends before n + hi."""
    walk, start = [], -lo
    while start + (k - 1) * d < n + hi:
        walk.append([start + d * i for i in range(k)])
        start += s
    return walk


GRID = [
    (n, k, s, lo, hi, d)
    for n, k, s, d in itertools.product(range(6), range(1, 5), range(1, 4), range(1, 4))
    for lo, hi in itertools.product((-2, 0, 1, 5), repeat=2)
    if n + lo + hi >= 0
]


def window(n, k, s, lo, hi, d):
    return Window.of("test", (n,), k, strides=s, padding=((lo, hi),), dilation=d)


def test_output_and_cells():
    for geometry in GRID:
        w, walk = window(*geometry), positions(*geometry)
        assert w.output == (len(walk),), geometry
        assert w.cells(0).tolist() == walk, geometry


def test_inside():
    for geometry in GRID:
        n = geometry[0]
        expected = [[0 <= a < n for a in cells] for cells in positions(*geometry)]
        assert window(*geometry).inside().tolist() == expected, geometry


def test_input_gradient_pads():
    """Convolving the dilated dz with the flipped kernel pairs exactly the (p, i) that read each cell."""
    for n, k, s, lo, hi, d in GRID:
        w = window(n, k, s, lo, hi, d)
        (o,), ((low, high),) = w.output, w.input_gradient_pads
        if o == 0:
            continue
        assert (o - 1) * s + 1 + low + high - ((k - 1) * d + 1) + 1 == n
        for a in range(n):
            expected = {
                (p, i) for p, cells in enumerate(positions(n, k, s, lo, hi, d)) for i in range(k) if cells[i] == a
            }
            dilated = ((a - low + d * flipped, k - 1 - flipped) for flipped in range(k))
            paired = {(b // s, i) for b, i in dilated if 0 <= b < (o - 1) * s + 1 and b % s == 0}
            assert paired == expected, (n, k, s, lo, hi, d, a)


def test_kernel_gradient_pads():
    """Convolving x with the dilated dz, in strides of d, pairs exactly the (a, p) that each kernel position reads."""
    for n, k, s, lo, hi, d in GRID:
        w = window(n, k, s, lo, hi, d)
        (o,), ((low, high),) = w.output, w.kernel_gradient_pads
        if o == 0:
            continue
        assert (n + low + high - ((o - 1) * s + 1)) / d + 1 == k
        for i in range(k):
            expected = {(cells[i], p) for p, cells in enumerate(positions(n, k, s, lo, hi, d)) if 0 <= cells[i] < n}
            paired = {(d * i + s * p - low, p) for p in range(o) if 0 <= d * i + s * p - low < n}
            assert paired == expected, (n, k, s, lo, hi, d, i)


@pytest.mark.parametrize("lower", [False, True])
def test_same(lower):
    """⌈n / s⌋ results, as little padding as gives them, and the odd cell at the stated end."""
    for n, k, s, d in itertools.product(range(9), range(1, 6), range(1, 5), range(1, 4)):
        w = Window.of("test", (n,), k, strides=s, padding="same_lower" if lower else "Same", dilation=d)
        ((lo, hi),) = w.pads
        assert w.output == (-(-n // s),)
        assert (lo - hi if lower else hi - lo) in (0, 1)
        if n and lo + hi:
            assert len(positions(n, k, s, lo, hi - 1, d)) < w.output[0]


def test_transpose():
    """The length by the formula, the cells as everywhere, and as many windows as the transposed one has cells."""

    def of(padding, more):
        return Window.of_transpose("test", (o,), k, strides=s, padding=padding, output_padding=more, dilation=d)

    for o, k, s, d, more in itertools.product(range(5), range(1, 5), range(1, 4), range(1, 4), range(3)):
        if more >= max(s, d):
            with pytest.raises(ValueError, match="output_padding"):
                of("VALID", more)
            continue
        e = (k - 1) * d + 1
        for lo, hi in [(0, 0), (1, 0), (2, 3), (-1, 2), (0, -4), (e - 1, 0)]:
            n = (o - 1) * s + e - lo - hi + more
            if o and n < 0:
                with pytest.raises(ValueError, match=f"crop at most {n + lo + hi} cells"):
                    of(((lo, hi),), more)
                continue
            w = of(((lo, hi),), more)
            assert (w.input, w.output, w.pads[0][0]) == ((max(0, n),), (o,), lo)
            assert w.cells(0).tolist() == [[s * p + d * i - lo for i in range(k)] for p in range(o)]
        assert of("VALID", more) == of(0, more)
        assert of("causal", more) == of(((e - 1, 0),), more)


@pytest.mark.parametrize("name", ["same", "SAME_LOWER"])
def test_transpose_of_same(name):
    """Strides times as long, and the cells that conv's SAME of that length reads."""
    for o, k, s, d in itertools.product(range(5), range(1, 6), range(1, 5), range(1, 4)):
        steps = {"strides": s, "padding": name, "dilation": d}
        w = Window.of_transpose("test", (o,), k, output_padding=0, **steps)
        matching = Window.of("test", w.input, k, **steps)
        assert w.input == (o * s,)
        assert w.output == matching.output == (o,)
        assert w.cells(0).tolist() == matching.cells(0).tolist()
        with pytest.raises(ValueError, match="output_padding"):
            Window.of_transpose("test", (o,), k, output_padding=1, **steps)


def test_causal():
    for n, k, s, d in itertools.product(range(1, 9), range(1, 6), range(1, 4), range(1, 4)):
        w = Window.of("test", (n,), k, strides=s, padding="CAUSAL", dilation=d)
        assert w.output == (-(-n // s),)
        assert all(cells[-1] == s * p for p, cells in enumerate(w.cells(0).tolist()))


def test_ceil_mode():
    """PyTorch's rule: windows may overhang the end, but none may start beyond the input and its low pad."""
    for n, k, s, d, lo, hi in itertools.product(range(8), range(1, 5), range(1, 5), range(1, 3), range(3), range(3)):
        w = Window.of("test", (n,), k, strides=s, padding=((lo, hi),), dilation=d, ceil_mode=True)
        room = n + lo + hi - d * (k - 1) - 1
        expected = max(0, -(-room // s) + 1)  # a window larger than all that there is overhangs too
        if expected and (expected - 1) * s >= n + lo:
            expected -= 1
        assert w.output == (expected,), (n, k, s, d, lo, hi)


def test_padding_forms_agree():
    of = lambda padding: Window.of("test", (5, 6), (2, 3), strides=1, padding=padding).pads
    assert of(2) == of((2, 2)) == of([(2, 2), [2, 2]]) == ((2, 2), (2, 2))
    assert of((1, (2, 3))) == ((1, 1), (2, 3))
    assert of("valid") == ((0, 0), (0, 0))


def test_separate():
    w = Window.of("test", (9, 8), (3, 2), strides=(2, 3), padding=((1, 2), (0, 1)), dilation=(2, 1))
    first, second = w.separate()
    assert (first.output, second.input, second.output) == ((9, w.output[1]), (9, w.output[1]), w.output)
    assert (first.size, second.size) == ((1, 2), (3, 1))


def test_is_a_static_value():
    make = lambda: Window.of("test", [5, 6], [2, 2], strides=[1, 1], padding=[1, 1], dilation=[1, 1])
    assert make() == make()
    assert hash(make()) == hash(make())


@pytest.mark.parametrize("pads", [(0, 0), (3, 1), (-1, 4), (1, -2)])
@pytest.mark.parametrize(("strides", "dilation"), [(2, 2), (4, 6), (6, 3), (2, 3)])
def test_coarse_windows_read_the_same_cells(strides, dilation, pads):
    window = Window((17,), (3,), (strides,), (pads,), (dilation,))
    coarse, ((first, last, between),) = window.coarse()
    np.testing.assert_array_equal(first + (between + 1) * coarse.cells(0), window.cells(0))
    assert first + last + coarse.input[0] + between * (coarse.input[0] - 1) == 17
