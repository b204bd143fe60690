"""Images as people have them: sizes, modes, depths, broken files, hidden files, names in any script."""

import io
import os

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import InputRefusedError, UsageError
from tempograd.tasks import pictures
from tempograd.tasks.decode import pixels
from tempograd.tasks.load import load_task
from tempograd.testing.tasks import TaskContract

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")


def coloured(n, size=(20, 16), seed=0):
    """Draw ``n`` random images of one size as Pillow's."""
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(n)]


def write(folder, classes, n=10, *, suffix=".png", size=(20, 16), seed=0):
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(coloured(n, size, seed=seed + k)):
            image.save(folder / name / f"{i:03}{suffix}")


class TestFolder(TaskContract):
    @pytest.fixture
    def load(self, tmp_path):
        write(tmp_path / "train", ["a", "b", "c"], 20)
        write(tmp_path / "test", ["a", "b", "c"], 10, seed=50)
        return lambda seed=0: load_task(f"imagefolder:{tmp_path},size=16", seed=seed)


class TestStreamedFolder(TestFolder):
    """The same contract where images do not fit into memory."""

    @pytest.fixture(autouse=True)
    def _no_memory(self, monkeypatch):
        monkeypatch.setattr(pictures, "MEMORY_BYTES", 0)


def test_thirty_classes_of_unequal_sizes_need_no_flag_but_the_path(tmp_path):
    for k in range(30):
        write(tmp_path / "train", [f"class{k:02}"], 8, size=(40 + k, 70 - k), suffix=".jpg")
    task = load_task(f"imagefolder:{tmp_path}")
    assert task.output.count == 30
    assert task.class_names[29] == "class29"
    assert task.inputs[0].shape == (3, 32, 32)
    assert task.metric.chance == pytest.approx(1 / 30)
    space = registry.create("space", "nasbench201:cells=1,width=4,size=32,classes=30")
    images, labels = task.fitted(space).test.take(torch.arange(5))
    assert images.shape == (5, 3, 32, 32)
    assert int(labels.max()) < 30


def test_in_memory_and_streamed_give_the_same_batches(tmp_path, monkeypatch):
    write(tmp_path / "train", ["a", "b"], 20)
    space = registry.create("space", "nasbench201:cells=1,width=4,size=24,classes=2")

    def batches():
        task = load_task(f"imagefolder:{tmp_path},size=16").fitted(space)
        mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.ones(3)
        for part in (task.weights, task.law):
            object.__setattr__(part, "mean", mean)
            object.__setattr__(part, "std", std)
        drawn = task.weights.batches(4, torch.Generator().manual_seed(0), augment=True)
        return type(task.weights).__name__, [*drawn, *task.law.ordered(3)]

    held, first = batches()
    monkeypatch.setattr(pictures, "MEMORY_BYTES", 0)
    streamed, second = batches()
    assert (held, streamed) == ("Images", "Streamed")
    for (x, y), (same_x, same_y) in zip(first, second, strict=True):
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)


MODES = {
    "grey.png": lambda: Image.new("L", (16, 16), 128),
    "bits16.png": lambda: Image.fromarray(np.full((16, 16), 32_896, np.uint16)),
    "bits16.tif": lambda: Image.fromarray(np.full((16, 16), 32_896, np.uint16)),
    "palette.png": lambda: Image.new("RGB", (16, 16), (128, 128, 128)).quantize(4),
    "rgba.webp": lambda: Image.new("RGBA", (16, 16), (128, 128, 128, 255)),
    "cmyk.jpg": lambda: Image.new("RGB", (16, 16), (128, 128, 128)).convert("CMYK"),
    "UPPER.PNG": lambda: Image.new("RGB", (16, 16), (128, 128, 128)),
    "grey.TIFF": lambda: Image.new("L", (16, 16), 128),
    "grey.bmp": lambda: Image.new("L", (16, 16), 128),
}


@pytest.mark.parametrize("name", MODES)
def test_mid_grey_is_mid_grey_in_every_mode_and_depth(tmp_path, name):
    write(tmp_path, ["a", "b"], 10, size=(16, 16))
    for i in range(30):
        MODES[name]().save(tmp_path / "a" / f"{i}{name}", lossless=True)
    task = load_task(f"imagefolder:{tmp_path}")
    images = torch.cat([part.images[part.labels == 0] for part in (task.weights, task.law, task.test)])
    flat = images[images.float().std(dim=(1, 2, 3)) < 3].float()
    assert len(flat) == 30
    assert abs(float(flat.mean()) - 128) <= 2


def test_an_image_lies_as_the_camera_says(tmp_path):
    write(tmp_path, ["a", "b"], 10, size=(16, 16))
    upright = np.zeros((16, 16), np.uint8)
    upright[:8] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    for i in range(20):
        Image.fromarray(np.rot90(upright)).save(tmp_path / "a" / f"turned{i}.png", exif=exif)
    task = load_task(f"imagefolder:{tmp_path}")
    images = torch.cat([part.images[part.labels == 0] for part in (task.weights, task.law, task.test)])
    found = images[(images == 255).float().mean(dim=(1, 2, 3)) == 0.5]
    assert len(found) == 20
    assert bool((found[:, :, :8] == 255).all())


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same():
    y, x = np.mgrid[:300, :400]
    large = np.stack([x / 400, y / 300, (x + y) / 700], axis=2)
    content = io.BytesIO()
    Image.fromarray(np.round(255 * large).astype(np.uint8)).save(content, "JPEG", quality=95)
    found = pixels(content.getvalue(), "it", 32, grey=False).astype(int)
    whole = ImageOps.fit(Image.open(content), (32, 32), method=Image.Resampling.BILINEAR)
    assert np.abs(found - np.asarray(whole).transpose(2, 0, 1)).max() <= 3
    with Image.open(content) as opened:
        opened.draft(None, (64, 64))
        assert opened.size == (100, 75)


def test_hidden_files_and_other_kinds_are_skipped_counted_and_named(tmp_path):
    write(tmp_path, ["katze", "犬", "Ärger"], 10)
    (tmp_path / "katze" / "._000.png").write_bytes(b"Mac OS X")
    (tmp_path / "katze" / "notes.txt").write_text("mine")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "katze" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    task = load_task(f"imagefolder:{tmp_path}")
    assert task.class_names == ("katze", "Ärger", "犬")
    told = "; ".join(task.remarks)
    assert "skipped 2 paths of a hidden name" in told
    assert "._000.png" in told
    assert "skipped 1 file of other kinds (.txt)" in told
    assert "outside of the folders of classes" in told
    assert "to nowhere" in told
    assert len(task.weights) + len(task.law) + len(task.test) == 30


def test_links_are_followed_and_a_circle_ends(tmp_path):
    write(tmp_path / "elsewhere", ["a"], 10)
    write(tmp_path / "set", ["b"], 10)
    (tmp_path / "set" / "a").symlink_to(tmp_path / "elsewhere" / "a")
    (tmp_path / "set" / "b" / "again").symlink_to(tmp_path / "set" / "b")
    task = load_task(f"imagefolder:{tmp_path / 'set'}")
    assert len(task.weights) + len(task.law) + len(task.test) == 20


def broken(folder, n):
    for i in range(n):
        whole = io.BytesIO()
        coloured(1, (40, 40))[0].save(whole, "JPEG")
        (folder / f"broken{i}.jpg").write_bytes(whole.getvalue()[:200])


@pytest.mark.parametrize("memory", [2**30, 0])
def test_a_few_broken_files_are_skipped_counted_and_named_and_many_refused(tmp_path, monkeypatch, memory):
    monkeypatch.setattr(pictures, "MEMORY_BYTES", memory)
    write(tmp_path, ["a", "b"], 100, size=(16, 16))
    broken(tmp_path / "a", 2)
    task = load_task(f"imagefolder:{tmp_path}")
    seen = sum(len(labels) for part in (task.weights, task.law, task.test) for _, labels in part.ordered(50))
    assert seen == 200
    if memory:
        assert any("skipped 2 images that cannot be read" in told and "broken0.jpg" in told for told in task.remarks)
    broken(tmp_path / "a", 5)

    def read():
        task = load_task(f"imagefolder:{tmp_path}")
        return [list(part.ordered(50)) for part in (task.weights, task.law, task.test)]

    with pytest.raises(InputRefusedError, match=r"^3 or more of 205 images cannot .*: 1%.*broken\d.jpg") as refused:
        read()
    assert "BytesIO" not in str(refused.value)


@pytest.mark.parametrize(
    ("train", "test", "match"),
    [
        (["cat", "dog"], ["Cat", "dog"], r"'Cat' in .*test and 'cat' in train differ by case only; rename one"),
        (["cat", "dog"], ["cat", "emu"], r"class 'emu' in .*test is not in train, which has cat, dog"),
        (["cat"], [], r"holds 1 folder of classes \(cat\)"),
    ],
)
def test_classes_that_do_not_agree_are_refused_by_name(tmp_path, train, test, match):
    write(tmp_path / "train", train, 3)
    write(tmp_path / "test", test, 3)
    with pytest.raises(InputRefusedError, match=match):
        load_task(f"imagefolder:{tmp_path}")


def test_an_empty_class_is_refused_and_one_that_a_part_lacks_is_told(tmp_path):
    write(tmp_path / "train", ["a", "b", "c"], 10)
    write(tmp_path / "val", ["a", "b"], 10)
    task = load_task(f"imagefolder:{tmp_path}")
    assert task.remarks == ("val has no images of c",)
    assert task.output.count == 3
    (tmp_path / "train" / "d").mkdir()
    (tmp_path / "train" / "d" / "1.heic").write_bytes(b"x")
    with pytest.raises(
        InputRefusedError, match=r"class 'd' in .* has no images.*other kinds \(.heic\).*remove the folder"
    ):
        load_task(f"imagefolder:{tmp_path}")


def test_what_is_validated_on_is_never_the_test_part(tmp_path):
    write(tmp_path / "train", ["a", "b"], 10)
    write(tmp_path / "val", ["a", "b"], 5, seed=50)
    task = load_task(f"imagefolder:{tmp_path},val=0.5")
    assert [len(task.weights), len(task.law), len(task.test)] == [10, 10, 10]
    write(tmp_path / "test", ["a", "b"], 3, seed=70)
    task = load_task(f"imagefolder:{tmp_path}")
    assert [len(task.weights), len(task.law), len(task.test)] == [20, 10, 6]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match="is not a folder"):
        load_task(f"imagefolder:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("names", [("Cat", "cat"), ("caf\u00e9", "cafe\u0301")])
def test_two_classes_of_nearly_one_name_are_refused(tmp_path, names):
    write(tmp_path, names, 6)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes both names for one")
    with pytest.raises(InputRefusedError, match="differ by case, or by how accents are written, only"):
        load_task(f"imagefolder:{tmp_path}")


def test_a_share_to_validate_on_is_refused_where_there_is_a_folder_for_it_and_a_limit_holds_for_it(tmp_path):
    for seed, part in enumerate(("train", "val", "test")):
        write(tmp_path / part, ["a", "b"], 15, seed=10 * seed)
    with pytest.raises(UsageError, match=r"val=0\.5 is a share of train.*leave val out"):
        load_task(f"imagefolder:{tmp_path},val=0.5")
    task = load_task(f"imagefolder:{tmp_path},limit=20")
    assert [len(task.weights), len(task.law), len(task.test)] == [20, 20, 20]


def test_too_few_images_to_split_are_told_by_class(tmp_path):
    write(tmp_path, ["a"], 9)
    write(tmp_path, ["b"], 1)
    with pytest.raises(
        InputRefusedError, match="10 images of 2 classes, 1 of the rarest, are too few to split by class"
    ):
        load_task(f"imagefolder:{tmp_path}")


def test_names_that_are_not_utf_8_are_shown_with_escapes_and_refused_for_classes(tmp_path):
    write(tmp_path, ["a", "b"], 6)
    try:
        (tmp_path / "a" / os.fsdecode(b"\xff.txt")).write_text("no image")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert load_task(f"imagefolder:{tmp_path}").remarks == (
        f"skipped 1 file of other kinds (.txt): {tmp_path}/a/\\xff.txt",
    )
    (tmp_path / os.fsdecode(b"c\xff")).mkdir()
    with pytest.raises(InputRefusedError, match=r"class .*/c\\xff has a name that is not UTF-8; rename the folder"):
        load_task(f"imagefolder:{tmp_path}")


def test_an_image_costs_the_same_however_many_there_are():
    """A list of all others, made in case one cannot be read, would take terabytes here."""
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (10, 20, 30)).save(content, "PNG")
    many = np.broadcast_to(np.int64(0), 10**12)
    examples = pictures.Examples(pictures.HeldBytes([content.getvalue()], ["one"]), many, many)
    decoder = pictures.Decoder(4, grey=False, broken=pictures.Broken(1))
    (found,) = decoder.batches(examples, [np.array([0, 10**12 - 1])], whole=True)
    assert found[0].shape == (2, 3, 4, 4)
    assert found[1].tolist() == [0, 10**12 - 1]


def test_a_folder_that_may_not_be_read_is_not_left_out_in_silence(tmp_path, monkeypatch):
    write(tmp_path, ["a", "b"], 10)
    (tmp_path / "a" / "more").mkdir()
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match=r"a/more"):
        load_task(f"imagefolder:{tmp_path}")
