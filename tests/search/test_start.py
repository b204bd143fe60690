"""Weights that a training begins with: random ones, those of the supernet, or of a file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tempograd.errors import InputRefusedError, UsageError
from tempograd.search.evaluator import check_training
from tempograd.spaces.network import inherit
from tempograd.tasks.load import load_task

from .trainings import NETWORK, SHORT, SPACE, run


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=300").fitted(SPACE)


def test_a_training_begins_with_given_weights(task, tmp_path):
    from safetensors.numpy import save_file

    donor = run(task, SHORT).network
    path = tmp_path / "weights.safetensors"
    slow = replace(SHORT, epochs=1, learning_rate=1e-12, weight_decay=0.0)
    last = [name for name in donor.arrays() if donor.arrays()[name].shape[0] == 10]
    save_file(donor.arrays() | {name: np.zeros((3, 3), np.float32) for name in last}, path)
    begun = run(task, replace(slow, start=str(path)))
    assert begun.record["started"] == {"source": str(path), "random": last}
    assert np.allclose(begun.network.arrays()["stem/conv.weight"], donor.arrays()["stem/conv.weight"])
    save_file({"other": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputRefusedError, match="no weight of this network"):
        run(task, replace(slow, start=str(path)))


def test_a_training_begins_with_the_supernets_weights_where_there_is_one(task):
    torch.manual_seed(3)
    supernet = SPACE.supernet()
    inherited = replace(SHORT, epochs=1, learning_rate=1e-12, weight_decay=0.0, start="inherited")
    begun = run(task, inherited, begin=lambda network: inherit(network, supernet))
    expected = inherit(SPACE.to_torch(NETWORK), supernet).arrays()["stem/conv.weight"]
    assert np.allclose(begun.network.arrays()["stem/conv.weight"], expected)
    check_training(inherited, "cpu", supernet=True)
    with pytest.raises(UsageError, match="no supernet"):
        check_training(inherited, "cpu", supernet=False)
