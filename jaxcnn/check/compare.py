"""The comparison itself."""

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxcnn.check.cost import costs
from jaxcnn.check.error import Error, not_applicable
from jaxcnn.check.examine import AUTODIFF, examine, explain_fault
from jaxcnn.check.finite import directional
from jaxcnn.check.gradients import Gradients, against_autodiff, gradients_of, of_value
from jaxcnn.check.point import Draw, Point, locate, named_arrays, parameters, title, type_of, values_of
from jaxcnn.check.primal import static_positions
from jaxcnn.check.properties import explain_properties, second_order, transformations
from jaxcnn.check.report import Cost, Report, Smallest
from jaxcnn.check.shrink import shrink

FEW = 12  # values of an array that a report shows


def check_vjp(
    fn: Callable,
    *args: Any,
    reference: Callable | None = None,
    order: int = 2,
    tolerance: float = 0.0,
    devices: Mapping[str, jax.Device] | None = None,
    seed: int = 0,
) -> Report:
    """Compares the gradient rule of fn with autodiff of a reference and with finite differences.

    Every leaf of floats among the arguments is differentiated, against one random cotangent. The reference and the
    differences are computed in float64 from the same numbers, so the errors are those of the rule and of its dtype.
    Finite differences want inputs of scale 1; at a kink or tie, where the slopes of the two sides differ, they say
    nothing, and the report says so. Of a rule that is wrong the report tells the kind, the worst cells, and the
    smallest arrays (cut from these) at which it still is.

    Args:
      fn: any differentiable function of arrays or pytrees, returning arrays or pytrees. What is no array (a string, an
        int) passes through, and so does what `nondiff_argnums` of a rule names; keyword options go in by
        `functools.partial`.
      args: where to compare.
      reference: a function of the same arguments to differentiate by autodiff; None means the primal of fn itself,
        every `jax.custom_vjp` in it forgotten, or, where there is none, every `jax.custom_jvp`.
      order: 1 leaves the second derivatives out.
      tolerance: a relative error to allow where that of the dtypes is less, as for an fn that iterates to a tolerance.
      devices: further devices by name, to compile for and to tell the cost on: `{"TPU v5e": topology.devices[0]}` of a
        `jax.experimental.topologies` description needs none to be there.
      seed: of the cotangents and directions.

    Returns:
      A report: `report.ok` is the verdict, `print(report)` the table; `report.to_json()`, `report.draw("error.png")`.

    Raises:
      ValueError: no argument or no result holds floats, reference returns other shapes, order is neither 1 nor 2.
      TypeError: floats of a dtype without a tolerance (float8), a device that is none, fn that is no function.

    >>> @jax.custom_vjp
    ... def square(x):
    ...     return x**2
    >>> square.defvjp(lambda x: (x**2, x), lambda x, dy: (3 * x * dy,))  # should be 2
    >>> report = check_vjp(square, jax.numpy.array([1.0, 2.0]))
    >>> report.ok, round(report.arguments[0].autodiff.size, 3), str(report.arguments[0].diagnoses[0])
    (False, 0.5, 'scaled by a constant: 1.5 = 3/2 times what it should be')
    """
    if not callable(fn):
        raise TypeError(f"check_vjp: fn expects a function, got {fn!r}")
    if not (reference is None or callable(reference)):
        raise TypeError(f"check_vjp: reference expects a function or None, got {reference!r}")
    if order not in (1, 2):
        raise ValueError(f"check_vjp: order expects 1 or 2, got {order!r}")
    if not isinstance(tolerance, numbers.Real):
        raise TypeError(f"check_vjp: tolerance expects a float, got {tolerance!r}")
    for name, device in (devices or {}).items():
        if not isinstance(device, jax.Device):
            raise TypeError(f"check_vjp: devices expects a jax.Device for {name!r}, got {type(device).__name__}")
    draw = Draw(seed)
    point = locate(fn, reference, args, draw, tolerance)
    found = gradients_of(point)
    alone, jointly = _differences(point, found, draw)
    arguments = tuple(examine(point, found, i, finite) for i, finite in enumerate(alone))
    properties = {"value": of_value(point, found), "all arguments jointly": jointly}
    if found.hand is not None:
        properties |= transformations(point, found.hand, draw)
        is_trusted = all(diagnosis.kind != AUTODIFF for a in arguments for diagnosis in a.diagnoses)
        properties |= second_order(point, is_trusted, draw) if order == 2 else {}
    right = {a.name for a in arguments if a.ok}
    smallest = None if len(right) == len(arguments) else _smallest(fn, reference, args, right, tolerance, seed)
    places = parameters(fn) if isinstance(fn, jax.custom_vjp) else []
    places = [name for i, name in enumerate(places) if i not in static_positions(fn)]
    fault = explain_fault(found.fault, places) if found.fault else None
    told = _costs(point, found, devices or {})
    findings = explain_properties(properties, found, len(right) == len(arguments))
    return Report(title(fn), fault, arguments, properties, smallest, *told, found.unknown, findings)


def _differences(point: Point, found: Gradients, draw: Draw) -> tuple[list[Error], Error]:
    if not found.fault:
        try:
            with jax.enable_x64(True):
                return directional(point, draw)
        except Exception:  # a function that takes no float64; its own dtype was compared
            pass
    none = not_applicable("fails" if found.fault else "does not run in float64")
    return [none] * len(point.floats), none


def _smallest(
    fn: Callable, reference: Callable | None, args: Any, right: set[str], tolerance: float, seed: int
) -> Smallest | None:
    """Wrong in the same way: a rule that fails still fails, else a gradient that is wrong still is."""

    def wrong_at(args):
        try:
            point = locate(fn, reference, args, Draw(seed), tolerance)
        except Exception:  # fn does not take these shapes
            return None
        found = gradients_of(point)
        if found.hand is None:
            return {"fails"}
        if found.expected is None:
            return None
        kept = [gradient.dtype == leaf.dtype for gradient, leaf in zip(found.hand, point.floats)]
        return {name for i, name in enumerate(point.names) if not (kept[i] and against_autodiff(point, found, i).ok)}

    wrong = (wrong_at(args) or set()) - right
    if not wrong:
        return None
    smaller, trials = shrink(args, lambda args: bool(wrong & (wrong_at(args) or set())))
    arrays = named_arrays(fn, smaller)
    types = {name: type_of(leaf) for name, leaf in arrays.items()}
    values = {name: values_of(leaf) for name, leaf in arrays.items() if leaf.size <= FEW}
    return Smallest(smaller, types, values, trials)


def _costs(point: Point, found: Gradients, devices: Mapping[str, jax.Device]) -> tuple[Cost | None, Cost | None]:
    sides = {"hand": not found.fault, "autodiff": not found.unknown}
    told = costs(point, [side for side, is_there in sides.items() if is_there], devices)
    return told.get("hand"), told.get("autodiff")
