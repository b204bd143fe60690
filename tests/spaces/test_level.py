"""The levels of a space decide all of its sites, each once."""

import numpy as np
import pytest

from tempograd import registry


@pytest.mark.parametrize("spec", ["staged:width=4,size=8", "darts:stages=3,layers=5,width=4,size=8"])
def test_levels_share_out_the_sites(spec):
    space = registry.create("space", spec)
    (architecture,) = space.sample(1, np.random.default_rng(0))
    given = space.taken(architecture)
    decided = [site.name for level in space.levels for site in level.space(given).sites]
    assert sorted(decided) == sorted(site.name for site in space.sites)
    assert all(set(level.before) <= set(given) for level in space.levels)
