"""Every promise of the README and every fault has a test that bears its number."""

import re
from pathlib import Path

import pytest

from . import marks
from .marks import Outcome

README = (Path(__file__).parents[1] / "README.md").read_text()
BORNE = {("fault", 1): {"test_a", "test_b"}}
SKIPPED = Outcome("test_a", "skipped", "no strace: apt-get install strace")


@pytest.mark.parametrize("kind", marks.KINDS)
def test_every_number_has_a_test_and_every_test_a_number_that_there_is(kind):
    known, borne = marks.lists()[kind], {number for one, number in marks.bearers() if one == kind}
    assert sorted(known) == list(range(1, len(known) + 1))
    assert sorted(known.keys() - borne) == []
    assert sorted(borne - known.keys()) == []


def test_the_promises_are_those_of_the_readme():
    section = README.partition("## Promises")[2].partition("\n## ")[0]
    assert [int(n) for n in re.findall(r"^(\d+)\. ", section, re.MULTILINE)] == sorted(marks.lists()["promise"])


@pytest.mark.parametrize(
    ("outcomes", "allowed", "wrong"),
    [
        ([SKIPPED, Outcome("test_b", "passed")], "(?!)", False),
        ([SKIPPED, Outcome("test_b", "failed")], "(?!)", False),  # which fails the run by itself
        ([SKIPPED], "(?!)", False),  # only some were run
        ([SKIPPED, Outcome("test_b", "skipped", "no unshare")], "(?!)", True),
        ([SKIPPED, Outcome("test_b", "skipped", "no unshare")], "strace", True),
        ([SKIPPED, Outcome("test_b", "skipped", "no unshare")], "no (strace|unshare)", False),
    ],
)
def test_a_number_whose_tests_all_skipped_without_a_recorded_reason_fails_the_run(outcomes, allowed, wrong):
    assert bool(marks.judge({("fault", 1): outcomes}, BORNE, {("fault", 1): allowed})) == wrong


def test_a_number_without_a_recorded_reason_may_not_skip_whole():
    both = [SKIPPED, Outcome("test_b", "skipped", "no strace")]
    (said,) = marks.judge({("fault", 1): both}, BORNE, {})
    assert said.startswith("fault 1: every test was skipped")


@pytest.mark.slow
def test_the_run_itself_is_held_to_it(request):
    plugin = request.config.pluginmanager.getplugin("tempograd-marks")
    assert plugin is not None
    assert plugin.borne == marks.bearers()
