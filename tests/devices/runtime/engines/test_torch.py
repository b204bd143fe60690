from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tempograd.devices.runtime.packages import UnusableError
from tempograd.errors import UsageError
from tempograd.registry import create

ROOT = Path(__file__).parents[3]


def in_child(script: str) -> dict:
    """torch's settings are those of its process."""
    head = """
        import json
        from pathlib import Path
        import numpy as np
        from tempograd.testing.networks import conv
        from tempograd.devices.runtime.packages import UnusableError
        from tempograd.registry import create
        x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
        content = conv()
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.real
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="Inductor needs a C++ compiler: g++")
def test_inductor_compiles_the_whole_network_and_computes_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = in_child("""
        runtimes = {mode: create("runtime", "torch", mode=mode) for mode in ("eager", "inductor")}
        runtimes["inductor"].start()
        programs = {mode: runtime.load(content, Path.cwd()) for mode, runtime in runtimes.items()}
        from torch._dynamo.utils import counters
        outputs = {mode: program.compute(x) for mode, program in programs.items()}
        print(json.dumps({
            "apart": float(np.abs(outputs["eager"] - outputs["inductor"]).max()),
            "graphs": counters["stats"]["unique_graphs"], "breaks": sum(counters["graph_break"].values()),
            "written": len(list(Path("inductor").rglob("*.so"))), "kernels": programs["eager"].kernels,
        }))
    """)
    assert found["apart"] < 1e-5
    assert (found["graphs"], found["breaks"]) == (1, 0)
    assert found["written"] >= 1  # in the working folder, nowhere else
    assert found["kernels"] == {"conv2d": 1, "relu": 1}


@pytest.mark.real
def test_threads_and_modes_are_set_as_stated():
    found = in_child("""
        create("runtime", "torch", threads=2).start()
        import torch
        print(json.dumps({
            "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
            "tiny": float(torch.tensor([1e-38]) * 1e-3), "grad": torch.is_grad_enabled(),
            "tf32": [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32],
        }))
    """)
    assert found == {"threads": [2, 1], "tiny": 0.0, "grad": False, "tf32": [False, False]}


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_one_clear_message():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is an NVIDIA GPU here")
    found = in_child("""
        try:
            create("runtime", "torch", provider="cuda").start()
        except UnusableError as error:
            print(json.dumps({"found": error.found, "remedy": error.remedy}))
    """)
    assert "torch sees no NVIDIA GPU" in found["found"]
    assert "pip install" in found["remedy"]


def test_a_compiler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("tempograd.devices.runtime.engines.torch.which", lambda _: None)
    monkeypatch.setattr("tempograd.devices.runtime.engines.torch._torch", MagicMock)
    with pytest.raises(UnusableError, match=r"C\+\+ compiler; apt-get install g\+\+"):
        create("runtime", "torch", mode="inductor").start()


@pytest.mark.parametrize("wrong", [{"precision": "fp16"}, {"cuda_graph": True}])
def test_what_only_a_gpu_does_is_refused_elsewhere(wrong):
    with pytest.raises(UsageError, match="provider=cuda"):
        create("runtime", "torch", **wrong)
