"""A task that trains networks itself: what it gave is kept, and its code for that is what tells it from another."""

import pytest

from tempograd.errors import InputRefusedError, UsageError
from tempograd.search.evaluator import train
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

from .trainings import NETWORK, SPACE

OWN = '''
from pathlib import Path

class Mine:
    """Counts how often it trains."""
    def train(self, network):
        log = Path(__file__).with_name("log")
        log.write_text(log.read_text() + "trained ")
        for weight in network.parameters():
            weight.data.fill_(0.5)
        return network

    def score(self, network):
        return float("nan")
'''


@pytest.fixture
def own(tmp_path):
    (tmp_path / "log").write_text("")
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def asked(own, seed=0, folder="trainings"):
    task = load_task(f"{own}:Mine")
    return train(NETWORK, SPACE, task.fitted(SPACE), Training(), seed=seed, folder=folder and own.parent / folder)


def times(own):
    return (own.parent / "log").read_text().count("trained")


def test_a_network_stays_where_its_score_is_none_and_is_scored_when_that_is_mended(own):
    for _ in range(2):
        with pytest.raises(InputRefusedError, match=r"^mine\.py:Mine@\w+\.score\(network\) is nan; allowed"):
            asked(own)
    assert times(own) == 1
    own.write_text(OWN.replace('float("nan")', "next(network.parameters()).mean()  # mended"))
    assert asked(own).score == 0.5
    assert times(own) == 1


@pytest.mark.parametrize("change", [("0.5", "0.25"), ("def score", "seed = 0\n\n    def score")])
def test_another_training_is_another_one(own, change):
    own.write_text(OWN.replace('float("nan")', "1"))
    asked(own)
    own.write_text(own.read_text().replace(*change))
    asked(own)
    assert times(own) == 2
    asked(own, seed=1)
    assert times(own) == 3
    asked(own, folder=None)
    assert times(own) == 4


def test_a_score_that_training_asks_is_part_of_the_training(own):
    own.write_text(OWN.replace('float("nan")', "1").replace("log.write", "self.score(network), log.write"))
    asked(own)
    own.write_text(own.read_text().replace("return 1", "return 2"))
    assert asked(own).score == 2
    assert times(own) == 2


def test_a_training_that_gives_another_module_is_refused_and_not_kept(own):
    own.write_text("import torch\n" + OWN.replace("return network", "return torch.nn.Linear(1, 1)"))
    with pytest.raises(UsageError, match=r"gave back Linear from train; return the network it was given"):
        asked(own)
    assert not (own.parent / "trainings").exists()
