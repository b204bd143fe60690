"""The gates with a yes or a no: lint, format, types, floors. They run here so that one command is the whole check."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
GATES = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "pyright": ["pyright", "--pythonpath", sys.executable],
    "import-linter": ["lint-imports", "--no-cache"],
}


@pytest.mark.slow
@pytest.mark.timeout(900)  # of the clock, where they take a minute of a core: the machine may be busy
@pytest.mark.parametrize("gate", GATES)
def test_gate(gate):
    tool, *arguments = GATES[gate]
    found = shutil.which(tool, path=str(BIN))
    if found is None:
        pytest.skip(f"{tool} is not installed; pip install -e '.[test]'")
    done = subprocess.run([found, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=840)
    assert done.returncode == 0, done.stdout + done.stderr
