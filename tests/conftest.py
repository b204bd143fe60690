"""Which tests run again, what they prove, and real servers of NATS; tests that need one skip where none is."""

import gc
import os
import shutil
import socket
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tempograd.farm.server import server

from . import marks

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many workers as cores: more threads would wait for each other
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")  # a generated test does not fail because the machine is busy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that are marked ``real`` once more where they fail: they may lose a race to this machine's other work.

    Pytest's closing line counts them. Each test's promises and faults go into its report. Files with many slow tests
    begin, so that no worker still has one when the others are done.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.flaky(reruns=1))
        for mark in (mark for kind in marks.KINDS for mark in item.iter_markers(kind)):
            item.user_properties.append((mark.name, mark.args[0]))


def pytest_collection_finish() -> None:
    """Keep what was collected out of the garbage collector's sight: it stays, and looking through it takes long."""
    gc.collect()
    gc.freeze()


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Remember that a test failed: what it left open is still held by its traceback. One that skips opened nothing."""
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.config.stash[_failed] = True
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let go of what a failed test left open, which would else be held against one that comes later."""
    if item.config.stash.get(_failed, False):
        item.config.stash[_failed] = False
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            if hasattr(sys, name):
                delattr(sys, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


class Judge:
    """Fails a run in which a promise or a fault was not put to the test, and nobody said why."""

    def __init__(self) -> None:
        self.borne = marks.bearers()
        self.outcomes: dict[tuple[str, int], list[marks.Outcome]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            function = report.nodeid.rpartition("::")[2].partition("[")[0]
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            for kind, number in (one for one in report.user_properties if one[0] in marks.KINDS):
                outcome = marks.Outcome(function, report.outcome, str(reason))
                self.outcomes.setdefault((kind, number), []).append(outcome)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.wrong and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.wrong:
            terminalreporter.write_line(line, red=True)

    @property
    def wrong(self) -> list[str]:
        return marks.judge(self.outcomes, self.borne, marks.reasons())


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Judge(), "tempograd-marks")


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory):
    """Locks of devices lie apart for each worker: tests of two workers do not wait for each other, nor for a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("COLUMNS", "80")  # what runs tests may say how wide its own output is; readline, which pytest
        patch.delenv("COLUMNS")  # imports, says so to child processes alone
        yield


def _programs() -> dict[str, Path]:
    """Every server that is here, by version: on the path, beside this interpreter, in TEMPOGRAD_NATS_SERVERS."""
    named = os.environ.get("TEMPOGRAD_NATS_SERVERS", "").split(os.pathsep)
    beside = str(Path(sys.executable).parent)
    found = [
        shutil.which("nats-server"),
        shutil.which("nats-server", path=beside),
        *map(shutil.which, filter(None, named)),
    ]
    programs = {Path(path).resolve() for path in found if path}
    return {".".join(map(str, server.server_version(path))): path for path in programs}


PROGRAMS = _programs()
NEWEST = max(PROGRAMS, key=server.parse_version, default=None)
NONE = pytest.param("none", marks=pytest.mark.skip(reason=f"no nats-server is here: {server.INSTALL}"))


@pytest.fixture(scope="session", params=sorted(PROGRAMS) or [NONE])
def nats_program(request) -> Path:
    """Each server's program that is here, in turn."""
    return PROGRAMS[request.param]


@pytest.fixture(scope="session", params=[NEWEST] if NEWEST else [NONE])
def newest_nats_program(request) -> Path:
    """The newest server's program that is here."""
    return PROGRAMS[request.param]


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
