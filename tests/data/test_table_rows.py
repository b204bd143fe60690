"""Rows of a table: each network once, or refused with the column that tells its rows apart."""

from dataclasses import replace

import numpy as np
import pytest

from tempograd import registry
from tempograd.data import parquet
from tempograd.data.dataset import LatencyDataset, Row
from tempograd.data.table import read_accuracies, read_table
from tempograd.errors import InputRefusedError, MismatchError, UnknownNameError, UsageError

from .conftest import MANY, NETWORKS, ROWS, edges


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_option_indices_in_the_spaces_order(write, space, name, short):
    path = write(edges(*ROWS) | {"pi_ms": [1.5, None, 2], "other": ["a", "b", "c"]}, name)
    table = read_table(path, space, "pi_ms")
    assert [a.choices for a in table.architectures] == [ROWS[0], ROWS[2]]
    assert table.y_ms.tolist() == [1.5, 2.0]
    assert table.not_measured == 1
    assert table.architectures[0].space == space.spec


def test_architectures_as_text(write, space, short):
    texts = [space.format(space.architecture(row)) for row in ROWS]
    table = read_table(write({"arch_str": texts, "ms": [1.0, float("nan"), 3.0]}), space, "ms")
    assert [a.choices for a in table.architectures] == [ROWS[0], ROWS[2]]
    assert table.not_measured == 1


def test_rows_of_one_network_become_one_and_contradictions_are_named(write, space):
    labels = [float(n + 1) for n in range(25)]
    path = write(edges(*MANY, MANY[3], MANY[4]) | {"y": [*labels, 4.04, 50.0]})
    table = read_table(path, space, "y")
    assert len(table.y_ms) == 25
    assert table.y_ms[3:5].tolist() == pytest.approx([4.02, 27.5])
    assert table.conflicting == (space.architecture(MANY[4]).key,)


def test_foreign_architectures_are_refused(write, space):
    with pytest.raises(InputRefusedError, match="e0=5: no option at site 'e0'"):
        read_table(write(edges((5, 0, 0, 0, 0, 0)) | {"y": [1.0]}), space, "y")
    with pytest.raises(InputRefusedError, match="is not of nasbench201"):
        read_table(write({"arch_str": ["|what~0|"], "y": [1.0]}), space, "y")
    with pytest.raises(InputRefusedError, match="is not of nasbench201"):
        read_table(write(edges((None, 0, 0, 0, 0, 0)) | {"y": [1.0]}), space, "y")


@pytest.mark.parametrize("name", ["device", "batch", "kernel_version"])
def test_rows_of_one_network_under_two_conditions_are_refused_with_the_column(write, published, name):
    space, columns, y_ms = published
    both = {"arch_str": 2 * columns["arch_str"], "lat_ms": [*y_ms, *(3 * y_ms)], "acc": 2 * [*np.linspace(50, 60, 60)]}
    path = write(both | {name: NETWORKS * [1] + NETWORKS * [32]})
    with pytest.raises(InputRefusedError, match=rf"'?{name}'?.* 1, 32 \(2 values\).*--where {name}=1"):
        read_table(path, space, "lat_ms")
    table = read_table(path, space, "lat_ms", where=[f"{name}=32"])
    assert table.y_ms == pytest.approx(3 * y_ms)
    assert table.remarks == (f"60 of 120 rows where {name}=32",)
    accuracies = read_accuracies(path, space, "acc")  # a device decides no accuracy
    assert accuracies.remarks == ("60 rows repeat a network with the same acc: counted once",)
    with pytest.raises(UsageError, match=rf"--where {name}=7: no row of .* has it; {name!r} has 1, 32"):
        read_table(path, space, "lat_ms", where=[f"{name}=7"])
    with pytest.raises(UnknownNameError, match="nothing"):
        read_table(path, space, "lat_ms", where=["nothing=7"])


def test_different_networks_of_two_devices_are_refused_too(write, published):
    space, columns, y_ms = published
    path = write(columns | {"lat_ms": y_ms, "device": 30 * ["pi"] + 30 * ["gpu"]})
    with pytest.raises(InputRefusedError, match=r"'device' has pi, gpu .*--where device=pi"):
        read_table(path, space, "lat_ms")
    assert len(read_table(path, space, "lat_ms", where=["device=gpu"]).y_ms) == 30


def test_contradictions_that_no_column_explains_are_refused_and_repetitions_are_not(write, published):
    space, columns, y_ms = published
    both = {"arch_str": 2 * columns["arch_str"], "lat_ms": [*y_ms, *(3 * y_ms)]}
    with pytest.raises(InputRefusedError, match=r"60 of 60 networks stand there again.*no column tells the rows apart"):
        read_table(write(both), space, "lat_ms")
    both["lat_ms"] = [*y_ms, *(1.02 * y_ms)]
    table = read_table(write(both | {"seed": 60 * [1] + 60 * [2]}), space, "lat_ms")
    assert table.y_ms == pytest.approx(1.01 * y_ms)
    assert "of 60 networks stands there too" in table.remarks[0]


def test_accuracies_of_two_data_sets_are_refused(write, published):
    space, columns, _ = published
    path = write(columns | {"acc": np.linspace(50, 60, NETWORKS), "dataset": 30 * ["a", "b"]})
    with pytest.raises(InputRefusedError, match=r"'dataset' has a, b .*--where dataset=a"):
        read_accuracies(path, space, "acc")
    assert len(read_accuracies(path, space, "acc", where=["dataset=b"]).shares) == 30


def test_a_column_that_decides_more_than_the_space_is_refused_unless_constant(write, space, published):
    wide = edges(*MANY) | {"e6": [n % 2 for n in range(25)], "lat": [float(n + 1) for n in range(25)]}
    with pytest.raises(InputRefusedError, match=r"'e6' has 0, 1 .* decides the network.*--where e6=0"):
        read_table(write(wide), space, "lat")
    assert len(read_table(write(wide | {"e6": [3] * 25}), space, "lat").y_ms) == 25


@pytest.mark.slow
def test_the_resolution_of_once_for_all_is_read_or_refused(write):
    small = registry.create("space", "mbconv:family=ofa")
    open_ = registry.create("space", "mbconv:family=ofa,size=224,resolution_options=25")
    rng = np.random.default_rng(0)
    rows = {f"ks{i}": rng.choice([3, 5, 7], 40) for i in range(20)} | {f"e{i}": [6] * 40 for i in range(20)}
    rows |= {f"d{s}": [4] * 40 for s in range(5)}
    path = write(rows | {"r": 20 * [128, 224], "lat_ms": rng.uniform(5, 9, 40)})
    with pytest.raises(InputRefusedError, match=r"'r' has 128, 224 .* take a space .*resolution_options=25, or choose"):
        read_table(path, small, "lat_ms")
    assert len(read_table(path, small, "lat_ms", where=["r=224"]).y_ms) == 20
    assert len({open_.sizes[a.choices[0]] for a in read_table(path, open_, "lat_ms").architectures}) == 2
    shallow = registry.create("space", "mbconv:family=ofa,stages=4,size=224,resolution_options=25")
    with pytest.raises(InputRefusedError, match=r"'ks16' has .*stages=5,layers=4"):
        read_table(path, shallow, "lat_ms")


def exported(space, folder, fingerprint):
    """What ``export`` writes of thirty networks, one of them failed and one noisy."""
    architectures = space.sample(30, np.random.default_rng(0))
    labels = np.linspace(20, 30, 30)
    rows = [Row(a.key, "ok", y, y, y, "gated", 1, 0, (y,), (1.0,)) for a, y in zip(architectures, labels, strict=True)]
    rows[3] = replace(rows[3], verdict="noisy")
    rows[4] = Row(architectures[4].key, "failed", cause="crash")
    parquet.export(LatencyDataset(space.spec, fingerprint, tuple(rows), 0.01, 9, {}), folder, space=space)
    return architectures, labels


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("space"))
def test_what_export_writes_is_read(tmp_path, fingerprint, name):
    space = registry.create("space", name)
    architectures, labels = exported(space, tmp_path / "set", fingerprint)
    for path in (tmp_path / "set", tmp_path / "set" / "data.parquet"):
        table = read_table(path, space, "latency_ms")
        assert table.architectures == (*architectures[:4], *architectures[5:])
        assert table.y_ms.tolist() == [*labels[:4], *labels[5:]]
        assert any("(1 noisy, 1 failed); --where verdict=ok" in remark for remark in table.remarks)
        assert "1 row without a value in latency_ms: row 4" in table.remarks
    assert len(read_table(path, space, "latency_ms", where=["verdict=ok"]).y_ms) == 28


def test_what_export_writes_of_another_space_is_refused(tmp_path, space, fingerprint):
    exported(space, tmp_path / "set", fingerprint)
    with pytest.raises(MismatchError, match=r"holds networks of nasbench201:cells=1.*, not of nasbench201:cells=5"):
        read_table(tmp_path / "set", registry.create("space", "nasbench201"), "latency_ms")
