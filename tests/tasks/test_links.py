"""Links: whichever way one file gets several names, nothing is read twice in a class, and what parts share is told."""

import os

import pytest

from tempograd.errors import InputRefusedError
from tempograd.tasks.links import identity, once, refuse_twice, shared
from tempograd.tasks.load import load_task

from .test_imagefolder import write

KINDS = {"symbolic": lambda old, new: new.symlink_to(old), "hard": lambda old, new: new.hardlink_to(old)}


def sizes(task):
    return len(task.weights) + len(task.law) + len(task.test)


@pytest.fixture(params=KINDS)
def link(request):
    return KINDS[request.param]


def test_names_of_one_file_are_one_and_files_of_one_content_are_not(tmp_path, link):
    one, two, three = (tmp_path / name for name in "abc")
    one.write_bytes(b"x")
    two.write_bytes(b"x")
    link(one, three)
    assert identity(one) == identity(three) != identity(two)
    assert once([one, two, three]) == ([one, two], [three])
    assert identity(tmp_path / "none") is None
    assert once([tmp_path / "none", tmp_path / "none"])[1] == []


def test_what_parts_share_and_what_is_in_two_classes_is_told(tmp_path, link):
    (tmp_path / "a").write_bytes(b"x")
    for name in "bc":
        link(tmp_path / "a", tmp_path / name)
    a, b, c = (tmp_path / name for name in "abc")
    assert shared({"train": {"cat": [a]}, "val": {"cat": [b]}}) == (
        f"val shares 1 image with train, by links: its score is too good: {b}",
    )
    assert shared({"train": {"cat": [a], "dog": [b]}, "val": {"cat": [c]}}) == (
        f"train has 1 image in a second class too, by links: {b}",
        f"val shares 1 image with train, by links: its score is too good: {c}",
    )
    with pytest.raises(InputRefusedError, match=rf"{b} of the part test is {a} of the part train, by a link"):
        refuse_twice({"train": [a], "test": [b]})
    with pytest.raises(InputRefusedError, match=r"of the part train is .* of the part train"):
        refuse_twice({"train": [a, b]})


def test_an_image_linked_within_its_class_counts_once_and_is_told(tmp_path, link):
    write(tmp_path, ["a", "b"], 10)
    link(tmp_path / "a" / "000.png", tmp_path / "a" / "again.png")
    task = load_task(f"imagefolder:{tmp_path}")
    assert sizes(task) == 20
    assert task.remarks == (f"skipped 1 link to an image of the same class: {tmp_path}/a/again.png",)


def test_an_image_in_train_and_val_and_one_in_two_classes_are_told(tmp_path, link):
    write(tmp_path / "train", ["a", "b"], 10)
    write(tmp_path / "val", ["a", "b"], 5, seed=50)
    link(tmp_path / "train" / "a" / "003.png", tmp_path / "val" / "a" / "copy.png")
    link(tmp_path / "train" / "a" / "004.png", tmp_path / "train" / "b" / "other.png")
    assert load_task(f"imagefolder:{tmp_path}").remarks == (
        f"train has 1 image in a second class too, by links: {tmp_path}/train/b/other.png",
        f"val shares 1 image with train, by links: its score is too good: {tmp_path}/val/a/copy.png",
    )


@pytest.mark.parametrize("where", ["a/up", "a/below/up"])
def test_a_link_to_a_folder_around_it_is_not_entered(tmp_path, where):
    """Through it the images of other classes would be of this one."""
    root = tmp_path / "set"
    write(root, ["a", "b"], 10)
    (root / "a" / "below").mkdir()
    for number, target in enumerate((root, root / "a", tmp_path, os.curdir)):
        (root / f"{where}{number}").symlink_to(target)
    task = load_task(f"imagefolder:{root}")
    assert sizes(task) == 20
    (told,) = task.remarks
    assert told.startswith("skipped 4 links to a folder that it lies in, or that was read already: ")


def test_a_class_that_is_a_link_to_the_whole_set_has_no_images(tmp_path):
    write(tmp_path, ["a", "b"], 10)
    (tmp_path / "every").symlink_to(tmp_path)
    with pytest.raises(InputRefusedError, match=r"class 'every' in .* has no images.*skipped there: links to a folder"):
        load_task(f"imagefolder:{tmp_path}")


def test_a_part_that_is_a_link_to_train_is_told_with_the_count(tmp_path):
    write(tmp_path / "train", ["a", "b"], 10)
    (tmp_path / "val").symlink_to(tmp_path / "train")
    (told,) = load_task(f"imagefolder:{tmp_path}").remarks
    assert told.startswith("val shares 20 images with train, by links")


def test_folders_linked_into_each_other_end(tmp_path):
    write(tmp_path, ["a", "b"], 10)
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    task = load_task(f"imagefolder:{tmp_path}")
    assert sizes(task) == 40
    assert any(told.startswith("train has 20 images in a second class too") for told in task.remarks)
