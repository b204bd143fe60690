"""The page of a comparison: what its table adds up to, and what nobody could read of a network."""

import pytest

from tempograd.report.compare import before_and_after, intervals, render

DIFFERENCE = {"change": -0.2, "low": -0.25, "high": -0.1, "side": "faster", "text": "faster by 20 % [10, 25]"}


def row(name, latency_ms, difference=None):
    return {
        "name": name, "device": "d", "latency_ms": latency_ms, "low_ms": latency_ms, "high_ms": latency_ms,
        "verdict": "ok", "processes": 4, "difference": difference and DIFFERENCE | {"processes": 4, "paired": True},
    }  # fmt: skip


ROWS = [row("old<b>", 10.0), row("new", 8.0, DIFFERENCE)]
KERNELS = [
    {"why": None, "families": {"convolution": {"kernels": 3, "share": 0.9}, "pool": {"kernels": 1, "share": 0.1}}},
    {"why": None, "families": {"convolution": {"kernels": 2, "share": 1.0}}},
]


def test_families_add_up_to_each_network_and_one_that_is_gone_takes_nothing():
    found = before_and_after(ROWS, KERNELS)
    assert [name for name, _ in found] == ["convolution", "pool"]
    assert [sum(cells[n][1] for _, cells in found) for n in (0, 1)] == pytest.approx([10.0, 8.0])
    assert dict(found)["pool"][1] == (0, 0.0)


def test_an_interval_lies_left_of_no_change_where_a_network_is_faster():
    ((name, low, change, high, zero, side),) = intervals(ROWS)
    assert (name, side) == ("new", "faster")
    assert 0 <= low < change < high < zero <= 100


def test_a_page_escapes_names_and_says_why_kernels_are_not_told():
    document = {"first": "old<b>", "networks": ROWS, "gate": None, "seconds": 12.0}
    page = render(document, [KERNELS[0], {"why": "control <flow>", "families": {}}])
    assert "old<b>" not in page
    assert "control &lt;flow&gt;" in page
    assert "faster by 20 % [10, 25]" in page
