"""The notebooks' functions: their printed results, their mistakes put right, NumPy and JAX in and out."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from compare import assert_close

import jaxcnn
from jaxcnn import notebook


def draw(*shapes, seed=1):
    """As the notebooks draw: one after another from NumPy's old generator."""
    state = np.random.RandomState(seed)
    return tuple(state.randn(*shape) for shape in shapes)


def assert_printed(value, *digits, decimals=8):
    """Equal in each printed digit; `decimals` is what the notebook printed."""
    np.testing.assert_array_equal(np.round(np.ravel(value), decimals), np.round(digits, decimals))


def conv_inputs(x=(2, 7, 5, 3), w=(3, 2, 3, 4)):
    return draw(x, w, (1, 1, 1, w[-1]), seed=3)


def jax_is_narrow():
    """The settings of a NumPy user: nothing set."""
    return not jax.config.jax_enable_x64


# What the notebooks print.


def test_notebook_1_prints():
    """It adds the bias once per kernel element: that is the oracle's forward pass, not ours.

    Of the 17 digits it prints, the last is the order in which NumPy summed.
    """
    A_prev, W, b = draw((10, 4, 4, 3), (2, 2, 3, 8), (1, 1, 1, 8))
    Z = oracle.conv_forward_bias_per_element(A_prev, W, b, stride=1, pad=2)
    dA, dW, db = notebook.ConvBackward((A_prev, W, b, {"stride": 1, "padding": 2}), Z)
    assert jax_is_narrow() and db.shape == (1, 1, 1, 8)
    for got, printed in zip((dA, dW, db), (9.608990675868995, 10.581741275547566, 76.37106919563735)):
        np.testing.assert_allclose(np.mean(got), printed, rtol=2e-15, atol=0)


def test_bias_is_added_once():
    A_prev, W, b = draw((10, 4, 4, 3), (2, 2, 3, 8), (1, 1, 1, 8))
    Z, _ = notebook.conv_forward(A_prev, W, b, {"stride": 1, "padding": 2})
    per_element = oracle.conv_forward_bias_per_element(A_prev, W, b, stride=1, pad=2)
    np.testing.assert_allclose(per_element - Z, np.broadcast_to(11 * b, Z.shape), rtol=0, atol=1e-13)


def test_notebook_3_prints_a_convolution():
    A_prev, W, b = draw((10, 4, 4, 3), (2, 2, 3, 8), (1, 1, 1, 8))
    Z, cache = notebook.conv_forward(A_prev, W, b, {"pad": 2, "stride": 2})
    assert_printed(np.mean(Z), 0.0489952035289, decimals=13)
    assert_printed(
        Z[3, 2, 1],
        *(-0.61490741, -6.7439236, -2.55153897, 1.75698377, 3.56208902, 0.53036437, 5.18531798, 8.75898442),
    )
    dA, dW, db = notebook.conv_backward(Z, cache)
    assert_printed(np.mean(dA), 1.45243777754, decimals=11)
    assert_printed(np.mean(dW), 1.72699145831, decimals=11)
    assert_printed(np.mean(db), 7.83923256462, decimals=11)


def test_notebooks_print_pools():
    (X,) = draw((2, 4, 4, 3))
    largest, _ = notebook.pool_forward(X, {"f": 3, "stride": 2})
    mean, _ = notebook.pool_forward(X, {"f": 3, "stride": 2}, mode="average")
    assert largest.shape == mean.shape == (2, 1, 1, 3)
    assert_printed(largest, 1.74481176, 0.86540763, 1.13376944, 1.13162939, 1.51981682, 2.18557541)
    assert_printed(mean, 0.02105773, -0.20328806, -0.40389855, -0.22154621, 0.51716526, 0.48155844)
    np.testing.assert_array_equal(notebook.forward(X, None, None, 0, 2, 3, mode="maxpool")[0], largest)
    np.testing.assert_array_equal(notebook.forward(X, None, None, 0, 2, 3, mode="avepool")[0], mean)


@pytest.mark.parametrize("kind", ["hparameters", "f, stride"])
def test_notebooks_print_gradients_of_pools(kind):
    X, dA = draw((5, 5, 3, 2), (5, 4, 2, 2))
    cache = (X, {"f": 2, "stride": 1}) if kind == "hparameters" else (X, 2, 1)
    largest = notebook.pool_backward(dA, cache)
    mean = notebook.pool_backward(dA, cache, mode="average")
    assert_printed(largest[1, 1], 0, 0, 5.05844394, -1.68282702, 0, 0)
    assert_printed(mean[1, 1], 0.08485462, 0.2787552, 1.26461098, -0.25749373, 1.17975636, -0.53624893)


@pytest.mark.parametrize("function", [notebook.conv_slice, notebook.conv_single_step])
def test_notebooks_print_a_single_step(function):
    kernel, patch = np.array([[0, 1], [0.5, 0.25]]), np.array([[0, 1], [2, 4]])
    for bias in (1, 1.0, np.float64(1), np.ones((1, 1, 1))):
        z = function(patch, kernel, bias)
        assert z == 4.0 and z.shape == () and z.dtype == np.float64


# Their mistakes, and what ours is instead.

STRIDES = [pytest.param(stride, pad, id=f"stride {stride}, pad {pad}") for stride in (1, 2, 3) for pad in (0, 2)]


@pytest.mark.parametrize("stride, pad", STRIDES)
def test_convolution_is_right_for_strides_no_pad_and_no_square(stride, pad):
    """Their loop strides over the output, `[pad:-pad]` is empty for pad 0, and both sides are taken for one."""
    X, W, b = conv_inputs()
    Z, cache = notebook.conv_forward(X, W, b, {"stride": stride, "pad": pad})
    np.testing.assert_allclose(Z, oracle.conv_forward(X, W, b, stride, pad), rtol=0, atol=1e-13)
    (dZ,) = draw(Z.shape, seed=4)
    dX, dW, db = oracle.conv_backward(X, W, dZ, stride, pad)
    expected = dX, dW, db.reshape(b.shape)
    forward_cache = notebook.forward(X, W, b, pad, stride, 3)[1]
    renamed = (X, W, b, {"stride": stride, "padding": pad})
    assert_close(notebook.conv_backward(dZ, cache), expected, 1e-13)
    assert_close(notebook.conv_backward(dZ, renamed), expected, 1e-13)
    assert_close(notebook.ConvBackward(renamed, dZ), expected, 1e-13)
    assert_close(notebook.backward(dZ, forward_cache), expected, 1e-13)
    if pad == 0:
        assert_close(notebook.conv_back(dZ, (X, W, b, stride)), (dX, dW, db[None]), 1e-13)


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("f, stride", [(2, 2), (2, 3), (3, 1), (3, 2)])
def test_pools_are_right_where_not_square_and_tied(f, stride, mode):
    (X,) = draw((2, 8, 5, 3), seed=5)
    X = np.round(X)
    A, cache = notebook.pool_forward(X, {"f": f, "stride": stride}, mode)
    np.testing.assert_allclose(A, oracle.pool_forward(X, f, stride, mode), rtol=0, atol=1e-14)
    (dA,) = draw(A.shape, seed=6)
    expected = oracle.pool_backward(X, dA, f, stride, mode)
    assert_close(notebook.pool_backward(dA, cache, mode), expected, 1e-14)
    if mode == "max":
        assert_close(notebook.maxpool_back(dA, (X, f, stride)), expected, 1e-14)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_columns_are_windows(stride):
    (x,) = draw((2, 9, 7))
    hh, ww = 3, 2
    rows = [
        x[:, p : p + hh, q : q + ww].ravel()
        for p in range(0, x.shape[1] - hh + 1, stride)
        for q in range(0, x.shape[2] - ww + 1, stride)
    ]
    np.testing.assert_array_equal(notebook.im2col(x, hh, ww, stride), rows)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_col2im_back_is_right_for_strides(stride):
    """Their row, int((i / w_prime) * stride), is a cell too low for the second half of a row with stride 2."""
    h_prime, w_prime, hh, ww, c = 3, 4, 2, 3, 2
    (cols,) = draw((h_prime * w_prime, c * hh * ww))
    expected = np.zeros((c, (h_prime - 1) * stride + hh, (w_prime - 1) * stride + ww))
    for i, patch in enumerate(cols):
        row, column = i // w_prime * stride, i % w_prime * stride
        expected[:, row : row + hh, column : column + ww] += patch.reshape(c, hh, ww)
    got = notebook.col2im_back(cols, h_prime, w_prime, stride, hh, ww, c)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-15)


def test_convolution_by_columns():
    """As in notebook 4: im2col, a product, col2im; and back to the kernel's volumes."""
    x, w = draw((3, 6, 5), (4, 3, 2, 3))
    cols = notebook.im2col(x, 2, 3, 1)
    Z = notebook.conv_forward(x.transpose(1, 2, 0)[None], w.transpose(2, 3, 1, 0), np.zeros(4), {"pad": 0, "stride": 1})
    expected = Z[0][0].transpose(2, 0, 1)
    product = cols @ w.reshape(4, -1).T
    for C in (4, 1):
        np.testing.assert_allclose(notebook.col2im(product, 5, 3, C), expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(notebook.col2im(w.reshape(4, -1).T, 2, 3, 3), w)


def test_conv_backward_naive():
    x, w, b, dout = draw((2, 3, 6, 5), (4, 3, 2, 3), (4,), (2, 4, 5, 3))
    dx, dw, db = oracle.conv_backward(
        x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), dout.transpose(0, 2, 3, 1), 1, 0
    )
    expected = dx.transpose(0, 3, 1, 2), dw.transpose(3, 2, 0, 1), db
    assert_close(notebook.conv_backward_naive(dout, (x, w, b)), expected, 1e-13)


# Helpers and the head.


def test_zero_pad():
    (X,) = draw((2, 3, 4, 2))
    np.testing.assert_array_equal(notebook.zero_pad(X, 2), np.pad(X, ((0, 0), (2, 2), (2, 2), (0, 0))))
    np.testing.assert_array_equal(notebook.zero_pad(X, 0), X)


@pytest.mark.parametrize("dims, grows", [(1, [1]), (2, [1, 1]), (3, [1, 1, 0]), (4, [0, 1, 1, 0])])
def test_padding(dims, grows):
    (X,) = draw((3, 4, 2, 5)[:dims])
    expected = np.pad(X, [(2 * g, 2 * g) for g in grows], constant_values=7.0)
    np.testing.assert_array_equal(notebook.padding(X, 2, dims, 7.0), expected)
    np.testing.assert_array_equal(notebook.padding(X, 0, dims), X)


@pytest.mark.parametrize("create", [notebook.create_mask, notebook.max_mask])
def test_mask(create):
    x = np.array([[1.0, 3, 2], [3, 0, -1]])
    np.testing.assert_array_equal(create(x), x == 3)
    assert create(x).dtype == bool
    np.testing.assert_array_equal(create(np.full((10, 10), -np.inf)), np.ones((10, 10), bool))


def test_distribute_value():
    np.testing.assert_array_equal(notebook.distribute_value(2.0, (2, 4)), np.full((2, 4), 0.25))
    np.testing.assert_array_equal(notebook.distribute_value(np.float32(3), [6]), np.full(6, 0.5, np.float32))


def head(X, W3, b3, W4, b4):
    return W4 @ jax.nn.relu(W3 @ X + b3) + b4


def cross_entropy(X, Y, *paras):
    return -jnp.sum(Y * jax.nn.log_softmax(head(X, *paras), axis=0))


def test_fc_back():
    """Against autodiff of the same network."""
    X, W3, b3, W4, b4, scores = draw((7, 5), (6, 7), (6, 1), (4, 6), (4, 1), (4, 5))
    Y = np.eye(4)[scores.argmax(0)].T
    Z3 = W3 @ X + b3
    A3 = np.maximum(Z3, 0)
    Z4 = W4 @ A3 + b4
    AL = np.exp(Z4) / np.exp(Z4).sum(0)
    got, dX = notebook.fc_back(AL, (AL, Z4, A3, Z3), X, Y, (W3, b3, W4, b4))
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        gradients = jax.grad(cross_entropy, argnums=(0, 2, 3, 4, 5))(*map(jnp.asarray, (X, Y, W3, b3, W4, b4)))
    assert_close((dX, *got), gradients, 1e-13)
    np.testing.assert_array_equal(dX, notebook.fc_back(AL, (AL, Z4, A3, Z3), X, Y.astype(int), (W3, b3, W4, b4))[1])


def test_relu_back():
    dA, Z = np.array([[1.0, 2, 3]]), np.array([[-1.0, 0, 1]])
    np.testing.assert_array_equal(dA * notebook.relu_back(Z), [[0, 0, 3]])


# NumPy and JAX.


def everything(array):
    """A call of each function with arrays made by `array`, and nothing else of an array in it."""
    X, W, b, dZ, dA = map(array, draw((2, 5, 4, 3), (2, 2, 3, 4), (1, 1, 1, 4), (2, 4, 3, 4), (2, 4, 3, 3)))
    first, kernel, dout = map(array, draw((2, 3, 5, 4), (4, 3, 2, 2), (2, 4, 4, 3)))
    A, Y, W3, b3, W4, b4 = map(array, draw((4, 5), (4, 5), (4, 4), (4, 1), (4, 4), (4, 1)))
    step, pool = {"stride": 1, "pad": 0}, {"f": 2, "stride": 1}
    return {
        "zero_pad": lambda: notebook.zero_pad(X, 1),
        "padding": lambda: notebook.padding(X[0], 1, 3, 2.0),
        "conv_single_step": lambda: notebook.conv_single_step(X[0, :2, :2], W[..., 0], b[..., 0]),
        "conv_slice": lambda: notebook.conv_slice(X[0, :2, :2, 0], W[..., 0, 0], 1.0),
        "conv_forward": lambda: notebook.conv_forward(X, W, b, step)[0],
        "conv_backward": lambda: notebook.conv_backward(dZ, (X, W, b, step)),
        "ConvBackward": lambda: notebook.ConvBackward((X, W, b, step), dZ),
        "pool_forward": lambda: notebook.pool_forward(X, pool)[0],
        "pool_backward": lambda: notebook.pool_backward(dA, (X, pool), mode="average"),
        "forward": lambda: notebook.forward(X, W, b, 0, 1, 2)[0],
        "backward": lambda: notebook.backward(dZ, (X, W, b, 0, 1)),
        "create_mask": lambda: notebook.create_mask(X[0, :, :, 0]),
        "max_mask": lambda: notebook.max_mask(X[0, :, :, 0]),
        "distribute_value": lambda: notebook.distribute_value(X[0, 0, 0, 0], (2, 3)),
        "im2col": lambda: notebook.im2col(first[0], 2, 2, 1),
        "col2im": lambda: notebook.col2im(A, 2, 2, 5),
        "col2im_back": lambda: notebook.col2im_back(A, 2, 2, 1, 1, 1, 5),
        "conv_backward_naive": lambda: notebook.conv_backward_naive(dout, (first, kernel, b)),
        "conv_back": lambda: notebook.conv_back(dZ, (X, W, b, 1)),
        "maxpool_back": lambda: notebook.maxpool_back(dA, (X, 2, 1)),
        "fc_back": lambda: notebook.fc_back(A, (A, A, A, A), A, Y, (W3, b3, W4, b4)),
        "relu_back": lambda: notebook.relu_back(A),
    }


NAMES = list(everything(np.asarray))


@pytest.mark.parametrize("name", NAMES)
def test_numpy_in_numpy_out(name):
    """In the dtype of the arguments, whatever JAX is set to, and to be written into."""
    assert jax_is_narrow()
    for dtype in (np.float64, np.float32):
        for leaf in jax.tree.leaves(everything(lambda a, dtype=dtype: a.astype(dtype))[name]()):
            assert type(leaf) is np.ndarray and leaf.flags.writeable
            assert leaf.dtype == (bool if "mask" in name else dtype)
    assert jax_is_narrow()


@pytest.mark.parametrize("name", NAMES)
def test_jax_in_jax_out(name):
    """Under jit and without, in the ambient precision, the same numbers."""
    expected = everything(np.asarray)[name]()
    call = lambda one: everything(lambda a: jnp.asarray(a, jnp.float32) * one)[name]()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(call(jnp.float32(1))))
    assert_close(jax.jit(call)(jnp.float32(1)), expected, 5e-6)
    assert_close(call(jnp.float32(1)), expected, 5e-6)


def test_numpy_inside_jit():
    """Constants of a compiled function are computed once, in NumPy."""
    mask = np.array([[1.0, 3], [3, 2]])
    got = jax.jit(lambda x: x * notebook.create_mask(mask).astype(np.float32))(jnp.ones((2, 2)))
    np.testing.assert_array_equal(got, mask == 3)


def test_mixed_arguments_are_jax():
    X, W, b = conv_inputs()
    Z, _ = notebook.conv_forward(jnp.asarray(X), W.astype(np.float32), b.astype(np.float32), {"stride": 1, "pad": 0})
    assert isinstance(Z, jax.Array) and Z.dtype == jnp.float32


def test_vmap_and_grad():
    X, W, b = map(jnp.float32, conv_inputs())
    loss = lambda W, x: jnp.sum(jnp.sin(notebook.conv_forward(x[None], W, b, {"stride": 2, "pad": 1})[0]))
    by_hand = jax.vmap(
        lambda x: notebook.conv_backward(
            jnp.cos(notebook.conv_forward(x[None], W, b, {"stride": 2, "pad": 1})[0]),
            (x[None], W, b, {"stride": 2, "pad": 1}),
        )[1]
    )(X)
    assert_close(by_hand, jax.vmap(jax.grad(loss), (None, 0))(W, X), 5e-6)


def test_caches_hold_what_came_in():
    X, W, b = conv_inputs()
    settings, pool = {"stride": 1, "padding": 1}, {"f": 2, "stride": 1}
    for cache, given in (
        (notebook.conv_forward(X, W, b, settings)[1], (X, W, b, settings)),
        (notebook.pool_forward(X, pool)[1], (X, pool)),
        (notebook.forward(X, W, b, 1, 2, 3)[1], (X, W, b, 1, 2)),
        (notebook.forward(X, W, b, 0, 2, 3, "avepool")[1], (X, 3, 2)),
    ):
        assert len(cache) == len(given) and all(a is b for a, b in zip(cache, given))


def test_caches_pass_through_jit():
    X, W, b = map(jnp.float32, conv_inputs())
    Z, cache = jax.jit(lambda X: notebook.conv_forward(X, W, b, {"stride": 2, "pad": 1}))(X)
    assert_close(notebook.conv_backward(Z, cache), notebook.conv_backward(Z, (X, W, b, {"stride": 2, "pad": 1})), 1e-6)


def test_integers_count_as_floats():
    X, W, b = (np.round(3 * a).astype(int) for a in conv_inputs())
    Z, cache = notebook.conv_forward(X, W, b, {"stride": 2, "pad": 1})
    assert_close(Z, oracle.conv_forward(X, W, b, 2, 1), 0)
    for got, expected in zip(notebook.conv_backward(Z.astype(int), cache), oracle.conv_backward(X, W, Z, 2, 1)):
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got.ravel(), expected.ravel())
    mean, _ = notebook.pool_forward(X, {"f": 2, "stride": 2}, "average")
    np.testing.assert_array_equal(mean, oracle.pool_forward(X, 2, 2, "average"))
    assert notebook.zero_pad(X.astype(np.uint8), 1).dtype == np.uint8


def test_oracles_agree():
    """The notebooks' nests and the general loops were written apart."""
    X, W, b = conv_inputs()
    dZ = oracle.conv_forward(X, W, b, 2, 1)
    settings = {"strides": (2, 2), "pads": ((1, 1), (1, 1))}
    assert_close(oracle.conv(X, W, b.ravel(), **settings), dZ, 1e-14)
    assert_close(oracle.conv_grad(X, W, dZ, **settings), oracle.conv_backward(X, W, dZ, 2, 1), 1e-14)
    X = np.round(X)
    pools = {"max": (oracle.max_pool, oracle.max_pool_grad), "average": (oracle.avg_pool, oracle.avg_pool_grad)}
    for mode, (pool, gradient) in pools.items():
        dA = oracle.pool_forward(X, 3, 2, mode)
        ties = {"ties": "all"} if mode == "max" else {}
        assert_close(pool(X, (3, 3), (2, 2)), dA, 1e-14)
        assert_close(gradient(X, dA, (3, 3), (2, 2), **ties), oracle.pool_backward(X, dA, 3, 2, mode), 1e-14)


# Errors.


def errors():
    X, W, b = conv_inputs()
    settings = {"stride": 1, "pad": 0}
    A = np.ones((4, 5))
    return [
        (lambda: notebook.conv_forward(X, W, b, {"stride": 1}), "hparameters expects one key 'pad' or 'padding', got"),
        (lambda: notebook.conv_forward(X, W, b, {"pad": 1, "padding": 1, "stride": 1}), "one key 'pad' or 'padding'"),
        (lambda: notebook.conv_forward(X, W, b, {"pad": 1}), "one key 'stride'"),
        (lambda: notebook.conv_forward(X, W, b, 3), "conv_forward: hparameters expects"),
        (lambda: notebook.conv_forward(X, W, b, settings | {"stride": 0}), "conv_forward: stride expects"),
        (lambda: notebook.conv_forward(X, W, b, settings | {"pad": -1}), "conv_forward: pad expects"),
        (
            lambda: notebook.conv_forward(X[0], W, b, settings),
            r"A_prev expects the axes \(m, h, w, c\), got shape \(7,",
        ),
        (lambda: notebook.conv_forward(X, W[0], b, settings), "conv_forward: W expects the axes"),
        (lambda: notebook.conv_forward(X[..., :2], W, b, settings), "w expects 2 input channels"),
        (lambda: notebook.conv_forward(X, W, b[..., :2], settings), "b expects shape"),
        (lambda: notebook.conv_backward(X, (X, W, b, settings)), "conv_backward: dZ expects shape"),
        (lambda: notebook.conv_backward(X, (X, W, b)), r"cache expects \(A_prev, W, b, hparameters\), got 3 entries"),
        (lambda: notebook.conv_backward(X, 3), "cache expects .*, got int"),
        (lambda: notebook.backward(X, (X, W, b, 1)), "backward: cache expects"),
        (lambda: notebook.pool_forward(X, {"f": 2, "stride": 1}, "mean"), "mode expects one of 'max', 'average'"),
        (lambda: notebook.pool_forward(X, {"stride": 1}), "pool_forward: hparameters expects one key 'f'"),
        (lambda: notebook.pool_backward(X, (X, 2, 1), "avepool"), "pool_backward: mode expects"),
        (lambda: notebook.pool_backward(X, (X,)), "pool_backward: cache expects"),
        (lambda: notebook.pool_backward(X, (X, 2, 1)), "pool_backward: dA expects shape"),
        (lambda: notebook.pool_backward(X, (X, 0, 1)), "pool_backward: f expects"),
        (lambda: notebook.forward(X, W, b, 0, 1, 2, "max"), "mode expects one of 'conv', 'maxpool', 'avepool'"),
        (lambda: notebook.conv_single_step(X[0], W[0], 1.0), "the shape of W"),
        (lambda: notebook.conv_single_step(A, A, b), "conv_single_step: b expects one number"),
        (lambda: notebook.zero_pad(X, -1), "zero_pad: pad expects"),
        (lambda: notebook.zero_pad(X[0], 1), "zero_pad: X expects the axes"),
        (lambda: notebook.padding(X, 1, 5), "padding: dims expects one of 1, 2, 3, 4"),
        (lambda: notebook.padding(X, 1, 2), "padding: X expects the axes"),
        (lambda: notebook.distribute_value(A, (2, 2)), "dz expects one number"),
        (lambda: notebook.im2col(A, 2, 2, 1), "im2col: x expects the axes"),
        (lambda: notebook.col2im(A, 2, 2, 3), "col2im: mul expects"),
        (lambda: notebook.col2im_back(A, 2, 2, 1, 2, 2, 1), "col2im_back: dim_col expects"),
        (lambda: notebook.fc_back(A, (A, A, A, A), A, A[:2], (A, A, A, A)), "fc_back: Y expects the shape of AL"),
        (lambda: notebook.fc_back(A, (A, A), A, A, (A, A, A, A)), "fc_back: cache expects"),
        (lambda: notebook.fc_back(A, (A, A, A, A), A, A, (A, A)), "fc_back: paras expects"),
    ]


@pytest.mark.parametrize("call, message", errors())
def test_errors(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call()


def test_lists_are_refused(unchecked_types):
    with pytest.raises(TypeError, match="create_mask: x expects an array, got list"):
        notebook.create_mask([[1.0, 2.0]])


def test_the_library_has_it():
    assert jaxcnn.notebook is notebook
