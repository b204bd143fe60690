"""Training and scoring of one network."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import DivergedError, UsageError
from tempograd.search.evaluator import Inherited, calibration, recalibrate, train
from tempograd.search.steps import cosine
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
NETWORK = SPACE.architecture((3, 1, 1, 1, 1, 3))


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=600").fitted(SPACE)


@pytest.fixture(scope="module")
def trained(task):
    return train(NETWORK, SPACE, task, Training(epochs=15, batch=32), seed=0)


@pytest.mark.slow
def test_a_network_learns_digits(task, trained):
    assert trained.score > 0.5  # chance is 0.1
    assert trained.validation_score == task.score(trained.network, "law")
    assert trained.passes == 15 * 32 * (len(task.weights) // 32)
    assert not trained.network.training


def test_the_same_seed_gives_the_same_network_and_another_does_not(task):
    training = Training(epochs=1)
    one, two, other = (train(NETWORK, SPACE, task, training, seed=seed).network.arrays() for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)


def test_training_leaves_torchs_generator_as_it_was(task):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train(NETWORK, SPACE, task, Training(epochs=1), seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_test_part_has_no_part_in_training(task):
    from dataclasses import replace

    garbled = replace(task, test=replace(task.test, images=task.test.images.flip(0), labels=task.test.labels * 0))
    one, two = (train(NETWORK, SPACE, t, Training(epochs=1), seed=1).network.arrays() for t in (task, garbled))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_accuracy_counts_every_image_once(task, trained):
    images, labels = task.test.take(torch.arange(len(task.test)))
    with torch.no_grad():
        right = (trained.network(images).argmax(dim=1) == labels).float().mean()
    assert task.score(trained.network, "test") == pytest.approx(float(right))


def test_recalibration_takes_plain_means_and_moves_no_weight(task, trained):
    network = SPACE.to_torch(NETWORK)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    images = torch.cat([x for x, _ in task.weights.batches(64, torch.Generator().manual_seed(3))])[: 2 * 64]
    recalibrate(network, calibration(task.weights, torch.Generator().manual_seed(3), batches=2))
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())
    with torch.no_grad():
        stem = network.layers["stem/conv"](images)
    assert torch.allclose(network.layers["stem/bn"].running_mean, stem.mean(dim=(0, 2, 3)), atol=1e-5)
    assert network.layers["stem/bn"].momentum == 0.1
    assert not network.training


@pytest.mark.slow
def test_inherited_weights_are_scored_with_statistics_of_their_own(task):
    """A supernet whose statistics are those of noise scores at chance until they are taken anew."""
    torch.manual_seed(0)
    supernet = SPACE.supernet()
    optimizer = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9)
    generator, gates = torch.Generator().manual_seed(0), SPACE.gates([NETWORK])
    gates = {name: gate[0] for name, gate in gates.items()}
    for _ in range(12):
        for images, labels in task.weights.batches(64, generator):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(supernet(images, gates), labels).backward()
            optimizer.step()
    for module in supernet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(30.0)
    other = SPACE.architecture((3, 1, 1, 1, 1, 1))
    ask = Inherited(SPACE, supernet, task)
    one, two = ask([NETWORK, other])
    assert one > 0.5
    assert [one, two] == [*ask([NETWORK]), *Inherited(SPACE, supernet, task)([other])]  # company changes nothing
    assert [*Inherited(SPACE, supernet, task, few=len(task.law))([NETWORK])] == [one]  # that is all there are
    seen = [*Inherited(SPACE, supernet, task, few=30)([NETWORK, other])]
    assert seen == [*Inherited(SPACE, supernet, task, few=30)([NETWORK, other])]
    assert all(30 * score == pytest.approx(round(30 * score)) for score in seen)
    assert seen[0] > 0.4


def test_the_cosine_starts_and_ends_where_it_should():
    assert [cosine(1.0, 0.2, share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.6, 0.2])


def test_schedules_that_cannot_be_run_are_refused():
    with pytest.raises(UsageError, match="epochs=0"):
        Training(epochs=0)


def test_training_that_leaves_the_numbers_stops_and_names_the_step(task):
    with pytest.raises(DivergedError, match=rf"step \d+ of \d+, training {NETWORK.key}"):
        train(NETWORK, SPACE, task, Training(epochs=3, learning_rate=1e30, clip=1e30), seed=0)


def test_a_part_that_is_small_is_gone_through_again_for_statistics(task):
    found = calibration(task.weights, torch.Generator().manual_seed(0), batches=9)
    assert len(found) == 9 > task.weights.steps(64)
    assert {len(inputs) for inputs in found} == {64}
