"""Generated flags of every verb: each is taken or refused on purpose, and nothing runs long without a word.

Generated specs of registries are in tests/test_registry.py; both draw from signatures, so that what is new is tried.
"""

import time
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from tempograd.cli import app
from tempograd.errors import TempogradError

from .test_registry import WORDS

LONGEST_S = 5.0  # of this thread's CPU time
COMMANDS = get_command(app).commands
# groups, and what has work or nothing to refuse
APART = {"agent", "farm", "kernels", "quickstart", "devices", "doctor", "methods"}
VERBS = sorted(COMMANDS.keys() - APART)
# what each verb needs: it is not there, or somebody else's, so that nothing is ever worked on
NEEDED = {"space": "nasbench201:cells=1,width=4,size=8", "out": "notes.txt", "store": "missing.db"}
HELD = {"out", "every", "help"}  # not drawn: where output goes must stay foreign; all networks of a space take a while


def options(verb):
    return [p for p in COMMANDS[verb].params if isinstance(p, click.Option) or hasattr(p, "opts")]


@st.composite
def lines(draw):
    """Draw a verb with what it needs and some of its options, each with a word that does not belong there or does."""
    verb = draw(st.sampled_from(VERBS))
    line = [verb]
    named = [p for p in options(verb) if p.opts[0].startswith("-")]
    for parameter in options(verb):
        if not parameter.opts[0].startswith("-"):
            line.append("missing")
        elif parameter.required or parameter.name in ("out", "store"):
            line += [parameter.opts[0], NEEDED.get(parameter.name, "missing")]
    values = st.sampled_from(WORDS) | st.integers().map(str) | st.floats().map(repr) | st.text(max_size=8)
    drawn = st.sampled_from([p for p in named if p.name not in HELD and not (p.required and p.name == "store")])
    for parameter in draw(st.lists(drawn, min_size=1, max_size=3, unique_by=lambda p: p.name)):
        flag = getattr(parameter, "is_flag", False)
        line += [parameter.opts[0]] if flag else [f"{parameter.opts[0]}={draw(values)}"]
    return [*line, "--dry-run"] if verb == "collect" and "--dry-run" not in line else line


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
    """A folder with a file of somebody else, and everything imported."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "notes.txt").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for verb in VERBS:
            CliRunner().invoke(app, [verb, "missing"])
        yield folder


@pytest.mark.slow
@given(line=lines())
@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_flags_are_taken_or_refused_on_purpose_and_soon(elsewhere, line):
    before = sorted(path.name for path in elsewhere.iterdir())
    start_s = time.thread_time()
    done = CliRunner().invoke(app, line)
    took_s = time.thread_time() - start_s
    assert isinstance(done.exception, TempogradError | SystemExit | None), (line, repr(done.exception))
    assert done.exit_code != 70
    assert took_s < LONGEST_S, (line, took_s)
    assert (elsewhere / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in elsewhere.iterdir()) == before, line


def test_every_verb_is_drawn_or_named_as_apart():
    assert set(VERBS) | APART == set(COMMANDS)
    assert {"collect", "fit", "search", "evaluate", "predict", "export", "audit", "report"} <= set(VERBS)
    assert Path("notes.txt").exists()
