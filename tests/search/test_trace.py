"""A trace is read as it was written."""

import json

import pytest

from tempograd.errors import InputRefusedError
from tempograd.search.trace import Epoch, Trace


def epoch(number, **more):
    values = dict.fromkeys(
        ("loss_weights", "loss_law", "entropy", "cost_sampled_ms", "cost_direct_ms", "derived_ms", "lam", "tau",
         "seconds"), 0.5,
    )  # fmt: skip
    return Epoch(epoch=number, phase="search", **(values | more))


def test_rows_go_through_json_and_columns_hold_the_same():
    trace = Trace([epoch(0, loss_law=None), epoch(1)])
    rows = json.loads(json.dumps(trace.rows()))
    assert Trace.from_rows(rows) == trace
    assert trace.columns()["epoch"] == [0, 1]
    assert trace.columns()["loss_law"] == [None, 0.5]


@pytest.mark.parametrize("change", [{"other": 1}, {"tau": ...}])
def test_a_row_of_another_schema_is_refused_with_the_next_step(change):
    (row,) = Trace([epoch(0)]).rows()
    row = {key: value for key, value in (row | change).items() if value is not ...}
    with pytest.raises(InputRefusedError, match="start this search anew"):
        Trace.from_rows([row])
