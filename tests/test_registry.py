import time
from inspect import signature

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempograd import registry
from tempograd.arguments import read_all, told
from tempograd.errors import DeviceError, InputRefusedError, UnknownNameError, UsageError

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8")


def test_files_are_the_registry():
    assert {"darts", "nasbench201"} <= set(registry.names("space"))


def test_unknown_names_show_what_is_allowed_and_what_was_meant():
    with pytest.raises(UnknownNameError, match=r"allowed: .*darts.* Did you mean 'darts'\?"):
        registry.create("space", "dart")


def test_unknown_arguments_show_what_is_allowed():
    with pytest.raises(UnknownNameError, match="layers"):
        registry.create("space", "darts:layer=3")


@pytest.mark.parametrize("spec", ["darts:layers", "darts:=3", "darts:layers 3"])
def test_malformed_specs_are_refused(spec):
    with pytest.raises(UsageError, match="name:key=value"):
        registry.parse_spec(spec)


def test_values_are_typed():
    assert registry.parse_spec("x:a=1,b=0.5,c=true,d=p") == ("x", {"a": 1, "b": 0.5, "c": True, "d": "p"})


KINDS = ("space", "device", "runtime", "model", "law", "method", "task")
ENTRIES = [(kind, name) for kind in KINDS for name in registry.names(kind)]
WORDS = ("nan", "inf", "-inf", "1e400", "two", "", " ", "true", "None", "0", "-1", "1", "2", "1.5", "-0.0", "1e9",
         "1e-300", "9" * 30, "9" * 5000, "100000000", "65536", "0x10", "2-3", "2+5", "/dev/zero", "/dev/null", ".",
         "a=b", "é", "\0", "8/16", "1-", "fp32", "cpu", "all", "fbnet")  # fmt: skip


# an entry's arguments, but for those that no spec can hold
ARGUMENTS = {
    (kind, name): [key for key in signature(registry.load(kind, name)).parameters if key not in ("space", "generator")]
    for kind, name in ENTRIES
}


@st.composite
def specs(draw):
    """Draw an entry with some of its arguments, each with a word that does not belong there or does."""
    kind, name = draw(st.sampled_from(ENTRIES))
    keys = draw(st.lists(st.sampled_from([*ARGUMENTS[kind, name], "nonsense"]), max_size=3))
    values = st.sampled_from(WORDS) | st.integers().map(str) | st.floats().map(repr) | st.text(max_size=8)
    return kind, name + "".join(f"{',' if n else ':'}{key}={draw(values)}" for n, key in enumerate(keys))


@pytest.mark.slow
@given(drawn=specs())
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_spec_is_made_or_refused_on_purpose_and_soon(drawn):
    kind, spec = drawn
    extra = {"space": SPACE} if kind == "law" else {}
    start_s = time.thread_time()
    try:
        made = registry.create(kind, spec, **extra)
        if kind == "space":
            assert made.graph.nodes
    except (UsageError, DeviceError, InputRefusedError):
        pass
    assert time.thread_time() - start_s < 5.0, spec


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), ENTRIES)
@pytest.mark.parametrize("value", ["nan", "inf", "two", "1e400", "\0"])
def test_no_number_of_any_entry_takes_what_is_none(kind, name, value):
    factory = registry.load(kind, name)
    extra = {"space": SPACE} if kind == "law" else {}
    for key in ARGUMENTS[kind, name]:
        words = told(factory, key)
        if "number" in words and "text" not in words:
            with pytest.raises(UsageError, match=f"{key}=.*; allowed: .*number"):
                registry.create(kind, f"{name}:{key}={value}", **extra)


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("device", "local:batch=1e9", "batch=1000000000.0 .*from 1 to 65536"),
        ("device", "local:batch=99999999", "batch=99999999 .*from 1 to 65536"),
        ("device", "local:load_timeout_s=inf", "load_timeout_s='inf'.*above 0"),
        ("device", "local:memory_gib=nan", "memory_gib='nan'"),
        ("device", "local:threads=1.5", "threads=1.5 .*whole number from 1"),
        ("device", "local:threads=two", "threads='two'"),
        ("device", "local:threads=1,threads=2", "threads is given twice"),
        ("device", "farm:", "lacks its argument kind; write farm:KIND"),
        ("device", "simulated:noise=nan", "noise='nan'"),
        ("device", "simulated:gflops=inf", "gflops='inf'"),
        ("device", "simulated:seed=nan", "seed='nan'"),
        ("space", "nasbench201:cells=1,cells=2", "cells is given twice"),
        ("space", "nasbench201:cells=100000000", "cells=100000000 .*from 1 to 128"),
        ("space", "nasbench201:size=1000000", "size=1000000 .*from 1 to 8192"),
        ("space", "nasbench201:width=1000000", "width=1000000 .*from 1 to 8192"),
        ("method", "la_darts:epochs=0", "epochs=0 of method la_darts; allowed: a whole number from 1"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_refused_with_what_is_allowed(kind, spec, said):
    with pytest.raises(UsageError, match=said):
        registry.create(kind, spec)


def test_a_table_that_never_ends_is_refused():
    with pytest.raises(InputRefusedError, match="no regular file"):
        registry.create("device", "simulated:table=/dev/zero")


@pytest.mark.slow
def test_a_space_that_no_machine_holds_is_refused_with_its_size():
    space = registry.create("space", "nasbench201:cells=128,width=8192")
    with pytest.raises(UsageError, match=r"takes [\d,.]+ GiB .*this machine holds"):
        _ = space.graph


def test_text_stays_as_it_was_written():
    """An id or a name of digits is no number: 1e5 is not 100000.0."""
    assert read_all(registry.load("device", "farm"), {"kind": "1e5", "patience_s": "60"}) == {
        "kind": "1e5",
        "patience_s": 60,
    }
