"""A space of the user's module: his weights to begin with, and whether it may teach."""

import torch
from torch import nn

from tempograd import registry
from tempograd.spaces.digest import identity_of
from tempograd.spaces.tracing.marks import Choice, Width
from tempograd.spaces.tracing.traced import TracedSpace
from tempograd.spaces.tracing.tracer import space_from


def made(**more):
    torch.manual_seed(0)
    net = nn.Sequential(
        Width(nn.Conv2d(3, 8, 1), (4, 8)), Choice({"a": nn.ReLU(), "b": nn.Tanh()}), nn.Flatten(), nn.Linear(128, 2)
    )
    traced = space_from(net, torch.zeros(1, 3, 4, 4), name="net")
    return net, TracedSpace(traced.name, traced.build(), traced.sites, traced.start, traced._whole, **more)


def test_a_narrow_network_begins_with_the_first_of_the_users_channels():
    net, space = made()
    narrow = space.to_torch(space.architecture([0, 1]))
    first, last = (value for value in narrow.parameters() if value.ndim > 1)
    assert torch.equal(first, net[0].layer.weight[:4])
    assert torch.equal(last, net[3].weight[:, : 4 * 16])


def test_the_supernet_begins_with_all_of_them():
    net, space = made()
    values = [value for value in space.supernet().parameters() if value.ndim > 1]
    assert any(torch.equal(value, net[3].weight) for value in values if value.shape == net[3].weight.shape)


def test_the_whole_network_teaches_only_where_it_was_trained():
    _, space = made()
    assert space.teacher() is None
    _, space = made(trained=True)
    teacher, x = space.teacher(), torch.rand(2, 3, 4, 4)
    assert not teacher.training
    assert torch.equal(teacher(x), space.to_torch(space.whole).eval()(x))
    assert space.whole.choices == (1, 0)


def test_it_tells_how_much_there_is_to_choose():
    _, space = made()
    assert repr(space) == f"{space.spec}: 2 sites, 10^0.6 networks"


def test_spaces_of_other_weights_are_one_space_and_not_one_training():
    def made(seed):
        torch.manual_seed(seed)
        wide = Width(nn.Conv2d(3, 8, 3), options=(4, 8), name="w")
        return space_from(nn.Sequential(wide, nn.Flatten(), nn.Linear(8 * 36, 4)), torch.zeros(1, 3, 8, 8))

    one, same, other = made(0), made(0), made(1)
    assert one.spec == same.spec == other.spec
    assert identity_of(one) == identity_of(same) != identity_of(other)
    assert one.weights == same.weights != other.weights
    random = registry.create("space", "nasbench201")
    assert random.weights is None
    assert identity_of(random) == random.spec
