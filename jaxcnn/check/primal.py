"""The function behind a rule: what `jax.custom_vjp` was put on, so that autodiff can differentiate it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np


def without_rules(fn: Callable) -> Callable:
    """fn, computed the same way, with every `jax.custom_vjp` in it (also inside jit, scan, remat) forgotten.

    Where there is none, every `jax.custom_jvp` is. Beside a custom_vjp they stay: they are JAX's own, as in `jax.nn`.
    What is no array, and what stands where `nondiff_argnums` says, reaches fn as it is given.
    """
    static = static_positions(fn)

    def plain(*args):
        located, structure = jax.tree.flatten_with_path(args)
        leaves = [leaf for _, leaf in located]
        traced = [
            i
            for i, ((position, *_), leaf) in enumerate(located)
            if position.idx not in static and isinstance(leaf, (jax.Array, np.ndarray, np.generic))
        ]

        def on_arrays(*arrays):
            filled = dict(enumerate(leaves)) | dict(zip(traced, arrays))
            return fn(*jax.tree.unflatten(structure, filled.values()))

        arrays = [leaves[i] for i in traced]
        program, shape = jax.make_jaxpr(on_arrays, return_shape=True)(*arrays)
        rule = next((rule for rule in ("custom_vjp_call", "custom_jvp_call") if _contains(rule, program)), None)
        if rule is None:
            return fn(*args)
        results = _evaluate(rule, program.jaxpr, program.consts, *arrays)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return plain


def static_positions(fn: Callable | None) -> set[int]:
    """Of the arguments that a rule's `nondiff_argnums` names, also where a `functools.partial` gives the first few."""
    if isinstance(fn, partial):
        return {position - len(fn.args) for position in static_positions(fn.func)}
    return set(getattr(fn, "nondiff_argnums", ()))


def equations(program: Any) -> Iterator[Any]:
    """Of a program and of all programs within it."""
    if type(program) in (tuple, list):
        for part in program:
            yield from equations(part)
    elif hasattr(program, "eqns"):
        for equation in program.eqns:
            yield equation
            yield from equations(list(equation.params.values()))


def is_literal(var: Any) -> bool:
    """Whether this operand of an equation is a constant."""
    return hasattr(var, "val")


def _evaluate(rule: str, jaxpr: Any, consts: Any, *args: Any) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args]))
    read = lambda var: var.val if is_literal(var) else values[var]
    for equation in jaxpr.eqns:
        inputs = [read(var) for var in equation.invars]
        if equation.primitive.name.startswith(rule):
            primal = equation.params["call_jaxpr"]
            results = _evaluate(rule, primal.jaxpr, primal.consts, *inputs)
        else:
            params = {name: _strip(rule, value) for name, value in equation.params.items()}
            results = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(params))
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results))
    return [read(var) for var in jaxpr.outvars]


def _strip(rule: str, param: Any) -> Any:
    """A parameter of an equation, its programs rewritten where they contain a rule."""
    if type(param) in (tuple, list):
        return type(param)(_strip(rule, part) for part in param)
    if not _contains(rule, param):
        return param
    jaxpr, consts = getattr(param, "jaxpr", param), getattr(param, "consts", ())
    avals = [var.aval for var in jaxpr.invars]
    inputs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type) for aval in avals]
    rewritten = jax.make_jaxpr(partial(_evaluate, rule, jaxpr, consts))(*inputs)
    return rewritten if hasattr(param, "jaxpr") else rewritten.jaxpr  # before JAX 0.12 some carry no constants


def _contains(rule: str, param: Any) -> bool:
    return any(equation.primitive.name.startswith(rule) for equation in equations(param))
