import pytest

from tempograd import registry
from tempograd.errors import UnknownNameError, UsageError


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
