"""Forms: their formulas, their gradients, and the direction between two of them."""

from math import log, log10

import pytest
import torch

from tempograd.errors import UsageError
from tempograd.search.forms import (
    AbsRatio,
    Hard,
    HingeRatio,
    LearnedMultiplier,
    Linear,
    LogTarget,
    MulLog,
    Pareto,
    Ratio,
    Reject,
    Score,
    common_descent,
)

LOSS, COST = 2.0, 3.0  # of a task, and in ms


def value(form, loss=LOSS, cost=COST):
    return float(form.combine(torch.tensor(loss, dtype=torch.float64), torch.tensor(cost, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (Linear(0.5, 4.0), LOSS + 0.5 * COST / 4),
        (Ratio(0.5, 4.0), LOSS + 0.5 * (COST / 4 - 1)),
        (AbsRatio(0.5, 4.0), LOSS + 0.5 * (1 - COST / 4)),
        (HingeRatio(0.5, 4.0), LOSS),
        (HingeRatio(0.5, 2.0), LOSS + 0.5 * (COST / 2 - 1)),
        (LogTarget(0.15, 4.0), LOSS + 0.15 * log(3000) / log(4000)),
        (MulLog(0.6, 4.0, scale=0.2), LOSS * 0.2 * (log(3000) / log(4000)) ** 0.6),
        (Score(0.1), LOSS + 0.1 * (log10(COST) - 6)),
        (Reject(1.0), LOSS),
        (Hard(1.0), LOSS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_form_is_its_formula(form, expected):
    assert value(form) == pytest.approx(expected)


@pytest.mark.parametrize(
    "form",
    [Linear(0.5, 4.0), Ratio(0.5, 4.0), AbsRatio(0.5, 4.0), HingeRatio(0.5, 2.0), LogTarget(0.15, 4.0),
     MulLog(0.6, 4.0), Score(0.1)],
    ids=lambda form: type(form).__name__,
)  # fmt: skip
def test_a_form_has_the_gradient_of_finite_differences(form):
    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (LOSS, COST)]
    assert torch.autograd.gradcheck(form.combine, inputs)


def test_a_logarithm_of_what_is_below_its_unit_is_refused():
    for make in (lambda: LogTarget(0.1, 5e-4), lambda: MulLog(0.1, 1e-3), lambda: Score(0.1).value(0.9, 0.5)):
        with pytest.raises(UsageError, match="logarithm"):
            make()
    with pytest.raises(UsageError, match="logarithm"):
        value(LogTarget(0.1, 4.0), cost=5e-4)
    assert value(LogTarget(0.1, 5e-4, unit_ms=1e-6), cost=5e-4) == pytest.approx(LOSS + 0.1)


@pytest.mark.parametrize(
    "make",
    [lambda: Linear(-1.0, 1.0), lambda: Ratio(0.1, 0.0), lambda: Pareto(0.0), lambda: MulLog(0.1, float("nan")),
     lambda: LearnedMultiplier(1.0, eta=0.0)],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(make):
    with pytest.raises(UsageError, match=r"allowed|logarithm"):
        make()


def test_only_a_form_with_a_budget_rejects():
    for form in (Reject(2.0), Hard(2.0)):
        assert [form.allows(cost_ms) for cost_ms in (1.9, 2.0, 2.1)] == [True, True, False]
    assert Ratio(0.1, 2.0).allows(100.0)
    assert [form.moves for form in (Reject(2.0), Hard(2.0))] == ["adam", "frank_wolfe"]


def test_a_score_prefers_accuracy_and_small_networks():
    score = Score(0.1)
    assert score.value(0.9, 1e6) == pytest.approx(0.9)
    assert score.value(0.9, 1e7) == pytest.approx(0.8)


def pairs(n=1000, width=6):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, width, generator=generator, dtype=torch.float64).unbind()


def test_the_common_direction_is_an_ascent_direction_for_neither():
    for one, two in pairs():
        direction = common_descent(one, two)
        assert min(float(direction @ one), float(direction @ two)) > -1e-9


def test_it_is_the_shortest_vector_between_both():
    for one, two in pairs(50):
        a, b = one / one.norm(), two / two.norm()
        shares = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
        shortest = (shares * a + (1 - shares) * b).norm(dim=1).min()
        assert float(common_descent(one, two).norm()) == pytest.approx(float(shortest), abs=1e-5)


def test_a_preferred_cost_turns_the_direction_towards_itself():
    turned = [
        torch.cosine_similarity(common_descent(one, two, preference=3.0), two, dim=0)
        > torch.cosine_similarity(common_descent(one, two), two, dim=0)
        for one, two in pairs()
    ]
    assert all(turned)


def test_equal_opposite_and_absent_gradients_have_a_direction():
    one = torch.tensor([3.0, 4.0])
    assert torch.allclose(common_descent(one, one), one.double() / 5)
    assert float(common_descent(one, -one).norm()) == pytest.approx(0.0, abs=1e-9)
    assert torch.equal(common_descent(one, torch.zeros(2)), one)
    assert torch.equal(common_descent(torch.zeros(2), one), one)


def test_pareto_gives_every_parameter_its_part_of_the_direction():
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)
    loss, cost = a.sum() + b.sum(), (a**2).sum()
    found = Pareto(1.0).gradients(loss, cost, (a, b))
    expected = common_descent(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 4.0, 0.0]))
    assert torch.allclose(torch.cat([part.reshape(-1) for part in found]).double(), expected)
    assert [part.shape for part in found] == [a.shape, b.shape]
    with pytest.raises(UsageError, match="direction"):
        Pareto(1.0).combine(loss, cost)


def test_where_the_shorter_of_both_is_the_shortest_of_all_between_it_is_the_direction():
    """A preference makes one of them short; the line through both has shorter vectors, but not between them."""
    one, two = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.1])
    unit = two.double() / two.double().norm()
    assert torch.allclose(common_descent(one, two, preference=9.0), unit / 9)
    assert torch.allclose(common_descent(two, one, preference=1 / 9), unit)
