"""Tables as other tools write them: what is found out is said, and what can be read in two ways is refused."""

import codecs
import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempograd import registry
from tempograd.data.table import columns_named, read_table
from tempograd.data.table_file import open_table
from tempograd.errors import InputRefusedError, UnknownNameError
from tempograd.verbs.evaluate import evaluate

SPACE = "nasbench201"
N = 40


@pytest.fixture(scope="module")
def rows():
    """Networks as text with latencies of 1 to 10 ms, four digits after the point."""
    space = registry.create("space", SPACE)
    architectures = space.sample(N, np.random.default_rng(0))
    return [(space.format(a), round(1 + space.raw_graph(a).macs() / 1e7, 4)) for a in architectures]


def text_of(rows, separator=",", point=".", header="arch_str,lat_ms"):
    lines = [header.replace(",", separator)]
    return "\n".join(lines + [f"{a}{separator}{f'{ms:.4f}'.replace('.', point)}" for a, ms in rows]) + "\n"


def read(path, column="lat_ms"):
    return read_table(path, registry.create("space", SPACE), column)


@pytest.mark.parametrize(
    ("separator", "point", "words"),
    [
        (",", ".", []),
        (";", ".", ["semicolons"]),
        ("\t", ".", ["tabs"]),
        (";", ",", ["semicolons", "commas read as decimal signs"]),
        ("\t", ",", ["tabs", "commas read as decimal signs"]),
    ],
)
def test_separator_and_decimal_sign_are_found_out_and_said(tmp_path, rows, separator, point, words):
    (tmp_path / "t.csv").write_text(text_of(rows, separator, point))
    table = read(tmp_path / "t.csv")
    assert table.y_ms.tolist() == [ms for _, ms in rows]
    assert len(table.remarks) == len(words)
    assert all(word in remark for word, remark in zip(words, table.remarks, strict=True))


@pytest.mark.parametrize(
    ("encode", "word"),
    [
        (lambda text: codecs.BOM_UTF8 + text.encode(), ""),
        (lambda text: text.encode("utf-16"), "UTF-16"),
        (lambda text: text.encode("utf-16-le"), "UTF-16"),
        (lambda text: text.encode("utf-16-be"), "UTF-16"),
        (lambda text: text.replace("arch_str", "arch_str,ger\xe4t").replace("|,", "|,\xe4,").encode("cp1252"), "1252"),
        (lambda text: gzip.compress(text.encode()), "gzip"),
        (lambda text: ("\n" + text.replace("\n", "\r\n")).encode(), ""),
    ],
)
def test_encodings_and_compression(tmp_path, rows, encode, word):
    (tmp_path / "t.csv").write_bytes(encode(text_of(rows)))
    table = read(tmp_path / "t.csv")
    assert table.y_ms.tolist() == [ms for _, ms in rows]
    assert [word in remark for remark in table.remarks] == [True] * bool(word)


@pytest.mark.parametrize("content", [b"\xfe\xff\xdc\x00\x00,", bytes(range(256)) * 10, b"\xff\xfea"])
def test_what_is_no_text_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputRefusedError, match=r"t\.csv is no text; name a table as Parquet, CSV or TSV"):
        open_table(tmp_path / "t.csv")


def test_three_digits_after_a_comma_are_a_decimal_sign_between_semicolons_only(tmp_path, rows):
    short = [(a, round(ms, 3)) for a, ms in rows]
    cells = [(a, f"{ms:.3f}".replace(".", ",")) for a, ms in short]
    (tmp_path / "t.csv").write_text("arch_str;lat_ms\n" + "".join(f"{a};{ms}\n" for a, ms in cells))
    assert read(tmp_path / "t.csv").y_ms == pytest.approx([ms for _, ms in short])
    (tmp_path / "t.csv").write_text("arch_str,lat_ms\n" + "".join(f'{a},"{ms}"\n' for a, ms in cells))
    with pytest.raises(InputRefusedError, match=r"can be read as \d+\.\d{3} or as \d{4,}; write it with a point"):
        read(tmp_path / "t.csv")


def test_commas_between_thousands(tmp_path, rows):
    (tmp_path / "t.csv").write_text("arch_str;lat_us\n" + "".join(f"{a};{1e3 * ms:,.1f}\n" for a, ms in rows))
    table = read(tmp_path / "t.csv", "lat_us")
    assert table.y_ms == pytest.approx([ms for _, ms in rows])
    assert "between thousands" in table.remarks[1]


def test_decimal_commas_beside_decimal_points_are_refused(tmp_path, rows):
    cells = [f"{ms:.4f}".replace(".", "," if i % 2 else ".") for i, (_, ms) in enumerate(rows)]
    lines = "".join(f"{a};{cell}\n" for (a, _), cell in zip(rows, cells, strict=True))
    (tmp_path / "t.csv").write_text("arch_str;lat_ms\n" + lines)
    with pytest.raises(InputRefusedError, match=r"with commas \(.*\) and with points"):
        read(tmp_path / "t.csv")


def test_a_text_that_two_separators_fit_is_refused_with_both(tmp_path):
    (tmp_path / "t.csv").write_text("a;b,c\n" + "1;2,3\n" * 30)
    with pytest.raises(InputRefusedError, match="2 columns separated by commas or 2 columns separated by semicolons"):
        open_table(tmp_path / "t.csv")


def test_cells_that_hold_the_separator_stand_in_quotes(tmp_path):
    space = registry.create("space", "mbconv:family=ofa,layers=2,stages=2")
    found = space.sample(N, np.random.default_rng(0))
    lines = "".join(f'"{space.format(a)}";{1 + i / 10}\n' for i, a in enumerate(found))
    (tmp_path / "t.csv").write_text("arch_str;lat_ms\n" + lines)
    assert read_table(tmp_path / "t.csv", space, "lat_ms[ms]").architectures == tuple(found)
    (tmp_path / "t.csv").write_text("arch_str;lat_ms\n" + lines.replace('"', ""))
    with pytest.raises(InputRefusedError, match="cannot read"):
        read_table(tmp_path / "t.csv", space, "lat_ms[ms]")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_kind_of_text_in_parquet(tmp_path, rows, kind):
    texts = pa.array([a for a, _ in rows]).cast(kind)
    numbers = pa.array([str(ms) for _, ms in rows]).cast(kind)
    pq.write_table(pa.table({"arch_str": texts, "lat_ms": numbers}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").y_ms.tolist() == [ms for _, ms in rows]


@pytest.mark.slow
def test_a_column_that_is_there_twice(tmp_path, rows):
    texts, y_ms = pa.array([a for a, _ in rows]), pa.array([ms for _, ms in rows])
    for other in (y_ms, pa.array([2 * ms for _, ms in rows])):
        pq.write_table(
            pa.Table.from_arrays([texts, y_ms, other], ["arch_str", "lat_ms", "lat_ms"]), tmp_path / "t.parquet"
        )
        if other is y_ms:
            assert read(tmp_path / "t.parquet").remarks == (
                "2 columns are called 'lat_ms', with the same values: read once",
            )
        else:
            with pytest.raises(InputRefusedError, match="2 columns are called 'lat_ms' and differ"):
                read(tmp_path / "t.parquet")


def test_an_index_and_spaces_around_names_do_not_matter(tmp_path, rows):
    lines = "".join(f"{i}, {a}, {ms}\n" for i, (a, ms) in enumerate(rows))
    for index in ("", "Unnamed: 0"):
        (tmp_path / "t.csv").write_text(f"{index}, arch_str, lat_ms\n" + lines)
        assert read(tmp_path / "t.csv").y_ms.tolist() == [ms for _, ms in rows]


def test_a_name_may_hold_a_comma(tmp_path, rows):
    texts, y_ms = [a for a, _ in rows], [ms for _, ms in rows]
    table = pa.table({"arch_str": texts, "pi4, 1 thread": y_ms, "a": y_ms, "b": y_ms})
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    assert columns_named(path, ["pi4, 1 thread", "a,b"]) == ["pi4, 1 thread", "a", "b"]
    done = evaluate(path, space=SPACE, columns=["pi4, 1 thread"], train=22, valid=2, seeds=1)
    assert done.document["column"] == "pi4, 1 thread"
    with pytest.raises(UnknownNameError, match="'pi5'"):
        evaluate(path, space=SPACE, columns=["pi5, 1 thread"], train=22, valid=2, seeds=1)


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b but no gzip",
        gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9],
        b"a,b\n1,2\n1,2,3\n",
        b"PAR1 and nothing",
    ],
)
def test_damaged_files_are_refused(tmp_path, content):
    for name in ("t.csv", "t.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputRefusedError, match="must be Parquet, or CSV"):
            open_table(tmp_path / name)
