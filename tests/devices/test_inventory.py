from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tempograd.devices import inventory
from tempograd.registry import names

pytestmark = pytest.mark.real

ENGINES = ("torch", "onnxruntime", "openvino", "ai_edge_litert", "tensorrt", "tensorrt_rtx_bindings", "cuda", "pynvml")


@pytest.fixture(scope="module")
def told():
    """What the verb gives, once, and which engines its process imported meanwhile."""
    code = f"""
import json, sys
from tempograd.verbs.devices import devices
outcome = devices()
imported = sorted({{*{ENGINES}}} & sys.modules.keys())
print(json.dumps({{"document": outcome.document, "text": outcome.text, "imported": imported}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=250)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def entries(told):
    return {row["device"]: inventory.Entry(**row) for row in told["document"]["devices"]}


@pytest.mark.slow
def test_every_place_and_runtime_is_listed(entries):
    assert set(names("device")) <= {device.partition(":serial=")[0] for device in entries}
    assert {f"local:runtime={name}" for name in names("runtime")} <= entries.keys()


def test_what_is_here_has_a_version_and_what_is_not_a_remedy(entries):
    for name in ("onnxruntime", "torch"):
        entry = entries[f"local:runtime={name}"]
        assert entry.state == "here"
        assert entry.version
        assert entry.found
    for entry in entries.values():
        assert entry.state == "here" or entry.found
        assert entry.state != "missing" or entry.remedy.startswith("pip install")
    cuda = entries["local:runtime=onnxruntime,provider=cuda"]
    assert cuda.state == "here" or "pip install onnxruntime-gpu" in cuda.remedy or "nvidia-smi" in cuda.remedy


def test_an_engine_that_ends_the_process_is_a_row(faulty, monkeypatch, tmp_path):
    site = tmp_path / "site" / "faulty_runtime.py"
    site.write_text(site.read_text() + "\n    def start(self):\n        os.abort()\n")
    entry = inventory._probed(faulty, "", "local:runtime=faulty", "1")
    assert entry.state == "unusable"
    assert "ended the process that asked (-6)" in entry.found


@pytest.mark.slow
def test_no_engine_is_imported_by_whoever_asks(told):
    assert told["imported"] == []


def test_people_read_the_same_as_programs(told, entries):
    lines = told["text"].splitlines()
    assert len(lines) == 1 + len(entries)
    for entry, line in zip(entries.values(), lines[1:], strict=True):
        assert line.startswith(entry.state)
        assert entry.remedy in line
