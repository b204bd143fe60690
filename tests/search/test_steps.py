"""What every training loop does at a step."""

import pytest
import torch

from tempograd.errors import DivergedError
from tempograd.search.steps import check_finite, cosine, seeded, set_rate, step


def test_a_step_is_clipped_to_a_norm():
    weight = torch.nn.Parameter(torch.zeros(2))
    step(torch.optim.SGD([weight], lr=1.0), (weight * torch.tensor([30.0, 40.0])).sum(), clip=5.0)
    assert torch.allclose(weight.detach(), torch.tensor([-3.0, -4.0]), atol=1e-4)


def test_a_step_forgets_the_gradient_before():
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([100.0])
    step(torch.optim.SGD([weight], lr=1.0), weight.sum(), clip=1e9)
    assert float(weight.detach()) == pytest.approx(-1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_ends_training_with_its_place(value):
    with pytest.raises(DivergedError, match="the loss of epoch 3"):
        check_finite(torch.tensor([1.0, value]), "the loss of epoch 3")
    assert float(check_finite(torch.tensor(2.0), "here")) == 2.0


def test_the_cosine_goes_from_first_to_last():
    values = [cosine(1.0, 0.1, share) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert values[0] == pytest.approx(1.0)
    assert values[2] == pytest.approx(0.55)
    assert values[-1] == pytest.approx(0.1)
    assert values == sorted(values, reverse=True)


def test_every_group_gets_the_rate():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.2)]
    optimizer = torch.optim.SGD(groups)
    set_rate(optimizer, 0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]


def test_a_seed_decides_inside_and_leaves_no_trace():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    drawn = []
    for _ in range(2):
        with seeded(7):
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.rand(3), expected)
