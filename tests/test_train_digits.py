"""The training script, called as a function: what it learns, writes and prints, and how it turns down what is wrong."""

import gzip
import io
import json
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import jax
import matplotlib.image
import numpy as np
import pytest
import train_digits
from training import results

import jaxcnn

SCRIPT = train_digits.__file__

FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@pytest.fixture(autouse=True)
def standard_promotion():
    """optax mixes ints and floats, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def small_mnist(train=48, test=20, size=8):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 100, (count, size, size), np.uint8)
        images.reshape(count, -1)[np.arange(count), 5 * labels + 1] = 255
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    return arrays


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_idx(directory, arrays, rename=lambda name: name):
    for name, array in arrays.items():
        path = directory / rename(FILES[name])
        path.write_bytes(gzip.compress(idx(array)) if path.suffix == ".gz" else idx(array))
    return directory


def write_npz(directory, arrays):
    path = directory / "mnist.npz"
    np.savez(path, **arrays)
    return path


def stops(capsys, *argv):
    """The one line that a call which must fail leaves on stderr."""
    with pytest.raises(SystemExit) as stopped:
        train_digits.main([str(word) for word in argv])
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("train_digits.py: ") and printed.endswith("\n") and printed.count("\n") == 1, printed
    return printed


# What it learns.


@pytest.fixture(scope="module")
def bundled_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "deep" / "out"
    with jax.numpy_dtype_promotion("standard"):
        train_digits.main(["--epochs", "1", "--batch-size", "64", "--seed", "3", "--out", str(out)])
    return out


def test_one_epoch_learns_and_writes(bundled_run):
    assert sorted(path.name for path in bundled_run.iterdir()) == sorted(results.OUTPUTS)
    metrics = json.loads((bundled_run / "metrics.json").read_text())
    assert metrics["config"]["seed"] == 3 and metrics["config"]["ops"] == "hand"
    assert metrics["data"]["train_images"] == 1437 and metrics["data"]["test_images"] == 360
    assert len(metrics["epochs"]) == 1 and metrics["epochs"][-1] == metrics["final"]
    assert metrics["final"]["test_accuracy"] == 1 - metrics["final"]["test_errors"] / 360 > 0.3
    assert 0 < metrics["final"]["test_loss"] < metrics["final"]["train_loss"] < 4
    assert all(seconds > 0 for seconds in metrics["timings"].values())
    with np.load(bundled_run / "parameters.npz") as archive:
        assert archive["conv1/w"].shape == (3, 3, 1, 32) and len(archive) == 8
    for name in results.OUTPUTS[2:]:
        picture = matplotlib.image.imread(bundled_run / name)
        assert picture.ndim == 3 and picture.std() > 0


def test_same_seed_same_numbers(bundled_run, tmp_path, capsys):
    train_digits.main(["--epochs", "1", "--batch-size", "64", "--seed", "3", "--out", str(tmp_path)])
    first, second = (json.loads((out / "metrics.json").read_text()) for out in (bundled_run, tmp_path))
    assert first["final"] == second["final"]
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"{second['final']['test_accuracy']:.2%}" in printed.out


def test_compare(tmp_path, capsys):
    data, out = write_npz(tmp_path, small_mnist()), tmp_path / "out"
    train_digits.main(["--data", str(data), "--epochs", "2", "--batch-size", "16", "--compare", "--out", str(out)])
    printed = capsys.readouterr()
    for line in ("test accuracy", "step time", "temporary memory", "largest gradient difference", "at every step"):
        assert line in printed.out
    assert printed.err == ""
    metrics = json.loads((out / "metrics.json").read_text())
    comparison = metrics["comparison"]
    assert 0 <= comparison["largest_relative_gradient_difference"] < 1e-4
    for ratio, parts in (("step_time_ratio", "step_seconds"), ("temporary_memory_ratio", "temporary_bytes")):
        assert comparison[ratio] == comparison[parts]["hand"] / comparison[parts]["autodiff"] > 0
    for hand, autodiff in zip(metrics["epochs"], comparison["autodiff_epochs"], strict=True):
        assert hand["train_loss"] == pytest.approx(autodiff["train_loss"], rel=1e-3)
    assert matplotlib.image.imread(out / "learning_curves.png").std() > 0


def test_autodiff_alone_uses_no_rule(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(train_digits.OPS, "hand", None)
    train_digits.main(["--data", str(write_npz(tmp_path, small_mnist())), "--epochs", "1", "--ops", "autodiff"])
    assert "autodiff gradients" in capsys.readouterr().out


def small_batch():
    rng = np.random.default_rng(1)
    params = train_digits.init(jax.random.key(0), 9, 6)
    return params, rng.random((8, 9, 6, 1), np.float32), rng.integers(10, size=8).astype(np.int32)


def test_gradients_agree():
    with jax.numpy_dtype_promotion("strict"):
        params, x, y = small_batch()
        assert train_digits.apply(params, x).shape == (8, 10)
        assert 0 <= train_digits.gradient_difference(params, x, y, "float32") < 1e-5


def test_a_wrong_rule_shows(monkeypatch):
    wrong = SimpleNamespace(**{**vars(jaxcnn.reference), "relu": lambda x: 1.1 * jax.nn.relu(x)})
    monkeypatch.setitem(train_digits.OPS, "hand", wrong)
    assert jax.jit(train_digits.gradient_difference.__wrapped__, static_argnums=3)(*small_batch(), "float32") > 1e-2


# The data.


def test_bundled_split_is_fixed():
    data, again = train_digits.load(None), train_digits.load(None)
    for first, second in zip(data[1:], again[1:]):
        np.testing.assert_array_equal(first, second)
    assert data.x_train.shape == (1437, 12, 12) and data.x_test.shape == (360, 12, 12)
    assert data.x_train.dtype == np.float32 and data.x_train.min() == 0 and data.x_train.max() == 1
    assert set(np.bincount(data.y_test)) <= {34, 35, 36, 37}


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: f"{name}.gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx") + ".gz",
    ],
    ids=["plain", "gz", "dot", "dot-gz"],
)
def test_loads_idx(tmp_path, rename):
    arrays = small_mnist()
    write_idx(tmp_path, arrays, rename)
    for path in (tmp_path, tmp_path / rename(FILES["y_test"])):
        assert_loaded(train_digits.load(path), arrays)


@pytest.mark.parametrize("label_dtype", [np.uint8, np.int64])
def test_loads_npz(tmp_path, label_dtype):
    arrays = small_mnist()
    arrays |= {name: arrays[name].astype(label_dtype) for name in ("y_train", "y_test")}
    assert_loaded(train_digits.load(write_npz(tmp_path, arrays)), arrays)


def assert_loaded(data, arrays):
    for name, array in arrays.items():
        loaded = getattr(data, name)
        assert loaded.dtype == (np.float32 if name.startswith("x") else np.int32)
        np.testing.assert_allclose(loaded * (255 if name.startswith("x") else 1), array, rtol=1e-6)


def test_batches_move_every_image_by_a_pixel_at_most():
    x, y = np.zeros((10, 7, 7), np.float32), np.arange(10)
    x[y, 3, 3] = 1 + y
    rows = set()
    for images, labels in train_digits.batches(x, y, 4, np.random.default_rng(0)):
        assert images.shape == (4, 7, 7, 1) and labels.shape == (4,)
        for image, label in zip(images[..., 0], labels):
            ((row, column),) = np.argwhere(image)
            assert image[row, column] == 1 + label and {row, column} <= {2, 3, 4}
            rows.add(label)
    assert len(rows) == 8


# What is wrong with the data: one line with the file and the fault.


def replaced(**arrays):
    return {**small_mnist(), **arrays}


IDX_FAULTS = {
    "missing": ("x_train", lambda content: None, "missing"),
    "empty": ("x_train", lambda content: b"", "truncated"),
    "half a header": ("x_test", lambda content: content[:9], "truncated"),
    "truncated": ("x_train", lambda content: content[:-1], "truncated"),
    "truncated labels": ("y_test", lambda content: content[:-3], "truncated"),
    "too long": ("y_train", lambda content: content + b"\0", "too long"),
    "a size beyond all memory": ("x_train", lambda content: content[:4] + b"\xff" * 12 + content[16:], "truncated"),
    "labels for images": ("x_train", lambda content: idx(small_mnist()["y_train"]), "magic"),
    "images for labels": ("y_test", lambda content: idx(small_mnist()["x_test"]), "magic"),
    "not IDX": ("x_train", lambda content: b"<html>not found</html>", "magic"),
    "floats": ("x_train", lambda content: b"\0\0\x0d\x03" + content[4:], "magic"),
    "fewer labels": ("y_train", lambda content: idx(np.zeros(47, np.uint8)), "47 labels"),
    "more labels": ("y_test", lambda content: idx(np.zeros(21, np.uint8)), "21 labels"),
    "label 10": ("y_train", lambda content: content[:-1] + b"\x0a", "label number 47 is 10"),
    "no images": ("x_test", lambda content: idx(np.zeros((0, 8, 8), np.uint8)), "6x6"),
    "too small": ("x_train", lambda content: idx(np.zeros((48, 8, 5), np.uint8)), "6x6"),
    "another size": ("x_test", lambda content: idx(np.zeros((20, 9, 8), np.uint8)), "training images"),
}


@pytest.mark.parametrize("name, change, fault", IDX_FAULTS.values(), ids=IDX_FAULTS)
def test_faulty_idx(tmp_path, capsys, name, change, fault):
    path = write_idx(tmp_path, small_mnist()) / FILES[name]
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    line = stops(capsys, "--data", tmp_path)
    assert str(path) in line and fault in line


GZIP_FAULTS = {
    "not gzip": lambda content: gzip.decompress(content),
    "cut": lambda content: content[:-9],
    "cut in its header": lambda content: content[:5],
    "flipped": lambda content: content[:40] + bytes(255 - byte for byte in content[40:60]) + content[60:],
    "wrong checksum": lambda content: content[:-8] + b"\0\0\0\0" + content[-4:],
}


@pytest.mark.parametrize("change", GZIP_FAULTS.values(), ids=GZIP_FAULTS)
def test_faulty_gzip(tmp_path, capsys, change):
    path = write_idx(tmp_path, small_mnist(), "{}.gz".format) / f"{FILES['x_train']}.gz"
    path.write_bytes(change(path.read_bytes()))
    line = stops(capsys, "--data", tmp_path)
    assert str(path) in line and "gzip" in line


NPZ_FAULTS = {
    "missing": ({name: array for name, array in small_mnist().items() if name != "y_test"}, "y_test"),
    "floats": (replaced(x_train=np.zeros((48, 8, 8))), "x_train: expected uint8"),
    "flat": (replaced(x_test=np.zeros((20, 64), np.uint8)), "x_test: expected uint8"),
    "a scalar": (replaced(x_train=np.uint8(3)), "x_train: expected uint8"),
    "float labels": (replaced(y_train=np.zeros(48)), "y_train: expected integer"),
    "one-hot labels": (replaced(y_train=np.zeros((48, 10), np.uint8)), "y_train: expected integer"),
    "durations": (replaced(y_train=np.zeros(48, "m8[s]")), "y_train: expected integer"),
    "fewer labels": (replaced(y_test=np.zeros(19, np.uint8)), "y_test: 19 labels"),
    "label -1": (replaced(y_test=np.full(20, -1)), "y_test: labels must be 0 to 9"),
    "objects": (replaced(y_train=np.array([{}] * 48)), "y_train: cannot be read"),
}


@pytest.mark.parametrize("arrays, fault", NPZ_FAULTS.values(), ids=NPZ_FAULTS)
def test_faulty_npz(tmp_path, capsys, arrays, fault):
    path = write_npz(tmp_path, arrays)
    line = stops(capsys, "--data", path)
    assert str(path) in line and fault in line


def with_member(content, name, member):
    """The archive with another file under this name."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, member if info.filename == name else old.read(info))
    return result.getvalue()


BROKEN_ARCHIVES = {
    "empty": lambda content: b"",
    "not a zip": lambda content: b"\x93NUMPY" + content[:100],
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:300] + bytes(255 - byte for byte in content[300:310]) + content[310:],
    "no array in it": lambda content: with_member(content, "x_train.npy", b"not an array"),
    "a broken header": lambda content: with_member(content, "x_train.npy", b"\x93NUMPY\x01\x00\x04\x00{'d}"),
    "a pickle": lambda content: with_member(content, "x_train.npy", b"\x80\x04]\x94."),
}


@pytest.mark.parametrize("change", BROKEN_ARCHIVES.values(), ids=BROKEN_ARCHIVES)
def test_broken_npz(tmp_path, capsys, change):
    path = write_npz(tmp_path, small_mnist())
    content = change(path.read_bytes())
    path.write_bytes(content)
    assert str(path) in stops(capsys, "--data", path)


class Touch:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path, capsys):
    trace = tmp_path / "unpickled"
    path = write_npz(tmp_path, replaced(x_train=np.array([Touch(trace)])))
    assert str(path) in stops(capsys, "--data", path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["nowhere", "nowhere.npz", "notes.txt", "empty"])
def test_no_data_there(tmp_path, capsys, name):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / name) in stops(capsys, "--data", tmp_path / name)


def test_directory_in_place_of_a_file(tmp_path, capsys):
    path = write_idx(tmp_path, small_mnist()) / FILES["x_test"]
    path.unlink()
    path.mkdir()
    assert str(path) in stops(capsys, "--data", tmp_path)


# The command line.


@pytest.mark.parametrize(
    "option, value, reason",
    [
        *(("--epochs", value, "a whole number from 1") for value in ("0", "-1", "1.5", "many", "", "9" * 5000)),
        *(("--batch-size", value, "a whole number from 1") for value in ("0", "-32", "all")),
        ("--batch-size", "1438", "at most the 1437 training images"),
        *(("--learning-rate", value, "finite number above 0") for value in ("0", "-1", "nan", "inf", "fast")),
        *(("--seed", value, "from 0 to 2**32 - 1") for value in ("-1", str(2**32), "0.5")),
        ("--ops", "neither", "hand"),
        ("--data", None, "expected one argument"),
        ("--epoch", "1", "unrecognized"),
    ],
)
def test_bad_values(capsys, option, value, reason):
    line = stops(capsys, option, *([] if value is None else [value]))
    assert option in line and reason in line


def test_ops_and_compare_exclude_each_other(capsys):
    assert "not allowed with" in stops(capsys, "--ops", "autodiff", "--compare")


@pytest.mark.parametrize("out", ["file", "file/out", "taken"])
def test_out_is_checked_before_training(tmp_path, capsys, monkeypatch, out):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "filters.png").mkdir(parents=True)
    monkeypatch.setattr(train_digits, "start_runs", None)
    data = write_npz(tmp_path, small_mnist())
    assert str(tmp_path / out) in stops(capsys, "--data", data, "--batch-size", "8", "--out", tmp_path / out)


def test_failed_write_leaves_what_was_there(tmp_path, capsys, monkeypatch):
    old = tmp_path / "metrics.json"
    old.write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is gone")))
    data = train_digits.Data("", *(np.zeros((2, 8, 8)), np.zeros(2, int)) * 2)
    run = SimpleNamespace(name="hand", params={"conv1": {"w": np.ones((3, 3, 1, 32))}})
    run.epochs, run.predicted = [{"epoch": 1, "train_loss": 1, "test_loss": 1, "test_accuracy": 1}], data.y_test
    with pytest.raises(train_digits.InputError, match="the disk is gone"):
        results.write(tmp_path, {}, [run], data)
    assert old.read_text() == "old" and list(tmp_path.iterdir()) == [old]


def test_divergence_is_one_line(tmp_path, capsys):
    data = write_npz(tmp_path, small_mnist())
    assert "--learning-rate" in stops(capsys, "--data", data, "--batch-size", "16", "--learning-rate", "1e30")


@pytest.mark.parametrize("moment", ["imports", "training"])
def test_ctrl_c(tmp_path, moment):
    command = [sys.executable, "-u", "-X", "importtime"] if moment == "imports" else [sys.executable, "-u"]
    command += [SCRIPT, "--data", write_npz(tmp_path, small_mnist()), "--epochs", "100000", "--batch-size", "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if moment == "imports":
            next(line for line in process.stderr if "jax._src" in line)
        else:
            next(line for line in process.stdout if line.startswith("training"))
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in printed.splitlines() if not line.startswith("import time")] == [
        "train_digits.py: interrupted"
    ]


def test_help_explains_itself(capsys):
    with pytest.raises(SystemExit) as stopped:
        train_digits.main(["--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    for option in [
        "data",
        "epochs",
        "batch-size",
        "learning-rate",
        "seed",
        "ops",
        "compare",
        "out",
        "dtype",
        "devices",
        "checkpoint",
        "resume",
    ]:
        assert f"--{option}" in printed
    assert printed.count("default:") == 9 and "python examples/train_digits.py" in printed
