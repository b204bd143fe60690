"""The example is somebody else's study: three lines of ours, and every trial's latency is measured."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "optuna_study.py"


def load():
    spec = importlib.util.spec_from_file_location("optuna_study", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_study_finds_the_front_of_measured_networks():
    pytest.importorskip("optuna")
    found = load().study("simulated:seed=1,noise=0.001,process_noise=0.001,slow=1", trials=2)
    done = [trial for trial in found.trials if trial.values]
    assert len(done) == 2
    assert found.best_trials
    assert all(low <= t.values[1] <= high for t in done for low, high in [t.user_attrs["interval_ms"]])
    by_depth = sorted(done, key=lambda trial: trial.params["width"] ** 2 * trial.params["depth"])
    assert by_depth[0].values[1] < by_depth[-1].values[1]


def test_three_lines_are_ours():
    lines = [line for line in PATH.read_text().splitlines() if line.rstrip().endswith(("# 1", "# 2", "# 3"))]
    assert len(lines) == 3
    assert all(line in lines for line in PATH.read_text().splitlines() if "tempograd as tg" in line or "tg." in line)
