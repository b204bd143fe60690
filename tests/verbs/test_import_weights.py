"""``import``: from a published file to a search that trains nothing."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tempograd import registry
from tempograd.cli import app
from tempograd.errors import InputRefusedError, MismatchError, UsageError
from tempograd.search.evaluator import Inherited
from tempograd.search.searchers.imported import imported
from tempograd.search.searchers.one_shot import OneShot, OneShotSchedule
from tempograd.spaces.published import their_name
from tempograd.tasks.load import load_task
from tempograd.verbs.import_weights import import_weights

pytestmark = pytest.mark.slow

SPEC = "mbconv:family=ofa_mbv3,size=8,classes=10,channels=1"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Weights of a small input under published names: the first convolution has one channel of input."""
    torch.manual_seed(0)
    found = {}
    for key, value in registry.create("space", SPEC).supernet().state_dict().items():
        name = their_name(key)
        if name is not None:
            found.setdefault(name, torch.ones_like(value) if name.endswith("running_var") else value.clone())
    path = tmp_path_factory.mktemp("published") / "ofa.pth"
    torch.save({"state_dict": found}, path)
    return path


@pytest.fixture(scope="module")
def supernet(published):
    import_weights(f"ofa:{published}", published.with_name("supernet.safetensors"), space=SPEC)
    return published.with_name("supernet.safetensors")


def test_the_command_says_what_it_read_and_what_comes_next(published, tmp_path):
    words = ["import", f"ofa:{published}", "--out", str(tmp_path / "net.safetensors"), "--space", SPEC]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "every name and shape as expected" in done.stdout
    assert "--method ofa:deploy=inherited --supernet" in done.stdout
    assert imported(tmp_path / "net.safetensors")["source"] == "ofa.pth"


def shot(spec):
    space = registry.create("space", spec)
    task = load_task("digits,limit=200").fitted(space)
    return OneShot(space, task, OneShotSchedule(), seed=0, compute="cpu")


def test_a_search_finds_the_supernet_trained_with_the_imported_weights(supernet, published, monkeypatch):
    monkeypatch.setattr(OneShot, "step", lambda *args, **kwargs: pytest.fail("a supernet was trained"))
    before, training = supernet.read_bytes(), shot(SPEC)
    state = training.run(supernet).state_dict()
    assert (training.done, training.passes) == (training.total, 0)
    theirs = torch.load(published, weights_only=True)["state_dict"]
    assert torch.equal(state["layers.stem/conv_3x3/conv.weight"], theirs["first_conv.conv.weight"])
    assert torch.equal(state["layers.classifier/classifier/linear.bias"], theirs["classifier.linear.bias"])
    assert supernet.read_bytes() == before


def test_statistics_of_what_inherits_are_taken_anew_from_the_images(supernet):
    training = shot(SPEC)
    network = training.run(supernet)
    inherited = Inherited(training.space, network, training.task)
    (architecture,) = training.space.sample(1, np.random.default_rng(0))
    (score,) = inherited([architecture])
    assert 0 <= score <= 1
    kept = inherited.deployed(architecture).network.state_dict()
    stem = "layers.stem/conv_3x3/"
    assert torch.equal(kept[stem + "conv.weight"], network.state_dict()[stem + "conv.weight"])
    assert not torch.equal(kept[stem + "bn.running_mean"], network.state_dict()[stem + "bn.running_mean"])


def test_weights_of_another_space_are_refused(supernet):
    with pytest.raises(MismatchError, match=r"holds weights of mbconv:.*size=8.*, not of mbconv:.*width=1.2"):
        shot(SPEC + ",width=1.2").run(supernet)


def test_bad_sources_are_refused_and_nothing_is_written(published, tmp_path):
    out = tmp_path / "net.safetensors"
    for source in ("bignas:file", "ofa:", "ofa"):
        with pytest.raises(UsageError, match="allowed: ofa:FILE or vit:FILE"):
            import_weights(source, out)
    with pytest.raises(
        InputRefusedError, match=r"first_conv\.conv\.weight is \(16, 1, 3, 3\), expected \(24, 3, 3, 3\)"
    ):
        import_weights(f"ofa:{published}", out, space="mbconv:family=ofa_mbv3,size=8,classes=10,width=1.2")
    assert not out.exists()
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError):
        import_weights(f"ofa:{published}", tmp_path / "mine", space=SPEC)
    assert (tmp_path / "mine").read_text() == "mine"
