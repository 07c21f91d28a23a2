"""The function behind a rule: what `jax.custom_vjp` was put on, so that autodiff can differentiate it.

JAX's types of programs are told by what they have: importing `jax.extend.core` takes half as long as this library.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax


def without_rules(fn: Callable) -> Callable:
    """fn, computed the same way, with every `jax.custom_vjp` in it (also inside jit, scan, remat) forgotten."""

    def plain(*args):
        program, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
        results = _evaluate(program.jaxpr, program.consts, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return plain


def _evaluate(jaxpr: Any, consts: Any, *args: Any) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args]))
    read = lambda var: var.val if is_literal(var) else values[var]
    for equation in jaxpr.eqns:
        inputs = [read(var) for var in equation.invars]
        if _is_rule(equation):
            primal = equation.params["call_jaxpr"]
            results = _evaluate(primal.jaxpr, primal.consts, *inputs)
        else:
            params = {name: _strip(value) for name, value in equation.params.items()}
            results = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(params))
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results))
    return [read(var) for var in jaxpr.outvars]


def is_literal(var: Any) -> bool:
    """Whether this operand of an equation is a constant."""
    return hasattr(var, "val")


def _is_rule(equation: Any) -> bool:
    return equation.primitive.name.startswith("custom_vjp_call")


def _strip(param: Any) -> Any:
    """A parameter of an equation, its programs rewritten where they contain a rule."""
    if type(param) in (tuple, list):
        return type(param)(map(_strip, param))
    if not _contains_rule(param):
        return param
    jaxpr, consts = getattr(param, "jaxpr", param), getattr(param, "consts", ())
    avals = [var.aval for var in jaxpr.invars]
    inputs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type) for aval in avals]
    rewritten = jax.make_jaxpr(partial(_evaluate, jaxpr, consts))(*inputs)
    return rewritten if hasattr(param, "jaxpr") else rewritten.jaxpr  # before JAX 0.12 some carry no constants


def _contains_rule(param: Any) -> bool:
    if type(param) in (tuple, list):
        return any(map(_contains_rule, param))
    equations = getattr(param, "eqns", ())
    return any(_is_rule(equation) or any(map(_contains_rule, equation.params.values())) for equation in equations)
