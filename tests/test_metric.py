"""A metric knows its direction, and shows numbers with their unit."""

import math

from tempograd.metric import ACCURACY, Metric

PERPLEXITY = Metric("perplexity", higher_is_better=False, unit="")


def test_better_goes_by_direction_and_nan_is_never_better():
    assert ACCURACY.better(0.9, 0.8)
    assert PERPLEXITY.better(10.0, 20.0)
    assert not PERPLEXITY.better(math.nan, 20.0)
    assert ACCURACY.better(0.1, math.nan)


def test_numbers_are_shown_with_their_unit():
    assert ACCURACY.format(0.9583) == "95.8%"
    assert PERPLEXITY.format(12.345) == "12.35"
    assert Metric("error", False, "px").format(3.0) == "3 px"
    assert ACCURACY.format(None) == "-"
    assert ACCURACY.gap(0.95, 0.94) == "1.0 points"
    assert PERPLEXITY.gap(10.0, 12.5) == "2.5"
