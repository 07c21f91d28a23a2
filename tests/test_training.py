"""Training that is spread over processes, done in 16 bits, killed, out of disk space, or out of numbers."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_digits
import train_digits
from test_train_digits import small_mnist, stops, write_npz
from training import InputError, devices, mixed_precision
from training.checkpoints import Checkpoints

import jaxcnn

FILES = Path(__file__).parent


@pytest.fixture(autouse=True)
def small_network(monkeypatch, optimized):
    monkeypatch.setattr(train_digits, "init", small_digits.init)
    monkeypatch.setattr(train_digits, "apply", small_digits.apply)
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def options(tmp_path):
    return ["--data", str(write_npz(tmp_path, small_mnist())), "--epochs", "3", "--batch-size", "8"]


def start(*options):
    path = os.pathsep.join([str(FILES.parent / "examples"), *sys.path])
    command = [sys.executable, "-u", str(FILES / "small_digits.py"), *options]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})


def results(out):
    """The epochs, and the parameters' bytes."""
    return json.loads((out / "metrics.json").read_text())["epochs"], (out / "parameters.npz").read_bytes()


# Processes.


def test_two_processes_follow_one(options, tmp_path):
    train_digits.main([*options, "--out", str(tmp_path / "one")])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    spread = [*options, "--devices", "all", "--coordinator", address, "--processes", "2"]
    pair = [start(*spread, "--process-id", str(i), "--out", str(tmp_path / f"two{i}")) for i in range(2)]
    printed = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert "devices   2, processes 2" in printed[0] and "data" not in printed[1]
    assert (tmp_path / "two0").exists() and not (tmp_path / "two1").exists()
    (one, _), (two, _) = results(tmp_path / "one"), results(tmp_path / "two0")
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    assert one[0]["train_loss"] > one[-1]["train_loss"]


def test_batch_that_does_not_divide(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    assert devices.make_mesh("one", 32) is None
    with pytest.raises(InputError, match="--batch-size: expected a multiple of 3 devices, got 32"):
        devices.make_mesh("all", 32)


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--processes 2", "--coordinator"),
        ("--coordinator localhost:1", "--process-id"),
        ("--coordinator localhost:1 --processes 2 --process-id 2", "from 0 to N - 1"),
        ("--coordinator auto --process-id 0", "--coordinator HOST:PORT"),
        ("--resume", "--checkpoint"),
    ],
)
def test_options_that_need_others(options, words, expected, capfd, monkeypatch):
    monkeypatch.setattr(os, "_exit", sys.exit)
    assert expected in stops(capfd, *options, *words.split())


# Mixed precision.


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_computes_in_the_dtype(dtype):
    """Operands of the dtype; float32 parameters, gradients and loss."""
    params, x, y = small_digits.init(jax.random.key(0), 8, 8), jnp.ones((8, 8, 8, 1)), jnp.arange(8)
    run = jax.jit(jax.value_and_grad(train_digits.mean_loss), static_argnums=(3, 4))
    lowered = run.lower(params, x, y, jaxcnn, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(lowered.out_info)} == {np.dtype("float32")}
    program = lowered.as_text()
    types = {"bfloat16": "xbf16>", "float16": "xf16>"}
    assert [kind for kind, name in types.items() if name in program] == [dtype][: dtype != "float32"]


def test_loss_scale():
    """It rescues a gradient below float16; an overflow halves it and is skipped; NaN and scale 1 let all through."""
    scale = mixed_precision.first_scale("float16")
    narrow = lambda params, x, y: (params.astype(jnp.float16) * jnp.float16(x)).astype(jnp.float32) * y
    for used, expected in ((None, 0), (scale, 1e-9)):
        _, gradient = mixed_precision.scaled_value_and_grad(narrow, used)(jnp.float32(1), 1e-4, 1e-5)
        assert float(gradient) == pytest.approx(expected, rel=1e-2)

    def skip(scale, loss, gradient):
        arrays = (jnp.float32(value) for value in (loss, gradient, 1, 2))
        left, scale = mixed_precision.skip_overflow(scale, *arrays)
        return float(left), float(scale.value), scale

    assert skip(scale, 1, np.inf)[:2] == (1, 2.0**14)
    assert skip(scale, np.nan, np.nan)[:2] == (2, 2.0**14)
    assert skip(scale._replace(value=jnp.float32(0.5)), 1, np.inf)[0] == 2
    for _ in range(mixed_precision.GROW_AFTER):
        left, value, scale = skip(scale, 1, 1)
    assert (left, value, int(scale.good_steps)) == (2, 2.0**16, 0)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_names_step_and_parameter(options, dtype, capsys, monkeypatch):
    data = train_digits.load(Path(options[1]))
    data.x_train[:] = np.nan
    monkeypatch.setattr(train_digits, "load", lambda path: data)
    line = stops(capsys, *options, "--dtype", dtype)
    assert "step 1:" in line and "the loss is nan" in line and "conv1/b is not finite" in line


# Checkpoints.


def test_killed_at_any_moment_ends_the_same(options, tmp_path, capsys):
    train_digits.main([*options, "--out", str(tmp_path / "whole")])
    checkpoint = tmp_path / "checkpoints"
    options += ["--checkpoint", str(checkpoint), "--checkpoint-every", "1", "--resume"]
    for moment in (f"{checkpoint}/2", f"{checkpoint}/9*tmp"):
        with start(*options) as process:
            while process.poll() is None and not list(tmp_path.glob(f"checkpoints/{Path(moment).name}")):
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    capsys.readouterr()
    train_digits.main([*options, "--out", str(tmp_path / "resumed")])
    printed = capsys.readouterr()
    assert "resumed   after step" in printed.out and printed.err == ""
    assert results(tmp_path / "whole") == results(tmp_path / "resumed")


STATE = {"params": {"w": np.arange(60000, dtype=np.float32) ** 2, "b": np.float16(3)}, "moments": (np.int32(7), None)}


@pytest.fixture
def two_checkpoints(tmp_path):
    directory = tmp_path / "checkpoints"
    checkpoints = Checkpoints(directory, {"seed": 1}, resume=False)
    assert checkpoints.restore(STATE) is None
    for step in (5, 10):
        checkpoints.save(step, STATE, {"losses": [0.1, 1 / 3]})
    checkpoints.finish()
    return directory


def reopen(directory, seed=1):
    return Checkpoints(directory, {"seed": seed}, resume=True)


def test_broken_files(two_checkpoints, tmp_path, capsys):
    """Whichever file of the newest is damaged: all of it comes back, or it is refused in a line for the one before."""
    breaks = {
        "gone": lambda path, content: path.unlink(),
        "cut": lambda path, content: path.write_bytes(content[: len(content) // 2]),
        "flipped": lambda path, content: path.write_bytes(content[:-9] + bytes([content[-9] ^ 255]) + content[-8:]),
    }
    refused = 0
    for file in [path for path in (two_checkpoints / "10").rglob("*") if path.is_file()]:
        for name, damage in breaks.items():
            copy = tmp_path / file.name / name
            shutil.copytree(two_checkpoints, copy)
            damage(copy / file.relative_to(two_checkpoints), file.read_bytes())
            checkpoints = reopen(copy)
            step, state, history = checkpoints.restore(STATE)
            jax.tree.map(np.testing.assert_array_equal, state, STATE)
            assert history["losses"] == [0.1, 1 / 3]
            printed = capsys.readouterr().err
            assert printed.count("\n") == (step == 5) and printed.startswith(
                f"{copy}/10: checkpoint refused" * (step == 5)
            )
            refused += step == 5
            shutil.rmtree(copy)
    assert refused >= 6


def test_after_a_refusal_the_step_is_free(two_checkpoints, capsys):
    (two_checkpoints / "10" / "history" / "metadata").write_text("{}")
    checkpoints = reopen(two_checkpoints)
    assert checkpoints.restore(STATE)[0] == 5
    checkpoints.save(10, STATE, {})
    checkpoints.finish()
    assert reopen(two_checkpoints).restore(STATE)[0] == 10
    assert len(list(two_checkpoints.glob("10.refused-*"))) == 1


def test_foreign_checkpoints(two_checkpoints, tmp_path, capsys):
    with pytest.raises(InputError, match="no checkpoint that this run can resume from"):
        reopen(two_checkpoints, seed=2).restore(STATE)
    assert "another run: seed 1, not 2" in capsys.readouterr().err
    with pytest.raises(InputError, match="no checkpoint"):
        reopen(two_checkpoints).restore({**STATE, "more": np.zeros(3)})
    assert "another network" in capsys.readouterr().err
    with pytest.raises(InputError, match="not empty; --resume"):
        Checkpoints(two_checkpoints, {"seed": 1}, resume=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(InputError, match="not empty, and has no checkpoint"):
        reopen(tmp_path / "other")
    with pytest.raises(InputError, match="no place for checkpoints"):
        reopen(tmp_path / "other" / "notes.txt")
    assert reopen(two_checkpoints).restore(STATE)[0] == 10


def test_a_disk_that_takes_no_more(two_checkpoints):
    """Here a limit of the size of files."""
    checkpoints, limits = reopen(two_checkpoints), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write a checkpoint: .*; the last good one: 10"):
            checkpoints.save(15, STATE, {})
            checkpoints.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert reopen(two_checkpoints).restore(STATE)[0] == 10
