"""Any measurement that a store may be given."""

from dataclasses import replace

from hypothesis import strategies as st

from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Failure, Round

elasticities = st.floats(0, 0.5)  # larger ones make latencies of such references that no store takes
positive = st.floats(1e-6, 1e6)
samples = st.lists(positive, min_size=1, max_size=5).map(tuple)
text = st.text(max_size=20)
rounds = st.builds(
    Round, text, st.floats(0, 4e9), samples, samples, samples, samples, st.integers(0, 99), st.floats(0, 9),
    st.lists(text, max_size=2).map(tuple),
)  # fmt: skip
failures = st.builds(
    Failure,
    st.sampled_from(["crashed", "timeout", "oom", "refused", "invalid_output", "fallback"]),
    st.sampled_from(["load", "warm_up", "run"]),
    st.none() | st.integers(1, 64),
    text,
    st.none() | positive,
)


def levelled(m: Measurement) -> Measurement:
    """Return the measurement with a level of the sentinel for each round."""
    if m.reference is None:
        return m
    return replace(m, reference=replace(m.reference, levels_ms=tuple(r.sentinel_ms for r in m.rounds)))


_older = st.builds(
    Measurement,
    key=text,
    space=text,
    fingerprint_id=text,
    plan=st.just({"target": 0.05, "seed": 1, "checks": [6]}),
    onnx_digest=text,
    clock=st.sampled_from(["cpu", "wall"]),
    rounds=st.lists(rounds, max_size=3).map(tuple),
    reference=st.none() | st.builds(Reference, positive, positive, elasticities, positive, positive, text),
    environment=st.dictionaries(text, st.none() | st.booleans() | st.integers(-9, 9) | positive | text, max_size=3),
    failure=st.none() | failures,
    replicate=st.integers(0, 3),
    attempts=st.integers(1, 2),
)
measurements = _older | _older.map(levelled)
