"""A search on a device that is killed while it trains what it found: the same command ends with the same weights."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tempograd.search.trainer import Trainer
from tempograd.verbs.on_device import StageTold
from tempograd.verbs.outcome import REMARK
from tempograd.verbs.search import search

ASKED = {
    "device": "simulated:seed=1", "cost": "flops", "target_ms": 50, "epochs": 1, "random": 0, "plan": "quick",
    "task": "digits,limit=200",
}  # fmt: skip
SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
CHILD = """
import os, signal, sys
from pathlib import Path
from tempograd.search.trainer import Trainer
from tempograd.verbs.search import search
step, left = Trainer._step, [2]
def killed(*args):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    step(*args)
Trainer._step = killed
search(sys.argv[1], None, Path(sys.argv[2]), recipe=sys.argv[3], **eval(sys.argv[4]))
"""


@pytest.mark.real
@pytest.mark.slow
def test_a_search_killed_in_its_last_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epochs = 2\nbatch = 32\nsave_minutes = 1e-9\n")
    command = [sys.executable, "-c", CHILD, SPACE, str(tmp_path / "killed"), str(recipe), repr(ASKED)]
    assert subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "killed" / "trainings").iterdir())) == 1
    steps, own = [], Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda *args: (steps.append(1), own(*args)))
    for name, taken in (("killed", 4), ("whole", 6)):  # of three steps an epoch
        search(SPACE, None, tmp_path / name, recipe=str(recipe), **ASKED)
        assert len(steps) == taken
        steps.clear()
    killed, whole = (Path(tmp_path / name / "weights.safetensors").read_bytes() for name in ("killed", "whole"))
    assert killed == whole
    assert not (tmp_path / "killed" / "trainings").exists()


def test_how_training_goes_is_told_every_so_often():
    said, clock = [], [0.0]
    told = StageTold(lambda *args: said.append(args), None, now=lambda: clock[0])
    for epoch, clock[0] in enumerate([3.0, 12.0, 14.0, 25.0], 1):
        told("train", epoch, 4, {"loss": 1 / epoch, "accuracy": 0.5})
    assert [args for args in said if args[2] == REMARK] == [
        ("train, epoch 2 of 4: loss 0.5, accuracy 0.5", 0, REMARK),
        ("train, epoch 4 of 4: loss 0.25, accuracy 0.5", 0, REMARK),
    ]
    assert [args[:2] for args in said if args[2] != REMARK] == [("train", epoch) for epoch in range(1, 5)]
    clock[0] = 50.0
    told("random", 1, 4, {"loss": 0.5})  # how one network trains, of which there are four
    assert said[-2] == ("random, 1 of 4 networks: loss 0.5", 0, REMARK)
