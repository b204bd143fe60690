"""Options as fields: one field is the flag, the keyword, the check and the help."""

from dataclasses import dataclass
from typing import ClassVar

import typer
from typer.testing import CliRunner

from tempograd.arguments import Count
from tempograd.terminal import Grouped, takes
from tempograd.verbs.option import fields_of, groups_of, option


@dataclass(frozen=True)
class Baking:
    """One group of a request that somebody else writes."""

    title: ClassVar[str] = "Baking"

    minutes: Count = option("How long it bakes.", 30, unit="minutes")
    fillings: tuple[str, ...] = option("What is in it.", (), unit="name")


@dataclass(frozen=True)
class Bread:
    """A request of one group."""

    baking: Baking


def test_one_new_field_is_all_of_a_new_option():
    seen = []

    @takes(Bread)
    def bake(given: dict, loud: bool = False) -> None:
        seen.append((groups_of(Bread, given)["baking"], loud))

    own = typer.Typer(rich_markup_mode=None)
    own.command(cls=Grouped)(bake)
    assert CliRunner().invoke(own, ["--minutes", "12", "--fillings", "a", "--fillings", "3", "--loud"]).exit_code == 0
    assert CliRunner().invoke(own, []).exit_code == 0
    assert seen == [(Baking(12, ("a", "3")), True), (Baking(30, ()), False)]
    assert "How long it bakes. [from 1; default: 30]" in CliRunner().invoke(own, ["--help"]).output
    assert [one.flag for one in fields_of(Bread)] == ["--minutes", "--fillings"]
