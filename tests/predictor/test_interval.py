import numpy as np
import pytest

from tempograd.errors import UsageError
from tempograd.predictor.interval import Conformal


def test_takes_the_finite_sample_rank():
    conformal = Conformal.fit(np.exp(np.arange(1, 10) / 100), np.ones(9))  # residuals 0.01 ... 0.09
    assert conformal.log_half_width(0.9) == pytest.approx(0.09)  # rank ceil(10 * 0.9) = 9
    assert conformal.log_half_width(0.5) == pytest.approx(0.05)
    assert conformal.log_half_width(0.51) == pytest.approx(0.06)


def test_interval_is_a_factor_either_way():
    conformal = Conformal.fit([1.1] * 20, [1.0] * 20)
    low, high = conformal.interval([10.0, 100.0], 0.9)
    np.testing.assert_allclose(low, [10 / 1.1, 100 / 1.1])
    np.testing.assert_allclose(high, [11.0, 110.0])


@pytest.mark.parametrize(("n", "coverage", "need"), [(8, 0.9, 9), (18, 0.95, 19), (98, 0.99, 99)])
def test_refuses_a_coverage_that_so_few_networks_cannot_promise(n, coverage, need):
    with pytest.raises(UsageError, match=f"at least {need} "):
        Conformal.fit(np.ones(n), np.ones(n)).interval([1.0], coverage)
    Conformal.fit(np.ones(need), np.ones(need)).interval([1.0], coverage)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90])
def test_refuses_what_is_no_coverage(coverage):
    with pytest.raises(UsageError, match="between 0 and 1"):
        Conformal.fit(np.ones(50), np.ones(50)).interval([1.0], coverage)


def test_refuses_predictions_that_are_not_positive():
    with pytest.raises(UsageError, match="> 0 ms"):
        Conformal.fit([1.0, 1.0], [1.0, 0.0])


@pytest.mark.parametrize("n", [20, 99])
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_covers_what_it_promises(n, coverage):
    # the mean over calibration sets of the coverage of new points is exactly ceil((n + 1) c) / (n + 1) for any noise
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(600):
        noise = np.exp(0.1 * rng.standard_t(2, n + 200))
        low, high = Conformal.fit(noise[:n], np.ones(n)).interval(np.ones(200), coverage)
        covered.append(np.mean((noise[n:] >= low) & (noise[n:] <= high)))
    promised = np.ceil((n + 1) * coverage - 1e-9) / (n + 1)
    assert np.mean(covered) == pytest.approx(promised, abs=0.012)


def test_every_third_has_its_own_width():
    rng = np.random.default_rng(0)
    p = rng.uniform(1, 4, 3000)
    y = p * np.exp(0.02 * p * rng.standard_normal(3000))  # slow networks err more
    conformal = Conformal.fit(y[:1500], p[:1500])
    low, high = conformal.interval(p[1500:], 0.9)
    inside = (y[1500:] >= low) & (y[1500:] <= high)
    for third in np.array_split(np.argsort(p[1500:]), 3):
        assert inside[third].mean() == pytest.approx(0.9, abs=0.04)
    alone = Conformal(conformal.residuals)
    low, high = alone.interval(p[1500:], 0.9)
    inside = (y[1500:] >= low) & (y[1500:] <= high)
    assert inside[np.argsort(p[1500:])[:500]].mean() > 0.96  # one width for all is too wide for the fast ones


def test_equal_predictions_share_one_width():
    conformal = Conformal.fit(np.exp(np.arange(1, 200) / 1000), np.ones(199))
    low, high = conformal.interval([1.0, 2.0], 0.9)
    np.testing.assert_allclose(high / [1.0, 2.0], np.exp(0.18))
    np.testing.assert_allclose([1.0, 2.0] / low, np.exp(0.18))


def test_the_chance_to_be_within_a_limit_is_the_share_that_was():
    rng = np.random.default_rng(0)
    predicted = rng.uniform(1, 10, 4000)
    true = predicted * np.exp(0.1 * rng.standard_normal(4000))
    conformal = Conformal.fit(true[:2000], predicted[:2000])
    chance = conformal.share_within(predicted[2000:], 5.0)
    assert np.all((chance > 0) & (chance < 1))
    for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 0.95)):
        part = (chance > low) & (chance < high)
        assert np.mean(true[2000:][part] <= 5.0) == pytest.approx(chance[part].mean(), abs=0.1)
    assert conformal.share_within([5.0], 5.0)[0] == 0.5
    assert np.all(np.diff(Conformal((0.1, 0.2)).share_within([1.0, 2.0, 3.0], 2.0)) <= 0)
