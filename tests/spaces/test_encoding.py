"""Encodings as values: what each holds, and which has a slope."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.spaces.encoding import RAW, OneHots, cell_encodings


@pytest.fixture(scope="module")
def space():
    return registry.create("space", "nasbench201")


def test_graph_encodings_begin_with_the_one_hots_and_cannot_be_relaxed(space):
    architectures = space.sample(20, np.random.default_rng(0))
    compiled, full = (space.encode(architectures, name) for name in ("compiled", "full"))
    np.testing.assert_array_equal(compiled[:, :30], space.encode(architectures, "pruned"))
    np.testing.assert_array_equal(full[:, :30], space.encode(architectures, "raw"))
    np.testing.assert_array_equal(full[:, 30:], compiled)
    with pytest.raises(UsageError, match="'compiled' has no slope"):
        space.relax(space.gates(architectures), "compiled")


def test_one_hots_are_zero_where_a_site_decides_nothing():
    space = registry.create("space", "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=1,head=8,size=8,classes=5")
    architectures = space.sample(20, np.random.default_rng(0))
    rows = np.split(RAW.encode(space, architectures), np.cumsum(space.widths)[:-1], axis=1)
    choices = space.choices(architectures)
    assert (choices == -1).any()
    for site, row in enumerate(rows):
        assert row.sum(axis=1).tolist() == (choices[:, site] >= 0).astype(float).tolist()


def test_a_site_counts_as_much_as_it_is_reached():
    space = registry.create("space", "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=1,head=8,size=8,classes=5")
    (inner, *_) = [site for site in space.sites if site.when]
    gates = {site.name: torch.full((len(site.options),), 1 / len(site.options)) for site in space.sites}
    outer, option = inner.when[0]
    gates[outer] = torch.zeros_like(gates[outer])
    gates[outer][option] = 0.25
    relaxed = dict(zip((s.name for s in space.sites), RAW.relax(space, gates).split(list(space.widths)), strict=True))
    assert torch.allclose(relaxed[inner.name], 0.25 * gates[inner.name])


def test_a_view_sees_what_it_is_shown(space):
    seen = OneHots("half", lambda rows: {site: row / 2 for site, row in rows.items()})
    architectures = space.sample(3, np.random.default_rng(0))
    np.testing.assert_array_equal(2 * seen.encode(space, architectures), RAW.encode(space, architectures))


def test_blocks_cover_all_columns_and_the_last_counts_options_and_sizes(space):
    counts = space.sparing_encoding
    (architecture,) = space.sample(1, np.random.default_rng(0))
    row = counts.encode(space, [architecture])
    blocks = counts.blocks(space)
    assert sum(blocks) == row.shape[1]
    last = row[0, -blocks[-1] :]
    taken = [space.sites[i].options[c] for i, c in enumerate(architecture.choices)]
    options = list(dict.fromkeys(option for site in space.sites for option in site.options))
    assert last[: len(options)].tolist() == [taken.count(option) for option in options]
    assert last[-2:].tolist() == pytest.approx(np.log1p([space.raw_graph(architecture).macs(),
                                                         space.raw_graph(architecture).parameters()]))  # fmt: skip


def test_cells_have_a_full_encoding_only_where_there_are_several_views():
    one, two = OneHots("raw"), OneHots("pruned")
    assert [encoding.name for encoding in cell_encodings(one)] == ["raw", "compiled", "counts"]
    assert [encoding.name for encoding in cell_encodings(one, two)] == ["raw", "pruned", "compiled", "full", "counts"]


def test_only_what_has_a_slope_can_be_relaxed(space):
    gates = space.gates(space.sample(2, np.random.default_rng(0)))
    for encoding in space.encodings:
        if encoding.slope:
            assert encoding.relax(space, gates).shape[0] == 2
        else:
            with pytest.raises(UsageError, match=f"'{encoding.name}' has no slope in the gates"):
                encoding.relax(space, gates)
