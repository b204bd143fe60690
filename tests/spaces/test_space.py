"""What every space derives of its sites, rules and graph, on a space made for it; the contract runs on all others."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import psutil
import pytest
from msgspec import Meta

from tempograd import registry
from tempograd.errors import InvalidArchitectureError, UnknownNameError, UsageError
from tempograd.spaces.architecture import Architecture, Site
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv, GlobalPool, Linear, Relu
from tempograd.spaces.space import SearchSpace


@dataclass(frozen=True, eq=False)
class Toy(SearchSpace):
    """A kernel, and where it is the larger one whether it is rectified."""

    width: Annotated[int, Meta(ge=1, le=10_000)] = 4

    @property
    def sites(self):
        return Site("kernel", ("k1", "k3")), Site("act", ("relu", "none", "both"), (("kernel", 1),))

    def build(self):
        builder = GraphBuilder((3, 8, 8))
        kernels = {f"k{k}": lambda b, x, k=k: b.add("c", Conv(self.width, k), x) for k in (1, 3)}
        x = builder.choice("kernel", "kernel", kernels, INPUT)
        acts = {name: lambda b, x: b.add("r", Relu(), x) for name in ("relu", "none", "both")}
        y = builder.choice("act", "act", acts, x)
        x = builder.mix("end", {x: ("kernel", 0), y: ("kernel", 1)})
        return builder.graph(builder.add("head", Linear(10), builder.add("pool", GlobalPool(), x)))


@pytest.fixture(scope="module")
def toy():
    return Toy()


def test_it_has_as_many_architectures_as_it_lists(toy):
    every = list(toy.enumerate())
    assert [a.choices for a in every] == [(0, -1), (1, 0), (1, 1), (1, 2)]
    assert 10**toy.size_log10 == pytest.approx(4)
    assert toy.live((0, -1)) == [True, False]


def test_what_is_given_for_a_site_that_decides_nothing_is_forgotten(toy):
    assert toy.architecture((0, 2)) == toy.architecture((0, -1))
    assert toy.changed(toy.architecture((1, 2)), {0: 0}) == toy.architecture((0, -1))
    assert toy.changed(toy.architecture((0, -1)), {0: 1}) == toy.architecture((1, 0))  # what comes in takes its first


@pytest.mark.parametrize(
    ("choices", "told"),
    [((0,), "'0' makes 1 choice; Toy has 2 sites"), ((2, 0), "option 2 at site 'kernel'; allowed: 0..1"),
     ((1, -1), "option -1 at site 'act'; allowed: 0..2")],
)  # fmt: skip
def test_what_is_no_architecture_is_refused(toy, choices, told):
    with pytest.raises(InvalidArchitectureError, match=told):
        toy.architecture(choices)


def test_architectures_are_written_and_read_by_site_and_by_key(toy):
    architecture = toy.architecture((1, 2))
    assert toy.format(architecture) == "kernel=k3;act=both"
    assert toy.parse("act=both; kernel=k3") == toy.parse("1.2") == architecture
    assert toy.parse("0.x") == toy.parse("kernel=k1") == toy.architecture((0, -1))


@pytest.mark.parametrize(
    ("text", "told"),
    [("kernel=k5", "no option 'k5' at kernel; allowed: k1, k3"), ("size=3", "no site 'size'; allowed: SITE=OPTION"),
     ("hello", "no notation of Toy begins so"), ("1.5", "option 5 at site 'act'")],
)  # fmt: skip
def test_a_mistake_is_told_with_how_it_is_written(toy, text, told):
    with pytest.raises(InvalidArchitectureError, match=rf"(?s){told}.*Written as sites: kernel=.*; or as "):
        toy.parse(text)
    with pytest.raises(InvalidArchitectureError, match=r"cannot read 'a\.b' as choices"):
        toy.from_key("a.b")


def test_rows_of_tables_are_read_and_further_columns_told(toy):
    assert toy.from_row({"e0": 0, "e1": -1}) == toy.architecture((0, -1))
    with pytest.raises(InvalidArchitectureError, match="e1=7: no option at site 'act'; allowed: 0, 1, 2"):
        toy.from_row({"e0": 1, "e1": 7})
    assert [toy.unread(name) for name in ("e1", "e2", "site.act", "site.more", "latency_ms")] == [
        None, "", None, "", None
    ]  # fmt: skip


def test_a_longer_sample_begins_with_the_shorter_and_more_than_there_are_is_refused(toy):
    few, all_ = (toy.sample(n, np.random.default_rng(3)) for n in (2, 4))
    assert all_[:2] == few
    assert len(set(all_)) == 4
    with pytest.raises(UsageError, match=r"5 networks asked; Toy@\w+:width=4 has only 4"):
        toy.sample(5, np.random.default_rng(0))


def test_an_architecture_of_another_space_is_refused(toy):
    with pytest.raises(InvalidArchitectureError, match="architecture of 'other' given to"):
        toy.raw_graph(Architecture("other", (0, -1)))


def test_a_space_that_no_machine_holds_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": 1000}))
    with pytest.raises(UsageError, match=r"Toy:width=4 takes .* GiB .*Make it narrower"):
        _ = Toy().graph


def test_arguments_are_held_against_their_annotation():
    with pytest.raises(UsageError, match=r"width=0 of space Toy.*from 1"):
        Toy(width=0)


def test_encodings_are_found_by_name(toy):
    assert toy.encoding() is toy.encodings[0]
    assert toy.encoding("counts") is toy.sparing_encoding
    with pytest.raises(UnknownNameError, match="encoding of Toy 'full'"):
        toy.encoding("full")
    assert toy.pruned is toy.encodings[0]
    assert not toy.has_cells
    assert toy.schedule == ()


def test_one_hot_gates_are_decoded(toy):
    every = list(toy.enumerate())
    assert toy.decode(toy.encode(every, "raw")) == every
    assert {site: tuple(gate.shape) for site, gate in toy.gates(every).items()} == {"kernel": (4, 2), "act": (4, 3)}


def test_a_shipped_space_bears_no_digest_and_arguments_added_later_stay_unsaid():
    space = registry.create("space", "darts")
    assert "@" not in space.spec
    assert "stem" not in space.spec
    assert "stem=" in registry.create("space", "darts:stem=imagenet").spec
