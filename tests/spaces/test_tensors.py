"""Checkpoints are data, and are held against the network by name and shape."""

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tempograd.errors import InputRefusedError
from tempograd.spaces.tensors import load_weights, read_tensors


def network(width=4, **more):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), *more.values())


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "held.pt", "parallel.pt"])
def test_weights_are_taken_over_whatever_holds_them(name, tmp_path):
    trained, path = network(), tmp_path / name
    weights = trained.state_dict()
    if name.endswith(".safetensors"):
        save_file(weights, path)
    elif name == "held.pt":
        torch.save({"epoch": 3, "state_dict": weights}, path)
    else:
        torch.save({("module." * (name == "parallel.pt")) + key: value for key, value in weights.items()}, path)
    other = network()
    load_weights(other, path)
    assert all(torch.equal(value, weights[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("more", [{}, {"head": nn.Linear(4, 2)}])
def test_a_part_may_be_called_what_parallel_networks_put_before_all_names(parallel, more, tmp_path):
    trained, other = (nn.ModuleDict({"module": network(), **more}) for _ in range(2))
    path = tmp_path / "weights.pt"
    weights = trained.state_dict()
    torch.save({("module." * parallel) + key: value for key, value in weights.items()}, path)
    load_weights(other, path)
    assert all(torch.equal(value, weights[key]) for key, value in other.state_dict().items())


def test_counts_of_batches_may_be_missing(tmp_path):
    trained, other = network(), network()
    kept = {key: value for key, value in trained.state_dict().items() if "num_batches" not in key}
    torch.save(kept, tmp_path / "old.pt")
    load_weights(other, tmp_path / "old.pt")
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in kept.items())


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (network(8), r"its 0\.weight is \(8, 1, 3, 3\), the network's \(4, 1, 3, 3\)"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), r"it has no 1\.weight \(4,\)"),
        (network(last=nn.Linear(3, 2)), r"Sequential, which has no 2\.weight \(2, 3\)"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused_with_the_first_difference(other, told, tmp_path):
    torch.save(other.state_dict(), tmp_path / "other.pt")
    own = network()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    with pytest.raises(InputRefusedError, match=told):
        load_weights(own, tmp_path / "other.pt")
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was run"),)

    torch.save({"a": torch.zeros(2), "b": Code()}, tmp_path / "code.pt")
    with pytest.raises(InputRefusedError, match="nothing in it was run"):
        read_tensors(tmp_path / "code.pt")
    assert not (tmp_path / "was run").exists()
