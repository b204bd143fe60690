"""``spaces`` and ``tasks``: every name with what it is, every argument with its default."""

import inspect
import sys

import pytest

from tempograd import registry
from tempograd.errors import UnknownNameError
from tempograd.verbs.names import entry, names


@pytest.mark.parametrize("kind", ["space", "task", "method"])
def test_every_name_says_what_it_is_and_every_argument_what_for(kind):
    for name in registry.names(kind):
        one = entry(kind, name)
        assert one.headline
        assert {key for a in one.arguments for key in a.name.split(", ")} == set(
            inspect.signature(registry.load(kind, name)).parameters
        )
        assert [a.name for a in one.arguments if not a.text] == [], name


def test_the_list_has_a_line_for_each_and_the_next_command_tells_one():
    done = names("space")
    assert [row["space"] for row in done.document["spaces"]] == registry.names("space")
    assert done.following == f"tempograd spaces {registry.names('space')[0]}"


def test_defaults_stand_as_a_spec_has_them():
    told = {row["argument"]: row["default"] for row in names("method", "la_darts").document["arguments"]}
    assert (told["one_path"], told["epochs"], told["warm_up"]) == ("false", "15", "0.2")
    method = ",".join(f"{key}={value}" for key, value in told.items() if value)
    registry.create("method", f"la_darts:{method}")  # they can be pasted
    assert "arguments, as in la_darts:draws=4" in names("method", "la_darts").text


def test_text_runs_over_lines_and_ends_with_the_next_section():
    one = entry("task", "imagefolder")
    size = next(a.text for a in one.arguments if a.name == "size")
    assert size.startswith("height and width")
    assert size.endswith("224 at most.")
    assert "Raises" not in one.arguments[-1].text


def test_of_a_space_the_head_of_its_file_is_told():
    assert names("space", "nasbench201").text.startswith("NAS-Bench-201: one cell of 4 nodes")


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownNameError, match="imagefolder"):
        names("task", "imagefolders")


def test_a_name_without_arguments_is_told_too(monkeypatch):
    monkeypatch.setattr(registry, "load", lambda kind, name: lambda: None)
    assert names("method", "bare").document["arguments"] == []


@pytest.mark.parametrize("name", ["mbconv", "routed"])
def test_a_table_of_a_docstring_stands_as_it_is(name):
    about = inspect.cleandoc(sys.modules[type(registry.create("space", name)).__module__].__doc__)
    tables = [part for part in about.split("\n\n") if part.startswith("==")]
    assert tables
    assert all(table in names("space", name).text for table in tables)
    assert "``" not in names("space", name).text.split("References")[0].replace(tables[0], "")
