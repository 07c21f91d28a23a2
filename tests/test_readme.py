"""The README's Python runs as printed."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=["step", "check", "drop-ins"])
def test_python_runs(block, capsys):
    import jax

    if "import flax" in block:
        pytest.importorskip("flax")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    if "check_vjp" in block:
        assert "ok" in printed.splitlines()[0]
    elif "flax" in block:
        assert printed.startswith("(8, 14, 14, 32) ")
    else:
        first, *_, last = map(float, printed.split())
        assert last < first
