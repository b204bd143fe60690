"""Tests mirror the source: ``a/b.py`` is tested by ``tests/a/test_b.py``, so that everyone knows where to look."""

import ast
import re
import tomllib
from pathlib import Path

from tempograd import registry
from tempograd.testing.tasks import needs_no_files

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("data", "devices", "farm", "graphs", "measurement", "predictor", "profiler", "report", "search", "spaces",
         "tasks", "verbs")  # fmt: skip
LEAST = 0.93  # of the files: it is raised with every file that gets its test, and never lowered
LONGEST = 450  # lines of a file that has no reason to be longer
# Files of a registry are run by the contract of their kind, which takes all names of the folder.
CONTRACTS = {
    "spaces/zoo": "spaces/test_contract.py",
    "devices/places": "devices/test_contract.py",
    "devices/runtime/engines": "devices/runtime/engines/test_contract.py",
    "predictor/models": "predictor/models/test_contract.py",
    "search/laws": "search/test_law.py",
    "search/methods": "search/test_methods.py",
    "tasks/zoo": "tasks/test_contract.py",
}


def sources():
    """Every module but ``__init__`` files; those of ``testing`` are tests themselves."""
    files = [*ROOT.glob("*.py"), *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))]
    return [file.relative_to(ROOT) for file in files if file.stem != "__init__"]


def has_test(file):
    mirrored = ROOT / "tests" / file.parent / f"test_{file.name}"
    return file.parent.as_posix() in CONTRACTS or mirrored.is_file()


def test_most_files_have_a_test_of_their_name():
    every = sources()
    missing = sorted(file.as_posix() for file in every if not has_test(file))
    share = 1 - len(missing) / len(every)
    assert len(every) > 200
    assert share >= LEAST, f"{share:.0%} of {len(every)}; without a test of their name: {', '.join(missing)}"


def test_contracts_take_all_names_of_their_registry():
    for kind, (folder, _) in registry._FOLDERS.items():
        contract = CONTRACTS[folder.replace(".", "/")]
        assert f'names("{kind}")' in (ROOT / "tests" / contract).read_text(), contract


def test_the_contract_of_tasks_runs_on_those_of_files_too():
    """Those without files are run by their names; the others each by a test that writes some."""
    told = ""
    for file in (ROOT / "tests" / "tasks").glob("test_*.py"):
        text = file.read_text()
        classes = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
        kept = (one for one in classes if "TaskContract" in map(ast.unparse, one.bases))
        told += "".join(ast.get_source_segment(text, one) or "" for one in kept)
    files = [name for name in registry.names("task") if not needs_no_files(name)]
    assert len(files) > 5
    assert [name for name in files if not re.search(rf"\b{name}\b", told)] == []


def test_lists_of_folders_are_those_that_there_are():
    assert {folder.replace(".", "/") for folder, _ in registry._FOLDERS.values()} == set(CONTRACTS)
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == {*ROOMS, "testing"}
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert set(lint["flake8-tidy-imports"]["banned-api"]) == rooms


def test_a_long_file_has_its_reason_in_the_architecture_and_no_other_stands_there():
    told = (ROOT / "ARCHITECTURE.md").read_text().partition("longer than 450 lines")[2].partition("\n\n")[0]
    long = {file.as_posix() for file in sources() if len((ROOT / file).read_text().splitlines()) > LONGEST}
    assert set(re.findall(r"`(\S+\.py)`", told)) == long


def test_no_test_is_empty():
    assert not [file for file in (ROOT / "tests").rglob("test_*.py") if "def test_" not in (text := file.read_text())
                and "Contract)" not in text]  # fmt: skip
