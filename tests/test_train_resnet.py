"""The ResNet example: it learns, threads its state, and hand rules and autodiff take the same steps."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compare import assert_close

SCRIPT = Path(__file__).parent.parent / "examples" / "train_resnet.py"


@pytest.fixture(scope="module")
def resnet():
    spec = importlib.util.spec_from_file_location("train_resnet", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_resnet"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def as_users_run_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_a_step_by_hand_and_by_autodiff(resnet, monkeypatch):
    """From one state on one batch: the same loss, running statistics and parameters."""
    monkeypatch.setattr(resnet, "WIDTHS", (4, 8))
    x, y = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 8, 1)), jnp.float32), jnp.arange(8)
    optimizer, results = optax.sgd(0.1), {}
    for name, ops in resnet.OPS.items():
        params, state = resnet.init(jax.random.key(0))
        training = params, state, optimizer.init(params)
        results[name] = resnet.step(training, x, y, jax.random.key(1), ops, optimizer)
    (params, state, _), loss = results["hand"]
    assert_close((params, state, loss), (*results["autodiff"][0][:2], results["autodiff"][1]), 1e-3)
    assert float(jnp.abs(state["stem"]["mean"]).max()) > 0


def test_predictions_do_not_depend_on_the_batch(resnet, monkeypatch):
    monkeypatch.setattr(resnet, "WIDTHS", (4, 8))
    params, state = resnet.init(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8, 8, 1)), jnp.float32)
    logits, after = resnet.apply(params, state, x)
    assert_close(resnet.apply(params, state, x[:2])[0], logits[:2], 1e-4)
    assert after is not state
    assert_close(after, state, 0)


def test_it_learns_and_draws(resnet, tmp_path, capsys):
    resnet.main(["--epochs", "2", "--out", str(tmp_path)])
    accuracy = float(capsys.readouterr().out.split()[1].rstrip("%"))
    assert accuracy > 80
    assert (tmp_path / "learning_curve.png").stat().st_size > 10_000


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--batch-size", "2000"], ["--learning-rate", "nan"]])
def test_bad_options_are_one_line(resnet, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        resnet.main(arguments)
    assert stopped.value.code == 2
    assert "expect" in capsys.readouterr().err
