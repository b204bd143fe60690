"""What a worker gives up, in real child processes."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.real
CONFINED = """
import json, os, sys
from tempograd.devices.worker import isolation
told = isolation.confine(os.getppid(), 4 * 2**30, file_bytes=1000)
"""


def child(code, **options):
    return subprocess.run(
        [sys.executable, "-c", CONFINED + code], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_it_says_what_is_in_force_and_it_is():
    done = child(
        "import resource\n"
        "print(json.dumps([told, resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CORE)]))"
    )
    told, memory, core = json.loads(done.stdout)
    assert told["memory_bytes"] == memory == 4 * 2**30
    assert core[0] == 0
    assert told["network"] == "not isolated"
    assert told["dies_with_parent"]
    assert told["no_new_privileges"]


def test_memory_and_files_end_at_their_limits(tmp_path):
    assert "MemoryError" in child("bytearray(5 * 2**30)").stderr
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nopen('big', 'wb', 0).write(bytes(2000))"
    child(code, cwd=tmp_path)
    assert (tmp_path / "big").stat().st_size == 1000


def test_an_orphan_ends_at_once():
    code = (
        "import os\nfrom tempograd.devices.worker import isolation\nisolation.confine(1 + os.getppid(), None)\nprint(1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""


def test_cpu_time_is_granted_for_each_request_and_threads_are_moved():
    core = min(os.sched_getaffinity(0))
    done = child(
        "import resource\n"
        "isolation.allow_cpu(2, seconds=5)\n"
        f"isolation.move_to([{core}])\n"
        "print(json.dumps([resource.getrlimit(resource.RLIMIT_CPU)[0], sorted(os.sched_getaffinity(0))]))"
    )
    granted, cores = json.loads(done.stdout)
    assert 11 <= granted <= 41
    assert cores == [core]


def test_a_core_that_is_not_there_is_told():
    assert "cannot move to cores [4095]" in child("isolation.move_to([4095])").stderr
