"""What several processes do together, run by ``torchrun`` in the tests: ``together.py OUT [trainer | search]``."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from tempograd import registry
from tempograd.errors import StoreError
from tempograd.search import processes
from tempograd.search.cost import PredictorCost
from tempograd.search.evaluator import train
from tempograd.search.forms import LearnedMultiplier
from tempograd.search.laws.softmax import Softmax
from tempograd.search.objective import CostTerm
from tempograd.search.searchers.alternation import Alternation, Schedule
from tempograd.search.searchers.one_shot import OneShot, OneShotSchedule
from tempograd.search.steps import seeded
from tempograd.search.trainer import Trainer
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
OFA = registry.create("space", "mbconv:family=ofa,size=8,channels=1,classes=10,width=0.25,stages=1,layers=2")
NETWORK = NB201.architecture((3, 1, 1, 1, 1, 3))
TRAINING = Training(epochs=2, batch=32, accumulate=2, ema=0.5, label_smoothing=0.1, save_minutes=1e-9)
KILLED = {"trainer": (Trainer, "_step", 4), "search": (Alternation, "step_weights", 4)}  # before this step, of six each


def curves(folder):
    """Return the losses of a network, of a supernet from the largest down, and of a search; and whether all agree."""
    task = load_task("digits,limit=200")
    trained = train(NETWORK, NB201, task.fitted(NB201), TRAINING, seed=1, folder=folder)
    one_shot = OneShot(
        OFA, task.fitted(OFA), OneShotSchedule(largest=1, epochs=1, draws=1, batch=32), seed=0, compute="cpu"
    )
    losses = list[float]()
    one_shot.run(None, lambda stage, done, total, numbers: losses.append(numbers["loss"]))
    search = searched(task)
    search.save_every_s = 1e-9
    trace = search.run(folder / "search.safetensors")
    rows = [[row["loss_weights"], row["loss_law"], row["derived_ms"]] for row in trace.rows()]
    parts = [trained.network, one_shot.supernet, search.supernet, search.law]
    sums = [float(sum(value.double().abs().sum() for value in part.state_dict().values())) for part in parts]
    told = processes.in_turns(list(range(5)), lambda own: [(processes.rank(), n) for n in own])
    return {
        "trained": trained.record["history"]["loss"], "supernet": losses, "search": rows, "sums": sums,
        "passes": [trained.passes, one_shot.passes, search.passes], "turns": told,
    }  # fmt: skip


def searched(task):
    with seeded(0):
        supernet, module = NB201.supernet(), torch.nn.Linear(sum(NB201.widths), 1)
        with torch.no_grad():
            module.weight.abs_()
    term = CostTerm(PredictorCost(torch.nn.Sequential(module, torch.nn.Flatten(0)), NB201), LearnedMultiplier(2.0, 0.1))
    law, schedule = Softmax(NB201, torch.Generator().manual_seed(0)), Schedule(epochs=2, warm_up=0.5, batch=32)
    return Alternation(law, supernet, task.fitted(NB201), term, NB201, schedule, seed=0)


def refused():
    """Return how an error of the first process is met by each."""
    try:
        processes.by_first(lambda: refuse())
    except StoreError as error:
        return [str(error), bool(error.silent)]


def refuse():
    assert processes.first()
    raise StoreError("the disk is full")


def threads():
    """Return how many threads of this process are those that bind it to others."""
    return sum("gloo" in task.read_text() for task in Path("/proc/self/task").glob("*/comm"))


def main():
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    if sys.argv[2:] and os.environ["RANK"] == "1":
        kind, name, steps = KILLED[sys.argv[2]]
        step, left = getattr(kind, name), [steps]

        def killed(*args, **kwargs):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return step(*args, **kwargs)

        setattr(kind, name, killed)
    with processes.together():
        told = curves(out / "trainings") | {"refused": refused(), "count": processes.count()}
        told["bound"], file = threads(), out / f"{processes.rank()}.json"
    file.write_text(json.dumps(told | {"left": threads()}))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        if not getattr(error, "silent", False):
            sys.stderr.write(f"told: {error}\n")
        sys.exit(getattr(error, "exit_code", 1))
