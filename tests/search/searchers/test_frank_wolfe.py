"""A Frank-Wolfe step moves towards a vertex and never leaves the budget."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.laws.softmax import Softmax
from tempograd.search.searchers.frank_wolfe import FrankWolfe
from tempograd.testing.methods import priced

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8")


def make(share=0.5):
    cost = priced(SPACE)
    prices = cost(SPACE.gates(SPACE.sample(300, np.random.default_rng(0)))).double().numpy()
    budget_ms = float(np.quantile(prices, share))
    law = registry.create("law", "simplex", space=SPACE, generator=torch.Generator().manual_seed(0), noise=0.1)
    return law, cost, budget_ms


def test_another_law_is_refused():
    _, cost, budget_ms = make()
    with pytest.raises(UsageError):
        FrankWolfe(Softmax(SPACE), SPACE, cost, budget_ms)
