"""What may say how good a network is: one finite number; anything else is told with the task, the value and why."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from tempograd.errors import DivergedError, InputRefusedError
from tempograd.tasks.figure import figure, outputs_of, score_of, scores_of
from tempograd.tasks.load import load_task


@pytest.mark.parametrize(
    "value",
    [2, 2.0, Fraction(2), Decimal(2), np.float32(2), np.int64(2), np.array([[2.0]]), torch.tensor(2),
     torch.tensor([2.0], dtype=torch.bfloat16, requires_grad=True)],
    ids=repr,
)  # fmt: skip
def test_a_number_of_any_library_is_a_figure(value):
    assert figure(value, "it") == 2.0
    assert type(figure(value, "it")) is float


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"), (float("-inf"), "-inf"), (None, "None"), ("0.5", "'0.5'"), (True, "True"), (1j, "1j"),
        (10**400, "1000"), ([0.5], r"\[0\.5\]"), ({"score": 1}, "{'score': 1}"), (Decimal("nan"), "Decimal"),
        (np.array([1.0, 2.0]), r"array\(\[1\., 2\.\]\)"), (np.bool_(True), "True"), (np.float32("inf"), "inf"),
        (torch.ones(2), r"tensor\(\[1\., 1\.\]\)"), (torch.tensor(float("nan")), r"tensor\(nan\)"),
        (torch.tensor(True), r"tensor\(True\)"), (torch.tensor(1j), r"tensor\("), (torch.ones(40, 40), r"\.\.\.; all"),
    ],
    ids=[str(n) for n in range(18)],
)  # fmt: skip
def test_what_is_no_finite_number_is_told_with_its_value_and_what_is_allowed(value, shown):
    with pytest.raises(InputRefusedError, match=rf"^mine\.py:A\.score is .*{shown}") as refused:
        figure(value, "mine.py:A.score")
    assert "allowed: one finite number" in str(refused.value)
    assert len(str(refused.value)) < 300
    assert refused.value.exit_code == 5


def test_of_several_metrics_the_main_one_must_be_a_figure_and_the_others_numbers():
    task = load_task("digits,limit=100")
    assert scores_of(task, {"accuracy": np.float32(0.5), "AP": float("nan")})["accuracy"] == 0.5
    with pytest.raises(InputRefusedError, match=r"^the accuracy of digits,limit=100 is nan; allowed: one finite"):
        scores_of(task, {"accuracy": float("nan")})
    with pytest.raises(InputRefusedError, match=r"gave the metrics loss, hits; expected accuracy too"):
        scores_of(task, {"loss": 0.5, "hits": 3})
    with pytest.raises(InputRefusedError, match=r"^the hits of .* is 'many'; allowed: one number"):
        scores_of(task, {"accuracy": 0.5, "hits": "many"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_gives_no_numbers_has_diverged_and_minus_infinity_may_rule_a_class_out(value):
    outputs = torch.zeros(2, 3)
    outputs[1, 2] = float("-inf")
    assert outputs_of(outputs, "it") is outputs
    outputs[0, 1] = value
    with pytest.raises(DivergedError, match=r"NaN or infinity for examples of it: its training diverged") as refused:
        outputs_of(outputs, "it")
    assert refused.value.exit_code == 3


def test_a_diverged_network_has_no_accuracy():
    """The largest of outputs that are no numbers would be some class all the same."""
    task = load_task("digits,limit=100")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    assert 0 <= task.score(network, "law") <= 1
    network[1].bias.data[3] = float("nan")
    for asked in (lambda: task.score(network, "test"), lambda: task.glance(network, torch.arange(5))):
        with pytest.raises(DivergedError, match="diverged"):
            asked()


@pytest.mark.parametrize("value", [87.5, -0.1, 1.001])
def test_a_share_is_from_0_to_1_and_a_score_in_per_cent_is_told_so(value):
    task = load_task("digits,limit=200")
    assert score_of(task, 1 + 1e-9) == pytest.approx(1)
    with pytest.raises(InputRefusedError, match=rf"accuracy of digits.* is {value}; allowed: a share from 0 to 1"):
        score_of(task, value)
