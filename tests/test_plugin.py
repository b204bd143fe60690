"""A package of somebody else's: installed, listed by the command line, and held to the contracts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tempograd

pytestmark = [pytest.mark.slow, pytest.mark.real]
SOURCE = Path(__file__).parent / "assets" / "plugin"
SPACE = "chain:blocks=6"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A virtual environment with the package, and with the libraries that run this test."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "links").mkdir()
    (folder / "links" / "tempograd").symlink_to(Path(tempograd.__file__).parent)
    shutil.copytree(SOURCE, folder / "source")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("-packages")]
    (site / "shared.pth").write_text("\n".join([str(folder / "links"), *libraries]))
    pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--no-warn-script-location",
    ]
    run(folder, *pip, folder / "source")
    return folder


def run(folder, *arguments, code=0):
    done = subprocess.run(
        [folder / "env" / "bin" / "python", *arguments],
        cwd=folder / "source",
        env=os.environ | {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == code, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout if code == 0 else done.stderr


def cli(folder, *arguments):
    return json.loads(run(folder, "-m", "tempograd", *arguments, "--json"))


def test_the_contracts_that_ship_hold_for_it(place):
    said = run(place, "-m", "pytest", "-q", "-x", "-rs", "-p", "no:cacheprovider", "contracts.py")
    assert " passed" in said
    assert "opens no measuring process" not in said  # its device is a function that returns one


@pytest.mark.parametrize(
    ("spec", "listed"),
    [
        (["--space", "x", "--device", "simulated"], ("chain", "nasbench201")),
        (["--space", SPACE, "--device", "x"], ("slide_rule", "local")),
        (["--space", SPACE, "--device", "local:runtime=x"], ("onnx_reference", "onnxruntime")),
    ],
)
def test_it_is_listed_beside_what_ships(place, spec, listed):
    said = run(place, "-m", "tempograd", "collect", *spec, "--store", "none.db", code=2)
    assert all(name in said for name in listed)


def test_methods_that_can_search_it_are_listed_its_own_among_them(place):
    found = {row["method"] for row in cli(place, "methods", "--space", SPACE)["methods"]}
    assert "mean_path" in found
    assert "lightnas" in found


def test_its_space_on_its_device_is_collected_fitted_and_searched_by_its_method(place):
    on = ("--space", SPACE, "--device", "slide_rule")
    collected = cli(place, "collect", *on, "--count", "40", "--plan", "quick", "--store", "run.db")
    assert collected["verdicts"]["ok"] >= 35
    fitted = cli(place, "fit", "--store", "run.db", "--out", "predictor", "--model", "ridge")
    assert fitted["space"].startswith(SPACE)
    found = cli(
        place, "search", *on, "--method", "mean_path", "--predictor", "predictor", "--task", "synthetic",
        "--target-ms", "0.35", "--epochs", "2", "--train-epochs", "1", "--random", "1", "--out", "result",
    )  # fmt: skip
    assert (found["verdict"], found["method"], found["predictor"]["model"]) == ("pass", "mean_path", "ridge")
    assert found["found"]["measured"]["latency_ms"] <= 0.35
