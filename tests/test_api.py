"""The Python face: what its docstrings show is what happens, in the order in which a user would do it."""

import doctest
import subprocess
import sys
from inspect import Parameter, signature
from pydoc import plaintext, render_doc
from types import ModuleType

import numpy as np
import pytest
from onnx import TensorProto, helper

import tempograd as tg
from tempograd import answers, api, cli, cli_network
from tempograd.errors import InputRefusedError, MismatchError, UnknownNameError, UsageError

from .graphs.models import make

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
IN_ORDER = (
    "space",
    "device",
    "collect",
    "fit",
    "predict",
    "evaluate",
    "search",
    "load",
    "report",
    "measure",
    "profile",
    "compare",
    "pick",
)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder in which the examples ran: run.db, predictor, result."""
    folder = tmp_path_factory.mktemp("api")
    space = tg.space(SPACE)
    networks = space.sample(80, np.random.default_rng(0))
    cost = [1 + sum(i * c for i, c in enumerate(a.choices)) for a in networks]
    lines = [f"{space.format(a)},{ms}" for a, ms in zip(networks, cost, strict=True)]
    (folder / "table.csv").write_text("\n".join(["arch_str,latency_ms", *dict.fromkeys(lines)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in IN_ORDER:
            (example,) = doctest.DocTestFinder(recurse=False).find(getattr(api, name), name, globs={})
            assert example.examples, f"{name} shows no example"
            told: list[str] = []
            doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=told.append)
            assert not told, "".join(told)
    return folder


def test_defaults_are_those_of_the_command_line():
    compared = 0
    for name in {*tg.__all__} - {*tg._ELSEWHERE}:
        command = getattr(cli, name, None) or getattr(cli_network, name, None)
        if command is None or name == "search":  # whose options are read off one request
            continue
        mine, theirs = signature(getattr(api, name)).parameters, signature(command).parameters
        for shared in mine.keys() & theirs.keys():
            values = {str(parameters[shared].default) for parameters in (mine, theirs)} - {"None"}
            assert len(values) < 2 or mine[shared].default is Parameter.empty, f"{name}: {shared}"
            compared += 1
    assert compared > 30


NONSENSE = {
    "space": lambda: tg.space(None),
    "device": lambda: tg.device(3),
    "store": lambda: tg.collect(SPACE, None),
    "no store": lambda: tg.collect(SPACE, "", device="simulated"),
    "space to collect": lambda: tg.collect(3, "run.db"),
    "device to collect": lambda: tg.collect(SPACE, "run.db", device=3),
    "quantity": lambda: tg.fit("run.db", "predictor", quantities=[3]),
    "source": lambda: tg.fit("run.db", "predictor", sources=3),
    "predictor": lambda: tg.predict(None, "0"),
    "out": lambda: tg.search(SPACE, "predictor", None, target_ms=1.0),
    "no out": lambda: tg.search(SPACE, "predictor", "", target_ms=1.0),
    "task": lambda: tg.search(SPACE, "predictor", "result", target_ms=1.0, task=None),
    "space to search": lambda: tg.search(None, "predictor", "result", target_ms=1.0),
    "table": lambda: tg.evaluate(None, space=SPACE, columns="latency_ms"),
    "what to load": lambda: tg.load(3),
    "result": lambda: tg.report(None),
    "no network": lambda: tg.measure("", device="simulated"),
    "network": lambda: tg.measure(None, device="simulated"),
    "precision": lambda: tg.compare(NETWORK, NETWORK, shape=(2, 3), device="simulated", precision=3),
    "device to compare on": lambda: tg.compare(NETWORK, NETWORK, shape=(2, 3), device=3),
    "module": lambda: tg.space_from(None, None),
    "module to shrink": lambda: tg.shrink(3, None),
}


NETWORK = make(
    [helper.make_node("Relu", ["x"], ["y"])],
    [("x", TensorProto.FLOAT, ("n", "c"))],
    [("y", TensorProto.FLOAT, ("n", "c"))],
)


@pytest.mark.parametrize("shape", [5, 2.5, {3}, object(), (1, 3.5), (1, None), {"x": None}, [b"1"]])
def test_a_shape_that_is_none_is_refused_with_what_it_may_be(shape):
    with pytest.raises(UsageError, match=r"shape.*; allowed: "):
        tg.measure(NETWORK, shape=shape, device="simulated")


def test_a_shape_as_text_is_what_the_command_line_takes():
    told = tg.measure(NETWORK, shape="2x3", device="simulated", plan="quick").document["networks"][0]
    assert told["inputs"][0]["shape"] == [2, 3]


@pytest.mark.slow
def test_a_network_is_compared_on_several_devices_as_on_one():
    found = tg.compare(NETWORK, shape=(2, 3), device=["simulated:slow=1", "simulated:slow=1,overhead_us=900"])
    assert len(found.document["devices"]) == len(found.document["networks"]) == 2
    assert found.differences[0]["side"] == "slower"


VERBS = sorted({*tg.__all__} - {"Choice", "Depth", "Width", "TempogradError", "__version__"})


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_refuses_a_keyword_that_it_does_not_take_and_names_those_it_does(name):
    function = getattr(tg, name)
    needed = ["a" for one in signature(function).parameters.values() if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    with pytest.raises(UnknownNameError, match=r"^unknown argument 'nonsense'; allowed: \w"):
        function(*needed, nonsense=1)


@pytest.mark.parametrize("name", [name for name in VERBS if "progress" in signature(getattr(tg, name)).parameters])
def test_every_verb_refuses_a_progress_that_cannot_be_called(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^argument progress=3; allowed: a function"):
        getattr(tg, name)("a", "b", "c", progress=3)


def test_an_option_is_near_to_what_the_verb_behind_takes():
    with pytest.raises(UnknownNameError, match="Did you mean 'sampling'"):
        tg.evaluate("table.csv", space=SPACE, columns="latency_ms", samplin="random")
    with pytest.raises(UnknownNameError, match="Did you mean 'lookup'"):
        tg.pick("table.csv", accuracy="top1", latency="ms", target_ms=1.0, lookups="ms")


@pytest.mark.parametrize("call", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_in_one_sentence(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"allowed: |is not given; "):
        call()
    assert not any(tmp_path.iterdir())


def test_help_of_a_verb_that_is_a_package_tells_how_to_call_it():
    told = render_doc(tg.search, renderer=plaintext)
    assert "Search under a latency target" in told
    assert "search(space, predictor, out, target_ms=None" in told
    assert "finalists=1" in told


@pytest.mark.slow
def test_one_alone_is_a_list_of_one_and_a_folder_is_one_thing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    predictor = tg.fit("run.db", "alone", quantities="latency_ms", model="ridge")
    assert "noise floor of its labels" in repr(predictor)
    assert len(repr(tg.load("run.db"))) < 200
    with pytest.raises(UsageError, match="holds the result of a search; a predictor needs a folder of its own"):
        tg.fit("run.db", "result", model="ridge")
    with pytest.raises(UsageError, match="holds a predictor; the result of a search needs a folder of its own"):
        tg.search(SPACE, predictor, "alone", target_ms=5.0, device="simulated")
    with pytest.raises(UsageError, match="no architecture is given"):
        predictor.predict([])


@pytest.mark.slow
def test_a_device_is_the_same_by_its_spec_and_as_an_object(folder, monkeypatch):
    monkeypatch.chdir(folder)
    asked = {"target_ms": 5.0, "epochs": 2, "train_epochs": 1, "random": 0}
    assert tg.search(SPACE, "predictor", "result", device=tg.device("simulated"), **asked).passed
    assert tg.search(SPACE, "predictor", "result", device="simulated:noise=0.01", **asked).passed
    with pytest.raises(UsageError, match=r"another search .device simulated there"):
        tg.search(SPACE, "predictor", "result", device="simulated:seed=3", **asked)


@pytest.mark.slow
def test_every_verb_shows_an_example_that_runs(folder):
    assert {*IN_ORDER} == {*tg.__all__} - {"TempogradError", "__version__", *tg._ELSEWHERE}
    assert (folder / "page.html").is_file()


@pytest.mark.slow
def test_the_example_of_the_module_runs(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(api, "api", globs={})
    told: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=told.append)
    assert not told, "".join(told)


def test_what_is_returned_shows_itself(folder):
    found, predictor, dataset = (tg.load(folder / name) for name in ("result", "predictor", "run.db"))
    told = tg.predict(predictor, [found.architecture, "0"])
    assert repr(found).startswith("PASS: measured")
    assert repr(tg.device("simulated:seed=3")) == "SimulatedDevice(a roofline, seed 3, batch 1)"
    assert "onnxruntime on CPU" in repr(tg.device("local"))
    assert len(repr(predictor)) < 600
    assert "<table>" in found._repr_html_()
    assert "<table>" in told._repr_html_()
    assert "<th>latency_ms</th>" in dataset._repr_html_()
    assert len(dataset.to_frame()) == len(dataset.rows)
    assert len(dataset.rows) >= 60
    assert len(told) == 2
    assert (told.low_ms <= told.latency_ms).all()
    assert (told.latency_ms <= told.high_ms).all()
    assert found.network()(__import__("torch").zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.slow
def test_rows_become_frames(folder):
    pandas = pytest.importorskip("pandas")
    again = tg.collect(SPACE, folder / "run.db", device="simulated", count=60, plan="quick")
    frame = again.to_frame()
    assert list(frame.columns) == ["key", "latency_ms", "low_ms", "high_ms", "verdict"]
    assert len(frame) == len(again.dataset.rows) >= 60
    predictor = tg.load(folder / "predictor")
    assert isinstance(predictor.predict("1462").to_frame(), pandas.DataFrame)
    assert {"measured_ms", "predicted_ms"} <= set(predictor.to_frame().columns)
    assert list(tg.load(folder / "result").to_frame()["network"]) == ["found"]


def test_frames_need_pandas(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        tg.load(folder / "result").to_frame()


def test_spaces_and_devices_may_be_objects(tmp_path):
    space, device = tg.space(SPACE), tg.device("simulated:seed=3")
    done = tg.collect(space, tmp_path / "run.db", device=device, count=5)
    assert done.dataset.space == space.spec
    assert done.dataset.fingerprint == device.fingerprint


def test_the_package_lists_its_names():
    assert {*tg.__all__} == {*dir(tg)}


@pytest.mark.slow
def test_a_result_is_kept_for_its_own_predictor_and_targets_may_be_numpys(folder, monkeypatch):
    monkeypatch.chdir(folder)
    asked = {"device": "simulated", "epochs": 2, "train_epochs": 1, "random": 0}
    assert tg.search(SPACE, "predictor", "result", target_ms=np.float64(5), **asked).passed
    with pytest.raises(InputRefusedError, match="no predictor at nope"):
        tg.search(SPACE, "nope", "result", target_ms=5.0, **asked)
    with pytest.raises(UsageError, match=r"predictor [0-9a-f]{12} there, None now"):
        tg.search(SPACE, None, "result", target_ms=5.0, cost="flops", **asked)


@pytest.mark.slow
def test_an_architecture_of_another_space_is_not_predicted(folder):
    other = tg.space("nasbench201:cells=2,width=8")
    with pytest.raises(MismatchError, match=r"an architecture of nasbench201:cells=2.*predictor is of nasbench201"):
        tg.predict(folder / "predictor", other.architecture([3] * 6))


def test_what_is_nothing_of_ours_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match="neither a store"):
        tg.load(tmp_path)
    with pytest.raises(InputRefusedError):
        answers.Found(tmp_path)
    with pytest.raises(InputRefusedError):
        answers.LatencyPredictor(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["import tempograd.search.law", "from tempograd import report", "pass"])
def test_verbs_that_are_packages_too_can_be_called_whatever_was_imported_first(first):
    code = (
        f"{first}\nimport inspect, tempograd as tg\n"
        "print(callable(tg.search), callable(tg.report), *list(inspect.signature(tg.search).parameters)[:2])\n"
        "import tempograd.search.law as law; print(law.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["True True space predictor", "tempograd.search.law"]
    assert isinstance(tg.search, ModuleType)


def test_a_network_that_was_measured_hot_has_no_number_and_can_be_shown():
    told = tg.measure(NETWORK, shape="2x3", device="simulated:seed=2,throttle=1", plan="quick")
    assert told.verdict == "hot"
    assert not told.reliable
    assert all(value != value for value in (told.latency_ms, told.low_ms, told.high_ms))
    assert told.listed()[0]["latency_ms"] is None
    assert "hot" in told._repr_html_()
    assert "throttled" in str(told)
