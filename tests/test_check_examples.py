"""The examples about rules: one's own, and the library's beside autodiff."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_your_own_rule(capsys, tmp_path):
    example = load("your_own_rule")
    example.main(["--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "broken_rms_norm: WRONG" in out
    assert "missing a term" in out
    assert "x times what is constant along axis 1" in out
    assert "\nrms_norm: ok" in out
    assert [path.name for path in tmp_path.iterdir()] == ["broken_rms_norm.png"]
    (mark,) = example.test_rule.pytestmark
    assert len(mark.args[1]) == 6


def test_compare_rules(capsys, tmp_path):
    example = load("compare_rules")
    example.main(["max_pool", "--out", str(tmp_path)])
    (page,) = tmp_path.iterdir()
    text = page.read_text()
    for part in (
        "y[n,p,c]",
        "def _max_pool_bwd",
        "def spread",
        "select_and_scatter_add",
        "max_pool: ok",
        "kept by hand",
    ):
        assert part in text, part
    with pytest.raises(SystemExit):
        example.main(["nonsense"])
    assert capsys.readouterr().err.endswith("no op called nonsense; --list names those that there are\n")
