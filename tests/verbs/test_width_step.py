"""Steps of widths: found where the device has them, none where it has none."""

from functools import partial
from math import nan
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from tempograd.errors import DeviceError, UsageError
from tempograd.verbs import width_step as verb
from tempograd.verbs.width_step import WIDTHS, step_of, width_step


@pytest.mark.parametrize("step", [1, 2, 4, 8, 16])
def test_a_staircase_is_found_through_noise_as_measured(step):
    rng = np.random.default_rng(0)
    stairs = {width: (5 + -(-width // step) * step) * (1 + 0.003 * rng.standard_normal()) for width in WIDTHS}
    assert step_of(stairs) == step


def test_every_width_is_timed_once_in_one_call_and_one_that_was_not_is_named(monkeypatch, tmp_path):
    seen = []

    def timed(place, items, plan, *, failed=(), **asked):
        paths = [items.build(key, tmp_path)[0] for key in items.keys]
        seen.append([onnx.load(path).graph.initializer[0].dims[0] for path in paths])
        return [
            SimpleNamespace(key=key, latency_ms=nan, verdict="failed")
            if key in failed
            else SimpleNamespace(key=key, latency_ms=float(-(-int(key) // 4)), verdict="ok")
            for key in items.keys
        ]

    monkeypatch.setattr(verb, "measure", timed)
    assert width_step("simulated", channels=8, size=4) == 4
    assert seen == [list(WIDTHS)]
    monkeypatch.setattr(verb, "measure", partial(timed, failed=("32", "40")))
    with pytest.raises(DeviceError, match=r"not measured: 32 \(failed\), 40 \(failed\)"):
        width_step("simulated", channels=8, size=4)
    with pytest.raises(UsageError, match="size=1"):
        width_step("simulated", size=1)
