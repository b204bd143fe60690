"""What tasks show of a network: counts, pictures and text that are those of its outputs."""

import numpy as np
import pytest
import torch

from tempograd.data.examples import Examples
from tempograd.tasks.examples import MOST_CLASSES, SIDE, confusion, places
from tempograd.tasks.load import load_task


class Fixed(torch.nn.Module):
    """Gives a task's own targets of the test part, one batch after the other, as outputs."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, inputs):
        return self.make(inputs)


def array(pixels):
    return np.frombuffer(pixels.content(), np.uint8).reshape(pixels.shape)


def test_classes_are_counted_by_truth_and_by_what_was_given():
    task = load_task("digits,limit=200")
    told = Examples(**task.examples(Fixed(lambda x: torch.eye(12)[3].expand(len(x), 12))))
    counts = np.array(told.counts)
    assert counts[:, 3].sum() == counts.sum() == len(task.test)
    assert counts[5, 3] == int((task.test.labels == 5).sum())
    assert told.names == [str(n) for n in range(10)]


def test_more_classes_than_can_be_drawn_show_nothing():
    assert confusion(torch.nn.Identity(), [], (), MOST_CLASSES + 1) == {}


def test_maps_are_the_masks_and_what_the_network_says_and_images_are_as_they_were():
    task = load_task("shapes_segmentation,images=40")
    told = Examples(**task.examples(Fixed(lambda x: torch.eye(4)[2][:, None, None].expand(len(x), 4, 16, 16))))
    assert np.array_equal(array(told.truth), task.test.targets[:4].numpy())
    assert (array(told.given) == 2).all()
    assert np.abs(array(told.images).astype(int) - task.test.images[:4].permute(0, 2, 3, 1).numpy()).max() <= 1
    assert told.ignored == 255


def test_heat_maps_are_the_highest_of_all_points():
    task = load_task("figures_keypoints,images=40")
    heights = torch.full((5, 16, 16), 0.5)
    heights[:, 3, 4] = 0.5 + np.log(4)
    told = Examples(**task.examples(Fixed(lambda x: heights.expand(len(x), -1, -1, -1))))
    assert np.array_equal(array(told.truth), task.test.targets[:4].amax(dim=1).numpy())
    assert (array(told.given)[:, 3, 4] == 255).all()
    assert (array(told.given)[:, 0] == 64).all()  # a quarter as likely


def test_large_images_are_shown_smaller():
    told = places(
        torch.rand(1, 3, 400, 200), torch.zeros(1, 50, 25), torch.zeros(1, 50, 25), kind="heatmaps", names=["a"]
    )
    assert told["images"]["shape"] == [1, SIDE, SIDE // 2, 3]


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_a_passage_has_its_own_bits_and_the_text_written_is_drawn_from_the_network(tmp_path, unit):
    (tmp_path / "t.txt").write_text("ab ab ab cd " * 200)
    task = load_task(f"text:{tmp_path / 't.txt'},length=16,unit={unit}")
    count = task.output.count
    told = Examples(**task.examples(Fixed(lambda x: torch.full((len(x), count, 16), 0.0))))
    assert told.bits[0] == pytest.approx(np.log2(count), abs=1e-3)
    first = task.test.take(torch.arange(1))[1][0].tolist()
    assert [token.rstrip(" ") or " " for token in told.tokens[:16]] == [task.class_names[i] for i in first]
    sure = Fixed(lambda x: 100 * torch.eye(count)[1][:, None].expand(len(x), count, 16))
    assert set(task.examples(sure)["written"].replace(" ", "")) == set(task.class_names[1].strip())
