"""Files of a farm as released versions wrote them: read as they were written, and a campaign goes on with them."""

import json
import shutil
import sqlite3
import threading
import zlib
from hashlib import sha256
from pathlib import Path

import pytest

from tempograd.data.store import Store
from tempograd.farm.agent.command import agent
from tempograd.farm.agent.service import Service
from tempograd.farm.agent.settings import Settings
from tempograd.farm.agent.spool import Spool
from tempograd.farm.connection import open_queue
from tempograd.farm.device import FarmDevice
from tempograd.farm.messages import AgentState, Environment, Job, Result
from tempograd.farm.server.folder import Farm
from tempograd.farm.wire import decode, encode
from tempograd.profiler.campaign import run
from tempograd.profiler.plan import QUICK, Items

RELEASES = sorted((Path(__file__).parents[1] / "assets").glob("*/farm"))
WEIGHTS = "weights-0123456789ab.bin"


def test_there_is_one():
    assert RELEASES


@pytest.fixture(params=RELEASES, ids=lambda folder: folder.parent.name)
def released(request, tmp_path):
    """A copy: nobody touches what was released."""
    folder = tmp_path / "released"
    shutil.copytree(request.param, folder)
    for path in (folder / "folder").rglob("*"):  # a repository keeps no modes
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder, json.loads((folder / "farm.json").read_text())


def rows(path, query):
    connection = sqlite3.connect(path)
    try:
        return [body for (body,) in connection.execute(query)]
    finally:
        connection.close()


def plain(body):
    return json.loads(body if body[:1] == b"{" else zlib.decompress(body))


@pytest.mark.promise(3)
def test_every_message_is_read_and_written_as_it_was(released):
    folder, expected = released
    queue, spool = folder / "queue.db", folder / "spool" / "spool.db"
    for kind, path, query, trees in (
        (Job, queue, "SELECT body FROM jobs ORDER BY number", expected["jobs"]),
        (Result, queue, "SELECT body FROM results ORDER BY number", expected["results"]),
        (AgentState, queue, "SELECT body FROM agents", expected["agents"]),
        (Environment, queue, "SELECT body FROM environments", expected["environments"]),
        (Job, spool, "SELECT job FROM leases ORDER BY attempt", expected["spool"]["leases"]),
        (Result, spool, "SELECT body FROM results ORDER BY number", expected["spool"]["results"]),
    ):
        bodies = rows(path, query)
        assert len(bodies) == len(trees) > 0
        for body, tree in zip(bodies, trees, strict=True):
            again = encode(decode(body, kind))
            assert plain(again) == plain(body) == tree
            assert list(plain(again)) == list(tree)  # in the same order, too


@pytest.mark.promise(3)
def test_a_spool_is_opened_with_all_that_is_in_it(released):
    folder, expected = released
    with Spool(folder / "spool") as spool:
        assert spool.waiting == len(expected["spool"]["results"])
        assert [plain(encode(result)) for result in spool.undelivered(9)] == expected["spool"]["results"]
        for name, value in expected["spool"]["notes"].items():
            assert spool.noted(name, None) == value
        (state,) = expected["spool"]["notes"]["device"].values()
    service = Service(remembered=state)
    assert json.loads(json.dumps(service.record())) == state
    assert service.calibration is not None


@pytest.mark.real
@pytest.mark.promise(3)
def test_a_campaign_goes_on_with_the_queue_and_the_spool(released, tmp_path):
    """What was timed before is taken as it is, from the queue and from the spool; the rest is timed now."""
    folder, expected = released

    def build(key, place):
        (place / WEIGHTS).write_bytes(b"weights")
        path = place / f"{key}.onnx"
        path.write_text(f"{key} {WEIGHTS}")
        return path, sha256(path.read_bytes()).hexdigest()

    url, stop = f"embedded:{folder / 'queue.db'}", threading.Event()
    device = f"simulated:seed=1,slow=1.0,table={folder / 'truth.json'}"
    settings = Settings(name="board", device_class="sim", url=url, spool=folder / "spool", device=device)
    lent = threading.Thread(target=agent, args=[settings], kwargs={"stop": stop})
    lent.start()
    try:
        with Store(tmp_path / "store.db", write=True) as store:
            networks = Items("toy", tuple(f"net{n}" for n in range(12)), build)
            summary = run(FarmDevice("sim", queue=url), networks, QUICK, store)
            measured = {(m.key, m.replicate): m for m in store.measurements()}
            accepted = {receipt.key for receipt in store.receipts(summary.campaign) if receipt.fate == "accepted"}
    finally:
        stop.set()
        lent.join(60)
    assert not lent.is_alive()
    assert summary.campaign == expected["jobs"][0]["campaign"]
    assert summary.doubts == ()
    earlier = [*expected["results"], *expected["spool"]["results"]]
    for tree in earlier:
        found = measured[tree["measurement"]["key"], tree["measurement"]["replicate"]]
        assert [r.started_s for r in found.rounds] == [r["started_s"] for r in tree["measurement"]["rounds"]]
        assert f"{tree['job_id']}:{tree['issue']}:{tree['delivery']}:{tree['attempt']}" in accepted
    with open_queue(url) as queue:
        assert queue.take("sim", 10, 0) == []


@pytest.mark.promise(3)
def test_a_farms_folder_is_opened_and_lets_another_agent_in(released):
    folder, _ = released
    farm = Farm(folder / "folder")
    assert {name: a.device_class for name, a in farm.agents.items()} == {"board": "sim", "phone": "pixel"}
    assert (farm.listen, farm.syncs, farm.access[0]) == (("0.0.0.0", 4222), True, "tls://farm.lan:4222")
    farm.add("third", "sim")
    assert set(farm.agents) == {"board", "phone", "third"}
    logins = (farm.folder / "accounts.conf").read_text()
    assert farm.agents["board"].key in logins
    assert json.dumps(farm.agents["phone"].password_hash) in logins
