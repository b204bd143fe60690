"""Shards of tar files: pairs by their keys, read where they lie."""

import gzip
import io
import tarfile

import pytest

from tempograd.errors import InputRefusedError
from tempograd.tasks import pictures
from tempograd.tasks.load import load_task
from tempograd.testing.tasks import TaskContract

from .test_parquet import png


def write(path, first=0, n=30, *, more=()):
    members = [
        pair
        for i in range(first, first + n)
        for pair in ((f"a/{i:04}.png", png(i)), (f"a/{i:04}.cls", str(i % 3).encode()))
    ]
    with tarfile.open(path, "w") as tar:
        for name, content in [*members, *more]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


class TestShards(TaskContract):
    @pytest.fixture
    def load(self, tmp_path):
        write(tmp_path / "train-000.tar")
        write(tmp_path / "train-001.tar", 30)
        return lambda seed=0: load_task(f"webdataset:{tmp_path}/train-{{000..001}}.tar", seed=seed)


class TestStreamedShards(TestShards):
    """The same contract where decoded images do not fit into memory."""

    @pytest.fixture(autouse=True)
    def _no_memory(self, monkeypatch):
        monkeypatch.setattr(pictures, "MEMORY_BYTES", 0)


def test_a_test_pattern_and_names_of_classes(tmp_path):
    write(tmp_path / "train-0.tar", more=[("a/9999.png", png()), ("a/9998.jpg.txt", b"x"), ("a/.hidden.png", b"x")])
    write(tmp_path / "test-0.tar", 100, 12)
    (tmp_path / "classnames.txt").write_text("cat\ndog\nemu\n")
    task = load_task(f"webdataset:{tmp_path}/train-*.tar,test={tmp_path}/test-*.tar")
    assert task.class_names == ("cat", "dog", "emu")
    assert [len(task.weights) + len(task.law), len(task.test)] == [30, 12]
    told = "; ".join(task.remarks)
    assert "1 example without an image or a label" in told
    assert "1 member of other kinds (.jpg.txt)" in told
    assert "hidden" in told


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match=r"no file is named .*\.tar"):
        load_task(f"webdataset:{tmp_path}/a.tar")
    (tmp_path / "a.tar").write_bytes(b"no tar, not at all" * 100)
    with pytest.raises(InputRefusedError, match=r"a\.tar is not a readable tar file"):
        load_task(f"webdataset:{tmp_path}/a.tar")
    write(tmp_path / "b.tar")
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress((tmp_path / "b.tar").read_bytes()))
    with pytest.raises(InputRefusedError, match="unpack it first"):
        load_task(f"webdataset:{tmp_path}/b.tar.gz")
    write(tmp_path / "c.tar", more=[("a/1.cls", b"cat")])
    with pytest.raises(InputRefusedError, match=r"b'cat' is no label"):
        load_task(f"webdataset:{tmp_path}/c.tar")


def test_shards_that_were_counted_and_are_missing_are_named(tmp_path):
    write(tmp_path / "s-0.tar")
    write(tmp_path / "s-2.tar", 30)
    with pytest.raises(InputRefusedError, match=r"1 of the 3 shards of .* are missing: .*s-1\.tar; count those"):
        load_task(f"webdataset:{tmp_path}/s-{{0..2}}.tar")
    with pytest.raises(InputRefusedError, match=r"no file is named \.;"):
        load_task("webdataset:.")


def test_names_of_classes_of_another_number_or_encoding_are_told(tmp_path):
    write(tmp_path / "a.tar")
    names = tmp_path / "classnames.txt"
    names.write_text("\ufeffcat\r\ndög\r\nemu\r\n\r\n", encoding="utf-8", newline="")
    assert load_task(f"webdataset:{tmp_path}/a.tar").class_names == ("cat", "dög", "emu")
    names.write_text("cat\ndog\n")
    task = load_task(f"webdataset:{tmp_path}/a.tar")
    assert task.class_names == ("0", "1", "2")
    assert task.remarks == (f"skipped 1 file of class names, as it has 2 for 3 classes: {names}",)
    names.write_text("cat\ndog\nemu\n", encoding="utf-16")
    with pytest.raises(InputRefusedError, match=r"classnames\.txt is not UTF-8 \(byte 0\)"):
        load_task(f"webdataset:{tmp_path}/a.tar")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([("a/0003.png", png())], r"a/0003\.png is a second image of its key; keep one, or rename the other"),
        ([("a/0003.jpg", png())], r"a/0003\.jpg is a second image of its key"),
        ([("a/0003.cls", b"2")], r"a/0003\.cls: label 2 of a key that has the label 0 too; keep one"),
        ([("a/0004.json", b'{"label": 0}')], r"a/0004\.json: label 0 of a key that has the label 1 too"),
    ],
)
def test_a_key_with_two_images_or_two_labels_is_refused(tmp_path, more, told):
    write(tmp_path / "a.tar", more=more)
    with pytest.raises(InputRefusedError, match=told):
        load_task(f"webdataset:{tmp_path}/a.tar")


def test_labels_that_agree_and_keys_of_other_folders_and_shards_are_no_second_ones(tmp_path):
    write(tmp_path / "s-0.tar", more=[("a/0004.json", b'{"label": 1}'), ("b/0004.png", png(99)), ("b/0004.cls", b"2")])
    write(tmp_path / "s-1.tar", more=[("a/0099.png", png()), ("a/0098.cls", b"1"), ("a/0097.json", b'{"label": true}')])
    task = load_task(f"webdataset:{tmp_path}/s-*.tar")
    assert len(task.weights) + len(task.law) + len(task.test) == 61
    assert task.remarks == (
        f"skipped 2 examples without an image or a label: {tmp_path}/s-1.tar, a/0098, {tmp_path}/s-1.tar, a/0099",
    )


@pytest.mark.parametrize("cut", ["data", "header", "members", "damaged"])
def test_a_shard_that_is_cut_anywhere_is_refused(tmp_path, cut):
    path = tmp_path / "a.tar"
    write(path)
    with tarfile.open(path) as tar:
        member = tar.getmembers()[20]
    content = bytearray(path.read_bytes())
    header = member.offset
    if cut == "damaged":
        content[header : header + 512] = b"x" * 512
    else:
        del content[{"data": member.offset_data + 3, "header": header + 100, "members": header}[cut] :]
    path.write_bytes(content)
    with pytest.raises(InputRefusedError, match=r"a\.tar (is not a readable tar file|does not end as a tar file does)"):
        load_task(f"webdataset:{path}")


def test_a_shard_is_not_in_two_parts_nor_twice_in_one(tmp_path):
    for number in (12, 21):
        write(tmp_path / f"s-{number}.tar", 100 * number)
    task = load_task(f"webdataset:{tmp_path}/s-*{{1..2}}*.tar")  # both are matched twice
    assert len(task.weights) + len(task.law) + len(task.test) == 60
    with pytest.raises(InputRefusedError, match=r"s-21\.tar of the part test is .*s-21\.tar of the part train"):
        load_task(f"webdataset:{tmp_path}/s-*.tar,test={tmp_path}/s-21.tar")
    (tmp_path / "s-3.tar").symlink_to(tmp_path / "s-12.tar")
    with pytest.raises(InputRefusedError, match=r"s-3\.tar of the part train is .*s-12\.tar of the part train, by a"):
        load_task(f"webdataset:{tmp_path}/s-*.tar")
