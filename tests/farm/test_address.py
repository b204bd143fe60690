"""Names that become part of subjects, and hosts that only this machine reaches."""

import pytest

from tempograd.errors import UsageError
from tempograd.farm.address import check_name, is_loopback


@pytest.mark.parametrize("name", ["a", "pi5-2", "0", "x" * 40])
def test_names_of_small_letters_digits_and_hyphens_pass(name):
    assert check_name("agent", name) == name


@pytest.mark.parametrize("name", ["", "A", "a.b", "a*", "a b", "ä", "x" * 41, "a\n"])
def test_others_are_refused_by_their_name(name):
    with pytest.raises(UsageError, match="agent "):
        check_name("agent", name)


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("0.0.0.0", False),
     ("10.0.0.1", False), ("example.org", False), ("localhost.evil.org", False)],
)  # fmt: skip
def test_loopback_is_told_without_a_look_up(host, here):
    assert is_loopback(host) is here
