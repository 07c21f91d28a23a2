"""Times whole training steps, hand rules beside autodiff: `python benchmarks/train.py [--json FILE]`.

Both programs are timed in blocks that alternate in one process, so that what disturbs one disturbs the other; a ratio
below 1 means that the hand rules are faster.
"""

import argparse
import importlib.util
import json
import platform
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxcnn

BLOCKS, STEPS = 15, 5


def example(name):
    """A module of the examples folder."""
    path = Path(__file__).parent.parent / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digits_step(ops, batch):
    """One Adam step of the digits CNN on 28x28 images: the compiled step, its state, its batch."""
    network, optimizer, key = example("train_digits"), optax.adam(1e-3), jax.random.key(0)
    params = network.init(key, 28, 28)
    data = jax.random.normal(key, (batch, 28, 28, 1)), jnp.arange(batch) % 10

    def step(state, x, y):
        params, moments = state
        loss, gradients = jax.value_and_grad(network.mean_loss)(params, x, y, ops)
        updates, moments = optimizer.update(gradients, moments)
        return (optax.apply_updates(params, updates), moments), loss

    state = (params, optimizer.init(params))
    return jax.jit(step, donate_argnums=0).lower(state, *data).compile(), state, data


WORKLOADS = {f"digits CNN, batch {batch}": (digits_step, batch) for batch in (32, 128)}


def measure(build, batch):
    """Milliseconds of a step by hand and by autodiff (a median of blocks), and the temporary memory of both."""
    programs = [build(ops, batch) for ops in (jaxcnn, jaxcnn.reference)]
    states = [state for _, state, _ in programs]
    times = np.empty((1 + BLOCKS, 2))
    for block in times:
        for i, (program, _, data) in enumerate(programs):
            start = time.perf_counter()
            for _ in range(STEPS):
                states[i], _ = program(states[i], *data)
            jax.block_until_ready(states[i])
            block[i] = 1e3 * (time.perf_counter() - start) / STEPS
    hand, autodiff = np.median(times[1:], 0)
    ratios = times[1:, 0] / times[1:, 1]
    memory = [program.memory_analysis().temp_size_in_bytes for program, _, _ in programs]
    return {
        "hand ms": hand,
        "autodiff ms": autodiff,
        "ratio": np.median(ratios),
        "quartiles": np.quantile(ratios, [0.25, 0.75]).tolist(),
        "memory ratio": memory[0] / memory[1],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    machine = {"jax": jax.__version__, "python": platform.python_version(), "backend": jax.default_backend()}
    print(", ".join(f"{name} {value}" for name, value in machine.items()), end="\n\n")
    print("| training step | hand, ms | autodiff, ms | ratio | quartiles | temporary memory, ratio |")
    print("|---|---|---|---|---|---|")
    results = {}
    for name, workload in WORKLOADS.items():
        r = results[name] = measure(*workload)
        low, high = r["quartiles"]
        times = f"{r['hand ms']:.1f} | {r['autodiff ms']:.1f} | {r['ratio']:.2f} | {low:.2f} – {high:.2f}"
        print(f"| {name} | {times} | {r['memory ratio']:.2f} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
