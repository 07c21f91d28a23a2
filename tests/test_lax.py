"""jaxcnn.lax against jax.lax: arguments, values, gradients, dtypes and errors."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_rule, cotangent_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hypothesis import few, normal

import jaxcnn
from jaxcnn import reference

fewer = settings(few, max_examples=8)


@pytest.mark.parametrize("name", ["conv_general_dilated", "conv_transpose", "reduce_window"])
def test_arguments_are_those_of_lax(name):
    ours, theirs = (inspect.signature(getattr(module, name)).parameters.values() for module in (jaxcnn.lax, jax.lax))
    assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs]


def takes_rule(call, *arrays):
    return "custom_vjp" in str(jax.make_jaxpr(lambda *arrays: call(*arrays))(*arrays))  # JAX knows what it has traced


def assert_as_lax(name, *arrays, **options):
    """Value and gradients, or the error."""
    ours, theirs = (partial(getattr(module, name), **options) for module in (jaxcnn.lax, jax.lax))
    try:
        jax.eval_shape(theirs, *arrays)
    except Exception as error:
        with pytest.raises(type(error)) as caught:
            ours(*arrays)
        assert str(caught.value) == str(error)
    else:
        assert_rule(ours, theirs, arrays)


@st.composite
def convolutions(draw, transposed=False):
    """Two arrays in any layout, the options of either function, and how to draw ints for each spatial dimension."""
    dims, groups = draw(st.integers(0, 3)), 1 if transposed else draw(st.integers(1, 3))
    each = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * dims))
    space, options = "HWD"[:dims], {}
    layouts = (f"N{space}C", f"{space}IO", f"N{space}C") if transposed else (f"NC{space}", f"OI{space}", f"NC{space}")
    numbers = draw(st.sampled_from(["default", "strings", "object"]))
    if numbers != "default":
        layouts = tuple("".join(draw(st.permutations(layout))) for layout in layouts)
    channels = {"N": 2, "C": 2 * groups, "O": 3 * groups, "I": 2}
    if transposed and draw(st.booleans()):
        options["transpose_kernel"] = True
        channels |= {"O": 2, "I": 3}
    lhs, rhs = ({**channels, **dict(zip(space, each(1, most)))} for most in (7, 4))
    shapes = [lhs[letter] for letter in layouts[0]], [rhs[letter] for letter in layouts[1]]
    if numbers != "default":
        strings = numbers == "strings"
        options["dimension_numbers"] = layouts if strings else jax.lax.conv_dimension_numbers(*shapes, layouts)
    if draw(st.booleans()):
        options["rhs_dilation"] = each(1, 3)
    pads = [*zip(each(-2, 4), each(-2, 4))]
    return [normal(*shape) for shape in shapes], {**options, "padding": pads}, groups, each


@fewer
@given(
    convolutions(), st.sampled_from(["strided", "strided", "SAME", "VALID", "SAME_LOWER", "dilated", "dilated", "lax"])
)
def test_conv_general_dilated(convolution, kind):
    arrays, options, groups, each = convolution
    options |= {"window_strides": each(1, 3), "feature_group_count": groups}
    if kind == "dilated":
        options |= {"window_strides": [1] * len(options["padding"]), "lhs_dilation": each(1, 4)}
    elif kind == "lax":
        options |= {"lhs_dilation": each(1, 3), "batch_group_count": 2 // groups}
    elif kind != "strided":
        options["padding"] = kind
    assert_as_lax("conv_general_dilated", *arrays, **options)


@fewer
@given(convolutions(transposed=True), st.sampled_from(["pads", "consistent", "SAME", "VALID", "SAME_LOWER"]))
def test_conv_transpose(convolution, kind):
    arrays, options, _, each = convolution
    options |= {"strides": each(1, 4), "use_consistent_padding": kind == "consistent"}
    if kind not in ("pads", "consistent"):
        options["padding"] = kind
    assert_as_lax("conv_transpose", *arrays, **options)


@fewer
@given(st.data())
def test_reduce_window(data):
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    each = lambda low, high: data.draw(st.tuples(*(st.integers(low, high if pooled else low) for pooled in axes)))
    axes = data.draw(st.tuples(*[st.booleans()] * len(shape)))
    init, computation = data.draw(st.sampled_from([(-np.inf, jax.lax.max), (np.inf, jax.lax.min), (0.0, jax.lax.add)]))
    options = {"window_dimensions": each(1, 3), "init_value": init, "computation": computation}
    options["padding"] = data.draw(st.sampled_from(["SAME", "VALID", [*zip(each(0, 2), each(0, 2))]]))
    if data.draw(st.booleans()):
        options["window_strides"] = each(1, 3)
    if computation is jax.lax.add and data.draw(st.booleans()):
        options["window_dilation"] = each(1, 2)
    assert_as_lax("reduce_window", normal(*shape), **options)


def test_the_first_value_may_be_an_array():
    x = jnp.asarray(normal(1, 4, 5, 2), jnp.float32)
    for init, computation in ((0.0, jax.lax.add), (-jnp.inf, jax.lax.max)):
        got, expected = (
            module.reduce_window(x, jnp.asarray(init), computation, (1, 2, 3, 1)) for module in (jaxcnn.lax, jax.lax)
        )
        assert_close(got, expected, 1e-6)


X, W = normal(2, 4, 8, 7).astype("f4"), normal(6, 4, 3, 2).astype("f4")
SAME = {"window_strides": (2, 1), "padding": "SAME"}
CALLS = {  # the name of what is peculiar, its arrays and options, and whether there is a rule
    "plain": (X, W, SAME, True),
    "NumPy and lists": (X, W, {"window_strides": [2, 1], "padding": [(1, 2), (0, 1)]}, True),
    "transposed": (X, W, {"window_strides": (1, 1), "padding": [(1, 2)] * 2, "lhs_dilation": (1, 3)}, True),
    "groups": (X, W[:, :2], {**SAME, "feature_group_count": 2}, True),
    "precision": (X, W, {**SAME, "precision": ("fastest", "highest")}, True),
    "an algorithm": (X, W, {**SAME, "precision": "F32_F32_F32"}, False),
    "bfloat16": (X.astype(jnp.bfloat16), W.astype(jnp.bfloat16), SAME, True),
    "float16 to float32": (X.astype("f2"), W.astype("f2"), {**SAME, "preferred_element_type": "float32"}, True),
    "strides and lhs_dilation": (X, W, {**SAME, "padding": [(0, 0)] * 2, "lhs_dilation": (1, 2)}, False),
    "batch groups": (X, W, {**SAME, "batch_group_count": 2}, False),
    "int8": (X.astype("i1"), W.astype("i1"), SAME, False),
    "int8 to int32": (X.astype("i1"), W.astype("i1"), {**SAME, "preferred_element_type": "int32"}, False),
    "complex": (X + 1j * X, W + 2j * W, SAME, False),
    "no window": (X[..., 0, 0], W[..., 0, 0], {"window_strides": (), "padding": ()}, False),
    "four dimensions": (
        normal(2, 4, 3, 2, 3, 2),
        normal(2, 4, 1, 2, 1, 2),
        {**SAME, "window_strides": (1,) * 4},
        False,
    ),
    "no example": (X[:0], W, SAME, False),
    "no output": (X[..., :1], W, {**SAME, "padding": "VALID"}, False),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_has_a_rule(case):
    """Value and dtype are lax's either way."""
    lhs, rhs, options, has_rule = CALLS[case]
    assert takes_rule(lambda *arrays: jaxcnn.lax.conv_general_dilated(*arrays, **options), lhs, rhs) == has_rule
    ours, theirs = (module.conv_general_dilated(lhs, rhs, **options) for module in (jaxcnn.lax, jax.lax))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(*(np.asarray(z, complex) for z in (ours, theirs)), rtol=1e-2, atol=1e-4)


def test_transformations():
    """vmap over both arrays, per-example gradients and a loop, under jit, as lax's."""

    def run(module):
        def loss(w, x, dy):
            z = module.conv_general_dilated(x[None], w, (1, 1), [(1, 1)] * 2, (2, 1))
            return jnp.vdot(module.reduce_window(z, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 1)), dy)

        def step(w, arrays):
            gradients = jax.vmap(jax.grad(loss), (None, 0, 0))(w, *arrays)
            return w - jnp.mean(gradients, 0), jax.vmap(loss)(w[None] + gradients, *arrays)

        dy = cotangent_of(lambda: jnp.zeros((3, 2, 1, 6, 7, 7)), ())
        return jax.jit(lambda w, x: jax.lax.scan(step, w, (x, dy)))(W, jnp.stack([X, 2 * X, X - 1]))

    assert_close(run(jaxcnn.lax), run(jax.lax), 1e-4)


def test_hand_rules():
    """Inside, jax.lax has the rules and the twins have none; when it is left, however that is, all is as before."""
    convolve = lambda x: jax.lax.conv_general_dilated(x, W, (1, 1), "SAME")
    transpose = lambda x: jax.lax.conv_transpose(x, W, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
    pool = lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 2, 2))
    twin = lambda x: reference.max_pool(reference.conv(x, jnp.ones((3, 3, 7, 1))), 2)
    with pytest.raises(ZeroDivisionError), jaxcnn.lax.hand_rules():
        with jaxcnn.lax.hand_rules():
            assert takes_rule(convolve, X)
        assert all(takes_rule(call, X) for call in (convolve, transpose, pool))
        assert not takes_rule(twin, X)
        jax.eval_shape(jax.hessian(lambda x: jaxcnn.local_response_norm(x, 3).sum()), X[0])
        raise ZeroDivisionError
    assert not any(takes_rule(call, X) for call in (convolve, transpose, pool))
