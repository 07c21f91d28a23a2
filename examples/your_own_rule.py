"""A rule of your own, from start to end: derive, write, break, see the report, mend.

    python examples/your_own_rule.py                   tells the story
    python examples/your_own_rule.py --out runs/rule   ... and draws where the broken rule is wrong
    pytest examples/your_own_rule.py                   the tests that keep it right

**Derive.** RMS norm without a scale divides each row by the root of its mean square:

    y = x·r,   r = (mean(x²) + ε)^(−1/2)

Move x by δ. Then r moves by  dr = −½·r³·mean(2x·δ) = −r³·mean(x·δ),  and y by  δ·r + x·dr.  Against the cotangent dy:

    ⟨dy, δ·r − x·r³·mean(x·δ)⟩ = ⟨r·dy, δ⟩ − r³·Σ(dy·x)·mean(x·δ) = ⟨r·dy − r³·x·mean(dy·x), δ⟩

What stands beside δ is the gradient. With y = x·r it is shorter, and the forward pass need keep y and r alone:

    dx = r·(dy − y·mean(dy·y))
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxcnn.check import check_vjp, vjp_cases

EPSILON = 1e-5

# ---- Write


def forward(x):
    r = jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPSILON)
    y = x * r
    return y, (y, r)


def backward(kept, dy):
    y, r = kept
    return (r * (dy - y * jnp.mean(dy * y, axis=-1, keepdims=True)),)


@jax.custom_vjp
def rms_norm(x):
    """Rows of x (..., c) over the root of their mean square."""
    return forward(x)[0]


rms_norm.defvjp(forward, backward)

# ---- Break: as if r were a constant


@jax.custom_vjp
def broken_rms_norm(x):
    return forward(x)[0]


broken_rms_norm.defvjp(forward, lambda kept, dy: (kept[1] * dy,))

# ---- Keep it right: one test for each row and dtype

X = jax.random.normal(jax.random.key(0), (6, 8))


@vjp_cases((rms_norm, [X]), (rms_norm, [X[0]]), dtypes=["float64", "float32", "bfloat16"])
def test_rule(check):
    check()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to draw the errors to (needs matplotlib)")
    options = parser.parse_args(argv)
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        parser.error(f"--out expects a directory, got the file {options.out}")

    print("With a term forgotten, dx = r·dy:\n")
    wrong = check_vjp(broken_rms_norm, X)
    wrong.show()
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        wrong.draw(options.out / "broken_rms_norm.png")
        print(f"\ndrawn to {options.out / 'broken_rms_norm.png'}")
    print("\nThe report names it: what is missing is x (or y, which is x·r) times a number for each row. Mended:\n")
    check_vjp(rms_norm, X).show()


if __name__ == "__main__":
    main()
