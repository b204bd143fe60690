"""What each layer adds to a network: its shape, weights and work; widths that are chosen."""

from copy import deepcopy

import pytest

from tempograd.spaces.layers import (
    BatchNorm,
    Concat,
    Conv,
    Crop,
    GlobalPool,
    Identity,
    Linear,
    Mask,
    Pool,
    Relu,
    Shuffle,
    Subsample,
    Width,
    Zero,
    chosen,
    expanded,
    same_width,
    scaled,
    sites_of,
)


def test_a_width_can_be_copied():
    width = expanded(Width.of("w", (3, 6)), "e", (0.5, 2.0))
    again = deepcopy(width)
    assert (again, again.sites, again.sizes) == (12, ("w", "e"), {(0, 0): 2, (0, 1): 6, (1, 0): 3, (1, 1): 12})


def test_a_grid_takes_rows_evenly():
    assert Subsample(4).rows(8) == [1, 3, 5, 7]
    assert Subsample(8).rows(8) == list(range(8))


@pytest.mark.parametrize(
    ("layer", "shape", "weights", "macs"),
    [
        (Conv(6, 3, 2), (6, 4, 4), {"weight": (6, 4, 3, 3)}, 6 * 4 * 9 * 16),
        (Conv(4, 3, 1, 2, groups=4), (4, 7, 8), {"weight": (4, 1, 3, 3)}, 4 * 9 * 56),
        (BatchNorm(), (4, 7, 8), dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (4,)), 0),
        (Zero(2), (4, 4, 4), {}, 0),
        (Pool("max", 3, 2, 1), (4, 4, 4), {}, 0),
        (Crop(), (4, 6, 7), {}, 0),
        (Subsample(5), (4, 5, 5), {}, 0),
        (GlobalPool(), (4,), {}, 0),
        (GlobalPool(keep_map=True), (4, 1, 1), {}, 0),
        (Shuffle(2), (4, 7, 8), {}, 0),
    ],
)
def test_shape_weights_and_work_are_what_a_hand_counts(layer, shape, weights, macs):
    inputs = ((4, 7, 8),)
    assert (layer.shape(inputs), layer.weights(inputs), layer.macs(inputs)) == (shape, weights, macs)


def test_layers_of_vectors_and_of_several_inputs():
    assert Linear(3).shape(((5,),)) == (3,)
    assert Linear(3).weights(((5,),)) == {"weight": (3, 5), "bias": (3,)}
    assert Linear(3).macs(((5,),)) == 15
    assert Concat().shape(((2, 4, 4), (3, 4, 4))) == (5, 4, 4)


def test_channels_are_scaled_and_multiplied_where_they_are_chosen():
    width = Width.of("w", (3, 6))
    assert scaled(5, 0.1) == 1
    assert scaled(width, 0.5).sizes == {(0,): 2, (1,): 3}
    inside = expanded(width, "e", (1, 4))
    assert (int(inside), inside.sites) == (24, ("w", "e"))
    assert chosen(inside, {"w": 0, "e": 1}) == 12
    assert expanded(8, "e", (0.5, 2)).sizes == {(0,): 4, (1,): 16}
    assert (chosen(7, {}), sites_of(7)) == (7, ())


def test_widths_are_the_same_only_where_they_are_chosen_together():
    a, b = Width.of("a", (2, 4)), Width.of("b", (2, 4))
    assert a == b == 4
    assert same_width(a, Width.of("a", (2, 4)))
    assert not same_width(a, b)
    assert not same_width(a, 4)


def test_a_layer_is_resolved_to_the_channels_taken():
    width = Width.of("w", (3, 6))
    assert Conv(width, 3, groups=width).resolved({"w": 0}) == Conv(3, 3, groups=3)
    assert Mask(width).resolved({"w": 0}) == Identity()
    assert Relu().resolved({"w": 0}) == Relu()
