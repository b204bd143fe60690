import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempograd import registry
from tempograd.data.table import read_accuracies, read_table
from tempograd.errors import InputRefusedError, UnknownNameError


@pytest.fixture
def write(tmp_path):
    def write(columns, name="t.parquet"):
        table = pa.table(columns)
        if name.endswith(".csv"):
            pa.csv.write_csv(table, tmp_path / name)
        else:
            pq.write_table(table, tmp_path / name)
        return tmp_path / name

    return write


def edges(*rows):
    return {f"e{i}": list(column) for i, column in enumerate(zip(*rows, strict=True))}


ROWS = ((0, 1, 2, 3, 4, 0), (4, 4, 4, 4, 4, 4), (3, 3, 3, 3, 3, 3))
MANY = tuple((n % 5, n // 5, 3, 0, 0, 1) for n in range(25))


@pytest.fixture
def short(monkeypatch):
    """Let tables be shorter than is useful."""
    monkeypatch.setattr("tempograd.data.table.LEAST", 1)


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


def test_rows_of_one_network_become_one_and_contradictions_are_named(write, space):
    labels = [float(n + 1) for n in range(25)]
    path = write(edges(*MANY, MANY[3], MANY[4]) | {"y": [*labels, 4.04, 50.0]})
    table = read_table(path, space, "y")
    assert len(table.y_ms) == 25
    assert table.y_ms[3:5].tolist() == pytest.approx([4.02, 27.5])
    assert table.conflicting == (space.architecture(MANY[4]).key,)


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "seconds"), (1.0, ""), (1e3, "microseconds")])
def test_another_unit_is_told(write, space, factor, unit):
    macs = [space.raw_graph(space.architecture(row)).macs() for row in MANY]
    labels = [factor * (m / 1e10 * 1e3 + 1e-3 * n) for n, m in enumerate(macs)]  # 10 G multiply-accumulates a second
    remark = read_table(write(edges(*MANY) | {"y": labels}), space, "y").remark
    assert (f"look like {unit}" in remark) if unit else remark == ""


@pytest.mark.parametrize("column", ["pi_energy_mj", "peak_bytes", "peak_MB", "board_j"])
def test_nothing_is_said_of_a_unit_that_is_no_time(write, space, column):
    macs = [space.raw_graph(space.architecture(row)).macs() for row in MANY]
    labels = [m / 1e10 * 1e6 + n for n, m in enumerate(macs)]  # 10 G multiply-accumulates a second, in microseconds
    path = write(edges(*MANY) | {column: labels, "ms": labels})
    assert read_table(path, space, column).remark == ""
    assert "look like" in read_table(path, space, "ms").remark


def test_foreign_architectures_are_refused(write, space):
    with pytest.raises(InputRefusedError, match="e0=5: no option at site 'e0'"):
        read_table(write(edges((5, 0, 0, 0, 0, 0)) | {"y": [1.0]}), space, "y")
    with pytest.raises(InputRefusedError, match="is not of nasbench201"):
        read_table(write({"arch_str": ["|what~0|"], "y": [1.0]}), space, "y")
    with pytest.raises(InputRefusedError, match="is not of nasbench201"):
        read_table(write(edges((None, 0, 0, 0, 0, 0)) | {"y": [1.0]}), space, "y")


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
        assert read_accuracies(path, space, column) == pytest.approx(expected)
    for column, words in (("wrong", "row 0 has -1"), ("empty", "every row is empty")):
        with pytest.raises(InputRefusedError, match=words):
            read_accuracies(path, space, column)
    with pytest.raises(UnknownNameError, match="percent"):
        read_accuracies(path, space, "percents")
