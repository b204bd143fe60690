"""Average precision of figures: against values worked out by hand from the definition of COCO's evaluation."""

import sys

import numpy as np
import pytest
import torch

from tempograd.tasks.load import load_task
from tempograd.tasks.oks import Figures, average_precision

pytest.importorskip("pycocotools")


def figures(n=4, side=100.0):
    """Squares of 40 x 40 pixels in images of their own, each cut out from column 10, row 20."""
    points = np.tile(np.array([[30.0, 40], [70, 40], [30, 80], [70, 80]]), (n, 1, 1))
    return Figures(
        points=points,
        labelled=np.ones((n, 4), bool),
        corner=np.tile([10.0, 20.0], (n, 1)),
        side=np.full(n, side),
        area=np.full(n, 1600.0),
        image=np.arange(n),
    )


def off_by(pixels, n=4):
    """Return what is found: all points too far right by so many pixels, one number a figure."""
    there = figures(n)
    moved = there.points + np.array(pixels, float)[:, None, None] * [1, 0]
    return (moved - there.corner[:, None]) / there.side[:, None, None]


def similarity_off(similarity):
    """Return the pixels by which every point of a figure is off to be so similar: area 1600, sigma .05."""
    return np.sqrt(-2 * np.log(similarity) * 1600 * (2 * 0.05) ** 2)


def test_points_where_they_are_are_all_found_and_points_elsewhere_none():
    assert average_precision(figures(), off_by([0] * 4), np.ones(4)) == pytest.approx(1)
    assert average_precision(figures(), off_by([50] * 4), np.ones(4)) == 0


def test_the_precision_is_the_mean_over_thresholds_from_half_to_95():
    """As similar as .72 is found at five thresholds of ten: .5, .55, .6, .65 and .7."""
    assert average_precision(figures(), off_by([similarity_off(0.72)] * 4), np.ones(4)) == pytest.approx(0.5)


def test_a_sure_mistake_costs_more_than_an_unsure_one():
    found = off_by([0, 0, 0, 50])
    unsure = average_precision(figures(), found, np.array([1.0, 1.0, 1.0, 0.1]))
    sure = average_precision(figures(), found, np.array([0.5, 0.5, 0.5, 1.0]))
    assert sure < unsure < 1
    # three of four are found before the mistake: precision 1 up to a recall of .75, at 76 of 101 places
    assert unsure == pytest.approx(76 / 101)


def test_points_without_label_do_not_count():
    there = figures()
    labelled = np.tile([True, True, True, False], (4, 1))
    found = off_by([0] * 4)
    found[:, 3] += 0.5
    known = Figures(there.points, labelled, there.corner, there.side, there.area, there.image)
    assert average_precision(known, found, np.ones(4)) == pytest.approx(1)
    assert average_precision(there, found, np.ones(4)) < 1


def test_figures_of_one_image_each_have_their_own():
    there = figures(2)
    points = there.points + np.array([0, 200.0])[:, None, None]
    corner = there.corner + np.array([0, 200.0])[:, None]
    both = Figures(points, there.labelled, corner, there.side, there.area, np.zeros(2, int))
    found = (points - corner[:, None]) / both.side[:, None, None]
    assert average_precision(both, found, np.ones(2)) == pytest.approx(1)
    elsewhere = Figures(points, there.labelled, there.corner, there.side, there.area, np.zeros(2, int))
    assert average_precision(elsewhere, found, np.ones(2)) < 1  # both found figures lie on the first


class Oracle(torch.nn.Module):
    """Gives the heat maps of the part in turn, moved by some columns, and two more that nobody asked for."""

    def __init__(self, part, columns=0):
        super().__init__()
        self.part, self.columns, self.at = part, columns, 0

    def forward(self, x):
        maps = self.part.take(torch.arange(self.at, self.at + len(x)))[1].roll(self.columns, dims=3)
        self.at += len(x)
        return 20 * torch.cat([maps, torch.rand(len(x), 2, *maps.shape[2:])], dim=1)


def test_a_networks_score_has_it_beside_the_share_of_near_points_on_the_test_part_alone():
    task = load_task("figures_keypoints,images=100")
    right = task.scores(Oracle(task.test), "test")
    assert right["PCK@0.2"] == 1
    assert 0.6 < right["AP"] < 0.9  # a map tells places to two pixels
    assert task.scores(Oracle(task.test, columns=4), "test")["AP"] < 0.1
    assert "AP" not in task.scores(Oracle(task.law), "law")


def test_without_the_package_it_is_not_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    task = load_task("figures_keypoints,images=100")
    assert list(task.scores(Oracle(task.test), "test")) == ["PCK@0.2"]
