"""Rooms, arrows and circles of a small package in a repository of its own; and this package has no circle."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    "__init__.py": "", "low/__init__.py": "", "high/__init__.py": "", "tests/test_a.py": "import nothing",
    "low/a.py": "from ..high import b\n", "high/b.py": "def late():\n    from ..low import a\n\n    return a\n",
    "high/c.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from ..low import a\n",
}  # fmt: skip


@pytest.fixture
def rooms(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import rooms

    for name in [name for name in sys.modules if name.partition(".")[0] == "tempograd"]:
        monkeypatch.delitem(sys.modules, name)  # grimp reads the package that it finds on the path
    return rooms


def git(folder, *words):
    subprocess.run(["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, timeout=60)


def test_a_revision_is_told_in_numbers(rooms, tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    found = rooms.rooms_of("HEAD", tmp_path)
    assert (found["rooms"], found["files"], found["arrows between rooms"]) == (2, 6, 2)
    assert found["arrows both ways"] == ["high <-> low"]
    assert found["circles of files"] == [["tempograd.high.b", "tempograd.low.a"]]
    assert (found["largest room"], found["largest file"]) == ("high", "high/b.py (4)")
    assert "| arrows between rooms | 2 |" in rooms.table([found])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository here")
def test_no_file_of_this_package_imports_itself_through_others(rooms):
    found = rooms.rooms_of("HEAD")
    assert found["circles of files"] == []
    assert found["arrows both ways"] == []
