"""From a spec to a task: names, paths with any letters, a user's own file."""

import sys

import pytest
import torch

from tempograd import registry
from tempograd.errors import InputRefusedError, UnknownNameError, UsageError
from tempograd.metric import Metric
from tempograd.search.evaluator import train
from tempograd.search.training import Training
from tempograd.spaces.own import module_of
from tempograd.tasks.load import load_task

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1,classes=3")

OWN = '''
from tempograd.metric import Metric

class Narrow:
    """Networks of few parameters are good; nothing is learnt."""
    metric = Metric("weights", higher_is_better=False, unit="numbers")

    def score(self, network):
        assert not network.training
        return sum(weight.numel() for weight in network.parameters())

class Trains(Narrow):
    def train(self, network):
        for weight in network.parameters():
            weight.data.fill_(0.5)
        return network

    def score(self, network):
        return float(next(network.parameters()).mean())

nothing = 3
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def test_a_task_of_ones_own_file_needs_no_more_than_a_score(own):
    task = load_task(f"{own}:Narrow")
    assert task.name.startswith("mine.py:Narrow@")
    assert task.metric == Metric("weights", higher_is_better=False, unit="numbers")
    (architecture,) = SPACE.sample(1, __import__("numpy").random.default_rng(0))
    trained = train(architecture, SPACE, task.fitted(SPACE), Training(epochs=1), seed=0)
    assert trained.score == sum(w.numel() for w in SPACE.to_torch(architecture).parameters())
    with pytest.raises(UsageError, match=r"only scores networks.*random_search"):
        _ = task.weights


def test_a_file_that_changed_is_run_as_it_is_now(own, monkeypatch):
    """At once, and by as many letters: as compiled files are told apart by second and size, none is used."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    assert load_task(f"{own}:Narrow").metric.unit == "numbers"
    own.write_text(OWN.replace("numbers", "figures"))
    assert load_task(f"{own}:Narrow").metric.unit == "figures"
    assert [path.name for path in own.parent.iterdir()] == ["mine.py"]


def test_a_file_finds_what_lies_beside_it_and_is_run_once_for_spaces_and_tasks(own, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    (own.parent / "rules_of_mine.py").write_text("UNIT = 'weights'")
    own.write_text("from rules_of_mine import UNIT\n" + OWN.replace('"numbers"', "UNIT"))
    assert load_task(f"{own}:Narrow").metric.unit == "weights"
    assert module_of(own) == module_of(own)
    module_of(own)[0].Narrow.metric = Metric("of the same class")
    assert load_task(f"{own}:Narrow").metric.name == "of the same class"


def test_a_task_of_ones_own_may_train_networks_itself(own):
    task = load_task(f"{own}:Trains")
    (architecture,) = SPACE.sample(1, __import__("numpy").random.default_rng(0))
    trained = train(architecture, SPACE, task.fitted(SPACE), Training(epochs=1), seed=0)
    assert trained.score == 0.5
    assert all(bool((weight == 0.5).all()) for weight in trained.network.parameters())


def test_objects_pass_as_they_are(own):
    task = load_task("digits,limit=100")
    assert load_task(task) is task

    class Mine:
        def score(self, network: torch.nn.Module) -> float:
            return 1.0

    assert load_task(Mine()).name == "Mine"
    with pytest.raises(UsageError, match=r"int is no task.*score\(network\)"):
        load_task(3)


def test_files_that_do_not_run_or_lack_the_name_are_refused(own, tmp_path):
    with pytest.raises(UnknownNameError, match=r"allowed: .*Narrow.*Did you mean 'Narrow'"):
        load_task(f"{own}:Narow")
    with pytest.raises(UsageError, match="is no task"):
        load_task(f"{own}:nothing")
    with pytest.raises(InputRefusedError, match="No such file"):
        load_task(f"{tmp_path}/other.py:Narrow")
    own.write_text("import a_module_that_is_not_there")
    with pytest.raises(InputRefusedError, match=r"mine\.py does not run: mine\.py, line 1: ModuleNotFoundError"):
        load_task(f"{own}:Narrow")


def test_specs_that_cannot_be_read_are_refused():
    with pytest.raises(UnknownNameError, match=r"digit'.*Did you mean 'digits'"):
        load_task("digit")
    with pytest.raises(UsageError, match="write cifar10:PATH"):
        load_task("cifar10")
    with pytest.raises(UsageError, match="write digits"):
        load_task("digits:somewhere")
    with pytest.raises(UnknownNameError, match=r"argument of task digits 'limt'.*Did you mean 'limit'"):
        load_task("digits,limt=3")
    with pytest.raises(UsageError, match=r"limit='many'.*a whole number from 1"):
        load_task("digits,limit=many")
    with pytest.raises(UsageError, match="given twice"):
        load_task("digits,limit=100,limit=200")


@pytest.mark.parametrize("name", ["with,comma", "a=b", "two: colons", "Bilder für Ärzte", "画像"])
def test_paths_may_hold_any_letters(tmp_path, name):
    with pytest.raises(InputRefusedError, match="holds no CIFAR-100") as error:
        load_task(f"cifar100:{tmp_path / name},limit=1000")
    assert f"{tmp_path / name} holds" in str(error.value)


def test_the_old_way_of_writing_arguments_works_as_well():
    assert len(load_task("digits:limit=200").test) == 40


BROKEN = """
import sys
from tempograd.metric import Metric

class Score:
    def score(self, network):
        raise KeyError("my own")

class Word(Score):
    def score(self, network):
        return "good"

class Leaves(Score):
    def score(self, network):
        sys.exit(0)

class Train(Score):
    def train(self, network):
        return None

class Metric(Score):
    metric = "loss"

class Needs(Score):
    def __init__(self, path):
        pass
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Score", r"Score@\w+\.score failed: mine\.py, line 7: KeyError: 'my own'"),
        ("Word", r"Word@\w+\.score\(network\) is 'good'; allowed: one finite number"),
        ("Leaves", r"Leaves@\w+\.score failed: mine\.py, line 15: SystemExit: 0"),
        ("Train", r"Train@\w+\.train gave None; expected the trained network"),
        ("Metric", r"has the metric 'loss'; expected a tempograd\.metric\.Metric"),
        ("Needs", r"cannot be made without arguments: TypeError: .*'path'"),
    ],
)
def test_what_a_users_own_task_raises_is_told_as_his_with_his_line(tmp_path, name, told):
    path = tmp_path / "mine.py"
    path.write_text(BROKEN)

    def asked():
        task = load_task(f"{path}:{name}")
        return task.scores(task.trained(torch.nn.Linear(1, 1)), "test")

    with pytest.raises((InputRefusedError, UsageError), match=told):
        asked()


def test_a_file_that_leaves_python_does_not_run(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import sys\n\nsys.exit(0)\n")
    with pytest.raises(InputRefusedError, match=r"does not run: mine\.py, line 3: SystemExit: 0"):
        load_task(f"{path}:A")


@pytest.mark.parametrize("spec", ["mine.py", "mine.py:", "mine.py:A:x=1"])
def test_a_file_without_a_name_is_told_how_to_be_written(spec):
    with pytest.raises(UsageError, match=r"cannot read task .*; write FILE\.py:NAME"):
        load_task(spec)


def test_an_argument_that_a_task_does_not_take_and_a_seed_are_told():
    with pytest.raises(UnknownNameError, match=r"unknown argument of task digits 'foo'; allowed: limit"):
        load_task("digits:foo=1")
    with pytest.raises(UsageError, match=r"'digits:seed=3' has a seed; leave it out.*--seed 3"):
        load_task("digits:seed=3")


def test_a_name_says_every_argument_so_that_a_training_goes_on_for_the_very_same_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two three " * 400)
    assert load_task(f"text:{path}").name == f"text:{path}"
    assert load_task(f"text:{path},unit=words,length=9").name == f"text:{path},length=9,unit=words"
    assert load_task(f"text:{path},limit=900,length=9").name == f"text:{path},limit=900,length=9"
    assert load_task("digits:limit=200").name == "digits,limit=200"
    assert load_task("figures_keypoints:images=20").name == "figures_keypoints,images=20"
