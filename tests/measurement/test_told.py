"""A latency that was not measured here."""

import pytest

from tempograd.measurement.label import Estimate
from tempograd.measurement.told import Told


@pytest.mark.parametrize(("known", "verdict"), [(True, "ok"), (False, "predicted")])
def test_it_is_trusted_only_where_somebody_measured_it(known, verdict):
    one = Told("key", "space", "table", {}, "", "wall", label=Estimate(2.0, 1.9, 2.1, "told", 0, 0), known=known)
    assert (one.latency_ms, one.verdict, one.statistics, one.beside_time) == (2.0, verdict, None, {})
