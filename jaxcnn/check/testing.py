"""Checks as tests."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxcnn.check.compare import check_vjp
from jaxcnn.check.point import title
from jaxcnn.check.primal import static_positions

F = TypeVar("F", bound=Callable[..., Any])


def assert_vjp(fn: Callable, *args: Any, **options: Any) -> None:
    """`check_vjp` with its options, for tests: raises AssertionError with the report where anything is wrong."""
    report = check_vjp(fn, *args, **options)
    if not report.ok:
        raise AssertionError(str(report))


def vjp_cases(*rows: Sequence[Any], dtypes: Sequence[str] | None = None) -> Callable[[F], F]:
    """A pytest decorator: the test below it runs once for each row (and dtype), with `check` to call.

        @vjp_cases(
            (swish, [x]),
            (partial(max_pool, window=2), [images]),
            (layer_norm, [x, scale, bias], {"reference": plain_layer_norm}),
            dtypes=["float32", "bfloat16"],
        )
        def test_rule(check):
            check()

    Args:
      rows: function, a list or tuple of its arguments and, if wanted, the options of `check_vjp`. A row's name is that
        of its function.
      dtypes: what to cast the floats of the arguments to, one test for each; None leaves them as they are.

    Raises:
      ValueError: a row that is neither (fn, args) nor (fn, args, options).
      TypeError: arguments in no list or tuple, options in no dict.
      ImportError: pytest is not installed.
    """
    import pytest

    params = []
    kinds: Sequence[str | None] = dtypes or [None]
    for row in rows:
        if not 2 <= len(row) <= 3 or not callable(row[0]):
            raise ValueError(f"vjp_cases: rows expects (fn, args) or (fn, args, options), got {row!r}")
        fn, args, options = (*row, {})[:3]
        if not isinstance(args, (list, tuple)):
            raise TypeError(f"vjp_cases: args of {title(fn)} expects a list or tuple, got {type(args).__name__}")
        if not isinstance(options, dict):
            raise TypeError(f"vjp_cases: options of {title(fn)} expects a dict, got {type(options).__name__}")
        for dtype in kinds:
            name = "-".join(filter(None, [title(fn), dtype]))
            params.append(pytest.param(partial(_check, fn, args, options, dtype), id=name))
    return pytest.mark.parametrize("check", params)


def _check(fn: Callable, args: Sequence[Any], options: dict[str, Any], dtype: str | None) -> None:
    static = static_positions(fn)
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        if dtype is not None:
            cast = partial(_cast, dtype=dtype)
            args = [arg if i in static else jax.tree.map(cast, arg) for i, arg in enumerate(args)]
        assert_vjp(fn, *args, **options)


def _cast(leaf: Any, dtype: str) -> Any:
    is_float = isinstance(leaf, float) or (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating))
    return jnp.asarray(leaf, dtype) if is_float else leaf
