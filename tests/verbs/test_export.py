"""``export``: what a store holds of one space, with a card; with ``ok``, what met its plan alone."""

import pytest

from tempograd.data.parquet import load
from tempograd.data.store import Store
from tempograd.errors import UsageError
from tempograd.measurement.rounds import Failure
from tempograd.verbs.export import export

from ..data.conftest import fingerprint, keep, make  # noqa: F401


@pytest.fixture
def store(tmp_path, fingerprint):  # noqa: F811
    path = tmp_path / "run.db"
    failed = Failure("crashed", "load", None, "", None)
    rows = [make(f"{n}.0.0.0.0.3", [1.0 + n] * 6, fingerprint) for n in range(4)]
    with Store(path, write=True) as opened:
        keep(opened, fingerprint, *rows, make("4.0.0.0.0.3", [], fingerprint, failure=failed))
    return path


def test_a_store_of_one_space_needs_no_names(store, tmp_path, fingerprint):  # noqa: F811
    done = export(store, tmp_path / "set", note="All of them.")
    assert done.document["device"] == fingerprint.id
    assert done.document["networks"] == 5
    assert done.document["repeatability"] is None
    assert f"wrote {tmp_path / 'set'}" in done.text
    assert "All of them." in (tmp_path / "set" / "README.md").read_text()
    assert load(tmp_path / "set").counts == done.document["verdicts"]


def test_only_what_met_its_plan_is_written_and_the_rest_counted(store, tmp_path):
    done = export(store, tmp_path / "set", ok=True)
    assert set(done.document["verdicts"]) <= {"ok"}
    assert done.document["left_out"]["failed"] == 1
    assert done.document["networks"] + sum(done.document["left_out"].values()) == 5


def test_what_is_there_is_refused_before_the_store_is_read(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").touch()
    with pytest.raises(UsageError, match="is there already"):
        export(tmp_path / "no.db", tmp_path / "set")
