"""Metrics of maps, heat maps and text against numbers worked out by hand."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import InputRefusedError, UsageError
from tempograd.tasks.dense import IGNORED, heat_maps
from tempograd.tasks.fit import fit_space
from tempograd.tasks.load import load_task
from tempograd.tasks.task import told_kinds


@pytest.fixture(scope="module")
def shapes():
    return load_task("shapes_segmentation,images=60")


@pytest.fixture(scope="module")
def figures():
    return load_task("figures_keypoints,images=60")


def test_miou_is_the_mean_over_the_classes_that_occur_and_leaves_ignored_pixels_out(shapes):
    truth = torch.tensor([[[0, 0, 1, IGNORED]]])
    predicted = torch.tensor([[[0, 1, 1, 2]]])
    outputs = torch.nn.functional.one_hot(predicted, 4).movedim(-1, 1).float()
    found = shapes.metrics(outputs, truth)
    assert found["mIoU"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert found["pixel accuracy"] == pytest.approx(2 / 3)


def test_ignored_pixels_have_no_loss_even_where_all_are(shapes):
    outputs = torch.randn(1, 4, 2, 2)
    truth = torch.tensor([[[1, IGNORED], [IGNORED, IGNORED]]])
    assert float(shapes.loss(outputs, truth)) == pytest.approx(
        float(shapes.class_weights[1] * torch.nn.functional.cross_entropy(outputs[:, :, 0, 0], truth[:, 0, 0]))
    )
    assert float(shapes.loss(outputs, torch.full_like(truth, IGNORED))) == 0


def test_seldom_classes_weigh_more_and_all_pixels_one_on_average(shapes):
    masks = torch.tensor([[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [1, IGNORED, IGNORED]]], dtype=torch.uint8)
    weights = replace(shapes, weights=replace(shapes.weights, targets=masks)).class_weights
    assert float(weights[1] / weights[0]) == pytest.approx(3)  # nine pixels to one
    assert float(9 * weights[0] + weights[1]) == pytest.approx(10)
    assert weights[1] == weights[2] == weights[3]  # what is not there weighs as the seldomest


@pytest.mark.parametrize("kind", ["classes", "map", "heatmaps"])
def test_the_distance_from_a_teacher_is_of_what_its_outputs_say(kind, shapes, figures):
    """What is added to all logits of one choice says nothing; nor does what a network gives beside what was asked."""
    task = {"classes": load_task("digits,limit=100"), "map": shapes, "heatmaps": figures}[kind]
    side, over = () if kind == "classes" else (3, 5), {"classes": (1,), "map": (1,), "heatmaps": (2, 3)}[kind]
    told = torch.randn(2, task.output.count, *side, generator=torch.Generator().manual_seed(0))
    moved = told + torch.randn(*[1 if i in over else size for i, size in enumerate(told.shape)])
    assert float(task.distillation(moved, told)) == pytest.approx(0, abs=1e-6)
    (dimension, *_) = over
    other = told.flip(dimension)
    distance = float(task.distillation(other, told))
    assert distance > 0.1
    assert float(task.distillation(told.flip(dimension), told)) == pytest.approx(distance)
    if kind != "classes":
        wide = [torch.cat([maps, torch.randn(2, 2, *side)], dim=1) for maps in (other, told)]
        assert float(task.distillation(*wide)) == pytest.approx(distance)
    twice = [torch.cat([maps, maps]) for maps in (other, told)]
    assert float(task.distillation(*twice)) == pytest.approx(distance)


def test_a_smaller_map_is_brought_to_the_masks_size(shapes):
    truth = torch.zeros(1, 8, 8, dtype=torch.long)
    outputs = torch.zeros(1, 4, 2, 2)
    outputs[:, 0] = 1
    assert shapes.metrics(outputs, truth)["mIoU"] == 1


def test_pck_counts_points_near_enough_for_the_size_of_the_figure(figures):
    points = np.array([[[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9], [0.5, 0.5]]])
    labelled = np.array([[True, True, True, True, False]])
    truth = torch.from_numpy(heat_maps(points, labelled, 16)).float() / 255
    moved = points + np.array([[[0.12, 0], [0.3, 0], [0, 0], [0, 0], [0.3, 0.3]]])
    found = torch.from_numpy(heat_maps(np.clip(moved, 0, 0.99), np.ones((1, 5), bool), 16)).float() / 255
    assert figures.metrics(truth, truth)[figures.metric.name] == 1
    assert figures.metrics(found, truth)[figures.metric.name] == 1  # the second is at the edge already
    moved = points - np.array([[[0, 0], [0.3, 0], [0, 0], [0, 0], [0, 0]]])
    found = torch.from_numpy(heat_maps(moved, np.ones((1, 5), bool), 16)).float() / 255
    assert figures.metrics(found, truth)[figures.metric.name] == 0.75


def test_a_point_without_label_has_no_loss(figures):
    truth = torch.zeros(1, 5, 4, 4)
    truth[0, 0, 1, 1] = 1
    outputs = torch.zeros(1, 5, 4, 4)
    outputs[0, 3] = 100
    assert float(figures.loss(outputs, truth)) == pytest.approx(log(16))  # any of 16 places


def test_perplexity_is_the_exponential_of_the_mean_surprise_and_less_is_better():
    text = load_task("text,limit=30000,length=16")
    inputs, targets = text.law.take(torch.arange(3))
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    even = text.metrics(torch.zeros(3, text.output.count, 16), targets)
    assert even["perplexity"] == pytest.approx(text.output.count)
    assert even["bits per character"] == pytest.approx(log(text.output.count, 2))
    sure = torch.nn.functional.one_hot(targets, text.output.count).movedim(-1, 1) * 5.0
    assert text.metrics(sure, targets)["perplexity"] == pytest.approx(
        exp(log(exp(5.0) + text.output.count - 1) - 5.0), rel=1e-5
    )
    assert text.metric.better(3.0, 4.0)


def test_text_by_words_from_a_file_and_what_is_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two three " * 200 + "four " * 100, encoding="utf-8")
    text = load_task(f"text:{path},unit=words,length=4")
    assert text.class_names[1:] == ("one", "three", "two")
    assert 0 in text.test.tokens  # what was never seen in training
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputRefusedError, match="is not UTF-8"):
        load_task(f"text:{path}")
    path.write_text("short")
    with pytest.raises(InputRefusedError, match="5 characters: too few for windows of 64"):
        load_task(f"text:{path}")


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("shapes_segmentation,images=20", "map"),
        ("figures_keypoints,images=20", "heatmaps"),
        ("text,limit=9000", "seq"),
    ],
)
def test_spaces_that_do_not_give_what_is_asked_for_are_refused_with_both(spec, kind):
    for name in registry.names("space"):
        if not any(each.startswith(kind) for each in registry.load("space", name).outputs):
            given = told_kinds(registry.load("space", name).outputs)
            with pytest.raises(UsageError, match=rf"asks for {kind}.*, {name} gives {given}"):
                fit_space(name, load_task(spec))
