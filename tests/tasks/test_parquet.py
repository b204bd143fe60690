"""Parquet files of the hub: splits by their names alone, labels with names, what is malformed is named."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempograd.errors import InputRefusedError
from tempograd.tasks import pictures
from tempograd.tasks.load import load_task
from tempograd.testing.tasks import TaskContract

Image = pytest.importorskip("PIL.Image")


def png(seed=0, size=16):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, n=40, *, classes=4, seed=0, columns=("image", "label"), names=None, labels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": png(1000 * seed + i), "path": None} for i in range(n)]
    table = pa.table({columns[0]: rows, columns[1]: labels or [i % classes for i in range(n)]})
    if names:
        told = {"info": {"features": {columns[1]: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    pq.write_table(table, path)


class TestParquet(TaskContract):
    @pytest.fixture
    def load(self, tmp_path):
        write(tmp_path / "train-00000-of-00001.parquet", 60)
        return lambda seed=0: load_task(f"parquet:{tmp_path}", seed=seed)


class TestHeldCompressed(TestParquet):
    """The same contract where decoded images do not fit into memory."""

    @pytest.fixture(autouse=True)
    def _no_memory(self, monkeypatch):
        monkeypatch.setattr(pictures, "MEMORY_BYTES", 0)


def test_only_files_of_the_very_part_are_read_and_the_others_are_named(tmp_path):
    write(tmp_path / "data" / "train-00000-of-00002.parquet", seed=1)
    write(tmp_path / "data" / "train-00001-of-00002.parquet", seed=2)
    write(tmp_path / "data" / "test-0.parquet", seed=3)
    write(tmp_path / "data" / "test_ood-0.parquet", seed=4)
    write(tmp_path / "data" / "train_noisy-0.parquet", seed=5)
    task = load_task(f"parquet:{tmp_path}")
    assert [len(task.weights) + len(task.law), len(task.test)] == [80, 40]
    (told,) = task.remarks
    assert told.startswith("skipped 2 Parquet files")
    assert "test_ood-0.parquet" in told
    assert "train_noisy-0.parquet" in told


def test_folders_may_name_the_part_and_names_of_classes_are_kept(tmp_path):
    names = ["cat", "dog", "emu", "fox"]
    write(tmp_path / "default" / "train" / "0000.parquet", names=names)
    write(tmp_path / "default" / "validation" / "0000.parquet", names=names, seed=1)
    task = load_task(f"parquet:{tmp_path}")
    assert task.class_names == tuple(names)
    assert len(task.test) == 40


def test_labels_may_be_texts_and_columns_may_have_other_names(tmp_path):
    labels = ["vier", "eins", "zwei", "drei"] * 10
    write(tmp_path / "train.parquet", columns=("photo", "kind"), labels=labels)
    write(tmp_path / "test.parquet", columns=("photo", "kind"), labels=labels, seed=1)
    task = load_task(f"parquet:{tmp_path},image=photo,label=kind")
    assert task.class_names == ("drei", "eins", "vier", "zwei")
    assert task.test.labels[:4].tolist() == [2, 1, 3, 0]
    with pytest.raises(InputRefusedError, match=r"columns photo, kind; expected image or img.*image=COLUMN"):
        load_task(f"parquet:{tmp_path}")


def test_a_test_part_without_labels_is_not_used(tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", labels=[-1] * 40, seed=1)
    task = load_task(f"parquet:{tmp_path}")
    assert task.remarks == ("test has no labels, and is not used",)
    assert sum(map(len, (task.weights, task.law, task.test))) == 40


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0] * 39 + [-1], r"row 39: label -1; expected 0 and above"),
        ([0, 1, 2, 11] * 10, r"test has the label 11, train has 4 classes, 0 to 3"),
        ([0.5] * 40, r"row 0: expected a whole number or a text as label, found float"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, labels, match):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", labels=labels, seed=1)
    with pytest.raises(InputRefusedError, match=match):
        load_task(f"parquet:{tmp_path}")


def test_what_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match=r"no Parquet files of a part train \(found: none\)"):
        load_task(f"parquet:{tmp_path}")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputRefusedError, match="not a readable Parquet file"):
        load_task(f"parquet:{tmp_path}")
    pq.write_table(
        pa.table({"image": pa.array([{"bytes": None, "path": "a.png"}]), "label": [0]}), tmp_path / "train.parquet"
    )
    with pytest.raises(InputRefusedError, match="row 0: expected the bytes of an image"):
        load_task(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0] * 40, r"labels up to 0; expected two classes or more"),
        ([0, 10**9] * 20, r"labels up to 1000000000; expected .* up to 99,999"),
        (["only"] * 40, r"has the class only only; expected two or more"),
        ([None, *[0, 1] * 19, 1], r"row 0: no label; expected 0 and above"),
    ],
)
def test_labels_to_train_on_that_number_no_classes_are_refused(tmp_path, labels, match):
    write(tmp_path / "train.parquet", labels=labels)
    with pytest.raises(InputRefusedError, match=match):
        load_task(f"parquet:{tmp_path}")


def test_numbers_that_no_image_has_are_told(tmp_path):
    write(tmp_path / "train.parquet", labels=[0, 5] * 20)
    assert load_task(f"parquet:{tmp_path}").remarks == ("train has no images of 1, 2, 3, 4",)


def test_a_file_linked_into_two_parts_is_refused(tmp_path):
    write(tmp_path / "train-0.parquet", 60)
    (tmp_path / "validation-0.parquet").symlink_to(tmp_path / "train-0.parquet")
    with pytest.raises(InputRefusedError, match=r"validation-0\.parquet of the part val is .*train-0\.parquet of"):
        load_task(f"parquet:{tmp_path}")
