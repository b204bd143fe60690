"""Steps of widths: found where the device has them, none where it has none."""

import numpy as np
import pytest

from tempograd.errors import DeviceError, UsageError
from tempograd.verbs import width_step as verb
from tempograd.verbs.outcome import Outcome
from tempograd.verbs.width_step import WIDTHS, step_of, width_step


@pytest.mark.parametrize("step", [1, 2, 4, 8, 16])
def test_a_staircase_is_found_through_noise_as_measured(step):
    rng = np.random.default_rng(0)
    stairs = {width: (5 + -(-width // step) * step) * (1 + 0.003 * rng.standard_normal()) for width in WIDTHS}
    assert step_of(stairs) == step


def test_every_width_is_timed_and_one_that_was_not_is_named(monkeypatch):
    seen = []

    def timed(models, **asked):
        seen.extend(models)
        rows = [{"latency_ms": float(-(-width // 4)), "verdict": "ok"} for width in WIDTHS]
        return Outcome({"networks": rows}, "")

    monkeypatch.setattr(verb, "measure", timed)
    assert width_step("simulated", channels=8, size=4) == 4
    assert [model.graph.initializer[0].dims[0] for model in seen] == list(WIDTHS)
    failed = [{"latency_ms": None, "verdict": "failed"}] + [{"latency_ms": 1.0, "verdict": "ok"}] * (len(WIDTHS) - 1)
    monkeypatch.setattr(verb, "measure", lambda models, **asked: Outcome({"networks": failed}, ""))
    with pytest.raises(DeviceError, match=r"not measured: 32 \(failed\)"):
        width_step("simulated", channels=8, size=4)
    with pytest.raises(UsageError, match="size=1"):
        width_step("simulated", size=1)
