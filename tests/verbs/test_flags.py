"""Flags that a search would not heed: each is refused with the reason, and what is heeded is not."""

import itertools
from importlib import import_module
from inspect import signature

import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.tasks.load import load_task
from tempograd.verbs.flags import OPTIONS, check, check_task
from tempograd.verbs.outcome import silent
from tempograd.verbs.request import SearchRequest
from tempograd.verbs.search import _kind, search

METHODS = registry.names("method")
SOME = ("epochs", "proxy", "queries", "supernet")
ON_TABLE = {
    "space", "out", "method", "queries", "seed", "overwrite", "target_ms", "upper_bound", "task", "latency",
    "latency_rows", "where", "accuracy", "accuracy_rows",
}  # fmt: skip


def method(name):
    return registry.create("method", name)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_says_it_accepts_is_what_its_recipe_takes(name):
    taken = signature(registry.load("method", name)).parameters
    accepts = method(name).accepts
    assert ("epochs" in accepts) == ("epochs" in taken)
    assert "queries" in accepts or not {"queries", "networks"} & taken.keys()


@pytest.mark.parametrize(("name", "flag"), list(itertools.product(METHODS, SOME)))
def test_a_flag_is_refused_by_the_methods_that_ignore_it_and_those_that_do_not_are_named(name, flag):
    if OPTIONS[flag].option.scratch and method(name).deploys == "inherited":
        assert flag not in method(name).accepts
        with pytest.raises(UsageError, match=f"--{flag} 3: {name} keeps the supernet's weights"):
            check({flag: 3}, method(name), on_table=False, costs=["table"])
        return
    if flag in method(name).accepts:
        check({flag: 3}, method(name), on_table=False, costs=["table"])
        return
    with pytest.raises(UsageError, match=f"--{flag} 3: {name} ") as caught:
        check({flag: 3}, method(name), on_table=False, costs=["table"])
    able = str(caught.value).split("or use ")[1].split(", ")
    assert able == [other for other in METHODS if flag in method(other).accepts]


@pytest.mark.parametrize("flag", OPTIONS)
def test_a_search_on_a_table_refuses_what_only_a_device_accepts(flag):
    given = {"target_ms": 1.0} | {flag: 3}
    if flag in ON_TABLE:
        check(given, method("random_search"), on_table=True)
        return
    with pytest.raises(UsageError, match=rf"takes no {OPTIONS[flag].flag}: .*nothing timed; it takes .*--queries"):
        check(given, method("random_search"), on_table=True)


@pytest.mark.parametrize("flag", ["predictor", "upper_bound"])
def test_a_predictor_that_prices_nothing_is_refused(flag):
    check({flag: True}, method("la_darts"), on_table=False, costs=["predictor", "flops"])
    with pytest.raises(
        UsageError, match=rf"{OPTIONS[flag].flag}: no predictor prices networks here, but table; .* --cost predictor"
    ):
        check({flag: True}, method("la_darts"), on_table=False, costs=["table"])
    with pytest.raises(UsageError, match=r"but table; leave it out$"):
        check({flag: True}, method("hardcorenas"), on_table=False, costs=["table"])


@pytest.mark.parametrize("name", [name for name in METHODS if method(name).trains_supernet])
def test_a_method_that_trains_networks_is_refused_on_a_table(name):
    with pytest.raises(UsageError, match=rf"{name} trains networks.*surrogate_search"):
        check({"target_ms": 1.0}, method(name), on_table=True)


def test_rows_of_a_table_are_refused_on_a_device():
    with pytest.raises(UsageError, match="--latency-rows 20 is for a table; write --task"):
        check({"latency_rows": 20}, method("la_darts"), on_table=False, costs=["table"])


def test_a_file_of_a_supernet_is_refused_where_slim_trains_none():
    with pytest.raises(UsageError, match=r"--supernet f: slim trains no supernet that serves every target.* ofa"):
        check({"supernet": "f"}, method("slim"), on_table=False, costs=["table"])
    check({"supernet": "f"}, method("slim:epochs=1"), on_table=False, costs=["table"])


def test_the_verb_refuses_before_it_touches_anything(tmp_path):
    with pytest.raises(UsageError, match=r"--supernet .*: densenas trains no supernet that serves every target.* ofa"):
        search("routed", None, tmp_path / "out", method="densenas", target_ms=1.0, supernet=tmp_path / "file")
    with pytest.raises(UsageError, match="takes no --device, --plan, --train-threads, --random"):
        search("nasbench201", None, tmp_path / "out", method="random_search", target_ms=1.0, task="table:a.csv:b",
               latency="table:a.csv:c", device="local", plan="quick", random=0, train_threads=2)  # fmt: skip
    with pytest.raises(UsageError, match=r"epochs is given twice, as 3 .* as 4"):
        search("routed", None, tmp_path / "out", method="densenas:epochs=3", target_ms=1.0, epochs=4)
    with pytest.raises(UsageError, match=r"compute=nonsense: torch .* cannot .*; here: cpu"):
        search("routed", None, tmp_path / "out", method="densenas", target_ms=1.0, compute="nonsense")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("collect", {"seed": -1}), ("collect", {"seed": 10**30}), ("collect", {"count": 0}),
        ("collect", {"count": float("nan")}), ("collect", {"count": "three"}), ("collect", {"threads": 2}),
        ("fit", {"seed": -1}), ("fit", {"steps": 0}), ("audit", {"seed": -1}), ("evaluate", {"seeds": 0}),
        ("search", {"seed": -1}), ("search", {"seed": 1.5}),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused_by_every_verb_before_any_work(tmp_path, verb, arguments):
    run = getattr(import_module(f"tempograd.verbs.{verb}"), verb)
    needed = {
        "collect": {"space": "nasbench201", "store": tmp_path / "a.db", "device": "simulated"},
        "fit": {"store": tmp_path / "a.db", "out": tmp_path / "p"},
        "audit": {"store": tmp_path / "a.db", "device": "simulated"},
        "evaluate": {"table": tmp_path / "t.csv", "space": "nasbench201", "columns": ["ms"]},
        "search": {"space": "nasbench201", "predictor": tmp_path / "p", "out": tmp_path / "r"},
    }[verb]
    (name,) = arguments
    with pytest.raises(UsageError, match=name):
        run(**needed | arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flag", "value"), [("recipe", "imagenet"), ("train_epochs", 3), ("proxy", "mbconv")])
def test_how_networks_are_trained_is_refused_where_none_is(flag, value):
    check({flag: value}, method("ofa"), on_table=False, costs=["table"])
    with pytest.raises(UsageError, match=f"{OPTIONS[flag].flag} {value}: ofa keeps the supernet's weights"):
        check({flag: value}, method("ofa:deploy=inherited"), on_table=False, costs=["table"])


@pytest.mark.parametrize(("name", "value"), [("recipe", "imagenet"), ("train_epochs", 3), ("compute", "cuda")])
def test_how_to_train_is_refused_where_the_task_trains_itself(name, value):
    class Mine:
        def score(self, network):
            return 1.0

    with pytest.raises(UsageError, match=rf"^{OPTIONS[name].flag} {value}: Mine trains networks itself, or not at all"):
        check_task({name: value}, load_task(Mine()))
    check_task({name: value}, load_task("digits,limit=100"))
    check_task({name: OPTIONS[name].default, "random": 3}, load_task(Mine()))


@pytest.mark.parametrize(
    ("spec", "flag"),
    [("gram:shared=false", "epochs"), ("autoshrink:shared=true", "epochs"), ("gram:shared=false", "proxy")],
)
def test_what_arguments_of_a_method_leave_nothing_to_do_is_refused(spec, flag):
    name = spec.partition(":")[0]
    lacks = OPTIONS[flag].option.lacks
    with pytest.raises(UsageError, match=f"--{flag} 3: {name} with these arguments {lacks}; .* or use ") as caught:
        check({flag: 3}, method(spec), on_table=False, costs=["table"])
    assert name not in str(caught.value).split("or use ")[1].split(", ")


def test_only_where_a_recipe_leaves_open_what_is_deployed_is_that_what_to_say():
    for spec, end in (("ofa:deploy=inherited", "leave it out, or say deploy=trained"), ("scalenas", "leave it out")):
        with pytest.raises(UsageError, match=f"trains no network from scratch; {end}$"):
            check({"train_epochs": 3}, method(spec), on_table=False, costs=["table"])
        given, smaller = (registry.create("space", f"multibranch:modules=1,depth=1,width={width}") for width in (4, 2))
        with pytest.raises(UsageError, match=f"must be those of .*; {end.replace('it', 'the proxy')}$"):
            method(spec).check(given, target_ms=1.0, lam=None, proxy=smaller)


def test_epochs_of_a_search_count_where_arguments_of_its_method_count_only_with_them(tmp_path):
    wanted = {"space": "darts", "out": tmp_path, "target_ms": 1.0, "cost": "table", "device": "simulated"}
    kind = _kind(SearchRequest.of(**wanted, method="slim:draws=2", epochs=3), "", silent, None)
    assert (kind.method.find.schedule.epochs, kind.method.find.schedule.draws) == (3, 2)
    with pytest.raises(UsageError, match="draws=2 of method slim counts only with epochs above 0"):
        _kind(SearchRequest.of(**wanted, method="slim:draws=2"), "", silent, None)


def test_that_a_method_trains_no_finalists_says_why():
    with pytest.raises(UsageError, match=r"^--finalists 3: gram finds one network, and ranks no others that could be"):
        check({"finalists": 3}, method("gram"), on_table=False, costs=["table"])
