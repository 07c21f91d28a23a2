"""The examples other than train_digits.py: each learns, draws, takes its options, and says when it diverged."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compare import assert_close

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def as_users_run_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def example(request):
    """The module of an example, made anew for each test."""
    spec = importlib.util.spec_from_file_location(request.param, EXAMPLES / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[request.param] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[request.param]


def an_example(*names):
    return pytest.mark.parametrize("example", names, indirect=True)


@pytest.mark.parametrize(
    ("example", "sizes", "arguments", "figure", "picture"),
    [
        ("train_resnet", {}, ["--epochs=2"], (0.8, 1), "learning_curve"),
        ("train_mobilenet", {"WIDTHS": (16, 24), "BLOCKS": 1}, ["--epochs=3"], (0.5, 1), "learning_curve"),
        ("segment_unet", {"WIDTHS": (8, 16), "TEST_SCENES": 16}, ["--epochs=5"], (0.45, 1), "masks"),
        ("forecast_causal", {"DILATIONS": (1, 2, 4), "FIELD": 8}, ["--epochs=100"], (0, 0.48), "forecast"),
        ("train_autoencoder", {"WIDTHS": (32,)}, ["--epochs=4"], (0, 0.055), "reconstructions"),
    ],
    indirect=["example"],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_it_learns_and_draws(example, sizes, arguments, figure, picture, monkeypatch, tmp_path, capsys):
    """A few steps of a small network get past what a network that learnt nothing reaches."""
    for name, value in sizes.items():
        monkeypatch.setattr(example, name, value)
    example.main([*arguments, "--out", str(tmp_path)])
    printed = capsys.readouterr().out.split()[1]
    value = float(printed.rstrip("%")) / (100 if printed.endswith("%") else 1)
    assert figure[0] < value < figure[1]
    assert (tmp_path / f"{picture}.png").stat().st_size > 10_000


ALL = "train_resnet", "train_mobilenet", "segment_unet", "forecast_causal", "train_autoencoder"


@an_example(*ALL)
@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--learning-rate", "inf"], ["--out", __file__]])
def test_bad_options_are_one_line(example, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        example.main(arguments)
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.rpartition("error:")[2].splitlines()) == 1


@an_example("compare_rules", "your_own_rule")
def test_out_is_a_directory(example, capsys):
    with pytest.raises(SystemExit):
        example.main([*(["relu"] if example.__name__ == "compare_rules" else []), "--out", __file__])
    assert "--out expects a directory" in capsys.readouterr().err


@an_example("train_resnet", "train_mobilenet", "train_autoencoder")
def test_a_batch_is_at_most_all_digits(example, capsys):
    with pytest.raises(SystemExit):
        example.main(["--batch-size", "1438"])
    assert "at most 1437" in capsys.readouterr().err


@an_example(*ALL)
def test_a_loss_of_nan_ends_the_run(example, monkeypatch):
    monkeypatch.setattr(example, "step", lambda training, *_: (training, np.float32("nan")))
    if "resnet" in example.__name__ or "mobilenet" in example.__name__:
        monkeypatch.setattr(example, "predict", lambda *_: np.zeros(360))
    with pytest.raises(SystemExit, match=r"\.py: error: training diverged"):
        example.main(["--epochs", "1"])


@an_example("train_resnet")
def test_a_step_by_hand_and_by_autodiff(example, monkeypatch):
    """From one state on one batch: the same loss, running statistics and parameters."""
    monkeypatch.setattr(example, "WIDTHS", (4, 8))
    x, y = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 8, 1)), jnp.float32), jnp.arange(8)
    optimizer, results = optax.sgd(0.1), {}
    for name, ops in example.OPS.items():
        params, state = example.init(jax.random.key(0))
        training = params, state, optimizer.init(params)
        results[name] = example.step(training, x, y, jax.random.key(1), ops, optimizer)
    (params, state, _), loss = results["hand"]
    assert_close((params, state, loss), (*results["autodiff"][0][:2], results["autodiff"][1]), 1e-3)
    assert float(jnp.abs(state["stem"]["mean"]).max()) > 0


@an_example("train_resnet")
def test_predictions_do_not_depend_on_the_batch(example, monkeypatch):
    monkeypatch.setattr(example, "WIDTHS", (4, 8))
    params, state = example.init(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8, 8, 1)), jnp.float32)
    logits, after = example.apply(params, state, x)
    assert_close(example.apply(params, state, x[:2])[0], logits[:2], 1e-4)
    assert after is not state
    assert_close(after, state, 0)


@an_example("forecast_causal")
def test_a_forecast_sees_the_receptive_field_and_no_more(example, monkeypatch):
    monkeypatch.setattr(example, "DILATIONS", (1, 2, 4))
    params = example.init(jax.random.key(0))
    params["head"] = jax.tree.map(jnp.ones_like, params["head"])
    at_12 = jax.jit(jax.grad(lambda x: example.apply(params, x)[12]))
    seen = np.flatnonzero(at_12(jnp.asarray(np.random.default_rng(0).normal(size=20), jnp.float32)))
    np.testing.assert_array_equal(seen, np.arange(5, 13))
