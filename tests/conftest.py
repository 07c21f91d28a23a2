"""Every test runs under strict dtype and rank promotion, with the shapes in signatures enforced, on 8 CPU devices."""

import os

import jax
import jaxtyping
import pytest

jaxtyping.install_import_hook("jaxcnn", "beartype.beartype")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)
# Nearly all of the time is XLA's; this takes a third off. With 0 in the environment programs are as users have them.
FAST = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
jax.config.update("jax_disable_most_optimizations", FAST)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Else a run of all tests takes several GB."""
    yield
    jax.clear_caches()


@pytest.fixture
def monkeypatch(monkeypatch):
    """A rule is traced once for all calls alike: what is patched would not be seen, or would stay."""
    jax.clear_caches()
    yield monkeypatch
    jax.clear_caches()


@pytest.fixture
def optimized():
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", FAST)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked_types():
    """Lets bad arguments through to the errors that a user sees."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
