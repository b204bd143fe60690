"""DropBlock on skips: as much is dropped as asked, the mean stays, and nothing happens outside of training."""

from functools import partial

import pytest
import torch

from tempograd import registry
from tempograd.search.drop_block import drop_block


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_the_share_dropped_is_that_asked_for_and_the_mean_stays(rate):
    y = drop_block(torch.ones(64, 8, 16, 16), rate, generator())
    assert float((y == 0).float().mean()) == pytest.approx(rate, rel=0.15)
    assert float(y.mean()) == pytest.approx(1.0, abs=1e-5)


def test_what_is_dropped_are_blocks():
    dropped = (drop_block(torch.ones(1, 1, 24, 24), 0.05, generator()) == 0)[0, 0]
    assert dropped.any()
    for row, column in dropped.nonzero().tolist():
        windows = [
            dropped[top : top + 3, left : left + 3]
            for top in range(max(0, row - 2), min(row, 21) + 1)
            for left in range(max(0, column - 2), min(column, 21) + 1)
        ]
        assert any(window.all() for window in windows)


def test_every_map_of_every_image_has_blocks_of_its_own():
    dropped = (drop_block(torch.ones(4, 5, 16, 16), 0.2, generator()) == 0).flatten(2)
    assert len(dropped[0].unique(dim=0)) == 5
    assert len(dropped[:, 0].unique(dim=0)) == 4


def test_a_block_is_no_wider_than_a_narrow_map():
    y = drop_block(torch.ones(64, 8, 16, 2), 0.2, generator())
    assert float((y == 0).float().mean()) == pytest.approx(0.2, rel=0.15)


def test_small_maps_and_a_rate_of_one_are_survived():
    assert torch.isfinite(drop_block(torch.ones(2, 3, 2, 2), 0.3, generator())).all()
    assert torch.equal(drop_block(torch.ones(2, 3, 4, 4), 50.0, generator()), torch.zeros(2, 3, 4, 4))
    assert torch.equal(drop_block(torch.ones(2, 3, 4, 4), 0.0, generator()), torch.ones(2, 3, 4, 4))


def test_only_skips_and_only_in_training():
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8")
    gates = {site.name: torch.eye(5)[1] for site in space.sites}  # skips alone
    x, supernet = torch.randn(2, 3, 8, 8, generator=generator()), space.supernet()
    with torch.no_grad():
        supernet.eval()
        plain = supernet(x, gates)
        supernet.on_skip = partial(drop_block, rate=0.5, generator=generator())
        assert torch.equal(supernet(x, gates), plain)
        supernet.train()
        assert not torch.equal(supernet(x, gates), plain)
        called = []
        supernet.on_skip = lambda value: called.append(value) or value
        supernet(x, {site.name: torch.eye(5)[3] for site in space.sites})
    assert called == []
