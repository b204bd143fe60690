"""A schedule is the longest path: a branch that waits for a longer one is free."""

import numpy as np
import pytest
import torch

from tempograd.errors import InputRefusedError
from tempograd.predictor.schedule import SOURCE, Schedule, stages_of

# one cell: two operations side by side, each of three kinds, and their join
STAGES = (
    (
        ((SOURCE,), (0, 1, 2), (0, 1, 2)),
        ((SOURCE,), (3, 4, 5), (0, 1, 2)),
        ((0, 1), (), ()),
    ),
)


def rows(n, seed=0):
    choices = np.random.default_rng(seed).integers(0, 3, (n, 2))
    return choices, np.eye(3)[choices].reshape(n, 6)


def test_it_says_when_each_join_is_ready():
    schedule = Schedule(STAGES)
    assert schedule.width == 1
    assert schedule(torch.from_numpy(rows(4)[1])).shape == (4, 1)


def test_stages_come_back_from_json_and_others_are_refused():
    assert stages_of([[[list(part) for part in step] for step in cell] for cell in STAGES], 6) == STAGES
    for wrong in (None, [], [[[[5], [], []]]], [[[[SOURCE], [9], [0]], [[0], [], []]]]):
        with pytest.raises((InputRefusedError, AssertionError)):
            assert stages_of(wrong, 6) is None
