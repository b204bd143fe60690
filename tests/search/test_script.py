"""What is beside a result reaches the accuracy that the result claims, with ONNX Runtime, numpy and Pillow alone."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import onnx
import pytest
from safetensors.torch import load_file

from tempograd.data.result import read_result
from tempograd.spaces.saved import load_architecture, load_network
from tempograd.tasks.load import load_task
from tempograd.verbs.search import search

Image = pytest.importorskip("PIL.Image")
NAMES = ("drei", "eins", "vier", "zwei")


def write_folder(root, *, colour):
    """Write images of four digits as files of unequal sizes, some of 16 bits, in ``train`` and ``test``."""
    digits = load_task("digits")
    number = dict(zip((3, 1, 4, 2), NAMES, strict=True))
    for part, images in (("train", digits.weights), ("test", digits.test)):
        for i, (image, label) in enumerate(zip(images.images[:, 0].numpy(), images.labels.tolist(), strict=True)):
            if label not in number:
                continue
            folder = root / part / number[label]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.kron(image, np.ones((3, 3), np.uint8)) if i % 2 else image
            if colour:
                Image.fromarray(np.stack([pixels, 255 - pixels, pixels // 2], axis=2)).save(folder / f"{i}.png")
            else:
                Image.fromarray(pixels.astype(np.uint16) * 257 if i % 3 else pixels).save(folder / f"{i}.png")


@pytest.mark.slow
@pytest.mark.parametrize(("colour", "size"), [(True, 12), (False, 16)])
def test_predict_py_reaches_the_claimed_accuracy(tmp_path, colour, size):
    write_folder(tmp_path / "images", colour=colour)
    out = tmp_path / "result"
    search(
        f"nasbench201:cells=1,width=8,size={size}", None, out, cost="flops", lam=0.0, method="random_search", queries=1,
        task=f"imagefolder:{tmp_path / 'images'},size=16", device="simulated", train_epochs=30, random=0,
        plan="quick",
    )  # fmt: skip
    result = read_result(out)
    assert result.found.accuracy > 0.5
    assert result.class_names == list(NAMES)
    assert result.preprocessing["mode"] == ("RGB" if colour else "L")
    files = sorted((tmp_path / "images" / "test").rglob("*.png"))
    done = subprocess.run(
        [sys.executable, "predict.py", *map(str, files)], cwd=out, capture_output=True, text=True, check=True
    )
    told = [line.split("\t") for line in done.stdout.splitlines()]
    assert [name for _, _, name in told] == [NAMES[int(index)] for _, index, _ in told]
    right = sum(path.parent.name == name for path, (_, _, name) in zip(files, told, strict=True))
    assert right / len(files) == pytest.approx(result.found.accuracy, abs=1.5 / len(files) if size != 16 else 1e-9)


@pytest.mark.slow
def test_weights_have_the_modules_own_keys_and_the_mode_that_umask_says(tmp_path):
    write_folder(tmp_path / "images", colour=False)
    out, before = tmp_path / "result", os.umask(0o022)
    try:
        search(
            "nasbench201:cells=1,width=4", None, out, cost="flops", lam=0.0, method="random_search", queries=1,
            task=f"imagefolder:{tmp_path / 'images'}", device="simulated", train_epochs=1, random=0, plan="quick",
        )  # fmt: skip
    finally:
        os.umask(before)
    space, architecture = load_architecture(out)
    network = space.to_torch(architecture)
    network.load_state_dict(load_file(out / "weights.safetensors"), strict=True)
    same = load_network(out)
    assert all(bool((a == b).all()) for a, b in zip(network.parameters(), same.parameters(), strict=True))
    assert stat.S_IMODE((out / "weights.safetensors").stat().st_mode) == 0o644
    metadata = {entry.key: entry.value for entry in onnx.load(out / "network.onnx").metadata_props}
    assert json.loads(metadata["class_names"]) == list(NAMES)
    assert json.loads(metadata["preprocessing"])["mean"] == read_result(out).preprocessing["mean"]
    assert json.loads(metadata["metric"])["name"] == "accuracy"
