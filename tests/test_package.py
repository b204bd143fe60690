import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tempograd

ROOT = Path(tempograd.__file__).parent
NOT_SHIPPED = {"benchmarks", "build", "docs", "examples", "tests"}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "tempograd.")
    if module.name.split(".")[1] not in NOT_SHIPPED
)


def folders():
    for init in ROOT.rglob("__init__.py"):
        parts = init.parent.relative_to(ROOT).parts
        if not {*parts} & NOT_SHIPPED and not any(part.startswith(".") for part in parts):
            yield ".".join(("tempograd", *parts))


def test_every_folder_is_packaged():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(folders())


def test_public_names():
    assert tempograd.__all__ == [
        "Choice", "Depth", "TempogradError", "Width", "__version__", "collect", "compare", "device", "evaluate",
        "fit", "load", "measure", "pick", "predict", "profile", "report", "search", "shrink", "space",
        "space_from", "width_step",
    ]  # fmt: skip
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == tempograd.__version__


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_doctests(name, tmp_path, monkeypatch):
    if name.endswith(("__main__", "tempograd.api")) or name.removeprefix("tempograd.") in tempograd.__all__:
        pytest.skip("running it is its import; the examples of the API need a folder: tests/test_api.py")
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_import_is_light():
    code = (
        "import sys, tempograd, tempograd.registry; print([m for m in ('torch', 'numpy', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_takes_milliseconds():
    """The cost of importing tempograd itself, counted in modules and not in time, which a busy machine stretches."""
    code = "import sys; known = set(sys.modules); import tempograd; print(len(set(sys.modules) - known))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40


@pytest.mark.slow
@pytest.mark.promise(4)
def test_no_code_is_read_from_files():
    """No pickle, no eval, no load that could run code anywhere in the source."""
    banned = re.compile(
        r"\b(import|from) (pickle|joblib|cloudpickle|shelve|marshal)\b"
        r"|\b(yaml\.load|torch\.save|np\.load)\(|\btorch\.load\((?!.*weights_only=True)|(?<![.\w])(eval|exec)\("
    )
    files = [file for name in folders() for file in (ROOT / Path(*name.split(".")[1:])).glob("*.py")]
    assert len(files) > 50
    assert [f"{file.name}: {found[0]}" for file in files for found in banned.finditer(file.read_text())] == []
