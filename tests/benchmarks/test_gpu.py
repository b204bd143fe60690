from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_without_a_gpu_it_refuses_and_names_what_is_missing(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is an NVIDIA GPU here")
    command = [sys.executable, SCRIPT, "--out", tmp_path / "gpu", "--ways", "local:runtime=onnxruntime,provider=cuda"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "it needs one NVIDIA GPU" in done.stderr
    assert "pip install onnxruntime-gpu" in done.stderr
    assert not (tmp_path / "gpu").exists()
