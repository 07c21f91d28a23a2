"""Trains a small ResNet with batch norm and dropout on scikit-learn's digits, by hand rules or autodiff.

    python examples/train_resnet.py                    about a minute on two cores, 99 %
    python examples/train_resnet.py --ops autodiff     the same network through autodiff
    python examples/train_resnet.py --out runs/resnet  ... and draw the learning curve

The network is two functions over dicts: `init` makes its parameters and its state, the running statistics of its batch
norms; `apply` takes both and, while it trains, gives the new state back beside the logits. Nothing is hidden, and
nothing changes in place.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jaxcnn

OPS = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
WIDTHS = (16, 32, 64)  # channels of the stages; each but the first halves the image
MOMENTUM = 0.9
DROPOUT = 0.2


# ---- The network


def init(key):
    """Parameters and running statistics."""
    params, state = {}, {}
    he = jax.nn.initializers.he_normal()

    def add_conv(name, window, c, k):
        kernel = he(jax.random.fold_in(key, len(params)), (window, window, c, k), jnp.float32)
        params[name] = {"w": kernel, "scale": jnp.ones(k), "bias": jnp.zeros(k)}
        state[name] = {"mean": jnp.zeros(k), "var": jnp.ones(k)}

    add_conv("stem", 3, 1, WIDTHS[0])
    for stage, (c, k) in enumerate(zip((WIDTHS[0], *WIDTHS), WIDTHS)):
        add_conv(f"{stage}/first", 3, c, k)
        add_conv(f"{stage}/second", 3, k, k)
        if c != k:
            add_conv(f"{stage}/shortcut", 1, c, k)
    params["head"] = {"w": he(jax.random.fold_in(key, len(params)), (WIDTHS[-1], 10)), "b": jnp.zeros(10)}
    return params, state


def apply(params, state, x, key=None, ops=jaxcnn):
    """Images (n, h, w, 1) to logits (n, 10), and the new state; with a key it trains, without one it predicts."""
    after = {}

    def conv_norm(name, x, strides=1):
        p, running = params[name], state[name]
        x = ops.conv(x, p["w"], strides=strides)
        if key is None:
            after[name] = running
            return ops.batch_norm_inference(x, running["mean"], running["var"], p["scale"], p["bias"])
        x, mean, var = ops.batch_norm(x, p["scale"], p["bias"])
        mean, var = ops.update_running_statistics(running["mean"], running["var"], mean, var, momentum=MOMENTUM)
        after[name] = {"mean": mean, "var": var}
        return x

    x = ops.relu(conv_norm("stem", x))
    for stage in range(len(WIDTHS)):
        strides = 1 if stage == 0 else 2
        shortcut = conv_norm(f"{stage}/shortcut", x, strides) if f"{stage}/shortcut" in params else x
        x = ops.relu(conv_norm(f"{stage}/first", x, strides))
        x = ops.relu(conv_norm(f"{stage}/second", x) + shortcut)
    x = ops.global_avg_pool(x)
    x = ops.dropout(x, DROPOUT, key, deterministic=key is None)
    return ops.dense(x, **params["head"]), after


def mean_loss(params, state, x, y, key, ops):
    logits, state = apply(params, state, x, key, ops)
    losses = ops.softmax_cross_entropy_with_integer_labels(logits, y, label_smoothing=0.05)
    return losses.mean(), state


@partial(jax.jit, static_argnames=("ops", "optimizer"), donate_argnums=0)
def step(training, x, y, key, ops, optimizer):
    """One step of training; it takes over the buffers of (params, state, moments)."""
    params, state, moments = training
    (loss, state), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params, state, x, y, key, ops)
    updates, moments = optimizer.update(gradients, moments, params)
    return (optax.apply_updates(params, updates), state, moments), loss


@partial(jax.jit, static_argnames="ops")
def predict(params, state, x, ops):
    return jnp.argmax(apply(params, state, x, ops=ops)[0], -1)


# ---- Training


def load():
    """1797 real digits of 8x8; a fixed fifth of each class is for the test."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    return train_test_split(images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)


def batches(x, y, size, rng):
    """One epoch of full batches in random order, every image moved by up to a pixel each way."""
    moved = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), x.shape[1:3], (1, 2))
    for batch in rng.permutation(len(x))[: len(x) // size * size].reshape(-1, size):
        down, right = rng.integers(3, size=(2, size))
        yield np.moveaxis(moved[batch, down, right], 1, -1), y[batch]


def train(ops, epochs, batch_size, learning_rate, seed):
    """A dict for each epoch."""
    x_train, x_test, y_train, y_test = load()
    steps = epochs * (len(x_train) // batch_size)
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, learning_rate), weight_decay=1e-3)
    rng, key, history = np.random.default_rng(seed), jax.random.key(seed), []
    params, state = init(key)
    training = (params, state, optimizer.init(params))
    with tqdm(total=steps, unit="step", disable=None) as progress:
        for epoch in range(1, epochs + 1):
            losses = []
            for x, y in batches(x_train, y_train, batch_size, rng):
                key, now = jax.random.split(key)
                training, loss = step(training, x, y, now, ops, optimizer)
                losses.append(loss)
                progress.update()
            accuracy = float((predict(*training[:2], x_test, ops) == y_test).mean())
            history.append({"epoch": epoch, "loss": float(np.mean(losses)), "accuracy": accuracy})
            progress.set_postfix(loss=f"{history[-1]['loss']:.4f}", accuracy=f"{accuracy:.2%}")
            if not math.isfinite(history[-1]["loss"]):
                raise SystemExit("train_resnet.py: error: training diverged: a smaller --learning-rate may help")
    return history


def draw(history, path):
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        axes.plot([epoch["epoch"] for epoch in history], [epoch[name] for epoch in history], ".-")
        axes.set(title={"loss": "Training loss", "accuracy": "Test accuracy"}[name], xlabel="epoch")
        axes.grid(alpha=0.3)
    path.mkdir(parents=True, exist_ok=True)
    figure.savefig(path / "learning_curve.png", dpi=150)
    print(f"written   {path / 'learning_curve.png'}")


def main(argv=None):
    parser = argparse.ArgumentParser(
        "train_resnet.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ops", choices=OPS, default="hand", help="the layers (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=5e-3, help="its highest value (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write learning_curve.png there")
    args = parser.parse_args(argv)
    if args.epochs < 1 or not 1 <= args.batch_size <= 1437 or not 0 < args.learning_rate < math.inf:
        parser.error("--epochs and --batch-size expect 1 or more (at most 1437 images), --learning-rate more than 0")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        parser.error(f"--out expects a directory, got the file {args.out}")
    history = train(OPS[args.ops], args.epochs, args.batch_size, args.learning_rate, args.seed)
    print(f"accuracy  {history[-1]['accuracy']:.2%} of the 360 test images, {args.ops} gradients, seed {args.seed}")
    if args.out is not None:
        draw(history, args.out)


if __name__ == "__main__":
    main()
