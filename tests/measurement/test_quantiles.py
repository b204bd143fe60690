"""Against scipy, which the tests have and a board need not have."""

import numpy as np
import pytest
from scipy.stats import binom, t

from tempograd.measurement.quantiles import binomial_cdf, binomial_quantile, median_rank, t_coverage, t_quantile


@pytest.mark.parametrize("degrees", [*range(1, 31), 77, 200])
def test_t_agrees_with_scipy(degrees):
    for coverage in (0.5, 0.9, 0.95, 0.985, 0.999):
        half = t_quantile(coverage, degrees)
        assert half == pytest.approx(t.ppf((1 + coverage) / 2, degrees), rel=1e-9)
        assert t_coverage(half, degrees) == pytest.approx(coverage, rel=1e-12)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95, 0.985, 0.99])
def test_ranks_are_those_of_scipy(coverage):
    for n in range(1, 130):
        misses = 2 * binom.cdf(np.arange(n // 2), n, 0.5)
        assert median_rank(n, coverage) == np.count_nonzero(misses <= 1 - coverage)


@pytest.mark.parametrize(("n", "p"), [(1, 0.1), (64, 0.1), (662, 0.01), (5000, 0.1), (20_000, 0.01)])
def test_binomials_agree_with_scipy(n, p):
    for level in (0.001, 0.01, 0.5, 0.99):
        k = int(binom.ppf(level, n, p))
        assert binomial_quantile(level, n, p) == k
        assert binomial_cdf(k, n, p) == pytest.approx(binom.cdf(k, n, p), rel=1e-9)
