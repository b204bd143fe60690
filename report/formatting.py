"""Numbers as people read them, with their units."""

from __future__ import annotations

from ..data.result import Measured
from ..metric import SHARE, Metric

DASH = "—"


def digits(value: float) -> str:
    """Return a number of four significant digits, in thousands from 1,000.

    >>> digits(1.2), digits(12345.6), digits(0.034)
    ('1.200', '12,346', '0.03400')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def ms(value: float | None) -> str:
    """Return a latency, or a dash where there is none."""
    return DASH if value is None else f"{digits(value)} ms"


def score(value: float | None, metric: Metric, places: int = 1) -> str:
    """Return a score with its metric's unit, or a dash where there is none.

    >>> score(0.974, Metric()), score(12.5, Metric("perplexity", higher_is_better=False, unit=""))
    ('97.4 %', '12.50')
    """
    if metric.unit == SHARE or value is None:
        return percent(value, places)
    return f"{digits(value)} {metric.unit}".rstrip()


def a(name: str) -> str:
    """Return a name with its article.

    >>> a("accuracy"), a("perplexity"), a("mIoU")
    ('an accuracy', 'a perplexity', 'an mIoU')
    """
    spelt = name[:1] in "mnflrsxh" and name[1:2].isupper()  # read letter by letter
    return f"{'an' if name[:1].lower() in 'aeiou' or spelt else 'a'} {name}"


def percent(value: float | None, places: int = 1) -> str:
    """Return a share as percent, or a dash where there is none.

    >>> percent(0.974), percent(1, 0), percent(None)
    ('97.4 %', '100 %', '—')
    """
    return DASH if value is None else f"{100 * value:.{places}f} %"


def count(value: int | None) -> str:
    """Return a count in steps of a thousand, or a dash where there is none.

    >>> count(1234567), count(999)
    ('1.23 M', '999')
    """
    if value is None:
        return DASH
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return str(value)


def interval(measured: Measured) -> str:
    """Return the interval of a measurement."""
    if measured.low_ms is None or measured.high_ms is None:
        return "no interval"
    return f"95 % interval {digits(measured.low_ms)} to {ms(measured.high_ms)}"
