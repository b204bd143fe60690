"""What the files of a predictor hold: whatever is damaged, edited, newer or foreign is refused."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempograd.errors import InputRefusedError
from tempograd.predictor.models.ridge import RidgeLatency
from tempograd.predictor.saved import DOCUMENT, load, save

from .keeping import ARRAYS, BINDING, file_of, rewrite


@pytest.mark.parametrize("name", [ARRAYS, DOCUMENT])
def test_a_missing_file_is_refused_by_name(folder, name):
    path = file_of(folder, name)
    path.unlink()
    with pytest.raises(InputRefusedError, match=path.name):
        load(folder)


@pytest.mark.fault(31)
@pytest.mark.parametrize("name", [ARRAYS, DOCUMENT])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(folder, name, share):
    path = file_of(folder, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputRefusedError, match=path.name):
        load(folder)


@pytest.mark.slow
@pytest.mark.fault(31)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([ARRAYS, DOCUMENT]), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused_or_harmless(folder, additive, name, where, bit):
    before = load(folder)
    path = file_of(folder, name)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[int(where * len(content))] ^= 1 << bit
    path.write_bytes(bytes(flipped))
    try:
        after = load(folder)
    except InputRefusedError:
        return
    finally:
        path.write_bytes(content)
    # only white space between JSON tokens may differ
    assert name == DOCUMENT
    assert after.binding == before.binding
    np.testing.assert_array_equal(after.predict(additive.X), before.predict(additive.X))


def test_arrays_of_another_predictor_are_refused(folder, tmp_path, additive):
    other = save(tmp_path / "other", RidgeLatency().fit(additive.X, 2 * additive.y_ms), binding=BINDING, card={})
    file_of(folder, ARRAYS).write_bytes(file_of(other, ARRAYS).read_bytes())
    with pytest.raises(InputRefusedError, match="another predictor"):
        load(folder)


@pytest.mark.fault(31)
def test_a_newer_schema_asks_for_an_upgrade(folder):
    rewrite(folder, lambda document: document.update(schema=5))
    with pytest.raises(InputRefusedError, match="upgrade tempograd"):
        load(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"architectures": ["Bert"]}', "\x00", '{"schema": 1}', "[" * 10**5]
)
def test_a_foreign_document_is_refused(folder, text):
    (folder / DOCUMENT).write_text(text)
    with pytest.raises(InputRefusedError, match=DOCUMENT):
        load(folder)


def test_an_edited_document_is_refused(folder):
    text = (folder / DOCUMENT).read_text()
    (folder / DOCUMENT).write_text(text.replace('"batch\\": 1', '"batch\\": 8'))
    with pytest.raises(InputRefusedError, match="edited"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda d: d.update(model="oracle"), "oracle"),
        (lambda d: d["binding"].update(unit="s"), "unit"),
        (lambda d: d["binding"].update(fingerprint_json="{"), "fingerprint_json"),
        (lambda d: d.update(schema=0), "schema"),
        (lambda d: d.pop("binding"), "binding"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.update(conformal_residuals=["a"]), "conformal_residuals"),
        (lambda d: d.update(conformal_residuals=[-0.5]), "conformal_residuals"),
        (lambda d: d.update(conformal_predictions_ms=[1.0]), "conformal_predictions_ms"),
        (lambda d: d.update(config={}), "params"),
        (lambda d: d.update(model="trees"), "RidgeLatency|TreesLatency"),
    ],
)
def test_a_forged_document_is_refused_with_its_cause(folder, change, cause):
    rewrite(folder, change)
    with pytest.raises(InputRefusedError, match=cause):
        load(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(folder, number):
    text = (folder / DOCUMENT).read_text()
    (folder / DOCUMENT).write_text(text.replace('"mape_pct": 1.5', f'"mape_pct": {number}'))
    with pytest.raises(InputRefusedError, match="finite"):
        load(folder)


def test_a_document_that_is_too_large_is_refused(folder, monkeypatch):
    monkeypatch.setattr("tempograd.predictor.document.MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(InputRefusedError, match="larger than 100 bytes"):
        load(folder)


def test_a_path_that_is_no_predictor_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match=r"predictor\.json"):
        load(tmp_path / "nowhere")
