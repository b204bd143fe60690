import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempograd import registry, scratch
from tempograd.data import parquet
from tempograd.data.dataset import LatencyDataset, Row
from tempograd.data.parquet import export, load
from tempograd.errors import InputRefusedError, MismatchError, UsageError
from tempograd.measurement.fingerprint import Fingerprint

from .conftest import SPACE

NAN = float("nan")
ms = st.floats(1e-3, 1e5)
labelled = st.builds(
    lambda key, verdict, y, low, high, path, rounds, values: Row(
        key, verdict, y, y - low * y, y + high * y, path, rounds, 0, values, values
    ),
    st.text(min_size=1, max_size=8),
    st.sampled_from(["ok", "noisy", "hot", "quarantined"]),
    ms,
    st.floats(0, 1),
    st.floats(0, 9) | st.just(float("inf")),
    st.sampled_from(["gated", "ratio", "plain"]),
    st.integers(1, 20),
    st.lists(ms, max_size=4).map(tuple),
)
unlabelled = st.builds(
    lambda key, above: Row(key, "failed" if math.isnan(above) else "censored", cause="timeout", above_ms=above),
    st.text(min_size=1, max_size=8),
    ms | st.just(NAN),
)
datasets = st.builds(
    LatencyDataset,
    st.text(max_size=9),
    st.builds(Fingerprint, st.just("local"), st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.none())),
    st.lists(labelled | unlabelled, max_size=6, unique_by=lambda row: row.key).map(tuple),
    st.floats(0, 0.3) | st.just(NAN),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["noisy", "failed"]), st.integers(1, 9)),
)


def same(a, b):
    """NaN equals NaN here; dictionaries keep no order."""
    plain = [(repr(d.rows), repr(d.repeatability), d.space, d.fingerprint, d.pairs, d.left_out) for d in (a, b)]
    return plain[0] == plain[1]


@pytest.fixture
def dataset(fingerprint):
    rows = [
        Row(f"{i % 5}.{i // 5}.0.1.2.3", "ok", y, y - 0.1, y + 0.2, "gated", 6, 5, (y,), (1.0,))
        for i, y in enumerate(np.arange(1.0, 26.0).tolist())
    ]
    rows.append(Row("4.4.4.4.4.4", "censored", cause="timeout", above_ms=2000.0))
    return LatencyDataset(SPACE, fingerprint, tuple(rows), 0.02, 12, {"noisy": 3})


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(datasets)
def test_a_data_set_survives_export_and_import(tmp_path_factory, dataset):
    folder = export(dataset, tmp_path_factory.mktemp("parquet") / "out")
    assert same(load(folder), dataset)


def test_any_parquet_reader_opens_it(tmp_path, dataset, space):
    folder = export(dataset, tmp_path / "out", space=space)
    table = pq.read_table(folder / "data.parquet")
    assert table.num_rows == 26
    assert table.column("latency_ms").null_count == 1
    assert table.column("latency_ms").to_pylist()[3] == 4.0
    assert [table.column(f"site.e{i}")[7].as_py() for i in range(6)] == [2, 1, 0, 1, 2, 3]
    assert table.column("weight").to_pylist()[:25] == pytest.approx(dataset.weight.tolist())
    assert json.loads(table.schema.metadata[b"tempograd"])["space"] == SPACE
    assert same(load(folder), dataset)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "SHA256SUMS", "data.parquet"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_an_export_left_that_was_killed_is_removed_by_the_next_one(tmp_path, dataset):
    left = tmp_path / f"tempograd-{scratch._boot()}-abcdefgh" / "out"
    left.mkdir(parents=True)
    (left / "data.parquet").touch()
    export(dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sites_are_those_of_the_right_space(tmp_path, dataset):
    with pytest.raises(MismatchError):
        export(dataset, tmp_path / "out", space=registry.create("space", "nasbench201"))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path, dataset):
    folder = export(dataset, tmp_path / "out")
    with pytest.raises(UsageError, match="is there already"):
        export(dataset, folder)


@pytest.mark.fault(25)
def test_every_damage_is_refused(tmp_path, dataset):
    folder = export(dataset, tmp_path / "out")
    content = (folder / "data.parquet").read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 40):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        (folder / "data.parquet").write_bytes(damaged)
        with pytest.raises(InputRefusedError, match=r"data\.parquet is not what was written, first bad row group"):
            load(folder)
    (folder / "data.parquet").write_bytes(content[:-20])
    with pytest.raises(InputRefusedError, match="footer is damaged"):
        load(folder)


@pytest.mark.fault(25)
def test_the_bad_row_group_is_named(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 5)
    folder = export(dataset, tmp_path / "out")
    path = folder / "data.parquet"
    with pq.ParquetFile(path) as file:
        assert file.num_row_groups == 6
        chunk = file.metadata.row_group(3).column(2)
        place = chunk.data_page_offset + chunk.total_compressed_size - 3
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputRefusedError, match="first bad row group: 3 of 6"):
        load(folder)


@pytest.mark.parametrize("name", ["README.md", "SHA256SUMS", "data.parquet"])
def test_a_missing_file_is_refused(tmp_path, dataset, name):
    folder = export(dataset, tmp_path / "out")
    (folder / name).unlink()
    with pytest.raises(InputRefusedError, match="no data set"):
        load(folder)


def rewrite(folder, change):
    """Write the file anew with valid checksums, as somebody else's program might."""
    table = change(pq.read_table(folder / "data.parquet"))
    pq.write_table(table, folder / "data.parquet")
    names = ("README.md", "data.parquet")
    sums = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


def header(table, **changes):
    found = json.loads(table.schema.metadata[b"tempograd"]) | changes
    return table.replace_schema_metadata({"tempograd": json.dumps(found)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: header(t, schema_=4, version="9.9"), r"schema 4, written by tempograd 9\.9.*pip install --upgrade"),
        (lambda t: header(t, pairs="many"), "metadata are not as written"),
        (lambda t: header(t, fingerprint={"unknown": 1}), "no data set of tempograd"),
        (lambda t: t.replace_schema_metadata({}), "no data set of tempograd"),
        (lambda t: t.drop_columns(["verdict"]), "no data set of tempograd"),
        (lambda t: t.set_column(1, "verdict", [["fine"] * t.num_rows]), "a row is not as written"),
        (lambda t: t.set_column(2, "latency_ms", [[-1.0] * t.num_rows]), "no finite number above 0"),
        (lambda t: t.set_column(0, "key", [["same"] * t.num_rows]), "a key is there twice"),
    ],
)
def test_foreign_content_is_refused(tmp_path, dataset, change, message):
    folder = export(dataset, tmp_path / "out")
    rewrite(folder, change)
    with pytest.raises(InputRefusedError, match=message):
        load(folder)


@pytest.mark.parametrize("schema", [1, 2])
def test_a_folder_of_an_earlier_schema_is_still_read(tmp_path, dataset, schema):
    folder = export(dataset, tmp_path / "out")
    names = ["energy_mj", "memory_bytes"]
    if schema == 1:
        names += ["wall_median_ms", "wall_q05_ms", "wall_min_ms", "cpu_median_ms", "p90_ms", "p99_ms"]
    rewrite(folder, lambda table: header(table, schema_=schema).drop_columns(names))
    assert same(load(folder), dataset)


def test_energy_and_memory_are_columns(tmp_path, dataset):
    first, *others = dataset.rows
    dataset = replace(dataset, rows=(replace(first, energy_mj=3.5, memory_bytes=4096.0), *others))
    folder = export(dataset, tmp_path / "out")
    table = pq.read_table(folder / "data.parquet")
    assert table.column("energy_mj").to_pylist()[:2] == [3.5, None]
    assert table.column("memory_bytes").to_pylist()[:2] == [4096.0, None]
    assert load(folder).having("memory_bytes").values("memory_bytes").tolist() == [4096.0]
    assert "`memory_bytes`" in (folder / "README.md").read_text()
