"""Every rule on every case: against autodiff of the reference, and against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONVOLUTIONS, SIMPLE
from compare import assert_close, assert_rule, cotangent_of, pullback, weigh
from jax.test_util import check_grads


@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_autodiff(case):
    assert_rule(case.hand, case.twin, case.draw())


CONVOLVED = [case for case in CASES if case.op in CONVOLUTIONS and case not in SIMPLE][::4]
OTHERS = {case.op: case for case in CASES if case.op not in {simple.op for simple in SIMPLE}}  # one of each op


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", [*SIMPLE, *OTHERS.values(), *CONVOLVED], ids=str)
def test_narrow_dtypes(case, dtype):
    assert_rule(case.hand, case.twin, case.draw(), dtype)


@pytest.mark.parametrize("case", [case for case in CASES if not case.grid][::5], ids=str)
def test_matches_finite_differences(case, x64):
    """Central differences; of linear maps they are exact, whatever the step."""
    step, tolerance = (1e-3, 1e-8) if case.is_linear else (1e-5, 1e-6)
    arrays = [jnp.asarray(a) for a in case.draw()]
    run = jax.jit(case.hand)
    for i in range(len(arrays)):
        alone = lambda array, i=i: run(*arrays[:i], array, *arrays[i + 1 :])
        check_grads(alone, (arrays[i],), order=1, modes=["rev"], eps=step, atol=tolerance, rtol=tolerance)
    if not case.is_linear:
        check_grads(run, arrays, order=1, modes=["rev"], eps=step, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("case", SIMPLE, ids=str)
class TestTransformations:
    def test_without_jit(self, case):
        """On NumPy arrays."""
        arrays = [np.asarray(a, np.float32) for a in case.draw()]
        assert_close(case.hand(*arrays), jax.jit(case.hand)(*arrays), 1e-6)

    def test_without_jit_it_is_compiled_once(self, case, caplog):
        """At the first call, with its gradients."""
        arrays = [jnp.asarray(a) for a in case.draw()]
        dy = cotangent_of(case.hand, arrays)

        def run():
            value, vjp = jax.vjp(case.hand, *arrays)
            return value, vjp(dy)

        run()
        with jax.log_compiles():
            run()
        assert "Compiling" not in caplog.text

    def test_per_example_gradients(self, case, x64):
        """vmap of the gradient against a loop, over every array."""
        examples = [list(map(jnp.asarray, case.draw(seed))) for seed in range(3)]
        dy = [cotangent_of(case.hand, example, seed) for seed, example in enumerate(examples)]
        run = pullback(case.hand)
        apart = [run(d, *example) for d, example in zip(dy, examples)]
        stack = lambda *leaves: np.stack(leaves) if leaves[0].dtype == jax.dtypes.float0 else jnp.stack(leaves)
        together = jax.jit(jax.vmap(run))(jax.tree.map(stack, *dy), *(jnp.stack(arrays) for arrays in zip(*examples)))
        assert_close(together, jax.tree.map(stack, *apart), 1e-12)

    def test_ensemble(self, case, x64):
        """vmap over the first array alone, the others shared."""
        examples = [jnp.asarray(case.draw(seed)[0]) for seed in range(3)]
        others = list(map(jnp.asarray, case.draw()[1:]))
        dy = cotangent_of(case.hand, [examples[0], *others])
        run = pullback(case.hand)
        together = jax.vmap(lambda first: run(dy, first, *others))(jnp.stack(examples))
        apart = [run(dy, first, *others) for first in examples]
        assert_close(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart), 1e-12)

    def test_scan_and_remat(self, case, x64):
        """Gradients summed over the steps of a loop, with and without rematerialisation."""
        arrays = list(map(jnp.asarray, case.draw()))
        dy = cotangent_of(case.hand, arrays)
        factors = jnp.array([1.0, 2.0, -0.5])

        def loop(fn):
            def loss(*arrays):
                step = lambda total, factor: (total + factor * weigh(dy, fn(*(a * factor for a in arrays))), None)
                return jax.lax.scan(step, jnp.zeros(()), factors)[0]

            return jax.jit(jax.grad(loss, tuple(range(len(arrays)))))(*arrays)

        expected = loop(case.twin)
        assert_close(loop(case.hand), expected, 1e-11)
        assert_close(loop(jax.checkpoint(case.hand)), expected, 1e-11)

    def test_second_order(self, case, x64):
        """Derivatives of the gradient: reverse over reverse and forward over reverse."""
        arrays = list(map(jnp.asarray, case.draw()))
        dy = cotangent_of(case.hand, arrays)
        tangents = [jnp.asarray(a) for a in case.draw(seed=5)]
        every = tuple(range(len(arrays)))
        weighted = lambda fn: lambda *arrays: weigh(dy, jax.tree.map(jnp.sin, fn(*arrays)))

        def forward(fn):
            return jax.jit(lambda *a: jax.jvp(jax.grad(weighted(fn), every), a, tuple(tangents))[1])(*arrays)

        def reverse(fn):
            gradient = jax.grad(weighted(fn), every)
            along = lambda *a: sum(jnp.vdot(t, g) for t, g in zip(tangents, gradient(*a)))
            return jax.jit(jax.grad(along, every))(*arrays)

        assert_close(forward(case.hand), forward(case.twin), 1e-11)
        assert_close(reverse(case.hand), reverse(case.twin), 1e-11)


ONE_OF_A_FAMILY = ["conv", "max_pool", "avg_pool", "dense", "gelu", "layer_norm", "softmax_cross_entropy"]


@pytest.mark.parametrize("op", ONE_OF_A_FAMILY)
def test_hessian(op, x64):
    """By the first array."""
    case = next(case for case in SIMPLE if case.op == op)
    arrays = [jnp.asarray(a) for a in case.draw()]
    dy, first = cotangent_of(case.hand, arrays), arrays[0].reshape(-1)

    def of_few(fn):
        filled = lambda few: first.at[: few.size].set(few).reshape(arrays[0].shape)
        loss = lambda few: weigh(dy, jax.tree.map(jnp.sin, fn(filled(few), *arrays[1:])))
        return jax.jit(jax.hessian(loss))(first[:5])

    assert_close(of_few(case.hand), of_few(case.twin), 1e-11)


@pytest.mark.parametrize("op", ONE_OF_A_FAMILY)
def test_gradients_without_jit(op):
    case = next(case for case in SIMPLE if case.op == op)
    arrays = [jnp.asarray(a, jnp.float32) for a in case.draw()]
    dy = cotangent_of(case.hand, arrays)
    value, vjp = jax.vjp(case.hand, *arrays)
    assert_close((value, vjp(dy)), pullback(case.hand)(dy, *arrays), 1e-6)
