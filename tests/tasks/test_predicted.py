"""A task without examples: what it says of a network, and that it is asked of the very space it knows."""

import pytest
import torch

from tempograd import registry
from tempograd.tasks.predicted import STEPS, Nothing, PredictedTask

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")


class Adds(torch.nn.Module):
    """Fifty per cent, and one for every step from the first option of a site."""

    def __init__(self):
        super().__init__()
        self.register_buffer("worth", torch.arange(5.0).repeat(6))

    def forward(self, x):
        return 50 + x @ self.worth


def task():
    return PredictedTask("table:t.csv:acc", SPACE, Adds(), "raw", 2.0, {"rows": 40, "model": "ridge"})


def test_an_accuracy_is_that_of_the_model_as_a_share_and_needs_no_network():
    architecture = SPACE.from_key("1.2.3.4.0.0")
    assert task().known(architecture) == pytest.approx(0.60)
    assert task().predict([architecture, SPACE.from_key("0.0.0.0.0.1")]) == pytest.approx([0.60, 0.51])
    wider = registry.create("space", "nasbench201:cells=1,width=8,size=8,channels=1")
    assert task().known(wider.from_key("1.2.3.4.0.0")) == pytest.approx(0.60)


def test_no_prediction_is_above_all_or_below_nothing():
    module = Adds()
    module.worth = module.worth * 100
    told = PredictedTask("t", SPACE, module, "raw", 2.0, {})
    assert told.predict([SPACE.from_key("4.4.4.4.4.4")]) == [1.0]


def test_the_loss_falls_by_one_for_each_spread_of_accuracy():
    told = task()
    assert float(told.loss(torch.tensor([60.0]), torch.zeros(1)) - told.loss(torch.tensor([62.0]), torch.zeros(1))) == 1


def test_it_says_that_nothing_is_trained():
    assert "40 rows of table:t.csv:acc" in task().remarks[0]
    assert "random" in task().remarks[0]
    assert task().metric.name == "predicted accuracy"
    assert task().fitted(SPACE).name == "table:t.csv:acc"


def test_its_parts_hold_nothing_but_have_steps_and_a_position():
    part = Nothing()
    batches = list(part.batches(64, torch.Generator(), start=3))
    assert (len(part), part.steps(64), len(batches)) == (STEPS, STEPS, STEPS - 3)
    assert batches[0][0].numel() == 0
    assert not list(part.ordered(8))
    assert len(part.take(torch.arange(4))[1]) == 4
