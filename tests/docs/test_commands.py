"""Commands in the documentation: those marked to run do run, and all others name verbs and flags that exist.

In a page ``<!-- file: NAME -->`` before a block says that a reader saves it under this name, ``<!-- run -->`` that the
reader runs it. A package that a page lets its reader install is announced here without pip.
"""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import typer

import tempograd
from tempograd.cli import app
from tempograd.verbs.search import search as search_verb

from ..command_line import program

ROOT = Path(tempograd.__file__).parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"])
BLOCK = re.compile(r"(?:<!-- (run|file): ?([\w.]*) ?-->|<!-- (run) -->)?\n```(\w+)\n(.*?)\n```", re.DOTALL)
RUN = [page for page in PAGES if "<!-- run -->\n" in page.read_text() and page.name != "README.md"]


def blocks(page: Path):
    """Yield what each block of a page is for (``run``, ``file`` or nothing), its file's name, language and text."""
    for what, name, run, language, text in BLOCK.findall(page.read_text()):
        yield what or run, name, language, text


@pytest.fixture
def surroundings(tmp_path) -> Iterator[dict[str, str]]:
    """An environment in which ``tempograd`` and ``python`` are those of this interpreter."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    with program(programs / "tempograd"):
        own = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path / "work"), "PYTEST_ADDOPTS": ""}
        yield os.environ | own


def announce(folder: Path) -> None:
    """Do for a package in a folder what ``pip install -e .`` does for its entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    told = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{n} = {v}" for n, v in names.items()))]
    (told / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_what_is_marked_to_run_does_run(page, tmp_path, surroundings):
    folder = tmp_path / "work"
    folder.mkdir()
    ran = 0
    for what, name, language, text in blocks(page):
        if what == "file":
            (folder / name).write_text(text + "\n")
            if name == "pyproject.toml":
                announce(folder)
        elif what == "run":
            assert language == "bash"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=surroundings, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            ran += 1
    assert ran > 0


def test_tutorials_are_run():
    assert {page.stem for page in RUN} >= {"first-search", "new-space", "new-device"}


BEHIND = {"dynamo=True": "onnxscript", "python -m pytest": "pytest", "tg.shrink(": "torch-pruning"}  # no import tells


def needed(page: Path) -> Iterator[str]:
    """Yield the packages that what a page lets its reader save and run needs, by their names in the index."""
    of_module = packages_distributions()
    for what, name, _, text in blocks(page):
        if what:
            yield from (package for words, package in BEHIND.items() if words in text)
        if what == "file" and name.endswith(".py"):
            for statement in ast.walk(ast.parse(text)):
                named = [one.name for one in statement.names] if isinstance(statement, ast.Import) else []
                named += [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
                for module in {one.partition(".")[0] for one in named} - sys.stdlib_module_names:
                    yield from of_module.get(module, ())[:1]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_what_a_page_runs_is_installed_by_the_reader(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = page.read_text()
    named = re.findall(r"tempograd\[([\w,-]+)\]", text)
    asked = [*project["dependencies"], *(one for extra in named for one in project["optional-dependencies"][extra])]
    asked += re.findall(r"pip install ([\w-]+)", text)
    there = {re.split(r"[^\w-]", one)[0].lower() for one in asked} | {"tempograd"}
    own = {Path(name).stem for what, name, _, _ in blocks(page) if what == "file"}
    assert {one.lower() for one in needed(page)} - there - own == set()


def commands():
    """Yield where a command of tempograd stands, and its words."""
    for page in PAGES:
        for _, _, language, text in blocks(page):
            parts = text.replace("\\\n", " ").replace("&&", "\n").splitlines() if language in {"bash", "sh"} else []
            for part in parts:
                if re.match(r"\s*(?:\S*/)?tempograd\s", part):
                    words = shlex.split(part, comments=True)
                    yield f"{page.relative_to(ROOT)}: {shlex.join(words)}", words[1:]


def options(words: list[str]) -> tuple[str, set[str]]:
    """Return the verb that these words begin with, and the options that it takes."""
    if words[0] == "agent":
        told = subprocess.run([sys.executable, "-m", "tempograd", "agent", "--help"], capture_output=True, text=True)
        return "agent", set(re.findall(r"--[\w-]+", told.stdout))
    command, used = typer.main.get_command(app), []
    for word in words:
        if not hasattr(command, "commands"):
            break
        if word not in command.commands:
            return "", set()
        command = command.commands[word]
        used.append(word)
    return " ".join(used), {option for parameter in command.params for option in parameter.opts} | {"--help"}


@pytest.mark.slow
def test_verbs_and_flags_of_every_command_exist():
    wrong, seen = [], set()
    for where, words in commands():
        verb, allowed = options(words)
        seen.add(verb)
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        wrong += [where] if not verb or given - allowed else []
    assert wrong == []
    assert seen >= {
        "collect",
        "fit",
        "search",
        "report",
        "predict",
        "evaluate",
        "audit",
        "export",
        "agent",
        "farm init",
    }


BENCHMARK = re.compile(r"python (benchmarks/[\w/]+\.py)((?:[^`\n\\]|\\\n)*)")


def benchmarks():
    """Yield where a page runs a benchmark, its file, and the options given: in blocks, and in the text."""
    for page in PAGES:
        text = re.sub(r"-m tempograd\.(benchmarks[\w.]+)", lambda at: f"{at[1].replace('.', '/')}.py", page.read_text())
        for file, rest in BENCHMARK.findall(text):
            words = shlex.split(rest.replace("\\\n", " "), comments=True)
            given = {word.partition("=")[0] for word in words if word.startswith("--")}
            yield f"{page.relative_to(ROOT)}: {file} {shlex.join(words)}", ROOT / file, given


def options_of(file: Path) -> tuple[set[str], set[str]]:
    """Return the options that a benchmark has, and those of them that it asks for."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    asked = {call.args[0].value: any(word.arg == "required" for word in call.keywords) for call in added}
    return {name for name in asked if name.startswith("--")}, {name for name, required in asked.items() if required}


def test_benchmarks_are_run_with_options_that_they_have_and_all_that_they_ask_for():
    wrong, seen = [], 0
    for where, file, given in benchmarks():
        known, asked = options_of(file)
        wrong += [where] if given - known or asked - given else []
        seen += 1
    assert wrong == []
    assert seen > 10


def test_every_benchmark_is_in_the_list_of_benchmarks():
    told = (ROOT / "benchmarks" / "README.md").read_text()
    there = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__.py"}
    assert sorted(name for name in there if f"| `{name}` |" not in told) == []
    assert set(re.findall(r"^\| `(\w+\.py)` \|", told, re.MULTILINE)) <= there


def calls():
    """Yield where a function of tempograd is called in a block of Python, its name, and the names of its arguments."""
    for page in PAGES:
        for _, _, language, text in blocks(page):
            for node in ast.walk(ast.parse(text)) if language == "python" else ():
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("tg."):
                    where = f"{page.relative_to(ROOT)}: {ast.unparse(node)}"
                    yield where, ast.unparse(node.func).removeprefix("tg."), {one.arg for one in node.keywords}


def test_functions_and_arguments_of_every_snippet_exist():
    seen = set()
    for where, name, given in calls():
        seen.add(name)
        assert name in tempograd.__all__, where
        taken = inspect.signature(getattr(tempograd, name)).parameters
        if name == "search":  # it passes the rest on
            taken = {**taken, **inspect.signature(search_verb).parameters}
        assert given <= set(taken), where
    assert seen >= {"collect", "fit", "search"}
