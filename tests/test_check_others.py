"""`check_vjp` on rules that nobody here wrote: JAX's and optax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.check import check_vjp

X = jnp.asarray(np.random.default_rng(0).normal(size=6), jnp.float32)


@pytest.fixture(autouse=True)
def as_they_were_written():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (jax.nn.relu, X),
        (jnp.sinc, X.at[0].set(0)),  # without its rule the quotient would be 0 / 0
        (jax.nn.logsumexp, X),
        (optax.projections.projection_simplex, {"a": X[:2], "b": X[2:]}),
    ],
    ids=["relu", "sinc", "logsumexp", "simplex"],
)
def test_a_right_rule(fn, x):
    report = check_vjp(fn, x, order=1)
    assert report.ok, report


def test_a_rule_that_is_no_gradient_on_purpose():
    scaled = lambda x: optax.scale_gradient(x, 0.25)
    report = check_vjp(scaled, X, order=1)
    assert str(report.arguments[0].diagnoses[0]).startswith("scaled by a constant: 0.25 = 1/4 times")
    straight_through = lambda x: x + jax.lax.stop_gradient(jnp.round(x) - x)
    report = check_vjp(straight_through, X, order=1)
    assert report.arguments[0].diagnoses[0].kind == "not the derivative of the value"
