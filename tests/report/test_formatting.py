"""Numbers as people read them."""

import pytest

from tempograd.report.formatting import DASH, count, digits, ms, percent


@pytest.mark.parametrize(
    ("value", "text"), [(1.2, "1.200"), (0.034, "0.03400"), (999.96, "1000."), (12345.6, "12,346"), (-1234.4, "-1,234")]
)
def test_four_digits_of_small_numbers_and_thousands_of_large_ones(value, text):
    assert digits(value) == text


def test_what_is_missing_is_a_dash():
    assert ms(None) == percent(None) == count(None) == DASH
    assert ms(0.5) == "0.5000 ms"


def test_shares_and_counts_have_their_units():
    assert percent(0.974) == "97.4 %"
    assert percent(1, 0) == "100 %"
    assert [count(n) for n in (999, 1000, 1234567, 2 * 10**9)] == ["999", "1 k", "1.23 M", "2 G"]
