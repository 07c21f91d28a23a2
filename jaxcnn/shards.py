"""Arrays that lie on several devices: every device computes on the shards that it holds.

A layout says which axes may stay divided, by letters: "n…k" the first and the last axis, "…k" the last one alone, "…"
none, "*" all of them, and "_" is one that may not; that of a convolution is "n…, …k, k -> n…k". Axes of one letter are
divided alike, as the first array is that has it, and an array that is divided otherwise is moved. A result has as many
axes as the first array, or is divided along leading ones alone.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def per_shard(rule: Callable, layout: str) -> Callable:
    """The rule, of arrays (or None) and then what is static, on each shard where axes of the mesh are explicit.

    It is traced, and outside of `jax.jit` compiled, once for all calls with such arrays.

    Inside `jax.shard_map` an array that is alike on all devices is cast to one that may differ: the transpose of the
    cast sums its gradient over the devices.
    """
    inputs, outputs = _parse(layout)

    def call(*args):
        arrays, static = args[: len(inputs)], args[len(inputs) :]
        once = jax.jit(rule, static_argnums=range(len(arrays), len(args)))
        local = lambda *arrays: once(*vary_alike(*arrays), *static)
        meshes = [jax.typeof(a).sharding.mesh for a in arrays if a is not None and any(jax.typeof(a).sharding.spec)]
        if not meshes:
            return local(*arrays)
        mesh = meshes[0]
        divided = _divide((term, jax.typeof(a)) for term, a in zip(inputs, arrays) if a is not None)
        specs = [None if a is None else _spec(term, a.shape, divided) for term, a in zip(inputs, arrays)]
        results = [_spec(term, (None,) * arrays[0].ndim, divided) for term in outputs]
        move = lambda a, spec: None if a is None else jax.sharding.reshard(a, NamedSharding(mesh, spec))
        out_specs = tuple(results) if len(results) > 1 else results[0]
        explicit = {axis for axis, kind in zip(mesh.axis_names, mesh.axis_types) if kind == AxisType.Explicit}
        sharded = jax.shard_map(local, mesh=mesh, axis_names=explicit, in_specs=tuple(specs), out_specs=out_specs)
        return sharded(*map(move, arrays, specs))

    return call


def aligned(arrays: int, ndim: int, axes: Iterable[int]) -> str:
    """The layout of arrays that broadcast against each other, for a rule that works along these axes."""
    term = f"{'n' if 0 not in axes else ''}…{'k' if ndim - 1 not in axes else ''}"
    return f"{', '.join([term] * arrays)} -> {term}"


def vary_alike(*arrays: Any) -> list[Any]:
    """The arrays, cast inside `jax.shard_map` to vary over all axes of the mesh that any of them varies over."""
    varying = [frozenset() if a is None else jax.typeof(a).manual_axis_type.varying for a in arrays]
    every = frozenset().union(*varying)
    return [
        a if a is None or every == own else lax.pcast(a, tuple(every - own), to="varying")
        for a, own in zip(arrays, varying)
    ]


def knows_varying(axis_name: Any) -> bool:
    """Whether types say what varies over this axis, as in `jax.shard_map`: what does not has a whole gradient then."""
    return bool(jax.typeof(lax.axis_index(axis_name)).manual_axis_type.varying)


def partitioned(fn: Callable, layout: str) -> Callable:
    """fn of arrays, on each shard where the compiler divides them; it sums over what a letter without result names."""
    inputs, outputs = _parse(layout)

    def partition(mesh, shapes, results):
        divided = _divide(zip(inputs, shapes))
        summed = tuple(axis for letter, axes in divided.items() if letter not in outputs[0] for axis in axes)
        local = (lambda *arrays: lax.psum(fn(*arrays), summed)) if summed else fn
        place = lambda term, shape: NamedSharding(mesh, _spec(term, shape.shape, divided))
        leaves, structure = jax.tree.flatten(results)
        return (
            mesh,
            local,
            jax.tree.unflatten(structure, map(place, outputs, leaves)),
            tuple(map(place, inputs, shapes)),
        )

    def rule(_, operands, results):
        number = itertools.count()
        name = lambda term, value: " ".join(x or f"free{next(number)}" for x in _letters(term, len(value.shape)))
        return f"{', '.join(map(name, inputs, operands))} -> {', '.join(map(name, outputs, results))}"

    call = custom_partitioning(jax.jit(lambda *arrays: fn(*arrays)))  # a jit may have constants in it
    call.def_partition(partition=partition, sharding_rule=rule)
    return call


def _parse(layout: str) -> list[list[str]]:
    return [side.split(", ") for side in layout.split(" -> ")]


def _letters(term: str, ndim: int) -> list[str | None]:
    """The letter of each axis."""
    if term == "*":
        return [chr(ord("a") + axis) for axis in range(ndim)]
    first, _, last = term.partition("…")
    letters = [*first, *[None] * (ndim - len(first) - len(last)), *last]
    return [None if letter == "_" else letter for letter in letters[len(letters) - ndim :]]


def _divide(arrays: Iterable[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    """For terms and their arrays: the axes of the mesh that each letter is divided over, where that leaves no rest."""
    divided: dict[str, tuple[str, ...]] = {}
    for term, array in arrays:
        for letter, size, over in zip(_letters(term, len(array.shape)), array.shape, array.sharding.spec):
            axes = over if isinstance(over, tuple) else (over,) if over else ()
            taken = {axis for others in divided.values() for axis in others}
            devices = math.prod(array.sharding.mesh.shape[axis] for axis in axes)
            if letter and axes and letter not in divided and not taken & {*axes} and size % devices == 0:
                divided[letter] = axes
    return divided


def _spec(term: str, shape: Sequence[int | None], divided: dict[str, tuple[str, ...]]) -> PartitionSpec:
    """For an array of this shape, of which None is unknown; an axis of size 1 is not divided."""
    letters = _letters(term, len(shape))
    axes = [divided.get(letter) if letter and size != 1 else None for letter, size in zip(letters, shape)]
    while axes and not axes[-1]:
        axes.pop()
    return PartitionSpec(*axes)
