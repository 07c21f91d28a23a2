"""Trains an autoencoder that takes the noise off scikit-learn's digits, by hand rules or autodiff.

    python examples/train_autoencoder.py                         some 90 seconds of CPU time, an error of 0.025
    python examples/train_autoencoder.py --ops autodiff          the same network through autodiff
    python examples/train_autoencoder.py --out runs/autoencoder  ... and draw digits, noise and reconstructions

The encoder's max-pools remember where each maximum was; the decoder's unpoolings put its values back to these places,
and transposed convolutions fill the gaps: the decoder mirrors the encoder layer by layer. The network sees a noisy
digit and is to give the clean one, so it cannot win by copying.
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
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jaxcnn

OPS = {"hand": jaxcnn, "autodiff": jaxcnn.reference}
WIDTHS = (64, 128)  # channels of the levels; each ends in a pool that halves the image
NOISE = 0.4  # its standard deviation, where ink is 1 and paper 0


# ---- The network


def init(key):
    params = {}
    he = jax.nn.initializers.he_normal()

    def add_conv(name, c, k):
        params[name] = {"w": he(jax.random.fold_in(key, len(params)), (3, 3, c, k)), "b": jnp.zeros(k)}

    add_conv("stem", 1, WIDTHS[0])
    for level, (c, k) in enumerate(zip((WIDTHS[0], *WIDTHS), WIDTHS)):
        add_conv(f"encode {level}", c, k)
        add_conv(f"decode {level}", k, c)
    add_conv("code", WIDTHS[-1], WIDTHS[-1])
    add_conv("head", WIDTHS[0], 1)
    return params


def apply(params, x, ops=jaxcnn):
    """Noisy images (n, h, w, 1) to clean ones."""
    places = []
    x = ops.relu(ops.conv(x, **params["stem"]))
    for level in range(len(WIDTHS)):
        x = ops.relu(ops.conv(x, **params[f"encode {level}"]))
        shape = x.shape[1:3]
        x, indices = ops.max_pool_with_indices(x, 2)
        places.append((indices, shape))
    x = ops.relu(ops.conv(x, **params["code"]))
    for level, (indices, shape) in reversed(list(enumerate(places))):
        x = ops.max_unpool(x, indices, output_shape=shape)
        x = ops.relu(ops.conv_transpose(x, **params[f"decode {level}"]))
    return ops.conv(x, **params["head"])


def mean_loss(params, noisy, clean, ops):
    return ops.squared_error(apply(params, noisy, ops), clean).mean()


@partial(jax.jit, static_argnames=("ops", "optimizer"), donate_argnums=0)
def step(training, noisy, clean, ops, optimizer):
    """One step of training; it takes over the buffers of (params, moments)."""
    params, moments = training
    loss, gradients = jax.value_and_grad(mean_loss)(params, noisy, clean, ops)
    updates, moments = optimizer.update(gradients, moments, params)
    return (optax.apply_updates(params, updates), moments), loss


predict = jax.jit(apply, static_argnames="ops")


# ---- Training


def load():
    """Real digits (n, 8, 8, 1) in 0..1: 1437 for training, 360 for the test."""
    images = (load_digits().images / 16).astype(np.float32)[..., None]
    return train_test_split(images, test_size=0.2, random_state=0)


def add_noise(images, rng):
    return images + NOISE * rng.standard_normal(images.shape, np.float32)


def error(images, clean):
    """Mean square."""
    return float(np.mean(np.square(images - clean)))


def baselines(clean, noisy_test, clean_test):
    """Errors without a network: PCA gets the number of components that suits the test best."""
    flat, flat_test, flat_noisy = (images.reshape(len(images), -1) for images in (clean, clean_test, noisy_test))
    pca = {k: PCA(k).fit(flat) for k in range(4, 17)}
    projected = {k: error(fit.inverse_transform(fit.transform(flat_noisy)), flat_test) for k, fit in pca.items()}
    best = min(projected, key=projected.get)
    linear = LinearRegression().fit(add_noise(flat, np.random.default_rng(1)), flat)
    return {
        "the noisy digits": error(noisy_test, clean_test),
        f"projected on {best} principal components": projected[best],
        "linear regression": error(linear.predict(flat_noisy), flat_test),
    }


def train(ops, clean, epochs, batch_size, learning_rate, seed):
    """The parameters after training."""
    steps = epochs * (len(clean) // batch_size)
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, learning_rate))
    rng = np.random.default_rng(seed)
    params = init(jax.random.key(seed))
    training = (params, optimizer.init(params))
    with tqdm(total=steps, unit="step", disable=None) as progress:
        for _ in range(epochs):
            losses = []
            for batch in rng.permutation(len(clean))[: len(clean) // batch_size * batch_size].reshape(-1, batch_size):
                training, loss = step(training, add_noise(clean[batch], rng), clean[batch], ops, optimizer)
                losses.append(loss)
                progress.update()
            loss = float(np.mean(losses))
            progress.set_postfix(loss=f"{loss:.4f}")
            if not math.isfinite(loss):
                raise SystemExit("train_autoencoder.py: error: training diverged: a smaller --learning-rate may help")
    return training[0]


def draw(rows, path):
    """A row of twelve digits for each name."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for images, row in zip(rows.items(), figure.subplots(len(rows), 12)):
        for image, axes in zip(images[1], row):
            axes.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(images[0])
    path.mkdir(parents=True, exist_ok=True)
    figure.savefig(path / "reconstructions.png", dpi=150)
    print(f"written   {path / 'reconstructions.png'}")


def main(argv=None):
    parser = argparse.ArgumentParser(
        "train_autoencoder.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ops", choices=OPS, default="hand", help="the layers (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the digits (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="digits in a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="its highest value (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write reconstructions.png there")
    args = parser.parse_args(argv)
    if args.epochs < 1 or not 1 <= args.batch_size <= 1437 or not 0 < args.learning_rate < math.inf:
        parser.error("--epochs and --batch-size expect 1 or more (at most 1437 digits), --learning-rate more than 0")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        parser.error(f"--out expects a directory, got the file {args.out}")
    ops, (clean, clean_test) = OPS[args.ops], load()
    noisy_test = add_noise(clean_test, np.random.default_rng(0))
    params = train(ops, clean, args.epochs, args.batch_size, args.learning_rate, args.seed)
    restored = predict(params, noisy_test, ops=ops)
    print(f"error     {error(restored, clean_test):.4f} of 360 test digits, {args.ops} gradients, seed {args.seed}")
    for name, value in baselines(clean, noisy_test, clean_test).items():
        print(f"baseline  {value:.4f}: {name}")
    if args.out is not None:
        draw({"clean": clean_test, "noisy": noisy_test, "restored": np.asarray(restored)}, args.out)


if __name__ == "__main__":
    main()
