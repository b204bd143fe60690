"""A search request: one field is the option on the command line, the keyword in Python, the check and the record."""

import json
import subprocess
import sys
from dataclasses import MISSING
from inspect import signature
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import tempograd as tg
from tempograd.cli import app
from tempograd.errors import InputRefusedError, UnknownNameError, UsageError
from tempograd.search.training import Training
from tempograd.verbs.request import SEARCH, SearchRequest
from tempograd.verbs.search import search

NEEDED = {"space": "darts", "out": "result"}


def test_every_option_is_a_flag_and_a_keyword_with_one_default():
    options = {o: p for p in typer.main.get_command(app).commands["search"].params for o in p.opts}
    for one in SEARCH:
        assert one.flag in options
        assert one.name in signature(search).parameters
        assert one.name in signature(tg.search).parameters
        assert one.help in options[one.flag].help
    assert {"--json", "--help"} >= options.keys() - {one.flag for one in SEARCH} - {"-h"}


def test_help_says_every_default_by_group_and_what_a_value_is():
    told = CliRunner().invoke(app, ["search", "--help"]).output
    words = " ".join(told.split())
    for title in {one.title for one in SEARCH}:
        assert f"\n{title}:\n" in told
    for one in SEARCH:
        if bool not in one.types:
            assert f"{one.flag} {one.option.unit.upper()}" in words
        if one.default not in (MISSING, None, False, ()):
            assert f"default: {one.default}]" in words
    assert "from 1; default: 900]" in words
    assert "from 1; default: the recipe's own, 20 of small]" in words


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_ms": "abc"}, r"--target-ms abc; allowed: a number above 0 \(ms\), such as 1.5"),
        ({"target_ms": "1.5"}, r"--target-ms '1.5'; allowed: a number above 0 \(ms\), such as 1.5"),
        ({"target_ms": [1.0, "abc"]}, "--target-ms abc"),
        ({"epochs": 1.5}, "--epochs 1.5; allowed: a whole number from 1 to 1000000"),
        ({"epochs": [3]}, "--epochs "),
        ({"random": -1}, "--random -1; allowed: a whole number from 0"),
        ({"lam": float("nan")}, "--lam nan; allowed: a number from 0"),
        ({"plan": "slow"}, "unknown plan 'slow'; allowed: precise, quick, standard"),
        ({"cost": "0.5*table"}, "add up to 1"),
        ({"method": "ladarts"}, "unknown method 'ladarts'.*Did you mean 'la_darts'"),
        ({"proxy": "dart"}, "unknown space 'dart'"),
        ({"device": 3}, "--device 3; allowed: text"),
        ({"recipe": "imagnet"}, r"unknown recipe 'imagnet'.*FILE\.toml.*Did you mean 'imagenet'"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_in_plain_words(given, message):
    with pytest.raises(UsageError, match=message):
        SearchRequest.of(**NEEDED, **given)


def test_an_unknown_keyword_is_refused_with_the_one_that_was_meant():
    with pytest.raises(UnknownNameError, match=r"unknown argument 'epoch'.*Did you mean 'epochs'"):
        tg.search("darts", None, "result", epoch=3)


@pytest.mark.slow
def test_what_is_not_said_is_not_given_and_has_its_default():
    request = SearchRequest.of(**NEEDED, epochs=None, upper_bound=False, where=[], random=0, target_ms=2)
    assert request.given.keys() == {"space", "out", "random", "target_ms"}
    assert (request.training.random, request.what.epochs, request.target.target_ms) == (0, None, (2.0,))
    assert request.what.out == Path("result")
    json.dumps(request.asked("table"))
    assert request.asked("table")["target_ms"] == 2.0
    assert "out" not in request.asked("table")
    assert request.asked("table")["space"].startswith("darts:layers=")


SEARCH_FOR = ["search", "--space", "darts", "--out", "r"]
REFUSED = [
    *([*SEARCH_FOR, *words] for words in (
        ["--target-ms", "abc"], ["--epochs", "0"], ["--method", "ladarts"], ["--cost", "x"], ["--plan", "x"],
        ["--latency-rows", "20"], ["--finalists", "2"], ["--task", "table:a.csv:b", "--device", "local"],
    )),
    ["search", "--space", "dart", "--out", "r"], ["fit", "--store", "a.db", "--out", "p", "--model", "gpp"],
    ["fit", "--store", "a.db", "--out", "p", "--quantity", "energy"], ["quickstart", "--device", "loca"],
    ["evaluate", "a.csv", "--space", "nasbenc", "--column", "a"], ["predict", "--predictor", "p"],
    ["audit", "--store", "a.db", "--plan", "x"], ["collect", "--space", "dart", "--store", "a.db"],
    ["methods", "--space", "dart"],
]  # fmt: skip


@pytest.mark.slow
def test_arguments_are_refused_before_anything_heavy_is_imported(tmp_path):
    script = (
        "import sys, tempograd.cli\n"
        f"for arguments in {REFUSED!r}:\n"
        "    sys.argv = ['tempograd', *arguments]\n"
        "    try: tempograd.cli.main()\n"
        "    except SystemExit as ended: print(ended.code)\n"
        "print(sorted({'torch', 'sklearn', 'numpy', 'onnx', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stdout.split("\n")[:-2] == ["2"] * len(REFUSED), done.stderr
    assert done.stdout.endswith("[]\n")
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_is_a_name_or_a_file_and_epochs_given_apart_count_more(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 7\nclip = 1.0\n")
    mine = SearchRequest.of(**NEEDED, recipe=str(path))
    assert (mine.how().name, mine.how().epochs, mine.how().clip) == ("mine", 7, 1.0)
    assert SearchRequest.of(**NEEDED, recipe=str(path), train_epochs=3).how().epochs == 3
    plain = SearchRequest.of(**NEEDED, train_epochs=3)
    assert (plain.how(), plain.asked("flops")["recipe"], plain.asked("flops")["train_epochs"]) == (
        Training(epochs=3), "small", 3,
    )  # fmt: skip
    before = mine.asked("flops")["recipe"]
    path.write_text("epochs = 7\nclip = 2.0\n")
    assert mine.asked("flops")["recipe"] != before  # the file says something else now: another search
    path.write_text("clip = -1\n")
    with pytest.raises(InputRefusedError, match=rf"{path}: clip=-1; allowed: a number from 0"):
        SearchRequest.of(**NEEDED, recipe=str(path))
