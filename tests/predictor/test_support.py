import numpy as np
import pytest

from tempograd import registry
from tempograd.predictor.support import support_of


def outside(support, X):
    low, high = support
    return np.any((low - 1e-6 > X) | (high + 1e-6 < X), axis=1)


@pytest.mark.slow
@pytest.mark.fault(32)
@pytest.mark.parametrize("name", registry.names("space"))
def test_networks_drawn_like_those_learnt_from_are_inside(name):
    """Over ten draws, in each encoding: 2 % are outside, and twice that allows for chance."""
    space = registry.create("space", name)
    if 10**space.size_log10 < 1000:
        pytest.skip("too few networks to learn from some and be asked about others")
    pool = space.sample(1000, np.random.default_rng(5))
    for encoding in space.encodings:
        X = np.asarray(encoding.encode(space, pool), float)
        for learnt in (60, 300):
            shares = []
            for seed in range(10):
                rows = np.random.default_rng(seed).permutation(len(X))
                shares.append(outside(support_of(X[rows[:learnt]]), X[rows[learnt:]]).mean())
            assert np.mean(shares) < 0.04, f"{encoding.name}: {np.mean(shares):.1%} outside"


def test_what_no_network_has_is_outside():
    rng = np.random.default_rng(0)
    X = np.hstack([rng.integers(0, 2, (100, 6)), np.zeros((100, 1))]).astype(float)
    unseen = X[:1].copy()
    unseen[0, -1] = 1
    assert not outside(support_of(X), X).any()
    assert outside(support_of(X), unseen)[0]


@pytest.mark.fault(32)
def test_far_beyond_every_network_is_outside():
    X = np.random.default_rng(0).normal(10, 1, (200, 20))
    assert outside(support_of(X), np.full((1, 20), 30.0))[0]


def test_a_single_network_is_its_own_range():
    np.testing.assert_array_equal(support_of(np.ones((1, 3))), np.ones((2, 3)))
