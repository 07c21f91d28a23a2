"""What a rule has to hold to beside its gradients, and what is said where it does not."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check.diagnosis import Diagnosis
from jaxcnn.check.error import Error, attempt, compare, differences, largest, not_applicable, wide
from jaxcnn.check.finite import narrowest
from jaxcnn.check.gradients import Gradients, bound_of
from jaxcnn.check.point import Draw, Point, dot, pull, widen
from jaxcnn.check.tolerance import FIRST, SECOND

SHOWN = 3  # cells of a wrong value
EXPLAINED = {
    "without jit": "the gradients are others than under jit",
    "under vmap": "two examples at once get other gradients than one after the other",
    "all arguments jointly": "along a direction of all arguments the gradients are not the derivative of the value",
    "reverse over reverse": "the gradients are right, their derivative is not: is there a stop_gradient in the rule?",
    "forward over reverse": "the gradients are right, their derivative is not: is there a stop_gradient in the rule?",
}


def explain_properties(
    properties: dict[str, Error], found: Gradients, gradients_are_right: bool
) -> dict[str, Diagnosis]:
    """Of those that do not hold; what wrong gradients bring with them is left out."""
    told = {}
    for name, error in properties.items():
        if error.ok or found.hand is None:
            continue
        if name == "value":
            told[name] = Diagnosis("differs", _explain_value(found))
        elif gradients_are_right:
            told[name] = Diagnosis("fails", error.note) if error.note else Diagnosis("differs", EXPLAINED[name])
    return told


def _explain_value(found: Gradients) -> str:
    """The worst cells of the results."""
    cells: list[tuple[float, str]] = []
    for i, (got, expected) in enumerate(zip(map(wide, found.value or []), map(wide, found.expected_value or []))):
        off = differences(got, expected) / largest(expected)
        for cell in np.argsort(-off, axis=None, kind="stable")[:SHOWN]:
            where = list(map(int, np.unravel_index(cell, got.shape)))
            shown = f"{got.flat[cell]:.6g} and not {expected.flat[cell]:.6g} at {where}"
            cells.append((float(off.flat[cell]), shown + f" of result {i}" * (len(found.value or []) > 1)))
    worst = sorted((cell for cell in cells if cell[0] > 0), key=lambda cell: -cell[0])[:SHOWN]
    return f"the forward pass returns something else than the function: {', '.join(shown for _, shown in worst)}"


def transformations(point: Point, hand: list[jax.Array], draw: Draw) -> dict[str, Error]:
    bound = max(bound_of(point, i) for i in range(len(point.floats)))
    return {
        "without jit": attempt(lambda: compare(pull(point.hand)(point.dy, *point.floats)[0], hand, bound)),
        "under vmap": attempt(lambda: _vmap_error(point, draw.like(point.dy), bound)),
    }


def _vmap_error(point: Point, other_dy: list[jax.Array], bound: float) -> Error:
    """Two different examples at once against one after the other."""
    examples = [(point.dy, *point.floats), (other_dy, *(leaf / 2 for leaf in point.floats))]
    together = jax.vmap(point.pull_hand)(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *examples))[0]
    apart = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(point.pull_hand(*example)[0] for example in examples))
    return compare(together, apart, bound)


def second_order(point: Point, is_trusted: bool, draw: Draw) -> dict[str, Error]:
    """The derivative of the gradients with respect to cotangents and arguments, by reverse and by forward mode."""
    with jax.enable_x64(True):
        dy, floats = widen(point.dy), widen(point.floats)
        direction, tangents = draw.like(floats), (draw.like(dy), *draw.like(floats))
        gradients = lambda fn: lambda dy, *floats: pull(fn)(dy, *floats)[0]

        def reverse(fn):
            weighted = lambda *point: dot(direction, gradients(fn)(*point))
            return jax.tree.leaves(jax.jit(jax.grad(weighted, tuple(range(1 + len(floats)))))(dy, *floats))

        def forward(fn):
            return jax.jit(lambda *point: jax.jvp(gradients(fn), point, tangents)[1])(dy, *floats)

        def error(mode):
            if not is_trusted:
                return not_applicable("autodiff is wrong")
            try:
                expected = mode(point.twin)
            except Exception:  # of which the rule is not guilty
                return not_applicable("no autodiff")
            kind = narrowest(gradients(point.hand), [dy, *floats])
            bound = max(SECOND, FIRST[kind], point.tolerance)
            return attempt(lambda: compare(mode(point.hand), expected, bound))

        return {"reverse over reverse": error(reverse), "forward over reverse": error(forward)}
