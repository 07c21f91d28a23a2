"""Models of other libraries on the hand rules: what they give, and give back, is what they gave before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close

import jaxcnn
from jaxcnn.lax import hand_rules


@pytest.fixture(autouse=True)
def their_promotion():
    """They mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


X = np.random.default_rng(0).normal(size=(2, 9, 8, 4)).astype(np.float32)


def assert_same(hand, stock, params, x, rules):
    """Outputs and gradients of two functions of (params, x), of which the first has so many rules of its own."""
    fresh = lambda fn: lambda *args: fn(*args)  # JAX knows what it has traced
    count = [str(jax.make_jaxpr(fresh(fn))(params, x)).count("custom_vjp_call") for fn in (hand, stock)]
    assert count[0] - count[1] == rules
    loss = lambda fn: lambda params, x: (jnp.sin(y := fn(params, x)).sum(), y)
    got, expected = (jax.jit(jax.grad(loss(fn), (0, 1), has_aux=True))(params, x) for fn in (hand, stock))
    assert_close(got, expected, 1e-4)


def test_linen():
    """By argument, and by `hand_rules` where there is none: the transposed convolution and the pools."""
    nn = pytest.importorskip("flax.linen")

    class Model(nn.Module):
        by_argument: bool = False

        @nn.compact
        def __call__(self, x):
            own = {"conv_general_dilated": jaxcnn.lax.conv_general_dilated} if self.by_argument else {}
            pools = jaxcnn.lax if self.by_argument else nn
            x = nn.Conv(8, (3, 3), strides=2, **own)(x)
            x = nn.Conv(8, (3,), feature_group_count=2, padding="CIRCULAR", kernel_dilation=2, **own)(x)
            x = pools.max_pool(nn.relu(x), (2, 2), padding="SAME")
            x = pools.avg_pool(x, (3, 2), (1, 2), ((1, 1), (0, 1)), count_include_pad=False)
            return nn.ConvTranspose(3, (3, 3), (2, 2))(x)

    params = Model().init(jax.random.key(0), X)
    assert_same(Model(by_argument=True).apply, Model().apply, params, X, 4)
    # the average also counts its cells by a pool, of a constant
    assert_same(lambda *args: hand_rules()(Model().apply)(*args), Model().apply, params, X, 6)


def test_nnx():
    nnx = pytest.importorskip("flax.nnx")

    def model(**own):
        return nnx.Conv(4, 6, (3, 3), strides=2, feature_group_count=2, rngs=nnx.Rngs(0), **own)

    hand, stock = model(conv_general_dilated=jaxcnn.lax.conv_general_dilated), model()
    (graph, params), (plain, _) = nnx.split(hand), nnx.split(stock)
    apply = lambda graph: lambda params, x: nnx.merge(graph, params)(x)
    assert_same(apply(graph), apply(plain), params, X, 1)


def test_haiku():
    hk = pytest.importorskip("haiku")

    def model(x):
        x = hk.Conv2D(6, 3, stride=2)(x)
        x = hk.max_pool(x, (3, 3, 1), (2, 2, 1), "SAME")
        x = hk.DepthwiseConv2D(1, 3)(x)
        x = hk.avg_pool(x, (2, 2, 1), 1, "VALID")
        return hk.Conv2DTranspose(3, 3, 2)(x)

    stock = hk.without_apply_rng(hk.transform(model))
    hand = hk.without_apply_rng(hk.transform(hand_rules()(model)))
    assert_same(hand.apply, stock.apply, stock.init(jax.random.key(0), X), X, 5)


def test_equinox():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 2)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(4, 6, 3, stride=2, key=keys[0]),
            eqx.nn.MaxPool2d(2),
            eqx.nn.AvgPool2d(2),
            eqx.nn.ConvTranspose2d(6, 3, 3, stride=2, key=keys[1]),
        ]
    )
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    stock = lambda params, x: jax.vmap(eqx.combine(params, rest))(x)
    x = jnp.moveaxis(X, -1, 1)
    assert_same(lambda *args: hand_rules()(stock)(*args), stock, params, x, 4)


POOLS = [  # shape, window, strides, padding
    ((2, 2, 7, 6, 3), (3, 2), (2, 1), "SAME"),
    ((2, 5, 6, 3), (2, 2), None, ((1, 0), (0, 1))),
    ((6, 3), (2,), (2,), "VALID"),
]


@pytest.mark.parametrize(("shape", "window", "strides", "padding"), POOLS)
@pytest.mark.parametrize("name", ["max_pool", "min_pool", "avg_pool", "avg_pool without pad"])
def test_pools_of_flax(name, shape, window, strides, padding):
    theirs = pytest.importorskip("flax.linen.pooling")
    name, *without = name.split(" ", 1)
    options = {"count_include_pad": False} if without else {}
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    call = lambda module: lambda _, x: getattr(module, name)(x, window, strides, padding, **options)
    assert_same(call(jaxcnn.lax), call(theirs), None, x, 1)
