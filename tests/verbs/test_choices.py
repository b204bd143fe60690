"""Costs of a search and their shares."""

import pytest

from tempograd.errors import UnknownNameError, UsageError
from tempograd.verbs.choices import COSTS, COUNTERS, shares_of


def test_a_single_cost_counts_whole_and_several_by_their_shares():
    assert shares_of("table") == {"table": 1.0}
    assert shares_of("0.7*predictor + 0.3*flops") == {"predictor": 0.7, "flops": 0.3}


@pytest.mark.parametrize(
    "spec",
    ["0.5*table", "0.5*table+0.6*flops", "-1*table+2*flops", "x*table", "0*table+1*flops", "nan*table", "inf*table",
     "0.5*table+nan*flops", "nan*table+0.5*flops", "0.5*table+0.5*table", "0.3*table+1*table"],
)  # fmt: skip
def test_shares_that_do_not_add_up_are_refused(spec):
    with pytest.raises(UsageError, match="--cost"):
        shares_of(spec)


def test_an_unknown_cost_is_told_with_those_there_are():
    with pytest.raises(UnknownNameError, match="energy"):
        shares_of("energy")
    assert set(COUNTERS) < set(COSTS)
