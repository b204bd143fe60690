"""Exact distribution functions for few and whole numbers, so that a board that times networks needs no scipy.

References:
    Abramowitz and Stegun, *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4 (Student's t, whole degrees).
"""

from __future__ import annotations

from math import atan2, cos, exp, fsum, lgamma, log, log1p, pi, sin, sqrt, tan


def median_rank(n: int, coverage: float) -> int:
    """Return the largest rank ``r`` so that ranks ``r`` to ``n + 1 - r`` hold the median this often; 0 if none does.

    >>> median_rank(6, 0.95), median_rank(5, 0.95)
    (1, 0)
    """
    below, ways, rank = 0, 1, 0  # whole numbers: throws of a fair coin, counted
    while 2 * rank < n:
        below += ways
        if 2 * below / 2**n > 1 - coverage:
            break
        ways = ways * (n - rank) // (rank + 1)
        rank += 1
    return min(rank, n // 2)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return the probability of at most ``k`` events in ``n`` tries of probability ``p``, strictly within (0, 1)."""
    return min(1.0, fsum(_binomial(i, n, p) for i in range(k + 1)))


def binomial_quantile(level: float, n: int, p: float) -> int:
    """Return the smallest ``k`` with a probability of at least ``level`` for at most ``k`` events."""
    reached, k = _binomial(0, n, p), 0
    while reached < level and k < n:
        k += 1
        reached += _binomial(k, n, p)
    return k


def _binomial(k: int, n: int, p: float) -> float:
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(ways + k * log(p) + (n - k) * log1p(-p))


def t_quantile(coverage: float, degrees: int) -> float:
    """Return the half width that holds this share of Student's t with a whole number of degrees of freedom.

    >>> round(t_quantile(0.95, 4), 3)
    2.776
    """
    low, high = 0.0, pi / 2
    for _ in range(80):  # halving: the angle is exact to the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < coverage else (low, middle)
    return sqrt(degrees) * tan(low)


def t_coverage(half_width: float, degrees: int) -> float:
    """Return the share of Student's t within this half width; the inverse of ``t_quantile``."""
    return _within(atan2(half_width, sqrt(degrees)), degrees)


def _within(angle: float, degrees: int) -> float:
    """Return the share of t within ``sqrt(degrees) * tan(angle)``, a finite sum for whole degrees."""
    odd = degrees % 2
    term, terms = (cos(angle), []) if odd else (1.0, [])
    for power in range(2 + odd, degrees + 1, 2):
        terms.append(term)
        term *= cos(angle) ** 2 * (power - 1) / power
    series = sin(angle) * fsum(terms)
    return 2 / pi * (angle + series) if odd else series
