"""Handwritten digits: scikit-learn's bundled ones, or MNIST from IDX files or an .npz; and batches of them."""

import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training import InputError

SMALLEST_IMAGE = 6  # two 3x3 convolutions and the pool leave one pixel


class Data(NamedTuple):
    """Images (n, h, w), float32 from 0 to 1, and the digits in them, int32."""

    source: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load(path: Path | None) -> Data:
    """The bundled digits for None; else the .npz, or the directory of IDX files (or one of them), at the path."""
    if path is None:
        return load_bundled()
    try:
        named = read_npz(path) if path.suffix == ".npz" and path.is_file() else read_idx_files(path)
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror or error}") from error
    check_pair(*named[:2])
    check_pair(*named[2:])
    (_, x_train), (_, y_train), (test_name, x_test), (_, y_test) = named
    if x_test.shape[1:] != x_train.shape[1:]:
        raise InputError(f"{test_name}: images of {x_test.shape[1:]}, but the training images are {x_train.shape[1:]}")
    x_train, x_test = (np.divide(x, 255, dtype=np.float32) for x in (x_train, x_test))
    return Data(str(path), x_train, y_train.astype(np.int32), x_test, y_test.astype(np.int32))


def load_bundled() -> Data:
    """scikit-learn's 1797 real digits of 8x8, in a blank frame of 2; a fixed fifth of each class is for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = np.pad(digits.images / 16, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    y = digits.target.astype(np.int32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    return Data("scikit-learn's digits", x_train, y_train, x_test, y_test)


def read_npz(path: Path) -> list[tuple[str, np.ndarray]]:
    """The four arrays, each with a name to complain under."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not an .npz, or cut short (no zip archive)")
    named, name = [], "x_train"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                named.append((f"{path}: {name}", np.asarray(archive[name])))
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds over a broken archive
        reason = str(error).strip("'\"").partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: {name}: cannot be read ({reason})") from error
    return named


def read_idx_files(path: Path) -> list[tuple[str, np.ndarray]]:
    """MNIST's four files, by their own names or with a dot for the second dash, gzipped or not."""
    if not path.is_dir():
        path.stat()  # raises where there is nothing
        if "-ubyte" not in path.name:
            raise InputError(f"{path}: expected a directory of IDX files, one of MNIST's IDX files, or an .npz")
        path = path.parent
    named = []
    for part, dims in (("train-images", 3), ("train-labels", 1), ("t10k-images", 3), ("t10k-labels", 1)):
        names = [f"{part}{dot}idx{dims}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
        found = next((path / name for name in names if (path / name).exists()), None)
        if found is None:
            raise InputError(f"{path / names[0]}: missing (and no {', '.join(names[1:])})")
        named.append((str(found), read_idx(found, dims)))
    return named


def read_idx(path: Path, dims: int) -> np.ndarray:
    """An IDX file of bytes: 0, 0, 8, the number of dimensions; each size in four bytes, big end first; the data."""
    content, header = path.read_bytes(), 4 + 4 * dims
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: corrupt gzip ({error})") from error
    magic = content[:4].hex()
    if len(content) >= 4 and magic != f"0000080{dims}":
        raise InputError(f"{path}: wrong magic number {magic}, expected 0000080{dims} (bytes in {dims} dimensions)")
    if len(content) < header:
        raise InputError(f"{path}: truncated, {len(content)} bytes do not hold its header")
    shape = tuple(np.frombuffer(content, ">u4", count=dims, offset=4).tolist())
    if len(content) - header != math.prod(shape):
        fault = "truncated" if len(content) - header < math.prod(shape) else "too long"
        raise InputError(f"{path}: {fault}, {len(content) - header} bytes of data for the shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def check_pair(images: tuple[str, np.ndarray], labels: tuple[str, np.ndarray]) -> None:
    (x_name, x), (y_name, y) = images, labels
    if x.dtype != np.uint8 or x.ndim != 3:
        raise InputError(f"{x_name}: expected uint8 images (n, h, w), got {x.dtype} {x.shape}")
    if len(x) == 0 or min(x.shape[1:]) < SMALLEST_IMAGE:
        raise InputError(f"{x_name}: expected images of {SMALLEST_IMAGE}x{SMALLEST_IMAGE} or more, got shape {x.shape}")
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise InputError(f"{y_name}: expected integer labels (n,), got {y.dtype} {y.shape}")
    if len(y) != len(x):
        raise InputError(f"{y_name}: {len(y)} labels, but {len(x)} images in {x_name}")
    wrong = np.flatnonzero((y < 0) | (y > 9))
    if wrong.size:
        raise InputError(f"{y_name}: labels must be 0 to 9, label number {wrong[0]} is {y[wrong[0]]}")


def batches(x: np.ndarray, y: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    """One epoch of full batches in random order, every image moved by up to a pixel each way."""
    moved = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1))), x.shape[1:], axis=(1, 2))
    for batch in rng.permutation(len(x))[: len(x) // size * size].reshape(-1, size):
        down, right = rng.integers(3, size=(2, size))
        yield moved[batch, down, right][..., None], y[batch]
