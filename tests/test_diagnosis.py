"""Every kind of wrong is called by its name, and what is cut stays wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.check import check_vjp
from jaxcnn.check.diagnosis import KINDS, Evidence, name_kind
from jaxcnn.check.error import not_applicable
from jaxcnn.check.examine import examine
from jaxcnn.check.gradients import gradients_of
from jaxcnn.check.point import Draw, locate
from jaxcnn.check.shrink import shrink

RIGHT = np.random.default_rng(0).normal(size=(4, 6, 6))
TERM = np.random.default_rng(1).normal(size=(4, 6, 6))
EDGES = np.pad(np.ones((4, 4, 4)), ((0, 0), (1, 1), (1, 1)), constant_values=0.5)
DROPPED = np.where(np.arange(RIGHT.size).reshape(RIGHT.shape) == 45, 0, RIGHT)


def diagnose(got, expected=RIGHT, at_kinks=False, others=()):
    wrong = ~(np.abs(got - expected) <= 1e-9)
    return name_kind(Evidence(got, expected, 1e-9, wrong, at_kinks, dict(others), {"x": TERM}))


@pytest.mark.parametrize(
    ("got", "kind", "detail"),
    [
        (np.where(RIGHT > 2, np.nan, RIGHT), "not finite", "of 144 cells"),
        (0 * RIGHT, "zero", ""),
        (-RIGHT, "wrong sign", ""),
        (RIGHT / 5, "scaled by a constant", "0.2 = 1/5 times"),
        (np.roll(RIGHT, 1, 1), "shifted", "by one cell, +1 along axis 1"),
        (
            np.pad(RIGHT[:, 1:, :-1], ((0, 0), (0, 1), (1, 0))),
            "shifted",
            "by one cell, -1 along axis 1, +1 along axis 2",
        ),
        (RIGHT.swapaxes(1, 2), "transposed", "in the order (0, 2, 1)"),
        (RIGHT.transpose(2, 0, 1).reshape(RIGHT.shape), "transposed", "in the order (2, 0, 1)"),
        (RIGHT[:, ::-1, ::-1], "flipped", "backwards along axes 1, 2"),
        (RIGHT * EDGES, "wrong at borders only", "within 1 cell of the ends of axes 1, 2"),
        (RIGHT * np.arange(1, 7), "scaled along an axis", "axis 2: 1, 2, 3, 4, …"),
        (
            RIGHT * [1, 1, 1, 1, 1, 2],
            "scaled along an axis",
            "right but at 5 of axis 2 (of size 6: its end), where it is 2",
        ),
        (RIGHT * [1, 1, 1, -1, 1, 1], "scaled along an axis", "at 3 of axis 2 (of size 6), where it is -1 times"),
        (np.where(np.arange(6) == 0, TERM, RIGHT), "wrong at borders only", "within 1 cell of the start of axis 2"),
        (np.roll(RIGHT, -3, 2), "shifted", "by 3 cells, -3 along axis 2"),
        (np.roll(RIGHT, (1, 2), (1, 2)), "shifted", "by 2 cells, +1 along axis 1, +2 along axis 2"),
        (0.6 * RIGHT + 0.8 * TERM, "unrelated", ""),
        (DROPPED, "wrong in some cells only", "1 of 144 cells, where it is 0"),
        (np.concatenate([RIGHT[:2], RIGHT[2:3] + TERM[:1], RIGHT[3:]]), "wrong in some cells only", "at 2 of axis 0"),
        (RIGHT - 0.3, "missing a term", "and is constant along axes 0, 1, 2"),
        (RIGHT - 0.3 * RIGHT.sum(2, keepdims=True), "missing a term", "and is constant along axis 2"),
        (RIGHT - 0.5 * TERM, "missing a term", "and is 0.5 = 1/2 times x"),
        (
            RIGHT - TERM * np.arange(1, 5).reshape(4, 1, 1) / 5,
            "missing a term",
            "x times what is constant along axes 1, 2",
        ),
        (RIGHT - RIGHT**3 / 5, "missing a term", "% of the gradient"),
        (np.flip(TERM), "unrelated", ""),
    ],
)
def test_kind(got, kind, detail):
    found = diagnose(got)
    assert found.kind == kind
    assert detail in found.detail


def test_kinds_that_need_more_than_the_gradient():
    assert diagnose(RIGHT, 0 * RIGHT).kind == "should be zero"
    assert diagnose(TERM, at_kinks=True).kind == "wrong at ties or kinks only"
    assert str(diagnose(TERM, others={"w": TERM})) == "exchanged: the gradient of w"
    assert diagnose(RIGHT - 1j * TERM, RIGHT + 1j * TERM).kind == "conjugated"
    assert len(KINDS) == 16


def test_no_shift_is_longer_than_its_axis():
    x = np.random.default_rng(2).normal(size=(3, 9, 11, 2))
    found = diagnose(x * np.array([1, 1, 2]).reshape(3, 1, 1, 1), x)
    detail = "right but at 2 of axis 0 (of size 3: its end), where it is 2 times what it should be"
    assert str(found) == f"scaled along an axis: {detail}"


def kinds_of(backward, reference, x):
    """What is said of a rule for the reference's value."""
    fn = jax.custom_vjp(reference)
    fn.defvjp(lambda x: (reference(x), x), backward)
    point = locate(fn, reference, [x], Draw(0), 0.0)
    argument = examine(point, gradients_of(point), 0, not_applicable(""))
    return [diagnosis.kind for diagnosis in argument.diagnoses], argument.worst_cells


def test_ties_are_told_by_their_slopes():
    x = jnp.array([[-1.0, 0.0, 2.0], [0.0, 1.0, -3.0]])
    kinds, cells = kinds_of(lambda x, dy: (jnp.where(x >= 0, dy, 0),), jax.nn.relu, x)
    assert kinds == ["wrong at ties or kinks only"]
    assert {cell.index for cell in cells[:2]} == {(0, 1), (1, 0)}
    assert cells[0].finite is None


def test_dtypes():
    """That alone, and beside another mistake."""
    x = jnp.linspace(0.5, 2, 12).reshape(3, 4)
    narrow = lambda x, dy: ((dy * jnp.cos(x)).astype(jnp.bfloat16),)
    assert kinds_of(narrow, jnp.sin, x)[0] == ["wrong dtype"]
    twice = lambda x, dy: ((2 * dy * jnp.cos(x)).astype(jnp.bfloat16),)
    assert kinds_of(twice, jnp.sin, x)[0] == ["wrong dtype", "scaled by a constant"]


def test_axes_of_one_size_shrink_together():
    """A product that is wrong from three columns on, given labels that count them."""
    tried = []

    def is_wrong(args):
        x, w, labels = args
        tried.append(x.shape)
        return x.shape[1] == w.shape[0] >= 3 and len(labels) == len(x) and labels.max() < w.shape[0]

    (x, w, labels), trials = shrink((np.ones((5, 8)), np.ones((8, 6)), np.arange(5)), is_wrong)
    assert (x.shape, w.shape, labels.tolist()) == ((1, 3), (3, 1), [0])
    assert trials == len(tried) < 80


def test_what_the_tolerance_of_autodiff_hides():
    """1 % in bfloat16, which differences of the rule in float64 see; and a value that autodiff does not see."""
    x = jnp.asarray(RIGHT[0], jnp.bfloat16)
    square = jax.custom_vjp(lambda x: x * x)
    square.defvjp(lambda x: (x * x, x), lambda x, dy: (jnp.asarray(2.02, x.dtype) * x * dy,))
    (argument,) = check_vjp(square, x, order=1).arguments
    assert str(argument.diagnoses[0]) == "scaled by a constant: 1.01 times what it should be"
    assert len(argument.worst_cells) == 3
    (argument,) = check_vjp(lambda x: x * jax.lax.stop_gradient(x), x, order=1).arguments
    assert argument.diagnoses[0].kind == "not the derivative of the value"
    assert "scaled by a constant: 0.5 = 1/2 times" in argument.diagnoses[0].detail
    cell = argument.worst_cells[0]
    assert cell.autodiff == pytest.approx(cell.hand)
    assert cell.finite == pytest.approx(2 * cell.hand)


def test_wrong_autodiff_is_not_the_rules_fault():
    """A rule that is right at 0, where autodiff of the function takes the branch that does not depend on y."""
    primal = lambda x, y: jnp.where(x == 0, 0.0, x * jnp.log(y))
    xlogy = jax.custom_vjp(primal)
    xlogy.defvjp(lambda x, y: (primal(x, y), (x, y)), lambda kept, dz: (dz * jnp.log(kept[1]), dz * kept[0] / kept[1]))
    report = check_vjp(xlogy, jnp.array([0.0, 1, 2]), jnp.array([2.0, 1, 2]))
    assert report.ok, report
    assert report.arguments[0].diagnoses[0].kind == "autodiff of the primal"
    assert report.arguments[0].worst_cells[0].index == (0,)
    assert not report.arguments[1].diagnoses
    assert check_vjp(jax.scipy.special.xlogy, jnp.array([0.0, 1, 2]), jnp.array([2.0, 1, 2])).ok
