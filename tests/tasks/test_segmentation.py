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
