"""Faults from outside: the product as it is, under tools that kill it, break its disk, its clock and its network."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tempograd.data.store import Store
from tempograd.verbs.collect import collect as collect_here

pytestmark = [pytest.mark.real, pytest.mark.slow]

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
STILL = "simulated:noise=0,sentinel_noise=0,process_noise=0,slow=1,elastic=false,preemptions=0"
STRACE = [shutil.which("strace") or "", "-f", "-qq", "-o", os.devnull]
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

needs_strace = pytest.mark.skipif(not STRACE[0], reason="no strace: apt-get install strace")
needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="no libfaketime: apt-get install faketime")


def collect(store, *, device=STILL, count=12):
    return [sys.executable, "-m", "tempograd", "collect", "--space", SPACE, "--device", device, "--count", str(count),
            "--store", str(store), "--json"]  # fmt: skip


def run(*command, **environment):
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=240, env=ENVIRONMENT | environment
    )


def go_on(store):
    """Run the same command again, in this process."""
    assert collect_here(SPACE, store, device=STILL, count=12).exit_code == 0


def labels(path):
    with Store(path) as store:
        store.check()
        rows = [(m.key, m.replicate, m.latency_ms, m.verdict) for m in store.measurements()]
    assert len(rows) == len({row[:2] for row in rows})
    return sorted(rows)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run.db"
    go_on(path)
    return labels(path)


# Loads everything once; each child is a campaign of its own that goes on with the same store.
AGAIN_AND_AGAIN = """
    import os, sys
    from tempograd import registry
    from tempograd.data.store import Store
    from tempograd.profiler.campaign import run
    from tempograd.profiler.choose import choose
    from tempograd.profiler.plan import QUICK, Items
    space = registry.create("space", sys.argv[2])
    items = Items.of(space, choose(space, 12, seed=0))
    for kills in range(100):
        child = os.fork()
        if not child:
            with Store(sys.argv[1], write=True) as store:
                run(registry.create("device", sys.argv[3]), items, QUICK, store, batch_size=2)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WTERMSIG(status) == 9, status
    else:
        raise SystemExit("it never gets through")
    print(kills)
"""


@needs_strace
@pytest.mark.fault(1)
@pytest.mark.promise(1)
def test_killed_at_every_sixth_sync_until_it_is_through(tmp_path, undisturbed):
    script = "\n".join(line[4:] for line in AGAIN_AND_AGAIN.splitlines())
    strace = [*STRACE, "-e", "trace=fdatasync", "-e", "inject=fdatasync:signal=SIGKILL:when=6"]
    done = run(*strace, sys.executable, "-c", script, tmp_path / "run.db", SPACE, STILL)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
    assert labels(tmp_path / "run.db") == undisturbed


@needs_strace
@pytest.mark.fault(5)
@pytest.mark.fault(4)
@pytest.mark.parametrize(
    ("injected", "said"),
    [
        ("fdatasync:error=EIO:when=8", "I/O error at "),
        ("pwrite64:error=ENOSPC:when=20+", "disk full at "),
    ],
)
def test_a_disk_that_fails_at_the_nth_call_ends_the_run_at_once_and_the_same_command_goes_on(
    injected, said, tmp_path, undisturbed
):
    store = tmp_path / "run.db"
    trace = injected.partition(":")[0]
    strace = [*STRACE, "-e", f"trace={trace}", "-e", f"inject={injected}"]
    broken = run(*strace, *collect(store))
    assert broken.returncode == 7, broken.stderr
    assert f"{said}{store}" in broken.stderr
    assert "nothing lost" in broken.stderr
    assert json.loads(broken.stdout)["error"]["exit_code"] == 7
    go_on(store)
    assert labels(store) == undisturbed


def needs_namespaces(flags):
    tried = subprocess.run(["unshare", flags, "true"], capture_output=True) if shutil.which("unshare") else None
    return pytest.mark.skipif(
        tried is None or tried.returncode != 0, reason=f"unshare {flags} is not allowed here: no user namespaces"
    )


@needs_namespaces("-rm")
@pytest.mark.fault(4)
def test_on_a_full_disk_it_says_so_and_goes_on_where_there_is_room(tmp_path, undisturbed):
    command = " ".join(collect("disk/run.db"))
    script = f"""
        cd {tmp_path} && mkdir disk && mount -t tmpfs -o size=140k tmpfs disk || exit 99
        {command} > full.json; echo $? > full.code
        cp disk/* .
    """
    done = run("unshare", "-rm", "sh", "-c", script, PYTHONPATH=os.pathsep.join(sys.path))
    assert (tmp_path / "full.code").read_text() == "7\n", done.stderr
    assert "nothing lost; free space and run again" in done.stderr or "nothing lost. Free" in done.stderr
    go_on(tmp_path / "run.db")
    assert labels(tmp_path / "run.db") == undisturbed


@needs_namespaces("-rm")
def test_a_store_on_a_disk_that_is_only_read_can_be_read(tmp_path, undisturbed):
    go_on(tmp_path / "run.db")
    script = f"""
        cd {tmp_path} && mkdir disk && mount -t tmpfs tmpfs disk || exit 99
        cp run.db disk && mount -o remount,ro disk || exit 99
        {sys.executable} -m tempograd export --store disk/run.db --out out
    """
    done = run("unshare", "-rm", "sh", "-c", script, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "data.parquet").exists()


@needs_faketime
@pytest.mark.fault(14)
def test_a_wall_clock_that_is_hours_behind_changes_no_label(tmp_path, undisturbed):
    clock = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "-2h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    assert run(*collect(tmp_path / "run.db"), **clock).returncode == 0
    assert labels(tmp_path / "run.db") == undisturbed


@needs_faketime
@pytest.mark.fault(14)
def test_a_clock_that_cannot_be_right_is_refused_and_nothing_of_it_is_kept(tmp_path):
    """The monotonic clock of the campaign goes at a hundredth of the speed of that of its worker."""
    clock = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+0 x0.01"}
    done = run(*collect(tmp_path / "run.db", device="local", count=2), **clock)
    assert done.returncode == 4, done.stderr
    assert "its times are not milliseconds of wall time" in done.stderr
    with closing(sqlite3.connect(tmp_path / "run.db")) as store:
        assert store.execute("SELECT count(*) FROM measurements").fetchone() == (0,)


@needs_strace
@pytest.mark.promise(5)
def test_a_campaign_and_its_workers_open_no_socket_of_a_network(tmp_path):
    """Neither to listen nor to call: what else the verbs do is seen in tests/test_cli.py."""
    strace = [*STRACE[:-1], tmp_path / "log", "--seccomp-bpf", "-e", "trace=socket,connect,bind,listen,prctl"]
    done = run(*strace, *collect(tmp_path / "run.db", device="local", count=2))
    assert done.returncode in (0, 3, 6), done.stderr
    log = (tmp_path / "log").read_text()
    assert "prctl(PR_SET_NO_NEW_PRIVS" in log  # its workers were watched
    assert "AF_INET" not in log
