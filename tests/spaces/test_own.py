"""A space in a file of the user's own: bound by what it describes, and run only where he names it."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

import tempograd as tg
from tempograd import registry
from tempograd.errors import InputRefusedError, MismatchError, UnknownNameError, UsageError
from tempograd.spaces.own import given, leaves_step
from tempograd.testing.spaces import SpaceContract
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.predict import predict

FILE = Path(__file__).parents[1] / "assets" / "kernels.py"
TRAINED = FILE.with_name("trained.py")


class TestOwn(SpaceContract):
    own = (f"{FILE}:Kernels:layers=3", f"{FILE}:narrow")


@pytest.fixture
def nothing_given(monkeypatch):
    """A new process has been given nothing."""
    monkeypatch.setattr(registry, "_given", {})
    monkeypatch.setattr(registry, "_asked", {})


@pytest.fixture
def mine(tmp_path, nothing_given):
    path = tmp_path / "mine.py"
    path.write_text(FILE.read_text())
    return path


def test_arguments_are_read_and_checked_as_those_of_every_space(mine):
    assert given(f"{mine}:Kernels:layers=3,width=8").layers == 3
    with pytest.raises(UsageError, match="from 1 to 128"):
        given(f"{mine}:Kernels:layers=0")
    with pytest.raises(UnknownNameError, match="argument of space Kernels"):
        given(f"{mine}:Kernels:depth=3")


def test_it_is_bound_by_what_it_describes_not_by_where_it_stands(mine, tmp_path):
    spec = given(f"{mine}:Kernels").spec
    assert spec.startswith("Kernels@")
    mine.write_text("# a comment more\n" + mine.read_text())
    assert given(f"{mine}:Kernels").spec == spec
    mine.write_text(mine.read_text().replace('"k5": 5', '"k5": 7'))
    assert given(f"{mine}:Kernels").spec != spec
    assert given(f"{mine}:Kernels:width=8").spec != spec


def test_what_was_stored_is_opened_only_after_the_space_was_named(mine):
    space = given(f"{mine}:Kernels")
    assert registry.create("space", space.spec) is space
    registry._given.clear()
    with pytest.raises(UsageError, match=r"opening a file runs no code: give it again, --space FILE.py:Kernels"):
        registry.create("space", space.spec)


def test_a_file_that_changed_is_refused(mine):
    spec = given(f"{mine}:Kernels").spec
    digest = spec.partition("@")[2].partition(":")[0]
    registry._given.clear()
    mine.write_text(mine.read_text().replace('"k5": 5', '"k5": 7'))
    given(f"{mine}:Kernels")
    with pytest.raises(MismatchError, match="it has changed since"):
        registry.create("space", spec)
    with pytest.raises(MismatchError, match=r"mine.py has changed: it describes Kernels@"):
        given(f"{mine}:Kernels@{digest}")


@pytest.mark.parametrize(
    ("content", "name", "error", "told"),
    [
        ("", "gone.py:Kernels", InputRefusedError, "cannot read .*gone.py"),
        ("x = 1 / 0", "bad.py:Kernels", InputRefusedError, r"bad.py does not run: bad.py, line 1: ZeroDivisionError"),
        ("def f(:", "bad.py:Kernels", InputRefusedError, "SyntaxError"),
        ("def net(): return 3", "bad.py:net", UsageError, "gives a int"),
        ("def net(): raise ValueError('no')", "bad.py:net", UsageError, r"bad.py, line 1: ValueError: no"),
        ("net = 3", "bad.py:net", UsageError, "is a int"),
        ("def net(): return 3", "bad.py:nte", UnknownNameError, "net"),
    ],
)
def test_what_is_no_space_is_told_with_its_place(tmp_path, content, name, error, told):
    if content:
        (tmp_path / "bad.py").write_text(content)
    with pytest.raises(error, match=told):
        given(str(tmp_path / name))


def test_a_class_that_cannot_be_built_is_told_with_its_line(mine):
    mine.write_text(mine.read_text().replace("builder.graph(", "builder.grpah("))
    with pytest.raises(UsageError, match=r"cannot be built: mine.py, line \d+: AttributeError"):
        given(f"{mine}:Kernels")


def test_python_and_the_command_line_name_one_space(mine, monkeypatch):
    monkeypatch.syspath_prepend(str(mine.parent))
    import mine as module

    assert tg.space(module.Kernels(layers=3)).spec == tg.space(f"{mine}:Kernels:layers=3").spec


@pytest.mark.slow
def test_measured_fitted_and_predicted(mine, tmp_path):
    store, predictor, asked = tmp_path / "run.db", tmp_path / "predictor", f"{mine}:Kernels:layers=5"
    done = collect(asked, store, device="simulated", count=40, plan="quick")
    assert f"--space {asked}" in done.following
    fitted = fit(store, predictor, space=asked)
    assert f"--space {asked}" in fitted.following
    registry._given.clear()
    with pytest.raises(UsageError, match="give it again"):
        predict(predictor, ["0.0.0.0.0"])
    assert predict(predictor, ["0.0.0.0.0"], space=asked).document["predictions"][0]["latency_ms"] > 0
    with pytest.raises(MismatchError, match="this predictor is of something else"):
        predict(predictor, ["0.0.0"], space=f"{mine}:Kernels:layers=3")


def test_opening_runs_no_code(mine, tmp_path):
    """Not even where the file lies in the folder that Python is started in."""
    space = given(f"{mine}:Kernels")
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    code = dedent(f"""
        from tempograd import registry
        from tempograd.errors import UsageError
        for spec in ({space.spec!r}, "mine.py:Kernels"):
            try:
                registry.create("space", spec)
            except UsageError:
                pass
    """)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert not (tmp_path / "ran").exists()


def test_a_network_without_marks_takes_its_weights_and_how_it_may_shrink_behind_its_name(tmp_path, nothing_given):
    pytest.importorskip("torch_pruning")
    sys.path.append(str(TRAINED.parent))
    import trained

    network, _ = trained.network()
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(2)
    torch.save(network.state_dict(), tmp_path / "best.pt")
    asked = f"{TRAINED}:network:weights={tmp_path / 'best.pt'},step=8,options=2"
    assert not leaves_step(asked)
    assert leaves_step(f"{TRAINED}:network")
    space = given(asked)
    assert space.sites[0].options == ("8", "16")
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(space.teacher()(x), network(x), atol=1e-4)
    for name, told in (("network:stop=3", "stop"), ("resnet:step=4", "step"), ("mobilenet:weights=a.pt", "weights")):
        with pytest.raises(UnknownNameError, match=f"unknown argument of space .*{told!r}"):
            given(f"{TRAINED}:{name}")
