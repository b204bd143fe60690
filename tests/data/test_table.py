import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from tempograd import registry
from tempograd.data.table import read_accuracies, read_table
from tempograd.errors import InputRefusedError, UnknownNameError, UsageError

from .conftest import MANY, NETWORKS, ROWS, edges


def test_an_unknown_column_shows_the_columns(write, space):
    path = write(edges(*ROWS) | {"pi_ms": [1.0] * 3})
    with pytest.raises(UnknownNameError, match=r"allowed: e0, .*pi_ms.*Did you mean 'pi_ms'"):
        read_table(path, space, "pi_m")
    with pytest.raises(UnknownNameError, match=r"unknown column of t\.parquet 'e0'"):
        read_table(write({"pi_ms": [1.0]}), space, "pi_ms")


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
def test_a_latency_that_is_none_is_rejected_by_name(write, space, value):
    labels = [float(n + 1) for n in range(25)]
    labels[7] = value
    table = read_table(write(edges(*MANY) | {"pi_ms": labels}), space, "pi_ms")
    assert table.rejected == (f"row 7: {value}",)
    assert len(table.y_ms) == 24
    assert table.not_measured == 0


def test_too_few_rows_are_refused_with_the_smallest_useful_number(write, space):
    with pytest.raises(InputRefusedError, match=r"3 networks.*smallest useful number is 20"):
        read_table(write(edges(*ROWS) | {"y": [1.0, 2.0, 3.0]}), space, "y")


def test_constant_latencies_are_refused(write, space):
    with pytest.raises(InputRefusedError, match=r"all 25 networks have y=2"):
        read_table(write(edges(*MANY) | {"y": [2.0] * 25}), space, "y")


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "seconds"), (1.0, ""), (1e3, "microseconds")])
def test_another_unit_is_told(write, space, factor, unit):
    macs = [space.raw_graph(space.architecture(row)).macs() for row in MANY]
    labels = [factor * (m / 1e10 * 1e3 + 1e-3 * n) for n, m in enumerate(macs)]  # 10 G multiply-accumulates a second
    path = write(edges(*MANY) | {"y": labels})
    if unit == "seconds":
        with pytest.raises(InputRefusedError, match=r"'y' look like seconds\. Write y\[s\] if they are"):
            read_table(path, space, "y")
    else:
        remarks = read_table(path, space, "y").remarks  # overhead may rule the time of toys
        assert [f"look like {unit}" in remark for remark in remarks] == [True] * bool(unit)


@pytest.mark.parametrize("column", ["pi_energy_mj", "peak_bytes", "peak_MB", "board_j"])
def test_another_quantity_than_time_is_no_latency(write, space, column):
    macs = [space.raw_graph(space.architecture(row)).macs() for row in MANY]
    labels = [m / 1e10 * 1e6 + n for n, m in enumerate(macs)]  # 10 G multiply-accumulates a second, in microseconds
    path = write(edges(*MANY) | {column: labels})
    (remark,) = read_table(path, space, column, kinds=("time", "energy", "memory")).remarks
    assert "not latency" in remark
    with pytest.raises(
        InputRefusedError, match=rf"{column!r} holds (energy|memory), by its name.*write {column}\[ms\]"
    ):
        read_table(path, space, column)


def test_what_cannot_be_read_is_refused(tmp_path, write, space):
    (tmp_path / "t").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputRefusedError, match="must be Parquet, or CSV"):
        read_table(tmp_path / "t", space, "y")
    with pytest.raises(InputRefusedError, match="cannot read"):
        read_table(tmp_path / "absent.parquet", space, "y")
    with pytest.raises(InputRefusedError, match="holds no numbers"):
        read_table(write(edges(*ROWS) | {"y": ["a", "b", "c"]}), space, "y")


def test_accuracies_are_shares_whatever_the_scale(write):
    space = registry.create("space", "nasbench201")
    columns = edges(*MANY[:4], MANY[0])
    columns |= {"percent": [10.0, 50.0, None, 90.0, 30.0], "share": [0.1, 0.5, None, 0.9, 0.3], "wrong": [-1.0] * 5}
    path = write(columns | {"empty": pa.array([None] * 5, pa.float64())})
    expected = {space.architecture(MANY[0]): 0.2, space.architecture(MANY[1]): 0.5, space.architecture(MANY[3]): 0.9}
    for column in ("percent", "share"):
        assert read_accuracies(path, space, column).shares == pytest.approx(expected)
    for column, words in (("wrong", "row 0 has -1"), ("empty", "every row is empty")):
        with pytest.raises(InputRefusedError, match=words):
            read_accuracies(path, space, column)
    with pytest.raises(UnknownNameError, match="percent"):
        read_accuracies(path, space, "percents")


@pytest.mark.parametrize(
    ("name", "factor"),
    [("lat_s", 1e3), ("latency_sec", 1e3), ("time (s)", 1e3), ("pi_latency_us", 1e-3), ("latencyUs", 1e-3),
     ("inference_ns", 1e-6), ("lat_us_mean", 1e-3), ("lat[us]", 1e-3), ("lat_ms", 1.0), ("us_east_cpu", 1.0)],
)  # fmt: skip
def test_the_unit_is_the_one_that_the_name_says(write, published, name, factor):
    space, columns, y_ms = published
    table = read_table(write(columns | {name.replace("[us]", ""): y_ms / factor}), space, name)
    assert table.y_ms == pytest.approx(y_ms)
    assert len(table.remarks) == (factor != 1.0)


@pytest.mark.fault(24)
@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "s"), (1e3, "us"), (1e6, "ns")])
@pytest.mark.parametrize("name", ["y", "y_ms", "help:board"])
def test_a_size_that_no_machine_has_is_refused_with_the_unit_that_it_looks_like(write, published, factor, unit, name):
    space, columns, y_ms = published
    labels = 40 * y_ms if unit == "us" else y_ms / 20 if unit == "s" else y_ms
    path = write(columns | {name: labels * factor})
    with pytest.raises(InputRefusedError, match=rf"'{name}' look like \w+seconds|look like seconds") as caught:
        read_table(path, space, name)
    assert f"{name}[{unit}]" in str(caught.value)
    assert read_table(path, space, f"{name}[{unit}]").y_ms == pytest.approx(labels)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fps", "throughput"), ("images_per_second", "throughput"), ("energy_mj", "energy"), ("power_w", "power"),
     ("peak_memory_kb", "memory"), ("params", "a count"), ("test_loss", "error"), ("top1", "accuracy")],
)  # fmt: skip
def test_another_quantity_by_name_is_refused_with_the_columns_of_latencies(write, published, name, kind):
    space, columns, y_ms = published
    path = write(columns | {name: y_ms, "pi_ms": y_ms})
    with pytest.raises(InputRefusedError, match=rf"{name!r} holds {kind}.*pi_ms, or write {name}\[ms\]"):
        read_table(path, space, name)
    assert read_table(path, space, f"{name}[ms]").y_ms == pytest.approx(y_ms)


def test_numbers_that_fall_with_the_size_of_networks_are_refused(write, published):
    space, columns, y_ms = published
    path = write(columns | {"pi": 1e3 / y_ms, "lat_ms": 1e3 / y_ms})
    for name in ("pi", "lat_ms"):
        with pytest.raises(InputRefusedError, match=rf"{name!r} looks like a throughput.*{name}\[ms\]"):
            read_table(path, space, name)
    assert len(read_table(path, space, "pi[ms]").y_ms) == NETWORKS
    with pytest.raises(UsageError, match=r"pi\[h\]; allowed units of a latency: s, ms, us, ns"):
        read_table(path, space, "pi[h]")


@pytest.mark.fault(24)
@pytest.mark.parametrize("value", [9999.0, 1e9, -1.0, 0.0, float("inf"), 4711.0, 1e-7])
def test_failures_as_numbers_are_left_out_and_named(write, published, value):
    space, columns, y_ms = published
    labels = y_ms.copy()
    labels[[3, 17]] = value
    labels[5] = np.nan
    table = read_table(write(columns | {"lat_ms": labels}), space, "lat_ms")
    assert table.rejected == (f"row 3: {value}", f"row 17: {value}")
    assert len(table.y_ms) == NETWORKS - 3
    assert "2 rows of lat_ms left out as failed: row 3: " in table.remarks[0]
    assert table.remarks[1] == "1 row without a value in lat_ms: row 5"


@pytest.mark.fault(24)
@pytest.mark.parametrize("column", ["lat_ms", "pi[us]", "pi"])
@pytest.mark.parametrize("power", [3, -3, 6])
def test_two_units_in_one_column_are_refused_whatever_unit_is_said(write, published, column, power):
    space, columns, y_ms = published
    labels = 1e3 * y_ms if "us" in column else y_ms.copy()
    labels[4::9] *= 10.0**power
    path = write(columns | {column.partition("[")[0]: labels})
    with pytest.raises(
        InputRefusedError, match=rf"look like the others times 1e{power} \(row \d+: .*two units stand in"
    ):
        read_table(path, space, column)


def test_networks_that_fall_off_a_cliff_are_no_other_unit(write, published):
    """A group that is much slower, but not by a thousand, is a fact about these networks."""
    space, columns, y_ms = published
    labels = y_ms.copy()
    labels[4::9] *= 20.0
    assert len(read_table(write(columns | {"lat_ms": labels}), space, "lat_ms").y_ms) == NETWORKS


def test_one_slow_network_is_no_failure(write, published):
    space, columns, y_ms = published
    labels = y_ms.copy()
    labels[3] *= 12  # a real one: once, no number that people write for none, and a machine could be so slow
    assert read_table(write(columns | {"lat_ms": labels}), space, "lat_ms").rejected == ()


def test_words_and_empty_cells_of_a_text_are_counted_and_named(tmp_path, published):
    space, columns, y_ms = published
    cells = [str(ms) for ms in y_ms]
    cells[2], cells[4], cells[6], cells[8] = "failed", "n/a", "", "timeout 60s"
    rows = zip(columns["arch_str"], cells, strict=True)
    (tmp_path / "t.csv").write_text("arch_str,lat_ms\n" + "".join(f"{a},{ms}\n" for a, ms in rows))
    table = read_table(tmp_path / "t.csv", space, "lat_ms")
    assert table.rejected == ("row 2: failed", "row 8: timeout 60s")
    assert table.not_measured == 2
    assert table.remarks == (
        "2 rows of lat_ms left out as failed: row 2: failed; row 8: timeout 60s",
        "2 rows without a value in lat_ms: rows 4, 6",
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({7: 1.0000001}, "row 7 has 1.0000001 in y, row 0 has .*shares rounded to more than 1"),
        ({7: 55.0}, "shares and percent"),
        ({n: 100 * (0.5 + n / 200) for n in range(50)}, "shares and percent"),
        ({n: 1.5 + n / 100 for n in range(60)}, "as losses are"),
        ({7: 101.0}, "row 7 has 101 in y; an accuracy is a share or percent"),
    ],
)
def test_accuracies_of_mixed_scales_are_refused(write, published, values, words):
    space, columns, _ = published
    shares = [values.get(n, 0.5 + n / 200) for n in range(NETWORKS)]
    with pytest.raises(InputRefusedError, match=words):
        read_accuracies(write(columns | {"y": shares}), space, "y")


def test_the_scale_of_accuracies_may_be_said(write, published):
    space, columns, _ = published
    path = write(columns | {"acc": [1.0000001, *np.linspace(0.1, 0.9, NETWORKS - 1)]})
    assert max(read_accuracies(path, space, "acc[share]").shares.values()) == 1.0
    assert max(read_accuracies(path, space, "acc[%]").shares.values()) == pytest.approx(0.010000001)
    with pytest.raises(UsageError, match=r"acc\[points\]; allowed: acc\[share\]"):
        read_accuracies(path, space, "acc[points]")


def test_chance_of_a_hundred_classes_is_percent(write, published):
    space, columns, _ = published
    path = write(columns | {"acc": [1.0, 0.83, *np.linspace(20, 73, NETWORKS - 2)]})
    assert min(read_accuracies(path, space, "acc").shares.values()) == pytest.approx(0.0083)


@pytest.mark.parametrize("name", ["test_loss", "top1_err", "y", "latency_ms"])
def test_losses_and_errors_are_no_accuracies(write, published, name):
    space, columns, y_ms = published
    with pytest.raises(InputRefusedError, match=rf"{name!r} (holds|looks like a loss)"):
        read_accuracies(write(columns | {name: 1 / (1 + y_ms)}), space, name)


def test_a_failed_training_is_left_out_and_named(write, published):
    space, columns, _ = published
    path = write(columns | {"acc": [-1.0, 0.0, None, *np.linspace(20, 73, NETWORKS - 3)]})
    read = read_accuracies(path, space, "acc")
    assert len(read.shares) == NETWORKS - 3
    assert read.remarks == (
        "2 rows of acc left out as failed: row 0: -1.0; row 1: 0.0", "1 row without a value in acc: row 2",
    )  # fmt: skip
