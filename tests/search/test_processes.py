"""Two processes that train together: the curves of one, each knows the same, and one that is killed ends both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tempograd.errors import UsageError
from tempograd.search import processes

from .together import KILLED, curves

SCRIPT = Path(__file__).with_name("together.py")


def torchrun(*arguments):
    # torchrun ends all when it sees that one has gone; until it looks again the others have time to say why they end
    options = ["--standalone", "--nproc-per-node", "2", "--monitor-interval", "5"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, SCRIPT]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What both processes said: of two runs whose second process was killed, and of the same command after that.

    The first was killed while a network was trained, the second in the search that followed.
    """
    out = tmp_path_factory.mktemp("together")
    killed = []
    for kind in KILLED:
        done = torchrun(str(out), kind)
        killed.append((done, sorted(path.stem for path in (out / "trainings").iterdir())))
    return killed, said(out)


def said(out):
    """Return what each of two processes says that are not killed."""
    done = torchrun(str(out))
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.real
@pytest.mark.slow
def test_two_processes_learn_what_one_does(told, tmp_path):
    _, (first, second) = told
    alone = curves(tmp_path)
    assert (first["count"], second["count"]) == (2, 2)
    for key in ("trained", "supernet"):
        assert first[key] == pytest.approx(alone[key], abs=1e-3)
    for own, expected in zip(first["search"], alone["search"], strict=True):
        assert own == pytest.approx(expected, abs=1e-3)
    assert first["passes"] == second["passes"] == alone["passes"]


@pytest.mark.real
@pytest.mark.slow
def test_no_thread_of_what_bound_them_runs_on_when_they_are_through(told):
    """A process that ends with such threads may be aborted."""
    _, (first, second) = told
    assert first["bound"] == second["bound"] > 0
    assert first["left"] == second["left"] == 0


@pytest.mark.real
@pytest.mark.slow
def test_all_hold_the_same_weights_and_one_asks_for_all(told):
    _, (first, second) = told
    assert first["sums"] == second["sums"]
    assert first["turns"] == second["turns"] == [[0, 0], [1, 1], [0, 2], [1, 3], [0, 4]]
    assert first["refused"] == ["the disk is full", False]
    assert second["refused"] == ["the disk is full", True]


@pytest.mark.real
@pytest.mark.slow
def test_one_that_is_killed_ends_all_with_one_message_and_the_same_command_goes_on(told):
    killed, _ = told
    for done, _left in killed:
        assert done.returncode != 0
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("told: "))
        assert "another of the processes that train together ended" in line
        assert "run the same command to go on" in line
    (_, first), (_, second) = killed
    assert len(first) == 1  # saved in the middle of an epoch, by the one process that writes
    assert second == [*first, "search"]


@pytest.mark.real
@pytest.mark.slow
def test_what_was_killed_twice_ends_as_if_nothing_had_happened(told, tmp_path):
    """Bit for bit: every loss, every weight, every price; in the middle of an epoch of either."""
    assert told[1] == said(tmp_path)


def test_one_process_alone_does_nothing_for_it(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    network, values = torch.nn.Sequential(torch.nn.BatchNorm2d(2)), torch.rand(4)
    with processes.together(), processes.synchronised(network):
        assert "forward" not in vars(network[0])
        assert processes.mean(values) is values
        assert processes.by_first(lambda: 3) == 3
        assert processes.in_turns([1, 2], list) == [1, 2]
        assert (processes.count(), processes.rank(), processes.first()) == (1, 0, True)
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("kernels", [True, False])
def test_a_share_that_is_the_whole_batch_is_normalised_as_torch_does(monkeypatch, kernels, order, learns):
    monkeypatch.setattr(processes.distributed, "all_gather", lambda found, own: found[0].copy_(own))
    monkeypatch.setattr(processes.distributed, "all_reduce", lambda _: None)
    monkeypatch.setattr(processes, "_has_kernels", lambda _: kernels)
    generator = torch.Generator().manual_seed(0)
    x = (2 * torch.randn(6, 5, 4, 4, generator=generator) + 1).contiguous(memory_format=order)
    norm = torch.nn.BatchNorm2d(5, affine=learns)
    other = torch.nn.BatchNorm2d(5, affine=learns)
    for weight in norm.parameters():
        torch.nn.init.uniform_(weight, 0.5, 2, generator=generator)
    other.load_state_dict(norm.state_dict())
    given, whole = (x.clone().requires_grad_() for _ in range(2))
    found, wanted = processes._normalised(norm, given), other(whole)
    assert torch.allclose(found, wanted, atol=1e-5)
    slope = torch.randn(x.shape, generator=generator)
    for one, two in zip(
        torch.autograd.grad(found, [given, *norm.parameters()], slope),
        torch.autograd.grad(wanted, [whole, *other.parameters()], slope),
        strict=True,
    ):
        assert torch.allclose(one, two, atol=1e-4)
    assert torch.allclose(norm.running_mean, other.running_mean)
    assert torch.allclose(norm.running_var, other.running_var)


def test_a_batch_that_has_no_equal_shares_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    with pytest.raises(UsageError, match="a batch of 64 on 3 processes; allowed"):
        processes.check_batch(64)
    with pytest.raises(UsageError, match="a batch of 12 in 4 pieces on 3 processes"):
        processes.check_batch(12, 4)
    processes.check_batch(12, 2)
