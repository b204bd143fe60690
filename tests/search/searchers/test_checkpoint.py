"""Training that is stopped between any two steps: streams, supernets, and files of before."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tempograd import registry
from tempograd.search.searchers.checkpoint import Stream, forget
from tempograd.search.searchers.one_shot import OneShot, OneShotSchedule
from tempograd.tasks.load import load_task

SPACE = registry.create("space", "mbconv:family=ofa,size=8,channels=1,classes=10,width=0.25,stages=1,layers=2")
NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=200")


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 4])
def test_a_stream_goes_on_where_another_was(task, taken):
    """Of passes of three batches, while somebody else draws from the same generator."""
    generator = torch.Generator().manual_seed(0)
    one = Stream(task.weights, 32, generator, augment=True)
    assert task.weights.steps(32) == 3
    for _ in range(taken):
        next(one)
        torch.rand(5, generator=generator)
    place, state = (one.began, one.taken), generator.get_state()
    expected = [next(one) for _ in range(4)]
    other_generator = torch.Generator().manual_seed(9)
    other_generator.set_state(state)
    other = Stream(task.weights, 32, other_generator, augment=True)
    other.go_to(*place)
    assert torch.equal(other_generator.get_state(), state)
    for batch in expected:
        assert all(torch.equal(own, seen) for own, seen in zip(batch, next(other), strict=True))


def one_shot(task):
    schedule = OneShotSchedule(largest=1, epochs=1, draws=1, batch=32)
    return OneShot(SPACE, task.fitted(SPACE), schedule, seed=0, compute="cpu")


def alternation(task):
    from ..searchers.test_alternation import search_of

    return search_of(NB201)


def stop_in(run, step):
    """Have a training stop when it takes this step, counted over the epochs."""
    name = "step" if hasattr(run, "step") else "step_weights"
    taken, own = [], getattr(run, name)

    def stopped(*args, **kwargs):
        if len(taken) == step:
            raise KeyboardInterrupt
        taken.append(1)
        return own(*args, **kwargs)

    setattr(run, name, stopped)


def moved(run):
    return {key: value for part in run.moving().values() for key, value in _tensors(part).items()}


def _tensors(part):
    return part.state_dict() if isinstance(part, torch.nn.Module) else {}


@pytest.mark.slow
@pytest.mark.parametrize("make", [one_shot, alternation])
@pytest.mark.parametrize("step", [2, 4])
def test_a_supernet_that_stops_in_an_epoch_goes_on_bit_for_bit(task, tmp_path, make, step):
    whole, first, second = make(task), make(task), make(task)
    whole.run(None)
    first.save_every_s = 0.0
    stop_in(first, step)
    path = tmp_path / "search.safetensors"
    with pytest.raises(KeyboardInterrupt):
        first.run(path)
    told = []
    second.run(path, lambda stage, done, total, numbers: told.append((done, numbers)))
    assert all(torch.equal(value, moved(second)[key]) for key, value in moved(whole).items())
    assert whole.passes == second.passes
    assert torch.equal(whole.generator.get_state(), second.generator.get_state())
    if make is alternation:
        one, other = (
            [{k: v for k, v in row.items() if k != "seconds"} for row in run.trace.rows()] for run in (whole, second)
        )
        assert one == other


def test_a_file_of_whole_epochs_is_still_read(task, tmp_path):
    run, path = one_shot(task), tmp_path / "a.safetensors"
    run.epoch()
    run.save(path)
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    del state["epoch"]
    save_file(tensors, path, metadata={"state": json.dumps(state)})
    again = one_shot(task)
    again.load(path)
    assert (again.done, again.step_done) == (1, 0)


def test_only_our_own_files_are_forgotten(task, tmp_path):
    folder = tmp_path / "trainings"
    folder.mkdir()
    one_shot(task).save(folder / "a.safetensors")
    (folder / "b.safetensors").write_bytes(b"somebody else's")
    forget(folder)
    assert [path.name for path in folder.iterdir()] == ["b.safetensors"]
    (folder / "b.safetensors").unlink()
    forget(folder)
    assert not folder.exists()
    forget(folder)
