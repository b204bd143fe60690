"""Annotations of COCO's format: people cut out, their points where they are in the square."""

import json

import numpy as np
import pytest

from tempograd.errors import InputRefusedError
from tempograd.tasks.load import load_task
from tempograd.testing.tasks import TaskContract

Image = pytest.importorskip("PIL.Image")


def write(folder, n=40):
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(n):
        pixels = rng.integers(0, 60, (60, 80, 3), dtype=np.uint8)
        points = [[30 + i % 7, 20], [50, 40 - i % 5], [0, 0]]
        for x, y in points[:2]:
            pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 80, "height": 60})
        values = [*points[0], 2, *points[1], 1, 0, 0, 0]
        annotations.append({"id": i, "image_id": i, "bbox": [24, 10, 32, 40], "keypoints": values, "num_keypoints": 2})
    annotations.append({"id": 99, "image_id": 0, "bbox": [1, 1, 5, 5], "keypoints": [0] * 9, "num_keypoints": 0})
    told = {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": ["a", "b", "c"]}]}
    (folder / "person.json").write_text(json.dumps(told))
    return told


class TestKeypoints(TaskContract):
    @pytest.fixture
    def load(self, tmp_path):
        write(tmp_path)
        return lambda seed=0: load_task(f"keypoints:{tmp_path}/person.json,size=32", seed=seed)


def test_points_lie_where_they_are_in_the_square_and_unlabelled_ones_have_no_map(tmp_path):
    write(tmp_path)
    task = load_task(f"keypoints:{tmp_path}/person.json,size=48")
    assert task.class_names == ("a", "b", "c")
    assert len(task.weights) + len(task.law) + len(task.test) == 40
    maps = task.weights.targets
    assert maps.shape[1:] == (3, 12, 12)
    assert int(maps[:, 2].max()) == 0
    for image, heat in zip(task.weights.images[:5], maps[:5, 0], strict=True):
        row, column = divmod(int(heat.argmax()), 12)
        patch = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert int(patch.amax()) > 200  # the white spot


def test_what_is_no_annotation_is_refused(tmp_path):
    told = write(tmp_path)
    path = tmp_path / "person.json"
    path.write_text(json.dumps(told | {"categories": [{"id": 1}]}))
    with pytest.raises(InputRefusedError, match="no category with keypoints"):
        load_task(f"keypoints:{path}")
    path.write_text("{}")
    with pytest.raises(InputRefusedError, match="lacks images, annotations, categories"):
        load_task(f"keypoints:{path}")
    path.write_text("[")
    with pytest.raises(InputRefusedError, match="is not JSON"):
        load_task(f"keypoints:{path}")
    path.write_text(json.dumps(told))
    with pytest.raises(InputRefusedError, match="images=FOLDER"):
        load_task(f"keypoints:{path},images={tmp_path / 'nowhere'}")


def test_people_left_out_are_counted_with_the_reason(tmp_path):
    told = write(tmp_path)
    path = tmp_path / "person.json"
    assert load_task(f"keypoints:{path},size=32").remarks == ("skipped 1 annotation without a labelled point: id 99",)
    people = told["annotations"]
    people[0]["iscrowd"], people[1]["bbox"], people[2]["keypoints"] = 1, [1, 1, 0, 5], [1, 2, 2]
    people[3]["keypoints"][:2] = [-500, 20]
    path.write_text(json.dumps(told))
    task = load_task(f"keypoints:{path},size=32")
    assert sum(len(part) for part in (task.weights, task.law, task.test)) == 37
    assert task.remarks == (
        "skipped 1 annotation of a crowd: id 0",
        "skipped 1 annotation without a bbox of x, y, width and height above 0: id 1",
        "skipped 1 annotation whose keypoints are not 9 numbers: id 2",
        "skipped 1 annotation without a labelled point: id 99",
        "1 of 74 labelled points lie outside of their squares, and do not count",
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"annotations": ["one"]}, r"got `str` - at `\$\.annotations\[0\]`"),
        ({"annotations": []}, "has no person to learn from; it has none"),
        ({"images": [{"id": 0, "file_name": 3}]}, r"\$\.images\[0\]\.file_name"),
        ({"categories": [3]}, r"\$\.categories\[0\]"),
    ],
)
def test_a_file_of_other_types_is_refused_with_the_place(tmp_path, change, told):
    path = tmp_path / "person.json"
    path.write_text(json.dumps(write(tmp_path) | change))
    with pytest.raises(InputRefusedError, match=told):
        load_task(f"keypoints:{path}")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("keypoints", [float("nan"), 1, 2] * 3, "annotation 0 are no finite numbers"),
        ("bbox", ["a", 1, 2, 3], r"\$\.annotations\[0\]\.bbox\[0\]"),
        ("image_id", 77, "is of image 77, which is not there"),
    ],
)
def test_a_person_that_cannot_be_placed_is_refused(tmp_path, key, value, told):
    path, read = tmp_path / "person.json", write(tmp_path)
    read["annotations"][0][key] = value
    path.write_text(json.dumps(read))
    with pytest.raises(InputRefusedError, match=told):
        load_task(f"keypoints:{path}")


def test_images_of_another_size_than_was_annotated_are_refused(tmp_path):
    path, read = tmp_path / "person.json", write(tmp_path)
    read["images"][0]["width"] = 800
    path.write_text(json.dumps(read))
    with pytest.raises(InputRefusedError, match=r"0\.png is 80 by 60, its annotations are for 800 by 60"):
        load_task(f"keypoints:{path}")


def test_points_that_all_lie_elsewhere_are_refused_as_is_json_without_end(tmp_path):
    path, read = tmp_path / "person.json", write(tmp_path)
    for one in read["annotations"]:
        one["bbox"] = [500, 500, 20, 20]
    path.write_text(json.dumps(read))
    with pytest.raises(InputRefusedError, match="all 80 labelled points lie outside"):
        load_task(f"keypoints:{path}")
    path.write_text("[" * 100_000)
    with pytest.raises(InputRefusedError, match="is not JSON"):
        load_task(f"keypoints:{path}")


def test_two_images_of_one_id_are_refused_and_people_of_one_file_stay_in_one_part(tmp_path):
    path, read = tmp_path / "person.json", write(tmp_path)
    before = load_task(f"keypoints:{path},size=32")
    for image in read["images"]:
        image["file_name"] = f"{image['id'] // 2}.png"
    path.write_text(json.dumps(read))
    task = load_task(f"keypoints:{path},size=32")
    assert [len(part) for part in (before.weights, before.law, before.test)] == [20, 12, 8]
    files = [{image.numpy().tobytes() for image in part.images} for part in (task.weights, task.law, task.test)]
    assert sum(map(len, files)) == len(set.union(*files)) == 20
    assert [len(part) for part in (task.weights, task.law, task.test)] == [20, 12, 8]
    read["images"][3]["id"] = 2
    path.write_text(json.dumps(read))
    with pytest.raises(InputRefusedError, match=r"the images 1\.png and 1\.png both have the id 2; give each its own"):
        load_task(f"keypoints:{path}")
