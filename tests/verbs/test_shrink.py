"""A trained network is made faster by a measured share, from the command line's own verb."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tempograd as tg
from tempograd.cli import app
from tempograd.errors import MismatchError, TempogradError, UsageError
from tempograd.metric import Metric
from tempograd.search import result
from tempograd.tasks.load import load_task
from tempograd.verbs import shrink as verb
from tempograd.verbs.outcome import Outcome
from tempograd.verbs.shrink import shrink
from tempograd.verbs.width_step import WIDTHS

pytest.importorskip("torch_pruning")
FILE = Path(__file__).parents[1] / "assets" / "trained.py"


@pytest.mark.slow
def test_what_is_found_takes_the_share_and_is_proved(tmp_path):
    arguments = [
        "shrink",
        f"{FILE}:network",
        "--out",
        str(tmp_path),
        "--share",
        "0.6",
        "--device",
        "simulated:seed=1,slow=1",
    ]
    arguments += ["--count", "60", "--epochs", "1", "--train-epochs", "1", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    whole_ms, found = told["shrink"]["whole_ms"], told["found"]
    assert told["verdict"] == "pass"
    assert 0 < found["measured"]["latency_ms"] <= 0.6 * whole_ms
    assert told["shrink"]["left_out"]["head.1"] == "its channels are what the network gives"
    widths = told["shrink"]["widths"]
    assert widths["step"] == widths["measured"]["step"]
    assert set(widths["measured"]["latency_ms"]) == {str(width) for width in WIDTHS}
    assert tg.load(tmp_path / "result").document["shrink"] == told["shrink"]
    space = tg.space(f"{FILE}:network:step={widths['step']}")
    assert told["space"] == space.spec
    network = tg.load(tmp_path / "result").network()
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in space.teacher().parameters())
    again = CliRunner().invoke(app, arguments)  # nothing is measured or learnt anew: the result is kept
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["kept"]
    _rebuilt_elsewhere(tmp_path / "result")
    known = (tmp_path / "shrink.json").read_bytes()
    arguments[arguments.index("0.6")] = "0.7"
    refused = CliRunner().invoke(app, arguments)
    assert "--overwrite to search anew" in str(refused.exception)
    assert tg.load(tmp_path / "result").document["shrink"]["share"] == 0.6
    anew = CliRunner().invoke(app, [*arguments, "--overwrite"])
    assert anew.exit_code == 0, anew.output
    assert json.loads(anew.stdout)["shrink"]["share"] == 0.7
    assert (tmp_path / "shrink.json").read_bytes() == known  # what was measured was not measured again


def _rebuilt_elsewhere(result):
    """The line of the result builds the network in a process that knows nothing of the user's file."""
    line = json.loads((result / "result.json").read_text())["rebuild"]
    script = (
        f"{line}; import numpy, onnxruntime, torch; x = numpy.random.default_rng(0).random((1, 1, 8, 8), 'float32'); "
        f"session = onnxruntime.InferenceSession({str(result / 'network.onnx')!r}); "
        "(told,) = session.run(None, {session.get_inputs()[0].name: x}); "
        "assert abs(network(torch.from_numpy(x)).detach().numpy() - told).max() < 1e-4"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=600)


class Steps:
    """What is called for, in order, and answered in no time, as by a device that likes widths in steps."""

    def __init__(self, patch, step=8):
        self.calls, self.asked = [], {}
        self.step = step
        for name in ("widths_ms", "collect", "fit", "confirm", "search"):
            patch.setattr(verb, name, getattr(self, name))
        patch.setattr(verb, "verdict_across", lambda *_: "ok")
        patch.setattr(result, "shrunk", lambda folder, told: self.asked.update(shrunk=told))

    def _note(self, name, **asked):
        self.calls.append(name)
        self.asked[name] = asked

    def widths_ms(self, place, **asked):
        self._note("widths", **asked)
        return {width: float(-(-width // self.step)) for width in WIDTHS}

    def collect(self, space, store, *, count, **asked):
        self._note("collect", space=space, count=count, **asked)
        return Outcome({"labels": count + 5, "networks": count}, "")

    def fit(self, store, folder, **asked):
        self._note("fit", **asked)
        folder.mkdir()

    def confirm(self, place, items, plan, store, **asked):
        self._note("confirm", keys=items.keys, **asked)
        return [SimpleNamespace(latency_ms=10.0, verdict="ok")]

    def search(self, space, predictor, folder, **asked):
        self._note("search", space=space, **asked)
        return Outcome({}, "found")

    def run(self, out, network=f"{FILE}:narrow", **asked):
        """Return what was called for."""
        self.calls = []
        self.outcome = shrink(network, out, **{"device": "simulated"} | asked)
        return self.calls


def test_the_target_is_a_share_of_the_latency_of_the_whole_network_and_slim_searches(monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    assert steps.run(tmp_path, f"{FILE}:network", share=0.6, count=33) == [
        "widths",
        "collect",
        "fit",
        "confirm",
        "search",
    ]
    space = steps.asked["search"]["space"]
    assert steps.asked["confirm"]["keys"] == (space.whole.key,)
    assert steps.asked["search"]["target_ms"] == pytest.approx(6.0)
    assert steps.asked["search"]["method"] == "slim"
    assert steps.asked["search"]["random"] == 0
    assert steps.asked["collect"]["count"] == 33
    assert steps.asked["shrunk"]["whole_ms"] == 10.0
    task = load_task("digits").fitted(space)
    whole_score = task.score(space.to_torch(space.whole).eval(), "test")
    assert steps.asked["shrunk"]["whole_score"] == whole_score
    assert f"10 ms, accuracy {task.metric.format(whole_score)} as digits feeds it; 0.6" in steps.outcome.text
    assert steps.asked["search"]["train_epochs"] == 20


def test_what_was_measured_is_measured_again_only_where_it_was_asked_for_otherwise(monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    everything = steps.run(tmp_path, count=20)
    assert steps.run(tmp_path, count=20) == ["search"]
    assert steps.run(tmp_path, count=20, share=0.5) == ["search"]
    (tmp_path / "predictor").rmdir()
    assert steps.run(tmp_path, count=20) == ["collect", "fit", "search"]
    (tmp_path / "predictor").rmdir()
    assert steps.run(tmp_path, count=30) == ["collect", "fit", "search"]
    for number, otherwise in enumerate(({"plan": "standard"}, {"seed": 1})):
        out = tmp_path / str(number)
        assert steps.run(out, count=30) == everything
        (out / "predictor").rmdir()
        assert steps.run(out, count=30, **otherwise) == everything


def test_the_score_of_the_whole_network_is_of_the_weights_at_hand(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FILE.parent)
    import trained

    steps, task, scores = Steps(monkeypatch), load_task("digits"), set[float]()
    net, example = trained.narrow()
    for _ in range(2):
        space = tg.shrink(net, example, step=4)
        steps.run(tmp_path, space)
        scores.add(steps.asked["shrunk"]["whole_score"])
        assert steps.asked["shrunk"]["whole_score"] == task.fitted(space).score(
            space.to_torch(space.whole).eval(), "test"
        )
        with torch.no_grad():
            net[-1].bias += torch.arange(10) * 10.0
    assert len(scores) == 2


def test_a_command_that_is_refused_changes_nothing_in_a_finished_folder(monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    steps.run(tmp_path, count=20)
    known = (tmp_path / "shrink.json").read_bytes()
    with pytest.raises(MismatchError, match=r"holds what was measured on device .*; give another --out"):
        steps.run(tmp_path, count=20, device="simulated:seed=3", overwrite=True)
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "result.json").touch()
    for otherwise, told in (
        ({"count": 30}, "count 20 there, 30 now"),
        ({"count": 20, "seed": 1}, "seed 0 there, 1 now"),
    ):
        with pytest.raises(UsageError, match=f"the result of another search .*{told}.* --overwrite"):
            steps.run(tmp_path, **otherwise)
        assert set(steps.calls) <= {"widths"}
    assert (tmp_path / "shrink.json").read_bytes() == known
    assert steps.run(tmp_path, count=20) == ["search"]
    (tmp_path / "predictor").rmdir()
    assert steps.run(tmp_path, count=30, overwrite=True) == ["collect", "fit", "search"]


def test_too_few_networks_and_weights_that_are_no_numbers_are_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FILE.parent)
    import trained

    steps = Steps(monkeypatch)
    with pytest.raises(UsageError, match="count=18"):
        steps.run(tmp_path, count=18)
    space = trained.mobilenet()
    next(iter(space.start.values()))[0] = float("nan")
    with pytest.raises(UsageError, match=r"the weight .* holds NaN or infinity"):
        steps.run(tmp_path, space)
    assert steps.calls == []


@pytest.mark.parametrize(
    ("liked", "used", "told"),
    [
        (1, 1, "in steps of 1, as measured"),
        (4, 4, "in steps of 4, as measured"),
        (16, 4, "in steps of 16, as measured, too wide for this network, which goes in 4"),
    ],
)
def test_widths_go_in_the_steps_that_the_device_likes_halved_until_the_network_can_shrink(
    liked, used, told, monkeypatch, tmp_path
):
    steps = Steps(monkeypatch, liked)
    steps.run(tmp_path, f"{FILE}:narrow")
    options = {site.options for site in steps.asked["search"]["space"].sites}
    assert options == {("2", "4", "6", "8") if used == 1 else ("4", "8")}
    assert steps.asked["shrunk"]["widths"]["step"] == used
    assert told in steps.outcome.text.splitlines()[1]


@pytest.mark.parametrize(
    ("asked", "told", "given"),
    [
        ("nasbench201:cells=1,width=4", "is no network of yours", {}),
        (f"{FILE}:network", "share=1.5", {"share": 1.5}),
        (f"{FILE}:tiny", r"has 4 networks, and shrink learns from 19 or more; .*options=8", {}),
        (f"{FILE}:tiny:options=2", "has 2 networks, and shrink learns from 19", {"step": 4}),
        (f"{FILE}:nothing", "nothing", {}),
        (f"{FILE}:resnet", "says its widths itself", {"step": 4}),
        (f"{FILE}:network:step=4", "says its widths itself", {"step": 4}),
        (f"{FILE}:network", "step='wide'.*measured", {"step": "wide"}),
        (f"{FILE}:network:weights=none.pt", "cannot read none.pt", {}),
        (f"{FILE}:resnet", "dogits", {"task": "dogits"}),
        (f"{FILE}:resnet", "asks for heatmaps", {"task": "figures_keypoints"}),
    ],
)
def test_what_cannot_shrink_is_refused_before_anything_is_written(asked, told, given, tmp_path):
    with pytest.raises(TempogradError, match=told):
        shrink(asked, tmp_path / "out", device="simulated", **given)
    assert not (tmp_path / "out").exists()


def test_a_space_without_trained_weights_is_refused_before_anything_is_written(tmp_path):
    net = nn.Sequential(tg.Width(nn.Conv2d(1, 32, 8), options=tuple(range(8, 33))), nn.Flatten(), nn.Linear(32, 10))
    space = tg.space_from(net, torch.zeros(1, 1, 8, 8))
    with pytest.raises(TempogradError, match="epochs=0 asks about parts of a trained network"):
        shrink(space, tmp_path / "out", device="simulated")
    assert not (tmp_path / "out").exists()


class Judge:
    """A task of one's own that trains nothing."""

    def score(self, network):
        return 0.5


def test_a_task_that_trains_networks_itself_says_its_epochs_itself(monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    steps.run(tmp_path / "own", task=Judge())
    assert steps.asked["search"]["train_epochs"] is None
    with pytest.raises(TempogradError, match=r"--train-epochs 3: .*Judge.* trains networks itself, or not at all"):
        steps.run(tmp_path / "asked", task=Judge(), train_epochs=3)
    assert not (tmp_path / "asked").exists()


@pytest.mark.slow
def test_networks_are_told_apart_by_a_task_that_only_scores_them(tmp_path):
    """Its score of the weights that they keep, the less the better here; nothing is trained."""
    sys.path.append(str(FILE.parent))
    import trained

    class Weighed:
        metric = Metric("weight", higher_is_better=False, unit="")

        def score(self, network):
            assert not network.training
            return -float(sum(p.numel() for p in network.parameters()))

    done = shrink(trained.resnet(), tmp_path, share=0.8, task=Weighed(), device="simulated:seed=1", count=30)
    queries, found = done.document["queries"], done.document["found"]
    assert len(queries["score"]) > 10
    assert found["score"] <= np.quantile(queries["score"], 0.1)  # the line smooths, repair changes a choice
    assert done.document["verdict"] == "pass"


def test_a_supernet_for_a_task_that_only_scores_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    for given in ({"epochs": 2}, {"method": "ofa"}):
        with pytest.raises(TempogradError, match=r"only scores networks: there is nothing to train a supernet on"):
            steps.run(tmp_path / "out", task=Judge(), **given)
    assert not (tmp_path / "out").exists()

    class Trains(Judge):
        def train(self, network):
            return network

    with pytest.raises(TempogradError, match=r"trains and scores networks itself: .*slim without --epochs"):
        steps.run(tmp_path / "out", task=Trains(), epochs=2)


@pytest.mark.slow
def test_a_share_below_the_smallest_network_is_refused_with_what_it_takes(tmp_path):
    sys.path.append(str(FILE.parent))
    import trained

    with pytest.raises(
        TempogradError,
        match=r"^a share of 0.05 of the .* ms of the whole network: target .* is below the smallest network",
    ):
        shrink(trained.mobilenet(), tmp_path, share=0.05, device="simulated:seed=1", count=30, epochs=1, train_epochs=1)
