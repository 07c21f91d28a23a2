"""The smallest arguments at which a rule is still wrong, cut from larger ones."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TRIALS, SECONDS = 80, 20.0  # at most
Axis = tuple[int, int]  # which leaf, which of its axes


def shrink(args: Any, is_wrong: Callable[[Any], bool]) -> tuple[Any, int]:
    """args with axes cut as short as is_wrong of them stays true, and the number of trials.

    Axes of one size are cut together as far as that works, then each alone, then in pairs of two arrays: an axis that
    several arrays share has one size in all of them.
    """
    end, trials = time.monotonic() + SECONDS, 0
    improved = True
    while improved:
        improved = False
        for smaller in _candidates(args):
            if trials == TRIALS or time.monotonic() > end:
                return args, trials
            trials += 1
            if is_wrong(smaller):
                args, improved = smaller, True
                break
    return args, trials


def _candidates(args: Any) -> Iterator[Any]:
    """Args with some axes of one size cut: the largest sizes and the boldest cuts first."""
    leaves, structure = jax.tree.flatten(args)
    groups: dict[int, list[Axis]] = {}
    for i, leaf in enumerate(leaves):
        for axis, size in enumerate(np.shape(leaf) if hasattr(leaf, "shape") else ()):
            if size > 1:
                groups.setdefault(size, []).append((i, axis))
    for size, axes in sorted(groups.items(), reverse=True):
        for chosen in _choices(axes):
            for shorter in sorted({1, 2, size // 2, size - 1} - {0, size}):
                yield jax.tree.unflatten(
                    structure, [_cut(leaf, i, chosen, size, shorter) for i, leaf in enumerate(leaves)]
                )


def _choices(axes: list[Axis]) -> list[list[Axis]]:
    pairs = [[a, b] for a, b in itertools.combinations(axes, 2) if a[0] != b[0]]
    choices = [axes, *([axis] for axis in axes), *pairs]
    return [choice for i, choice in enumerate(choices) if choice not in choices[:i]]


def _cut(leaf: Any, position: int, axes: list[Axis], size: int, shorter: int) -> Any:
    """The start of the leaf along its chosen axes. Integers that may count the cells of such an axis stay within it."""
    for i, axis in axes:
        if i == position:
            leaf = leaf[(slice(None),) * axis + (slice(shorter),)]
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.signedinteger) and leaf.size:
        values = np.asarray(leaf)
        if shorter <= values.max() < size:
            return (values % shorter).astype(values.dtype)
    return leaf
