"""Tasks: parts that do not overlap, images that fit, and the published files, written here byte by byte."""

import gzip
import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tempograd import registry
from tempograd.errors import InputRefusedError, UsageError
from tempograd.tasks.images import Images
from tempograd.tasks.load import load_task
from tempograd.testing.tasks import TaskContract

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=16,channels=1")
COLOUR = registry.create("space", "nasbench201:cells=1,width=4,size=32")


def write_idx(path, values, *, zipped=False):
    content = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(content) if zipped else content)


def random_images(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def labels_of(n):
    return (np.arange(n) % 10).astype(np.uint8)


def test_digits_come_in_three_parts_with_the_shares_of_every_class():
    task = load_task("digits")
    sizes = [len(part) for part in (task.weights, task.law, task.test)]
    assert sum(sizes) == 1797
    assert np.allclose(np.array(sizes) / 1797, [0.5, 0.3, 0.2], atol=0.005)
    whole = np.bincount(torch.cat([task.weights.labels, task.law.labels, task.test.labels]))
    for part in (task.weights, task.law, task.test):
        assert np.abs(np.bincount(part.labels) - whole * len(part) / 1797).max() <= 1.5


def test_parts_share_no_image_and_the_seed_decides():
    def rows(task):
        return [{image.numpy().tobytes() for image in part.images} for part in (task.weights, task.law, task.test)]

    first, again, other = (rows(load_task("digits", seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert len(set.union(*first)) == sum(len(part) for part in first)


def test_digits_are_repeated_to_the_spaces_size_by_whole_pixels():
    task = load_task("digits")
    fitted = task.fitted(SPACE)
    assert fitted.weights.images.shape == (len(task.weights), 1, 16, 16)
    assert torch.equal(fitted.weights.images[:, :, ::2, 1::2], task.weights.images)


def test_other_sizes_are_interpolated_and_grey_fills_every_channel():
    task = load_task("digits,limit=200")
    fitted = task.fitted(registry.create("space", "nasbench201:cells=1,width=4,size=12"))
    images, labels = fitted.law.take(torch.arange(5))
    assert images.shape == (5, 3, 12, 12)
    assert torch.equal(images[:, 0], images[:, 2])
    assert torch.equal(labels, task.law.labels[:5])
    assert abs(float(fitted.weights.images.float().mean()) / float(task.weights.images.float().mean()) - 1) < 0.02


def test_images_are_normalised_by_the_weights_part():
    part = load_task("digits").fitted(SPACE).weights
    images, _ = part.take(torch.arange(len(part)))
    assert abs(float(images.mean())) < 0.01
    assert float(images.std()) == pytest.approx(1, abs=0.01)


def test_a_pass_takes_every_image_once_and_augmentation_shifts_whole_images():
    part = load_task("digits,limit=300").fitted(SPACE).weights
    seen = torch.cat([labels for _, labels in part.batches(30, torch.Generator().manual_seed(0))])
    assert len(seen) == 30 * (len(part) // 30)
    plain, shifted = (
        next(part.batches(64, torch.Generator().manual_seed(0), augment=augment))[0] for augment in (False, True)
    )
    assert plain.shape == shifted.shape
    background = -float(part.mean / part.std)
    for one, other in zip(plain[:20, 0], shifted[:20, 0], strict=True):
        padded = torch.nn.functional.pad(one, (2, 2, 2, 2), value=background)
        windows = padded.unfold(0, 16, 1).unfold(1, 16, 1).reshape(-1, 16, 16)
        assert (windows == other).all(dim=(1, 2)).any()


def test_only_tasks_whose_mirror_image_means_the_same_are_mirrored(tmp_path):
    write_fashion(tmp_path)
    task = load_task(f"fashion_mnist:{tmp_path}")
    assert task.weights.flip
    assert not load_task("digits").weights.flip
    part = task.weights
    one = Images(part.images[:1].repeat(64, 1, 1, 1), part.labels[:1].repeat(64), part.mean, part.std, True)
    (batch, _) = next(one.batches(64, torch.Generator().manual_seed(0), augment=True))
    middle = batch[:, :, 10:18, 10:18]  # too small to fall off the frame
    wide = torch.nn.functional.pad(one.take(torch.arange(1))[0], (0,) * 4)
    windows = [wide[..., y : y + 8, x : x + 8] for y in range(7, 14) for x in range(7, 14)]
    as_is = sum(any(torch.equal(m, w[0]) for w in windows) for m in middle)
    mirrored = sum(any(torch.equal(m.flip(-1), w[0]) for w in windows) for m in middle)
    assert as_is + mirrored == 64
    assert 16 < mirrored < 48


def test_a_limit_keeps_the_classes_shares():
    task = load_task("digits,limit=200")
    assert sum(len(part) for part in (task.weights, task.law, task.test)) == 200
    assert np.bincount(task.weights.labels).min() >= 8
    with pytest.raises(UsageError, match=r"limit 50.*from 100"):
        load_task("digits,limit=50")


def test_the_synthetic_task_is_seeded_and_can_be_told_apart():
    from sklearn.linear_model import LogisticRegression

    task, again = load_task("synthetic", seed=3), load_task("synthetic", seed=3)
    assert torch.equal(task.weights.images, again.weights.images)
    assert task.classes == 10
    spectrum = [
        np.abs(np.fft.fft2(part.images[:, 0].numpy())).reshape(len(part), -1) for part in (task.weights, task.test)
    ]
    model = LogisticRegression(max_iter=300).fit(spectrum[0] / 1e4, task.weights.labels)
    assert model.score(spectrum[1] / 1e4, task.test.labels) > 0.5


def test_the_synthetic_task_may_be_made_harder_and_says_so():
    assert load_task("synthetic").name == "synthetic"
    easy, hard = load_task("synthetic,limit=200"), load_task("synthetic:noise=0.12,spread=0.25,limit=200")
    assert hard.name == "synthetic:noise=0.12,spread=0.25,limit=200"
    assert not torch.equal(easy.weights.images, hard.weights.images)
    bright = [task.weights.images[:, 0].float().mean(0) for task in (easy, hard)]
    assert bright[1][:4].mean() > bright[0][:4].mean() + 5  # shapes reach the upper edge
    with pytest.raises(UsageError, match="spread"):
        load_task("synthetic:spread=0.5")


def write_fashion(folder, *, zipped=False, n=200):
    for prefix, count in (("train", n), ("t10k", n // 2)):
        for kind, values in (("images-idx3", random_images(count, 28, 28)), ("labels-idx1", labels_of(count))):
            write_idx(folder / f"{prefix}-{kind}-ubyte{'.gz' if zipped else ''}", values, zipped=zipped)


@pytest.mark.parametrize("zipped", [False, True])
def test_fashion_mnist_is_read_from_its_idx_files(tmp_path, zipped):
    write_fashion(tmp_path, zipped=zipped)
    task = load_task(f"fashion_mnist:{tmp_path}")
    assert [len(part) for part in (task.weights, task.law, task.test)] == [125, 75, 100]
    assert torch.equal(task.test.images[:, 0], torch.from_numpy(random_images(100, 28, 28)))
    assert torch.equal(task.test.labels, torch.from_numpy(labels_of(100).astype(np.int64)))
    assert len(load_task(f"fashion_mnist:{tmp_path},limit=100").weights) == 62


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda raw: raw[:-3], "announces 156800 bytes of data and holds 156797"),
        (lambda raw: raw + b"x", "holds more"),
        (lambda raw: b"\x00\x00\x0d" + raw[3:], "not an idx file"),
        (lambda raw: raw[:4] + struct.pack(">I", 4_000_000_000) + raw[8:], "not a set of images"),
        (lambda raw: b"", "not an idx file"),
        (lambda raw: raw[:4] + struct.pack(">I", 199) + raw[8 : 16 + 199 * 784], "199 images of train, but 200 labels"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, damage, match):
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputRefusedError, match=match):
        load_task(f"fashion_mnist:{tmp_path}")


def test_a_truncated_gzip_and_a_gzip_bomb_are_refused(tmp_path):
    write_fashion(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputRefusedError, match="cannot be read"):
        load_task(f"fashion_mnist:{tmp_path}")
    path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 2, 2, 2) + bytes(50_000_000)))
    with pytest.raises(InputRefusedError, match="announces 8 bytes of data and holds more"):
        load_task(f"fashion_mnist:{tmp_path}")


def test_labels_beyond_the_classes_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputRefusedError, match="neither train-images"):
        load_task(f"fashion_mnist:{tmp_path}")
    write_fashion(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels_of(200) + np.uint8(5))
    with pytest.raises(InputRefusedError, match="labels from 5 to 14"):
        load_task(f"fashion_mnist:{tmp_path}")


def write_cifar(folder, n=100):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        rows = np.concatenate([labels_of(n)[:, None], random_images(n, 3072, seed=i)], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10_is_read_from_its_binary_version(tmp_path, below):
    write_cifar(tmp_path / below)
    task = load_task(f"cifar10:{tmp_path}")
    assert [len(part) for part in (task.weights, task.law, task.test)] == [125, 75, 100]
    assert torch.equal(task.test.images.reshape(100, -1), torch.from_numpy(random_images(100, 3072, seed=2)))
    assert task.fitted(COLOUR).weights.images.shape == (125, 3, 32, 32)
    with pytest.raises(UsageError, match="channels=3"):
        task.fitted(SPACE)


def test_damaged_or_pickled_cifar10_is_refused(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "data_batch_2.bin").write_bytes(bytes(3073 * 2 - 1))
    with pytest.raises(InputRefusedError, match="6145 bytes; expected a multiple of 3073"):
        load_task(f"cifar10:{tmp_path}")
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02pickle")
    with pytest.raises(InputRefusedError, match=r"pickles.*not read"):
        load_task(f"cifar10:{tmp_path}")
    with pytest.raises(InputRefusedError, match="is not a folder"):
        load_task(f"cifar10:{tmp_path / 'nowhere'}")


def png(pixels):
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_cifar10_is_read_from_folders_of_images(tmp_path):
    pixels = random_images(60, 32, 32, 3)
    for part in ("train", "test"):
        for i in range(60):
            folder = tmp_path / part / f"class{i % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i:03}.png").write_bytes(png(pixels[i]))
    task = load_task(f"cifar10:{tmp_path}")
    assert len(task.test) == 60
    first = pixels[[10 * i for i in range(6)]].transpose(0, 3, 1, 2)  # class0 comes first
    assert torch.equal(task.test.images[:6], torch.from_numpy(first))
    assert task.test.labels[:7].tolist() == [0] * 6 + [1]


@pytest.mark.parametrize("column", [("img", "label"), ("image", "labels")])
def test_cifar10_is_read_from_parquet(tmp_path, column):
    pixels = random_images(60, 32, 32, 3)
    rows = [{"bytes": png(image), "path": None} for image in pixels]
    table = pa.table({column[0]: rows, column[1]: [i % 10 for i in range(60)]})
    (tmp_path / "plain_text").mkdir()
    for part in ("train", "test"):
        pq.write_table(table, tmp_path / "plain_text" / f"{part}-00000-of-00001.parquet")
    task = load_task(f"cifar10:{tmp_path}")
    assert torch.equal(task.test.images, torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
    assert task.test.labels.tolist() == [i % 10 for i in range(60)]


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (lambda: pa.table({"x": [1]}), "columns x; expected img or image"),
        (lambda: pa.table({"img": [{"bytes": b"no image"}], "label": [0]}), "row 0 is not a readable image"),
        (lambda: pa.table({"img": [{"path": "a.png"}], "label": [0]}), "row 0: expected image bytes"),
        (lambda: pa.table({"img": [{"bytes": b""}], "label": ["cat"]}), "row 0: expected image bytes"),
        (lambda: pa.table({"img": [], "label": []}), "without rows"),
        (
            lambda: pa.table({"img": [png(random_images(1, n, n, 3)[0]) for n in (32, 16)], "label": [0, 1]}),
            "row 1 is 16x16; the images before are 32x32",
        ),
        (lambda: pa.table({"img": [png(np.zeros((2, 2000, 3), np.uint8))], "label": [0]}), "up to 1024 a side"),
    ],
)
def test_malformed_parquet_is_refused(tmp_path, table, match):
    pytest.importorskip("PIL.Image")
    for part in ("train", "test"):
        pq.write_table(table(), tmp_path / f"{part}.parquet")
    with pytest.raises(InputRefusedError, match=match):
        load_task(f"cifar10:{tmp_path}")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    for part in ("train", "test"):
        (tmp_path / f"{part}.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputRefusedError, match="not a readable Parquet file"):
        load_task(f"cifar10:{tmp_path}")


def test_a_space_with_too_few_classes_is_refused():
    with pytest.raises(UsageError, match=r"10 classes.*tells 4 apart"):
        load_task("digits").fitted(registry.create("space", "nasbench201:cells=1,width=4,size=16,channels=1,classes=4"))


def write_cifar100(folder, n=400):
    for i, name in enumerate(["train", "test"]):
        coarse, fine = np.zeros((n, 1), np.uint8), (np.arange(n) % 100).astype(np.uint8)[:, None]
        rows = np.concatenate([coarse, fine, random_images(n, 3072, seed=i)], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(f"name{i}" for i in range(100)))


def test_cifar100_is_read_from_its_binary_version_with_the_names_of_its_classes(tmp_path):
    n = 400
    write_cifar100(tmp_path, n)
    task = load_task(f"cifar100:{tmp_path}")
    assert task.output.count == 100
    assert task.class_names[99] == "name99"
    assert task.test.labels.tolist() == [i % 100 for i in range(n)]
    assert torch.equal(task.test.images.reshape(n, -1), torch.from_numpy(random_images(n, 3072, seed=1)))
    with pytest.raises(UsageError, match=r"100 classes.*set classes=100"):
        task.fitted(COLOUR)


class TestPublishedFiles(TaskContract):
    @pytest.fixture(params=["fashion_mnist", "cifar10", "cifar100"])
    def load(self, request, tmp_path):
        {"fashion_mnist": write_fashion, "cifar10": write_cifar, "cifar100": write_cifar100}[request.param](tmp_path)
        if request.param == "fashion_mnist":  # other images than those of the test part
            write_idx(tmp_path / "train-images-idx3-ubyte", random_images(200, 28, 28, seed=1))
        return lambda seed=0: load_task(f"{request.param}:{tmp_path}", seed=seed)
