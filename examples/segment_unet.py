"""Trains a U-Net to find handwritten digits on photographs, pixel by pixel, by hand rules or autodiff.

    python examples/segment_unet.py                    some 90 seconds of CPU time, an IoU of 0.8
    python examples/segment_unet.py --ops autodiff     the same network through autodiff
    python examples/segment_unet.py --out runs/unet    ... and draw images, masks and predictions

A scene is a crop of one of scikit-learn's two photographs with three of its digits written over it, each in one colour,
lighter or darker than what is beneath: no threshold finds them. The network goes down by max-pools and comes up again
by transposed convolutions, and every level hands its features across. Test scenes have other digits, on another part
of the photographs.
"""

import argparse
import math
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from scipy.ndimage import zoom
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jaxcnn

OPS = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
SIZE = 48  # of a scene; the digits in it are three times as large as scikit-learn's
WIDTHS = (8, 16, 32)  # channels of the levels; each but the first halves the image
STEPS = 20  # of an epoch
TEST_SCENES = 256


# ---- The network


def init(key):
    params = {}
    he = jax.nn.initializers.he_normal()

    def add_conv(name, window, c, k):
        kernel = he(jax.random.fold_in(key, len(params)), (window, window, c, k), jnp.float32)
        params[name] = {"w": kernel, "b": jnp.zeros(k)}

    for level, (c, k) in enumerate(zip((3, *WIDTHS), WIDTHS)):
        add_conv(f"down {level}/first", 3, c, k)
        add_conv(f"down {level}/second", 3, k, k)
    for level, (k, c) in enumerate(pairwise(WIDTHS)):
        add_conv(f"up {level}/transposed", 2, c, k)
        add_conv(f"up {level}/first", 3, 2 * k, k)
        add_conv(f"up {level}/second", 3, k, k)
    add_conv("head", 1, WIDTHS[0], 1)
    return params


def apply(params, x, ops=jaxcnn):
    """Images (n, h, w, 3) in 0..1 to the logits (n, h, w) that a pixel belongs to a digit."""

    def block(name, x):
        for part in ("first", "second"):
            x = ops.relu(ops.conv(x, **params[f"{name}/{part}"]))
        return x

    x, across = 2 * x - 1, []
    for level in range(len(WIDTHS)):
        x = block(f"down {level}", ops.max_pool(x, 2) if across else x)
        across.append(x)
    for level, skip in reversed(list(enumerate(across[:-1]))):
        x = ops.conv_transpose(x, **params[f"up {level}/transposed"], strides=2)
        x = block(f"up {level}", jnp.concatenate((skip, x), -1))
    return ops.conv(x, **params["head"])[..., 0]


def mean_loss(params, images, masks, ops):
    return ops.sigmoid_binary_cross_entropy(apply(params, images, ops), masks).mean()


@partial(jax.jit, static_argnames=("ops", "optimizer"), donate_argnums=0)
def step(training, images, masks, ops, optimizer):
    """One step of training; it takes over the buffers of (params, moments)."""
    params, moments = training
    loss, gradients = jax.value_and_grad(mean_loss)(params, images, masks, ops)
    updates, moments = optimizer.update(gradients, moments, params)
    return (optax.apply_updates(params, updates), moments), loss


@partial(jax.jit, static_argnames="ops")
def predict(params, images, ops):
    return apply(params, images, ops) > 0


# ---- Scenes


def load():
    """Digits (n, 24, 24) and photographs (2, rows, columns, 3), both in 0..1, of the training and of the test."""
    digits = zoom(load_digits().images / 16, (1, 3, 3), order=1)
    photographs = np.stack(load_sample_images().images) / 255
    return [*zip(train_test_split(digits, test_size=0.2, random_state=0), np.split(photographs, [440], axis=2))]


def scenes(digits, photographs, count, rng):
    """Images (count, SIZE, SIZE, 3) and masks (count, SIZE, SIZE), float32: three digits on each crop."""
    images = np.empty((count, SIZE, SIZE, 3), np.float32)
    masks = np.zeros((count, SIZE, SIZE), np.float32)
    for image, mask in zip(images, masks):
        row, column = rng.integers(np.subtract(photographs.shape[1:3], SIZE))
        image[:] = photographs[rng.integers(2), row : row + SIZE, column : column + SIZE]
        for digit in digits[rng.integers(len(digits), size=3)]:
            row, column = rng.integers(SIZE - len(digit) + 1, size=2)
            place = np.s_[row : row + len(digit), column : column + len(digit)]
            colour = 0.4 * rng.random(3) + 0.6 * (image[place].mean() < 0.5)
            image[place] += 0.8 * digit[..., None] * (colour - image[place])
            mask[place] = np.maximum(mask[place], digit > 0.5)
    return images, masks


def iou(predicted, masks):
    """Pixels that both call a digit over those that either does, of all scenes together."""
    predicted, masks = np.asarray(predicted) > 0, masks > 0
    return float((predicted & masks).sum() / (predicted | masks).sum())


def iou_of_threshold(fit, test):
    """The brightness above or below which a pixel is called a digit, best on the scenes `fit`."""
    grey, grey_test = fit[0].mean(-1), test[0].mean(-1)
    rules = [(sign, level) for sign in (1, -1) for level in np.linspace(0, 1, 51)]
    sign, level = max(rules, key=lambda rule: iou(rule[0] * (grey - rule[1]), fit[1]))
    return iou(sign * (grey_test - level), test[1])


# ---- Training


def train(ops, sources, epochs, batch_size, learning_rate, seed):
    """The parameters after training on scenes that are all new."""
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(epochs * STEPS, learning_rate))
    rng = np.random.default_rng(seed)
    params = init(jax.random.key(seed))
    training = (params, optimizer.init(params))
    with tqdm(total=epochs * STEPS, unit="step", disable=None) as progress:
        for _ in range(epochs):
            losses = []
            for _ in range(STEPS):
                training, loss = step(training, *scenes(*sources, batch_size, rng), ops, optimizer)
                losses.append(loss)
                progress.update()
            loss = float(np.mean(losses))
            progress.set_postfix(loss=f"{loss:.4f}")
            if not math.isfinite(loss):
                raise SystemExit("segment_unet.py: error: training diverged: a smaller --learning-rate may help")
    return training[0]


def draw(images, masks, predicted, path):
    """Eight scenes: image, mask, prediction."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for name, row, pictures in zip(("image", "mask", "predicted"), figure.subplots(3, 8), (images, masks, predicted)):
        for picture, axes in zip(pictures, row):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    path.mkdir(parents=True, exist_ok=True)
    figure.savefig(path / "masks.png", dpi=150)
    print(f"written   {path / 'masks.png'}")


def main(argv=None):
    parser = argparse.ArgumentParser(
        "segment_unet.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ops", choices=OPS, default="hand", help="the layers (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=15, help=f"of {STEPS} steps each (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="scenes in a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="its highest value (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write masks.png there")
    args = parser.parse_args(argv)
    if args.epochs < 1 or args.batch_size < 1 or not 0 < args.learning_rate < math.inf:
        parser.error("--epochs and --batch-size expect 1 or more, --learning-rate a number more than 0")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        parser.error(f"--out expects a directory, got the file {args.out}")
    ops, (for_training, for_test) = OPS[args.ops], load()
    params = train(ops, for_training, args.epochs, args.batch_size, args.learning_rate, args.seed)
    images, masks = scenes(*for_test, TEST_SCENES, np.random.default_rng(0))
    predicted = predict(params, images, ops)
    print(
        f"iou       {iou(predicted, masks):.3f} over {TEST_SCENES} test scenes, {args.ops} gradients, seed {args.seed}"
    )
    print(f"baseline  {iou(np.ones_like(masks), masks):.3f}: every pixel a digit")
    fit = scenes(*for_training, TEST_SCENES, np.random.default_rng(1))
    print(f"baseline  {iou_of_threshold(fit, (images, masks)):.3f}: the best threshold of brightness")
    if args.out is not None:
        draw(images, masks, predicted, args.out)


if __name__ == "__main__":
    main()
