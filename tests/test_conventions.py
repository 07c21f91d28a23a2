"""The conventions of the library, by introspection: every op obeys them, also those yet to come."""

import ast
import inspect
import re
import sys
from pathlib import Path

import jax
import pytest
from cases import CASES, CONVOLUTIONS, RULES

import jaxcnn
from jaxcnn import reference

OPS = {name: fn for name, fn in vars(jaxcnn).items() if inspect.isfunction(fn) and not name.startswith("_")}
ROOT = Path(jaxcnn.__file__).parent


def test_there_are_ops():
    assert {*CONVOLUTIONS, "max_pool", "avg_pool", "pad", "unfold", "fold", "dense", "relu"} <= set(OPS)


@pytest.mark.parametrize("name", OPS)
class TestOp:
    def test_options_are_keyword_only(self, name):
        for parameter in inspect.signature(OPS[name]).parameters.values():
            is_option = parameter.default is not parameter.empty and parameter.name not in ("b", "targets")
            assert parameter.kind is parameter.KEYWORD_ONLY or not is_option

    def test_docstring(self, name):
        """Formula of the value and of each gradient, arguments, result, residuals, errors, source, a doctest."""
        doc = inspect.getdoc(OPS[name])
        for part in ("Args:", "Returns:", "Keeps ", "recomputes ", "Raises:", "Source:", ">>> "):
            assert part in doc, part
        if name != "unfold":
            assert re.search(r"^ {4}d\S+ += ", doc, re.M), "no formula of a gradient"
        for parameter in inspect.signature(OPS[name]).parameters:
            assert re.search(rf"\b{parameter}\b", doc), parameter

    def test_has_a_twin_of_the_same_signature(self, name):
        hand, twin = (inspect.signature(getattr(module, name)).parameters for module in (jaxcnn, reference))
        assert [(p.name, p.kind, p.default) for p in hand.values()] == [
            (p.name, p.kind, p.default) for p in twin.values()
        ]

    def test_has_cases(self, name):
        assert any(case.op == name for case in CASES)

    def test_has_a_row_in_the_readme(self, name):
        assert f"`{name}`" in (ROOT.parent / "README.md").read_text()

    def test_rule_stands_below_in_the_same_file(self, name):
        """The triple `_op`, `_op_fwd`, `_op_bwd`, and the primal is `_op_fwd(...)[0]`; or a call of another's rule."""
        module = sys.modules[OPS[name].__module__]
        source = Path(module.__file__).read_text()
        if name in RULES:
            assert re.search(rf"\b_{RULES[name]}\b", inspect.getsource(OPS[name]))
            return
        defined = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        triple = [f"_{name}", f"_{name}_fwd", f"_{name}_bwd"]
        assert [f for f in defined if f in (name, *triple)] == [name, *triple]
        assert re.search(rf"return _{name}_fwd\(.*\)\[0\]\n", source)
        assert re.search(rf"_{name}\.defvjp\(\s*_{name}_fwd, _{name}_bwd\s*\)", source)
        assert isinstance(getattr(module, f"_{name}"), jax.custom_vjp)


def test_imports_run_one_way():
    """window ← algorithms ← ops ← __init__: ops do not import each other."""
    files = {Path(sys.modules[fn.__module__].__file__).stem for fn in OPS.values()}
    lower = {
        "adaptive_tables",
        "arguments",
        "window",
        "shards",
        "operands",
        "memory",
        "moments",
        "taps",
        "window_sums",
        "switches",
        "selection",
        "algorithms",
    }
    for file in [*ROOT.glob("*.py"), *ROOT.glob("algorithms/*.py")]:
        imported = set(re.findall(r"^from jaxcnn\.(\w+)", file.read_text(), re.M))
        if file.stem in files:
            assert imported <= lower, file
        elif file.stem in lower or file.parent.stem == "algorithms":
            assert not imported & files, file


def test_no_file_is_long():
    for file in ROOT.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 420, file


def test_no_assert_and_no_warnings_filter():
    for file in ROOT.rglob("*.py"):
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(file.read_text()))), file
