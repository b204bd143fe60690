"""Augmentation by a library: shares of labels are those of what is seen, and the seed decides."""

import sys
from types import SimpleNamespace

import pytest
import torch

from tempograd.errors import UsageError
from tempograd.search.augmentation import Augmenter, library
from tempograd.search.training import Training
from tempograd.tasks.task import Output, Preprocessing

IMAGES = torch.arange(8.0)[:, None, None, None].expand(8, 1, 16, 16) / 8
LABELS = torch.arange(8)
MEAN, STD = 0.5, 0.25
GREY = Preprocessing((16, 16), 1, "L", (MEAN,), (STD,))


def task(kind="classes", preprocessing=GREY):
    return SimpleNamespace(name="it", output=Output(kind, 10), preprocessing=preprocessing)


@pytest.fixture(scope="module")
def torchvisions_operators():
    """What torchvision's compiled part declares, so that its Python part loads beside any build of torch."""
    made = torch.library.Library("torchvision", "DEF")
    made.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    made.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return made


@pytest.fixture(params=["torchvision", "kornia"])
def used(request, monkeypatch):
    if request.param == "torchvision":
        request.getfixturevalue("torchvisions_operators")
    else:
        monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", None)
    found = library()
    if found.name != request.param:
        pytest.skip(f"{request.param} is not installed")
    return found


def test_shares_of_labels_are_those_of_the_images(used):
    torch.manual_seed(0)
    mixed, shares = used.mixup(IMAGES, LABELS, 0.5, 10)
    assert torch.allclose((shares * torch.arange(10.0)).sum(1) / 8, mixed[:, 0, 0, 0], atol=1e-5)
    cut, shares = used.cutmix(IMAGES, LABELS, 1.0, 10)
    seen = torch.stack([((cut * 8).round() == label).float().mean(dim=(1, 2, 3)) for label in range(10)], dim=1)
    assert torch.allclose(seen, shares, atol=1e-5)
    assert not torch.equal(cut, IMAGES)


def test_operations_change_images_and_keep_their_range(used):
    torch.manual_seed(0)
    for channels in (1, 3):
        images = torch.rand(8, channels, 16, 16)
        changed = used.rand(images, 2, 15)
        assert changed.shape == images.shape
        assert 0 <= changed.min() < changed.max() <= 1
        assert not torch.allclose(changed, images, atol=0.1)


def test_the_generator_decides_and_torchs_own_is_left_alone(used):
    augmenter = Augmenter(Training(mixup=0.2, cutmix=1.0, rand_augment=2), task(), 10)
    images = (IMAGES - MEAN) / STD
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (augmenter(images, LABELS, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(own, same) for own, same in zip(one, two, strict=True))
    assert not torch.equal(one[0], other[0])
    assert torch.allclose(one[1].sum(1), torch.ones(8))


def test_a_recipe_without_them_needs_no_library_and_draws_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", None)
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    images, labels = Augmenter(Training(), task(), 10)(IMAGES, LABELS, generator)
    assert images is IMAGES
    assert labels is LABELS
    assert torch.equal(before, generator.get_state())
    with pytest.raises(UsageError, match=r"pip install 'tempograd\[augmentation\]'"):
        Augmenter(Training(mixup=0.2), task(), 10)


@pytest.mark.parametrize("other", [task("map"), task(preprocessing=None)])
def test_a_task_of_something_else_is_not_augmented_as_if_it_were_images_of_classes(other):
    for change in ({"rand_augment": 2}, {"mixup": 0.2}, {"cutmix": 1.0}, {"label_smoothing": 0.1}):
        with pytest.raises(UsageError, match=r"images with a class each; it asks for"):
            Augmenter(Training(**change), other, 10)
    Augmenter(Training(), other, 10)
