"""The example is a loop of somebody else's: five lines of ours, and latency falls with its weight."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "plain_loop.py"


def load():
    spec = importlib.util.spec_from_file_location("plain_loop", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_heavier_weight_gives_a_faster_network():
    module = load()
    free, bound = (module.run(weight, steps=40) for weight in (0.0, 1.0))
    assert bound < free


def test_five_lines_are_ours():
    lines = PATH.read_text().splitlines()
    marked = [line for line in lines if line.rstrip().endswith(tuple(f"# {i}" for i in range(1, 6)))]
    assert len(marked) == 5
    ours = [line for line in lines if "PredictorCost" in line or "latency_ms" in line or "registry.create" in line]
    assert set(ours) <= set(marked)
