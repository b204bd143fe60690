"""``methods`` lists what can search a space, from the registry alone."""

import pytest

from tempograd import registry
from tempograd.errors import UnknownNameError
from tempograd.verbs.methods import methods


def test_all_methods_are_listed_with_paper_and_modes():
    found = methods()
    rows = {row["method"]: row for row in found.document["methods"]}
    assert sorted(rows) == registry.names("method")
    assert all(row["modes"] for row in rows.values())
    assert rows["hardcorenas"]["modes"] == ["target"]
    assert rows["hardcorenas"]["cost"] == "table, flops or parameters"
    assert "arXiv:1906.09607" in found.text


def test_what_was_read_in_a_paper_and_what_is_ours_is_told():
    lines = [line for line in methods().text.splitlines() if "; ours: " in line]
    assert {"gram", "scalenas"} <= {line.partition(":")[0] for line in lines}
    (line,) = (line for line in lines if line.startswith("scalenas: read in the paper: groups"))
    assert "module crossover" in line
    assert "AdamW" in line.partition("; ours: ")[2]


def test_it_says_where_to_begin():
    lines = methods().text.splitlines()
    assert lines[0] == "begin with"
    assert any(line.startswith("la_darts") and "the default" in line for line in lines)
    of_routes = methods("routed").text.split("\n\n")[0]
    assert "densenas" in of_routes
    assert "gram" not in of_routes


def test_of_a_space_those_are_listed_that_fit_it():
    spec = "darts:layers=2,width=4,size=8"
    found, space = methods(spec), registry.create("space", spec)
    listed = {row["method"] for row in found.document["methods"]}
    fitting = {name for name in registry.names("method") if registry.create("method", name).needs.holds(space)}
    assert listed == fitting
    assert "toponas" in listed
    assert "densenas" not in listed


def test_an_unknown_space_is_refused():
    with pytest.raises(UnknownNameError, match="darts"):
        methods("dart")
