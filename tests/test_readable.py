"""Every word fits on a narrow terminal: 60 columns, NO_COLOR, and not a terminal at all."""

import json

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tempograd.cli import app
from tempograd.farm.agent.command import _parser
from tempograd.verbs.outcome import UNRELIABLE

WIDTH = 60
SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
DEVICE = "simulated:seed=1,slow=1.0"


def commands(command, context):
    """Yield every command with its context, groups and what is in them."""
    yield context
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, click.Context(each, info_name=name, parent=context))


ALL = list(commands(root := get_command(app), click.Context(root, info_name="tempograd")))


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.mark.parametrize("context", ALL, ids=lambda context: context.command_path)
def test_help_fits_and_is_plain(context):
    agent = context.command_path == "tempograd agent"  # which speaks for itself, without what a board has not
    text = _parser().format_help() if agent else context.command.get_help(context)
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store, a predictor and a table, made by the command line."""
    folder = tmp_path_factory.mktemp("readable")
    run("collect", "--space", SPACE, "--device", DEVICE, "--count", 40, "--store", folder / "run.db", "--plan", "quick")
    run("fit", "--store", folder / "run.db", "--out", folder / "predictor", "--model", "ridge")
    lines = [f"{n % 5}.{n // 5 % 5}.0.1.2.3,{1 + n % 7}" for n in range(25)]
    (folder / "table.csv").write_text("\n".join(["architecture,ms", *lines]))
    return folder


def run(*arguments):
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code in (0, UNRELIABLE), done.output
    return done.output


OUTPUTS = {
    "methods": ["methods"],
    "methods of a space": ["methods", "--space", SPACE],
    "spaces": ["spaces"],
    "a space": ["spaces", "darts"],
    "a task": ["tasks", "imagefolder"],
    "doctor": ["doctor"],
    "collect": ["collect", "--space", SPACE, "--device", DEVICE, "--count", 40, "--store", "run.db", "--plan", "quick"],
    "fit": ["fit", "--store", "run.db", "--out", "predictor", "--model", "ridge"],
    "predict": ["predict", "--predictor", "predictor", "--arch", "1462", "--arch", "0"],
    "audit": ["audit", "--store", "run.db", "--device", DEVICE, "--count", 8, "--plan", "quick"],
    "evaluate": ["evaluate", "table.csv", "--space", SPACE, "--column", "ms", "--train", 20, "--valid", 0],
    "export": ["export", "--store", "run.db", "--out", "set"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", OUTPUTS.values(), ids=OUTPUTS)
def test_tables_fit_and_nothing_is_coloured(folder, words, monkeypatch):
    monkeypatch.chdir(folder)
    text = run(*words)
    assert "\x1b" not in text
    # of a table, that is: a terminal breaks sentences itself, and what is copied stays whole
    cells = [line for line in text.splitlines() if "  " in line.strip() and len(line.split()) > 2]
    assert [line for line in cells if len(line) > WIDTH] == []


def test_json_is_one_document_however_narrow_the_terminal(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert json.loads(run("methods", "--json"))["methods"]
