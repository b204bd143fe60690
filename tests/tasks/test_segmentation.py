"""Images and masks of one's own: pairs by name, indices untouched."""

import numpy as np
import pytest

from tempograd.errors import InputRefusedError
from tempograd.tasks.load import load_task
from tempograd.testing.tasks import TaskContract

Image = pytest.importorskip("PIL.Image")


def write(folder, n=30, *, seed=0, mode="L"):
    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        mask = np.zeros((24, 32), np.uint8)
        mask[4:20, 6 : 14 + i % 10] = 1 + i % 2
        mask[0] = 255
        pixels = rng.integers(0, 80, (24, 32, 3)) + 80 * (mask % 255)[..., None]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{i:03}.png")
        image = Image.fromarray(mask)
        if mode == "P":
            image.putpalette([7 * k % 256 for k in range(768)])
        image.save(folder / "masks" / f"{i:03}.png")


class TestSegmentation(TaskContract):
    @pytest.fixture
    def load(self, tmp_path):
        write(tmp_path)
        return lambda seed=0: load_task(f"segmentation:{tmp_path},size=16", seed=seed)


def test_indices_come_through_a_palette_and_ignored_pixels_stay(tmp_path):
    write(tmp_path / "train", mode="P")
    write(tmp_path / "val", 10, seed=1, mode="P")
    (tmp_path / "classes.txt").write_text("ground\nfirst\nsecond\n")
    (tmp_path / "train" / "images" / "more.png").write_bytes((tmp_path / "train" / "images" / "000.png").read_bytes())
    task = load_task(f"segmentation:{tmp_path},size=24")
    assert task.class_names == ("ground", "first", "second")
    assert [len(task.weights), len(task.law), len(task.test)] == [19, 11, 10]
    assert set(task.test.targets.unique().tolist()) == {0, 1, 2, 255}
    assert bool((task.test.targets[:, 0] == 255).all())
    assert any("1 image without a mask" in told and "more.png" in told for told in task.remarks)


def test_masks_in_colours_or_of_another_size_are_refused(tmp_path):
    with pytest.raises(InputRefusedError, match="is not a folder"):
        load_task(f"segmentation:{tmp_path / 'nowhere'}")
    write(tmp_path)
    Image.new("RGB", (32, 24)).save(tmp_path / "masks" / "003.png")
    with pytest.raises(InputRefusedError, match=r"003.png is RGB; expected class indices"):
        load_task(f"segmentation:{tmp_path}")
    Image.new("L", (30, 24)).save(tmp_path / "masks" / "003.png")
    with pytest.raises(InputRefusedError, match=r"003.png is \(30, 24\), its image \(32, 24\)"):
        load_task(f"segmentation:{tmp_path}")


def test_a_folder_for_validation_goes_by_each_of_its_names_and_missing_indices_are_told(tmp_path):
    write(tmp_path / "Train")
    write(tmp_path / "validation", 10, seed=1)
    mask = np.zeros((24, 32), np.uint8)
    mask[5:] = 4
    Image.fromarray(mask).save(tmp_path / "Train" / "masks" / "000.png")
    task = load_task(f"segmentation:{tmp_path},size=24")
    assert [len(task.weights), len(task.law), len(task.test)] == [19, 11, 10]
    assert task.remarks == ("no pixel of any mask has the index 3",)


def test_masks_as_jpeg_or_of_no_format_are_refused(tmp_path):
    write(tmp_path)
    mask = tmp_path / "masks" / "003.png"
    Image.open(mask).save(mask, "JPEG")
    with pytest.raises(
        InputRefusedError, match=r"003\.png is a JPEG, in which class indices change; save masks as PNG"
    ):
        load_task(f"segmentation:{tmp_path}")
    mask.write_bytes(b"x")
    with pytest.raises(InputRefusedError, match=r"003\.png is not a readable mask: its format is unknown; repair"):
        load_task(f"segmentation:{tmp_path}")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_two_files_of_one_name_are_refused_and_what_has_no_partner_is_told(tmp_path, kind):
    write(tmp_path)
    (tmp_path / kind / "more.png").write_bytes((tmp_path / kind / "000.png").read_bytes())
    (tmp_path / kind / "notes.json").write_text("{}")
    told = load_task(f"segmentation:{tmp_path},size=24").remarks
    lacks = {"images": "image without a mask", "masks": "mask without an image"}[kind]
    assert f"skipped 1 {lacks}: {tmp_path}/{kind}/more.png" in told
    assert f"skipped 1 file of other kinds (.json): {tmp_path}/{kind}/notes.json" in told
    Image.open(tmp_path / kind / "003.png").save(tmp_path / kind / "003.tif")
    with pytest.raises(InputRefusedError, match=rf"{kind}/003\.png and 003\.tif have one name: an image and its mask"):
        load_task(f"segmentation:{tmp_path}")


def test_an_index_beyond_the_names_is_refused_and_more_names_than_indices_count(tmp_path):
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("ground\nfirst\n")
    with pytest.raises(InputRefusedError, match=r"masks/001\.png holds the index 2, and classes\.txt has names for 0"):
        load_task(f"segmentation:{tmp_path},size=24")
    (tmp_path / "classes.txt").write_text("ground\nfirst\nsecond\nthird\n")
    task = load_task(f"segmentation:{tmp_path},size=24")
    assert (task.output.count, task.class_names[3]) == (4, "third")
    assert task.remarks == ("no pixel of any mask has the index 3",)


def test_an_index_that_train_lacks_and_images_that_parts_share_are_told(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "val", 10, seed=1)
    mask = np.zeros((24, 32), np.uint8)
    mask[5:] = 3
    Image.fromarray(mask).save(tmp_path / "val" / "masks" / "000.png")
    image = tmp_path / "val" / "images" / "004.png"
    image.unlink()
    image.symlink_to(tmp_path / "train" / "images" / "007.png")
    (tmp_path / "val" / "images" / "005b.png").symlink_to(tmp_path / "val" / "images" / "005.png")
    (tmp_path / "val" / "masks" / "005b.png").symlink_to(tmp_path / "val" / "masks" / "005.png")
    task = load_task(f"segmentation:{tmp_path},size=24")
    assert len(task.test) == 10
    assert task.remarks == (
        f"skipped 1 link to an image that is there already: {tmp_path}/val/images/005b.png",
        "no pixel of train, but of other masks, has the index 3",
        f"val shares 1 image with train, by links: its score is too good: {image}",
    )
