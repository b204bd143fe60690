"""The reader of foreign networks: a path, a digest and a batch become files that must travel too, or a reason."""

import io
import json
import sys

import onnx
import pytest
from onnx import ModelProto

from tempograd.devices.android import reader
from tempograd.devices.worker import isolation
from tempograd.testing.networks import Zoo


@pytest.fixture
def read(monkeypatch, capsys):
    """Ask it in this process, without the limits that would stay with it."""
    asked = []
    monkeypatch.setattr(isolation, "confine", lambda *limits: asked.append(limits))
    monkeypatch.setattr(sys, "argv", ["reader", "1"])

    def ask(*models, batch=1):
        told = [[m.key, str(m.path), m.digest, m.own_batch] for m in models]
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"batch": batch, "models": told})))
        reader.main()
        assert asked
        return json.loads(capsys.readouterr().out)

    return ask


def test_each_network_is_answered_by_its_key(read, tmp_path):
    zoo = Zoo(tmp_path)
    told = read(zoo.conv("a"), zoo.conv("b", batch=2), zoo.file("c", b"no network"))
    assert told["a"] == []
    assert "batch 1" in told["b"]
    assert "\n" not in told["c"]
    assert len(told["c"]) <= 500


def test_a_batch_of_its_own_is_let_through(read, tmp_path):
    from dataclasses import replace

    model = replace(Zoo(tmp_path).conv("a", batch=2), own_batch=True)
    assert read(model) == {"a": []}


def test_files_of_external_weights_are_named(read, tmp_path):
    zoo = Zoo(tmp_path)
    loaded = ModelProto.FromString(zoo.conv("a").path.read_bytes())
    onnx.save(loaded, tmp_path / "big.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert read(zoo.file("a", (tmp_path / "big.onnx").read_bytes())) == {"a": ["weights.bin"]}


def test_a_file_that_is_another_than_was_announced_is_refused(read, tmp_path):
    model = Zoo(tmp_path).conv("a")
    model.path.write_bytes(model.path.read_bytes() + b"\0")
    assert "announced" in read(model)["a"]
