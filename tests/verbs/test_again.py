"""The same command again loses no result: it is kept, or measured again where it is unreliable."""

import json
import shutil
import threading
from contextlib import nullcontext

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempograd import registry
from tempograd.data.result import read_result
from tempograd.errors import MismatchError, OtherSearchError, UsageError
from tempograd.search.searchers.alternation import Alternation
from tempograd.verbs import quickstart as quickstart_module
from tempograd.verbs import search as search_module
from tempograd.verbs.on_device import SearchOnDevice
from tempograd.verbs.outcome import silent, target_folder
from tempograd.verbs.quickstart import quickstart
from tempograd.verbs.request import SearchRequest
from tempograd.verbs.search import check_same, search
from tempograd.verbs.tabular import SearchOnTable

pytestmark = pytest.mark.slow

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
DEVICE = "simulated:seed=1,slow=1.0"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    space = registry.create("space", "nasbench201")
    choices = [a.choices for a in space.enumerate()][::20]
    columns = {f"e{i}": [row[i] for row in choices] for i in range(6)}
    columns["acc"] = [40.0 + 2 * sum(row) + row[1] * row[4] for row in choices]
    columns["ms"] = [1.0 + sum(row) + 0.1 * row[0] * row[3] for row in choices]
    path = tmp_path_factory.mktemp("published") / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def on_table(table, out, **given):
    fixed = {"target_ms": 12.0, "queries": 12, "latency_rows": 20, "method": "random_search"}
    return search("nasbench201", None, out, task=f"table:{table}:acc", latency=f"table:{table}:ms", **(fixed | given))


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def never(*_, **__):
    raise AssertionError("it was searched anew")


def test_a_result_is_kept(table, tmp_path, monkeypatch):
    first = on_table(table, tmp_path)
    before = files(tmp_path)
    monkeypatch.setattr(SearchOnTable, "__call__", never)
    again = on_table(table, tmp_path)
    assert again.document == first.document | {"kept": True}
    assert again.exit_code == first.exit_code == 0
    assert "is kept; --overwrite searches anew" in again.text
    assert first.text in again.text
    assert files(tmp_path) == before


def test_a_result_that_misses_its_target_is_kept_with_its_exit_code(table, tmp_path):
    on_table(table, tmp_path)
    told = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(told | {"verdict": "fail"}))
    assert on_table(table, tmp_path).exit_code == 8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_ms": 12.000001}, r"target_ms 12\.0 there, 12\.000001 now"),
        ({"seed": 1}, "seed 0 there, 1 now"),
        ({"queries": 13}, "queries 12 there, 13 now"),
    ],
)
def test_the_result_of_another_search_is_refused_unless_it_may_be_overwritten(table, tmp_path, given, message):
    on_table(table, tmp_path)
    before = files(tmp_path)
    with pytest.raises(UsageError, match=f"{message}.*--overwrite"):
        on_table(table, tmp_path, **given)
    assert files(tmp_path) == before
    anew = on_table(table, tmp_path, **given, overwrite=True).document
    assert json.loads((tmp_path / "result.json").read_text()) == anew
    assert all(anew.get(name, anew["asked"].get(name)) == value for name, value in given.items() if name != "queries")


def test_the_result_of_other_weights_is_refused_and_one_that_says_none_is_believed(tmp_path):
    there = {"space": "s", "seed": 0, "target_ms": 1.0, "lam": None}
    for known, believed in ({"weights": "a"}, True), ({}, True), ({"weights": "b"}, False), ({"weights": None}, False):
        with nullcontext() if believed else pytest.raises(UsageError, match=r"weights .* there, a now"):
            check_same(tmp_path, there | known, {"space": "s", "weights": "a"})


def test_a_default_and_the_same_value_said_are_one_search_also_for_a_result_that_says_neither(table, tmp_path):
    first = on_table(table, tmp_path)
    told = json.loads((tmp_path / "result.json").read_text())
    assert (told["asked"]["method"], told["asked"]["plan"]) == ("random_search", "standard")
    assert told["asked"]["space"] == told["space"]
    told["asked"] |= dict.fromkeys(["device", "plan", "random", "train_epochs"])  # as one that says only what was given
    (tmp_path / "result.json").write_text(json.dumps(told))
    assert on_table(table, tmp_path, seed=0, overwrite=False).document["kept"]
    assert first.exit_code == 0


def test_near_targets_have_folders_of_their_own_and_each_is_kept(table, tmp_path):
    targets = [12.0, 12.000001]
    first = on_table(table, tmp_path, target_ms=targets)
    assert len(first.document["results"]) == 2
    for target_ms in targets:
        told = json.loads((target_folder(tmp_path, target_ms) / "result.json").read_text())
        assert told["target_ms"] == target_ms
    more = on_table(table, tmp_path, target_ms=[*targets, 14.0])
    assert [result.get("kept", False) for result in more.document["results"]] == [True, True, False]


def on_device(out, device=DEVICE, **given):
    return search(
        SPACE, None, out, cost="flops", lam=0.1, device=device, task="synthetic", plan="quick", epochs=2,
        train_epochs=1, random=0, **given,
    )  # fmt: skip


def stopped(out, **given):
    """Begin a search, and stop it after its first epoch."""
    stop = threading.Event()

    def progress(*_):
        if (out / "search.safetensors").exists():
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        on_device(out, progress=progress, stop=stop, **given)
    return (out / "search.safetensors").read_bytes()


def test_an_unfinished_search_of_other_options_is_refused_and_with_overwrite_begun_anew(tmp_path):
    left = stopped(tmp_path, seed=1)
    with pytest.raises(
        OtherSearchError, match=r"is the checkpoint of another search: other seed; delete it"
    ) as refused:
        on_device(tmp_path)
    assert refused.value.exit_code == MismatchError.exit_code
    assert (tmp_path / "search.safetensors").read_bytes() == left
    shutil.copy(tmp_path / "search.safetensors", tmp_path / "search-block.safetensors")  # as searches of levels leave
    told = on_device(tmp_path, overwrite=True).document
    assert (told["seed"], told["verdict"]) == (0, "measured")
    assert not list(tmp_path.glob("search*"))


def test_an_unfinished_search_of_the_same_options_goes_on_with_overwrite_too(tmp_path, monkeypatch):
    stopped(tmp_path, overwrite=True)
    restored, restore = [], Alternation.restore

    def restoring(self, state):
        restore(self, state)
        restored.append(self.done)

    monkeypatch.setattr(Alternation, "restore", restoring)
    assert on_device(tmp_path, overwrite=True).exit_code == 0
    assert restored in ([1], [2])  # epochs of its two


def test_a_supernet_that_was_named_is_never_removed(tmp_path):
    named, own = tmp_path / "named.safetensors", tmp_path / "supernet.safetensors"
    request = SearchRequest.of(space=SPACE, out=tmp_path, supernet=named, overwrite=True)
    for path in (named, own):
        path.touch()

        def kind(_, path=path):
            if path.exists():
                raise OtherSearchError(path, "of another search")
            return "searched"

        if path == named:
            with pytest.raises(OtherSearchError):
                search_module._once(request, kind)
        else:
            assert search_module._once(request, kind) == "searched"
    assert named.exists()
    assert not own.exists()


def test_an_unreliable_result_is_measured_again_and_not_searched(tmp_path, monkeypatch):
    out = tmp_path / "result"
    first = on_device(out).document
    assert first["verdict"] == "measured"
    spoilt = json.loads((out / "result.json").read_text())
    spoilt["verdict"] = "unreliable"
    spoilt["found"]["measured"] |= {"verdict": "hot", "latency_ms": 99.0}
    (out / "result.json").write_text(json.dumps(spoilt))
    monkeypatch.setattr(SearchOnDevice, "__call__", never)
    other = SearchRequest.of(space=SPACE, out=out, device="simulated:seed=2,slow=1.0", plan="quick")
    kind = SearchOnDevice(registry.create("method", "la_darts"), "flops", out / "file", "", silent, None)
    with pytest.raises(MismatchError, match="of the device"):
        kind.again(other)
    done = on_device(out)
    again = done.document
    assert (again["verdict"], done.exit_code) == ("measured", 0)
    assert "measured again" in done.text
    assert again["found"]["key"] == first["found"]["key"]
    assert again["found"]["accuracy"] == first["found"]["accuracy"]
    assert again["found"]["measured"]["latency_ms"] == pytest.approx(first["found"]["measured"]["latency_ms"], rel=0.1)
    assert again["repairs"][:-1] == first["repairs"]
    assert json.loads((out / "result.json").read_text()) == again
    assert read_result(out).verdict == "measured"
    metadata = {p.key: p.value for p in onnx.load(out / "network.onnx").metadata_props}
    assert metadata["measured_latency_ms"] == str(again["found"]["measured"]["latency_ms"])
    assert metadata["verdict"] == "measured"
    assert on_device(out).document["kept"]


def test_the_quickstart_twice_keeps_predictor_and_result(tmp_path, monkeypatch):
    small = {"SPACE": SPACE, "COUNT": 60, "EPOCHS": 1, "TRAIN_EPOCHS": 1, "FINALISTS": 1, "RANDOM": 0}
    for name, value in small.items():
        monkeypatch.setattr(quickstart_module, name, value)
    first = quickstart(tmp_path, device=DEVICE)
    before = files(tmp_path)
    monkeypatch.setattr(SearchOnDevice, "__call__", never)
    again = quickstart(tmp_path, device=DEVICE)
    assert again.exit_code == first.exit_code
    assert again.document["result"] == first.document["result"] | {"kept": True}
    assert again.document["fit"] == first.document["fit"]
    assert "is kept" in again.text
    after = files(tmp_path)
    kept = [path for path in before if path.parts[0] in ("predictor", "result", "report.html")]
    assert len(kept) >= 8
    assert [path for path in kept if after[path] != before[path]] == []
