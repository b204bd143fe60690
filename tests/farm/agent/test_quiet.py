import threading
import time
from types import SimpleNamespace

import pytest

from tempograd.devices.device import ReadsOthers
from tempograd.farm.agent.quiet import Quiet, QuietSession

pytestmark = pytest.mark.real


def test_work_and_passes_never_overlap_and_work_goes_first():
    quiet, log, inside = Quiet(), [], []
    stop = threading.Event()

    def time_passes():
        while not stop.is_set():
            with quiet.timing():
                inside.append("pass")
                time.sleep(0.005)
                inside.remove("pass")

    timing = threading.Thread(target=time_passes)
    timing.start()
    try:
        for _ in range(20):
            asked = time.monotonic()
            with quiet.working():
                log.append((time.monotonic() - asked, list(inside)))
                time.sleep(0.002)
                log.append((0.0, list(inside)))
    finally:
        stop.set()
        timing.join()
    assert all(not others for _, others in log)
    assert sorted(waited for waited, _ in log)[len(log) // 2] < 0.1  # at most the pass under way


def test_a_session_that_waits_for_quiet_passes_on_whether_other_sentinels_are_read():
    inner = SimpleNamespace(reads_others=True)
    session = QuietSession(inner, Quiet())
    assert isinstance(session, ReadsOthers)
    assert session.reads_others
    session.reads_others = False
    assert not inner.reads_others
    without = QuietSession(SimpleNamespace(), Quiet())
    without.reads_others = True  # there are none
    assert not without.reads_others
