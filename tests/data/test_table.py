import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempograd.data.table import read_table
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


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_option_indices_in_the_spaces_order(write, space, name):
    path = write(edges(*ROWS) | {"pi_ms": [1.5, None, 2], "other": ["a", "b", "c"]}, name)
    table = read_table(path, space, "pi_ms")
    assert [a.choices for a in table.architectures] == [ROWS[0], ROWS[2]]
    assert table.y_ms.tolist() == [1.5, 2.0]
    assert table.not_measured == 1
    assert table.architectures[0].space == space.spec


def test_architectures_as_text(write, space):
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
def test_a_latency_that_is_none_is_refused(write, space, value):
    with pytest.raises(InputRefusedError, match="row 1: pi_ms"):
        read_table(write(edges(*ROWS) | {"pi_ms": [1.0, value, 1.0]}), space, "pi_ms")


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
