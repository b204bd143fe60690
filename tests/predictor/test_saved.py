import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tempograd.errors import InputRefusedError, MismatchError, StoreError, UsageError
from tempograd.measurement.fingerprint import Fingerprint
from tempograd.predictor import saved
from tempograd.predictor.binding import Binding
from tempograd.predictor.interval import Conformal
from tempograd.predictor.models.ridge import RidgeLatency
from tempograd.predictor.saved import CARD, DOCUMENT, Head, load, save
from tempograd.registry import load as load_entry
from tempograd.registry import names

from .keeping import ARRAYS, BINDING, DEVICE, file_of, rewrite, tree


@pytest.mark.parametrize("name", names("model"))
def test_every_model_predicts_the_same_after_a_round_trip(name, tmp_path, parallel):
    factory = load_entry("model", name)
    model = factory(**getattr(factory, "small", {})).fit(parallel.X[:150], parallel.y_ms[:150])
    kept = load(save(tmp_path / name, model, binding=BINDING, card={}))
    assert kept.model == name
    np.testing.assert_array_equal(kept.predict(parallel.X), model.predict(parallel.X))
    again = load(save(tmp_path / "again", kept.predictor, binding=kept.binding, card={}))
    np.testing.assert_array_equal(again.predict(parallel.X), model.predict(parallel.X))


def test_everything_kept_beside_it_comes_back(folder):
    kept = load(folder)
    assert kept.binding == BINDING
    assert Fingerprint.from_json(kept.binding.fingerprint_json) == DEVICE
    assert kept.card == {"mape_pct": 1.5}
    assert len(kept.conformal.residuals) == 100
    assert {"tempograd", "torch", "python"} <= set(kept.created_by)


@pytest.mark.fault(32)
def test_intervals_hold_and_are_wide_but_finite_out_of_support(folder, additive):
    kept = load(folder)
    X = np.vstack([additive.X[:50], np.full(30, 2.0)])
    p, low, high = kept.predict(X, return_interval=True, coverage=0.9)
    np.testing.assert_array_equal(p, kept.predict(X))
    assert np.all((low < p) & (p < high))
    np.testing.assert_allclose((high / p)[:50], 1.02, rtol=1e-3)
    assert high[50] / p[50] == pytest.approx(np.exp(3 * max(kept.conformal.residuals)))
    assert high[50] / p[50] == pytest.approx(p[50] / low[50])


def test_intervals_need_residuals(tmp_path, ridge, additive):
    kept = load(save(tmp_path / "bare", ridge, binding=BINDING, card={}))
    with pytest.raises(UsageError, match="held-out residuals"):
        kept.predict(additive.X, return_interval=True)


def test_the_upper_bound_is_that_of_one_width_for_all(folder, additive):
    import torch

    kept = load(folder)
    bound = kept.upper_bound(0.9)(torch.from_numpy(additive.X).float())
    np.testing.assert_allclose(bound.detach().numpy() / kept.predict(additive.X), 1.02, rtol=1e-3)


def test_trees_have_no_upper_bound_to_follow(tmp_path, additive):
    trees = load_entry("model", "trees")(trees=5).fit(additive.X, additive.y_ms)
    with pytest.raises(UsageError, match="no upper bound"):
        load(save(tmp_path / "t", trees, binding=BINDING, card={})).upper_bound()


@pytest.mark.fault(32)
def test_an_option_never_seen_is_out_of_support(tmp_path, additive):
    seen = additive.choices[:, 2] != 3
    model = RidgeLatency().fit(additive.X[seen], additive.y_ms[seen])
    kept = load(save(tmp_path / "kept", model, binding=BINDING, card={}))
    np.testing.assert_array_equal(kept.out_of_support(additive.X), ~seen)


def test_relaxed_encodings_and_nan_in_the_support_check(folder):
    kept = load(folder)
    assert not kept.out_of_support(np.full((1, 30), 0.2))[0]
    assert not kept.out_of_support(np.full((1, 30), 1 + 1e-7))[0]  # a softmax may overshoot by rounding
    assert kept.out_of_support(np.full((1, 30), np.nan))[0]


def test_binding_agrees(folder):
    load(folder).check_binding(space="nasbench201:width=16", encoding="one_hot", fingerprint=DEVICE)


@pytest.mark.fault(19)
@pytest.mark.fault(31)
def test_binding_names_every_difference(folder):
    other = replace(DEVICE, options={"threads": 4, "batch": 1})
    with pytest.raises(MismatchError) as caught:
        load(folder).check_binding(space="darts", encoding="pruned", fingerprint=other)
    message = str(caught.value)
    assert all(
        part in message for part in ("nasbench201:width=16", "darts", "pruned", "options.threads: saved 1, asked 4")
    )
    assert "batch" not in message
    assert message.endswith("Name the device that it was learnt on (--device), or fit one for this space.")


def test_a_predictor_of_another_space_is_no_matter_of_the_device(folder):
    for fingerprint in (None, DEVICE):
        with pytest.raises(MismatchError, match=r"asked 'darts'\. Fit one for this space\.$"):
            load(folder).check_binding(space="darts", fingerprint=fingerprint)


@pytest.mark.parametrize("text", ["no json", "[]"])
def test_binding_refuses_a_fingerprint_that_is_no_json_object(text):
    with pytest.raises(UsageError, match="fingerprint_json"):
        replace(BINDING, fingerprint_json=text)


def test_card_for_people(folder):
    card = (folder / CARD).read_text()
    assert card.startswith("---\nlibrary_name: tempograd\n")
    assert all(part in card for part in ("nasbench201:width=16", DEVICE.id, "mape_pct", "100 held-out networks"))


@pytest.mark.promise(4)
def test_nothing_published_is_a_pickle(folder):
    assert sorted(file.name for file in folder.iterdir()) == sorted([file_of(folder, ARRAYS).name, DOCUMENT, CARD])
    json.loads((folder / DOCUMENT).read_text())


def test_saving_again_replaces_the_older_one_and_nothing_else(folder, ridge, additive, tmp_path):
    (folder / "run.db").write_bytes(b"weeks of measuring")
    (folder / "notes").mkdir()
    (folder / "notes" / "predictor-0.safetensors").write_bytes(b"of somebody else")
    foreign = {"run.db": b"weeks of measuring", "notes/predictor-0.safetensors": b"of somebody else"}
    for card in ({"round": 2}, {"round": 3}):
        save(folder, RidgeLatency().fit(additive.X, card["round"] * additive.y_ms), binding=BINDING, card=card)
        assert load(folder).card == card
        ours = {file_of(folder, pattern).name for pattern in (ARRAYS, DOCUMENT, CARD)}
        left = {str(name): content for name, content in tree(folder).items() if str(name) not in ours}
        assert left == foreign
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("name", [DOCUMENT, CARD])
@pytest.mark.parametrize("content", ["years of work", "{}", "# my project, latency-prediction by tempograd"])
def test_refuses_to_replace_what_is_no_predictor(tmp_path, ridge, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=f"{name} is there already"):
        save(tmp_path, ridge, binding=BINDING, card={})
    assert {str(path): text.decode() for path, text in tree(tmp_path).items()} == {name: content}


def test_a_predictor_of_an_earlier_schema_is_replaced_whole(folder, ridge, additive):
    file_of(folder, ARRAYS).rename(folder / "predictor.safetensors")
    rewrite(folder, lambda document: document.update(schema=3))
    assert load(folder).card == {"mape_pct": 1.5}
    save(folder, RidgeLatency().fit(additive.X, 2 * additive.y_ms), binding=BINDING, card={"round": 2})
    assert load(folder).card == {"round": 2}
    assert not (folder / "predictor.safetensors").exists()


@pytest.mark.parametrize("step", range(3))
def test_killed_between_any_two_files_the_older_or_the_newer_one_is_whole(folder, additive, monkeypatch, step):
    replace_file, calls = Path.replace, []

    def until(part, target):
        calls.append(target)
        if len(calls) > step:
            raise KeyboardInterrupt
        return replace_file(part, target)

    monkeypatch.setattr(Path, "replace", until)
    newer = RidgeLatency().fit(additive.X, 2 * additive.y_ms)
    before = load(folder).predict(additive.X)
    with pytest.raises(KeyboardInterrupt):
        save(folder, newer, binding=BINDING, card={"round": 2})
    kept = load(folder)
    assert kept.card == {"mape_pct": 1.5}
    np.testing.assert_array_equal(kept.predict(additive.X), before)


def test_a_reader_between_document_and_arrays_gets_the_newer_one(folder, additive, monkeypatch):
    newer = RidgeLatency().fit(additive.X, 2 * additive.y_ms)
    read = saved.read_arrays

    def overtaken(*arguments):
        monkeypatch.setattr(saved, "read_arrays", read)
        save(folder, newer, binding=BINDING, card={"round": 2})
        return read(*arguments)

    monkeypatch.setattr(saved, "read_arrays", overtaken)
    kept = load(folder)
    assert kept.card == {"round": 2}
    np.testing.assert_array_equal(kept.predict(additive.X), newer.predict(additive.X))


def test_a_disk_that_refuses_leaves_the_older_one(folder, ridge, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    before = tree(tmp_path)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        save(folder, ridge, binding=BINDING, card={"round": 2})
    assert tree(tmp_path) == before


def test_a_place_that_cannot_be_written_is_a_store_error(ridge):
    with pytest.raises(StoreError, match="/proc/no/such"):
        save("/proc/no/such", ridge, binding=BINDING, card={})


@pytest.mark.parametrize("card", [{"x": float("nan")}, {"x": object()}])
def test_refuses_a_card_that_is_not_json(tmp_path, ridge, card):
    with pytest.raises(UsageError, match="must be JSON"):
        save(tmp_path / "kept", ridge, binding=BINDING, card=card)
    assert not any(tmp_path.iterdir())


def test_refuses_models_that_cannot_be_kept(tmp_path, additive):
    with pytest.raises(UsageError, match="without pickle"):
        save(tmp_path / "a", LinearRegression().fit(additive.X, additive.y_ms), binding=BINDING, card={})

    class Homemade(RidgeLatency):
        pass

    with pytest.raises(UsageError, match="not a registered model"):
        save(tmp_path / "b", Homemade().fit(additive.X, additive.y_ms), binding=BINDING, card={})


@dataclass(frozen=True)
class Described:
    id: str = "abc"

    def to_json(self):
        return "{}"


def test_any_fingerprint_with_an_id_and_json_will_do():
    assert Binding.of(space="s", encoding="e", fingerprint=Described()).fingerprint_id == "abc"


@pytest.fixture
def memory(additive):
    """A head of another quantity, model and encoding, in another range."""
    y_bytes = 1e7 * additive.y_ms**2
    model = load_entry("model", "trees")(trees=20).fit(additive.X[:400], y_bytes[:400])
    binding = replace(BINDING, quantity="memory_bytes", encoding="counts")
    conformal = Conformal.fit(y_bytes[400:], model.predict(additive.X[400:]))
    return Head(model, binding, {"mape_pct": 4.5}, conformal)


def test_several_heads_in_one_folder(tmp_path, ridge, memory, additive):
    folder = save(tmp_path / "two", ridge, binding=BINDING, card={"mape_pct": 1.5}, others=[memory])
    assert sorted(file.name for file in folder.iterdir()) == sorted([file_of(folder, ARRAYS).name, DOCUMENT, CARD])
    kept = load(folder)
    assert list(kept.heads) == ["latency_ms", "memory_bytes"]
    np.testing.assert_array_equal(kept.predict(additive.X), ridge.predict(additive.X))
    other = kept.heads["memory_bytes"]
    assert (other.model, other.binding, other.card) == ("trees", memory.binding, memory.card)
    assert other.binding.unit == "bytes"
    assert other.conformal == memory.conformal
    np.testing.assert_array_equal(other.predict(additive.X), memory.predictor.predict(additive.X))
    assert "## Also predicted: `memory_bytes`" in (folder / CARD).read_text()


def test_heads_of_different_things_are_not_saved_together(tmp_path, ridge, memory):
    with pytest.raises(UsageError, match="each quantity once"):
        save(tmp_path / "two", ridge, binding=BINDING, card={}, others=[replace(memory, binding=BINDING)])
    for changes in ({"space": "darts"}, {"fingerprint_json": '{"place": "elsewhere"}'}):
        other = replace(memory, binding=replace(memory.binding, **changes))
        with pytest.raises(UsageError, match="save them apart"):
            save(tmp_path / "two", ridge, binding=BINDING, card={}, others=[other])
    assert not any(tmp_path.iterdir())


def test_a_head_refuses_a_unit_that_is_not_its_own(tmp_path, ridge, memory):
    kept = load(save(tmp_path / "two", ridge, binding=BINDING, card={}, others=[memory]))
    kept.check_binding(unit="ms")
    with pytest.raises(MismatchError, match="unit of memory_bytes: saved 'bytes', asked 'ms'"):
        kept.heads["memory_bytes"].check_binding(unit="ms")
    with pytest.raises(UsageError, match="must end in"):
        replace(BINDING, quantity="energy_j")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["heads"][0]["binding"].update(unit="ms"), "memory_bytes is not in ms"),
        (lambda d: d["heads"][0]["binding"].update(space="darts"), "save them apart"),
        (lambda d: d["heads"][0].update(model="unheard_of"), "not installed"),
        (lambda d: d["heads"].append(d["heads"][0]), "each quantity once|lacks the array"),
    ],
)
def test_heads_that_somebody_changed_are_refused(tmp_path, ridge, memory, change, message):
    folder = save(tmp_path / "two", ridge, binding=BINDING, card={}, others=[memory])
    rewrite(folder, change)
    with pytest.raises(InputRefusedError, match=message):
        load(folder)
