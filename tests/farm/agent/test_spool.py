import sqlite3
from dataclasses import replace

import pytest

from tempograd.errors import InputRefusedError, StoreError
from tempograd.farm.agent.spool import Spool
from tempograd.farm.queue import Lease, now_s
from tempograd.farm.wire import encode

from ..conftest import _job as job
from ..conftest import _result as result


def lease(name, attempt="0123456789abcdef"):
    return Lease(job(name), 1, attempt, now_s() + 45, "handle")


def test_it_remembers_leases_results_and_notes(tmp_path):
    held, other = lease("a"), lease("b", "f" * 16)
    with Spool(tmp_path) as spool:
        spool.hold([held, other])
        spool.keep([result(held)])
        spool.note("breaker", {"reason": "none"})
    with Spool(tmp_path) as spool:
        assert spool.leases() == [held, other]
        assert spool.undelivered(10) == [result(held)]
        assert spool.waiting_keys() == [result(held).key]
        assert (spool.waiting, spool.noted("breaker", None)) == (1, {"reason": "none"})
        later = replace(held, deadline_s=held.deadline_s + 15)
        spool.hold([later])
        assert later in spool.leases()
        spool.forget([later, other])
        spool.delivered([result(held)])
        assert (spool.leases(), spool.undelivered(10), spool.waiting, spool.fullness) == ([], [], 0, 0)


def test_the_same_result_twice_is_one(tmp_path):
    with Spool(tmp_path, cap_bytes=4 * len(encode(result(lease("a"))))) as spool:
        spool.keep([result(lease("a"))])
        spool.keep([result(lease("a"))])
        assert (spool.waiting, spool.fullness) == (1, 0.25)


def test_leases_of_another_boot_mean_nothing(tmp_path):
    with Spool(tmp_path) as spool:
        spool.hold([lease("a")])
        spool._boot = "another"
        assert spool.leases() == []


def test_one_agent_a_folder(tmp_path):
    with Spool(tmp_path), pytest.raises(StoreError, match="is held by process"):
        Spool(tmp_path)


def test_another_file_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "spool.db")
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(InputRefusedError, match="no spool of this version"):
        Spool(tmp_path)
