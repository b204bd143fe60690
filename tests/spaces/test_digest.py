"""A space of the user's own is named by what it describes: another kernel is another space, another comment is not."""

from dataclasses import dataclass, field

from tempograd import registry
from tempograd.spaces.architecture import Site
from tempograd.spaces.digest import digest_of, name_of, value_of
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv, GlobalPool, Linear, Width
from tempograd.spaces.space import SearchSpace


@dataclass(frozen=True, eq=False)
class Mine(SearchSpace):
    larger: int = field(default=3)

    @property
    def sites(self):
        return (Site("kernel", ("small", "large")),)

    def build(self):
        builder = GraphBuilder((3, 8, 8))
        sizes = {"small": 1, "large": self.larger}
        options = {name: lambda b, x, k=k: b.add("c", Conv(4, k), x) for name, k in sizes.items()}
        x = builder.add("pool", GlobalPool(), builder.choice("kernel", "kernel", options, INPUT))
        return builder.graph(builder.add("head", Linear(10), x))


def test_the_digest_follows_what_is_described():
    assert digest_of(Mine()) == digest_of(Mine())
    assert digest_of(Mine()) != digest_of(Mine(larger=5))
    assert name_of(Mine()) == f"Mine@{digest_of(Mine())}"


def test_a_shipped_space_bears_its_name_alone():
    assert {name_of(registry.create("space", name)) for name in registry.names("space")} == {*registry.names("space")}


def test_all_that_is_chosen_is_told():
    one, other = (Width(("site",), {(0,): 4, (1,): size}) for size in (8, 6))
    assert value_of((one, 3)) != value_of((other, 3))
