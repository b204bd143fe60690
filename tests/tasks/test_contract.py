"""Every task of the registry that needs no files keeps the contract; those of files have tests of their own."""

import hashlib

import pytest
import torch

from tempograd import registry
from tempograd.tasks.load import load_task
from tempograd.testing.tasks import TaskContract, needs_no_files

LIMITED = {
    "digits": "digits,limit=200",
    "synthetic": "synthetic,limit=200",
    "text": "text,limit=60000,length=32",
    "shapes_segmentation": "shapes_segmentation,images=100",
    "figures_keypoints": "figures_keypoints,images=100",
}


class TestTasks(TaskContract):
    specs = tuple(LIMITED.get(name, name) for name in registry.names("task") if needs_no_files(name))


@pytest.mark.parametrize(
    ("spec", "space", "digest"),
    [
        ("digits", "nasbench201:cells=1,width=4,size=16,channels=1", "58b89a6c83dfd156"),
        ("digits,limit=300", "nasbench201:cells=1,width=4,size=12", "4185d3ef06450bf2"),
        ("synthetic", "nasbench201:cells=1,width=4,size=16,channels=1", "1ba8c3bd500251bf"),
    ],
)
def test_images_in_memory_are_what_they_were_bit_by_bit(spec, space, digest):
    task = load_task(spec, seed=1).fitted(registry.create("space", space))
    found = hashlib.sha256()
    for part in (task.weights, task.law, task.test):
        for images, labels in part.batches(64, torch.Generator().manual_seed(3), augment=True):
            found.update(images.contiguous().numpy().tobytes())
            found.update(labels.numpy().tobytes())
    assert found.hexdigest()[:16] == digest
