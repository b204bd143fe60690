"""Objects in a notebook: every number stands under its heading."""

import pytest

from tempograd.shown import Rows, counted, table


class Few(Rows):
    def listed(self):
        return [{"network": "found", "low_ms": 1.25}, {"verdict": "<ok>", "network": "random", "low_ms": 2.0}]

    def __repr__(self):
        return "two & more"


def test_rows_with_their_keys_in_any_order_stand_in_columns():
    shown = Few()._repr_html_()
    assert shown.startswith("<pre>two &amp; more</pre><table>")
    assert "<th>network</th><th>low_ms</th><th>verdict</th>" in shown
    assert "<tr><td>random</td><td>2</td><td>&lt;ok&gt;</td></tr>" in shown


def test_one_thing_is_not_told_in_the_plural():
    assert [counted(n, "edge") for n in (0, 1, 2, 1500)] == ["0 edges", "1 edge", "2 edges", "1,500 edges"]
    assert [counted(n, "query", "queries") for n in (1, 2)] == ["1 query", "2 queries"]


def test_a_frame_has_the_same_columns():
    assert list(Few().to_frame().columns) == ["network", "low_ms", "verdict"]


@pytest.mark.parametrize(("count", "more"), [(0, ""), (3, "1 more row: to_frame()")])
def test_many_rows_are_cut(count, more):
    shown = table([{"n": n} for n in range(count)], most=2)
    assert more in shown
    assert shown.count("<tr>") == (3 if count else 0)
