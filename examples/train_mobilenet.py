"""Trains a small MobileNet on scikit-learn's digits, by hand rules or autodiff.

    python examples/train_mobilenet.py                       some 60 seconds of CPU time, 98 %
    python examples/train_mobilenet.py --ops autodiff        the same network through autodiff
    python examples/train_mobilenet.py --out runs/mobilenet  ... and draw the learning curve

The blocks are those of MobileNetV2: a 1x1 convolution widens, a depthwise 3x3 one looks around, channel by channel, and
a 1x1 one narrows again; the narrow ends are what the shortcut adds. In place of one dense 3x3 convolution of wide
channels, that takes about a ninth of the multiplications.
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
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jaxcnn

OPS = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
WIDTHS = (16, 24, 32)  # channels of the stages; each but the first halves the image
BLOCKS = 2  # in a stage
EXPANSION = 4
MOMENTUM = 0.9


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
    c = WIDTHS[0]
    for stage, k in enumerate(WIDTHS):
        for block in range(BLOCKS):
            add_conv(f"{stage}/{block}/widen", 1, c, EXPANSION * c)
            add_conv(f"{stage}/{block}/depthwise", 3, 1, EXPANSION * c)
            add_conv(f"{stage}/{block}/narrow", 1, EXPANSION * c, k)
            c = k
    add_conv("last", 1, c, EXPANSION * c)
    params["head"] = {"w": he(jax.random.fold_in(key, len(params)), (EXPANSION * c, 10)), "b": jnp.zeros(10)}
    return params, state


def apply(params, state, x, training=False, ops=jaxcnn):
    """Images (n, h, w, 1) to logits (n, 10), and the new state."""
    after = {}

    def norm(name, x):
        p, running = params[name], state[name]
        if not training:
            after[name] = running
            return ops.batch_norm_inference(x, running["mean"], running["var"], p["scale"], p["bias"])
        x, mean, var = ops.batch_norm(x, p["scale"], p["bias"])
        mean, var = ops.update_running_statistics(running["mean"], running["var"], mean, var, momentum=MOMENTUM)
        after[name] = {"mean": mean, "var": var}
        return x

    def conv_norm(name, x):
        return norm(name, ops.conv(x, params[name]["w"]))

    def inverted_residual(name, x, strides):
        y = ops.relu6(conv_norm(f"{name}/widen", x))
        y = ops.depthwise_conv(y, params[f"{name}/depthwise"]["w"], strides=strides)
        y = ops.relu6(norm(f"{name}/depthwise", y))
        y = conv_norm(f"{name}/narrow", y)
        return x + y if x.shape == y.shape else y

    x = ops.relu6(conv_norm("stem", x))
    for stage in range(len(WIDTHS)):
        for block in range(BLOCKS):
            x = inverted_residual(f"{stage}/{block}", x, strides=2 if stage and not block else 1)
    x = ops.relu6(conv_norm("last", x))
    return ops.dense(ops.global_avg_pool(x), **params["head"]), after


def mean_loss(params, state, x, y, ops):
    logits, state = apply(params, state, x, training=True, ops=ops)
    losses = ops.softmax_cross_entropy_with_integer_labels(logits, y, label_smoothing=0.05)
    return losses.mean(), state


@partial(jax.jit, static_argnames=("ops", "optimizer"), donate_argnums=0)
def step(training, x, y, ops, optimizer):
    """One step of training; it takes over the buffers of (params, state, moments)."""
    params, state, moments = training
    (loss, state), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params, state, x, y, ops)
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
    x, x_test, y, y_test = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    return x, y, x_test, y_test


def baseline(x, y, x_test, y_test):
    """Accuracy of a logistic regression on the pixels."""
    flat, flat_test = (images.reshape(len(images), -1) for images in (x, x_test))
    return LogisticRegression(max_iter=1000).fit(flat, y).score(flat_test, y_test)


def batches(x, y, size, rng):
    """One epoch of full batches in random order, every image moved by up to a pixel each way."""
    moved = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), x.shape[1:3], (1, 2))
    for batch in rng.permutation(len(x))[: len(x) // size * size].reshape(-1, size):
        down, right = rng.integers(3, size=(2, size))
        yield np.moveaxis(moved[batch, down, right], 1, -1), y[batch]


def train(ops, digits, epochs, batch_size, learning_rate, seed):
    """A dict for each epoch."""
    x_train, y_train, x_test, y_test = digits
    steps = epochs * (len(x_train) // batch_size)
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, learning_rate), weight_decay=1e-3)
    rng, history = np.random.default_rng(seed), []
    params, state = init(jax.random.key(seed))
    training = (params, state, optimizer.init(params))
    with tqdm(total=steps, unit="step", disable=None) as progress:
        for epoch in range(1, epochs + 1):
            losses = []
            for x, y in batches(x_train, y_train, batch_size, rng):
                training, loss = step(training, x, y, ops, optimizer)
                losses.append(loss)
                progress.update()
            accuracy = float((predict(*training[:2], x_test, ops) == y_test).mean())
            history.append({"epoch": epoch, "loss": float(np.mean(losses)), "accuracy": accuracy})
            progress.set_postfix(loss=f"{history[-1]['loss']:.4f}", accuracy=f"{accuracy:.2%}")
            if not math.isfinite(history[-1]["loss"]):
                raise SystemExit("train_mobilenet.py: error: training diverged: a smaller --learning-rate may help")
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
        "train_mobilenet.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
    digits = load()
    history = train(OPS[args.ops], digits, args.epochs, args.batch_size, args.learning_rate, args.seed)
    print(f"accuracy  {history[-1]['accuracy']:.2%} of the 360 test images, {args.ops} gradients, seed {args.seed}")
    print(f"baseline  {baseline(*digits):.2%}: logistic regression")
    if args.out is not None:
        draw(history, args.out)


if __name__ == "__main__":
    main()
