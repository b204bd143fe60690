import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.errors import InputRefusedError, StoreError

RELEASES = sorted(path.parent for path in (Path(__file__).parents[1] / "assets").glob("*/store.db"))


@pytest.fixture(params=RELEASES, ids=lambda folder: folder.name)
def released(request, tmp_path):
    """A copy: nobody touches what was released."""
    shutil.copy(request.param / "store.db", tmp_path / "store.db")
    return tmp_path / "store.db", json.loads((request.param / "store.json").read_text())


def test_there_is_one():
    assert RELEASES


@pytest.mark.promise(3)
@pytest.mark.parametrize("write", [False, True])
def test_a_released_store_is_read_with_the_values_beside_it(released, write):
    path, expected = released
    with Store(path, write=write) as store:
        store.check()
        rows = list(store.measurements())
        assert list(store.fingerprints()) == expected["fingerprints"]
        assert [[c.id, c.space, c.seed, c.purpose, c.plan["name"]] for c in store.campaigns()] == expected["campaigns"]
        calibrations = [asdict(found) for found in store.calibrations(expected["fingerprints"][0])]
        dataset = LatencyDataset.from_store(store)
    assert calibrations == [found | then for found, then in zip(calibrations, expected["calibrations"], strict=True)]
    assert len(rows) == len(expected["rows"])
    for m, row in zip(rows, expected["rows"], strict=True):
        assert (m.key, m.replicate, m.verdict, m.onnx_digest) == tuple(
            row[name] for name in ("key", "replicate", "verdict", "onnx_digest")
        )
        assert (m.failure.cause if m.failure else None) == row["cause"]
        assert (m.estimate.path if m.estimate else None) == row["path"]
        assert m.latency_ms == pytest.approx(row["latency_ms"] or float("nan"), nan_ok=True)
        assert len(m.rounds) == row["rounds"]
        assert sum(sum(r.wall_ms) for r in m.rounds) == row["wall_ms"]
    assert {row["verdict"] for row in expected["rows"]} == {"ok", "noisy", "hot", "censored", "failed", "quarantined"}
    assert set(dataset.counts) >= {"ok", "hot", "censored", "failed", "quarantined"}
    assert not dataset.having("energy_mj").keys  # nothing of what this version did not read is made up
    assert not dataset.having("memory_bytes").keys
    assert len(dataset.rows) == len({row["key"] for row in expected["rows"]})


def test_a_released_store_cut_off_anywhere_is_refused(released):
    path, expected = released
    content = path.read_bytes()
    for size in range(0, len(content), 4093):
        path.write_bytes(content[:size])
        with pytest.raises((InputRefusedError, StoreError)), Store(path) as store:
            assert len(list(store.measurements())) < len(expected["rows"])  # never reached: the file is refused
