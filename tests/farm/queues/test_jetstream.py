"""What only a server can do to a queue: die, lose its disk, be full, be somebody else."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tempograd.errors import UsageError
from tempograd.farm import subjects
from tempograd.farm.connection import open_queue
from tempograd.farm.messages import AgentState, Blob, Environment, Job, Result
from tempograd.farm.queue import Access, Lease, QueueAwayError, QueueFullError, Terms, now_s
from tempograd.farm.queues.jetstream import JetStreamQueue
from tempograd.farm.queues.models import CHUNK_BYTES
from tempograd.farm.queues.streams import Room
from tempograd.farm.server.server import server_version
from tempograd.farm.wire import NewerSchemaError, digest

pytestmark = pytest.mark.real

Make = Callable[..., Any]
TERMS = Terms(ack_wait_s=1.0, max_deliver=10)


class Worker(threading.Thread):
    """Something that goes on whatever happens to the queue."""

    def __init__(self, queue: Any) -> None:
        super().__init__(daemon=True)
        self.queue = queue
        self.stop = threading.Event()

    def surely(self, act: Callable[[], None]) -> None:
        """Try until it is done."""
        done = False
        while not done and not self.stop.is_set():
            with contextlib.suppress(QueueAwayError):
                act()
                done = True


class Campaign(Worker):
    """Offers jobs, stores what comes, and offers again whatever is neither stored nor in the queue."""

    def __init__(self, queue: Any, jobs: list[Job]) -> None:
        super().__init__(queue)
        self.open = {job.job_id: job for job in jobs}
        self.stored: dict[str, Result] = {}  # key -> result: the truth
        self.done: set[str] = set()
        self.reissued = 0

    def run(self) -> None:
        self.surely(lambda: self.queue.declare("c1", ["pi5"]))
        self.surely(lambda: self.queue.offer(list(self.open.values())))
        looked = now_s()
        while self.open and not self.stop.is_set():
            with contextlib.suppress(QueueAwayError):
                deliveries = self.queue.results("c1", 64, 200)
                for delivery in deliveries:
                    assert delivery.result is not None
                    self.stored.setdefault(delivery.result.key, delivery.result)
                    self.open.pop(delivery.result.job_id, None)
                self.queue.confirm(deliveries)
                if now_s() - looked > 1:
                    self._reconcile()
                    looked = now_s()

    def _reconcile(self) -> None:
        self.queue.declare("c1", ["pi5"])
        jobs = list(self.open.values())
        for job, standing in zip(jobs, self.queue.standing(jobs), strict=True):
            if standing == "absent":
                self.open[job.job_id] = again = replace(job, issue=job.issue + 1)
                self.queue.offer([again])
                self.reissued += 1


class Agent(Worker):
    """Takes, delivers, finishes."""

    def __init__(self, queue: Any, name: str, answer: Callable[..., Result]) -> None:
        super().__init__(queue)
        self.agent, self.answer = name, answer

    def run(self) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(QueueAwayError):
                for lease in self.queue.take("pi5", 8, 200):
                    time.sleep(0.002)
                    self.surely(lambda lease=lease: self.queue.deliver([self.answer(lease, agent=self.agent)]))
                    self.queue.finish([lease])


@pytest.mark.slow
@pytest.mark.fault(13)
@pytest.mark.parametrize("wiped", [False, True])
def test_the_server_dies_in_mid_run(mortal: Any, wiped: bool, job: Make, result: Make) -> None:
    if wiped and server_version(mortal.executable) < (2, 10):
        pytest.skip("a server of 2.9, started on an empty disk, can lose the folders of streams that it makes anew")
    jobs = [job(f"n{n}") for n in range(300)]
    with contextlib.ExitStack() as stack:
        queues = [stack.enter_context(open_queue(mortal.url, terms=TERMS, patience_s=2)) for _ in range(3)]
        campaign = Campaign(queues[0], jobs)
        threads: list[Any] = [campaign, Agent(queues[1], "a1", result), Agent(queues[2], "a2", result)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(campaign.stored) < 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        before = dict(campaign.stored)
        mortal.kill()
        if wiped:
            mortal.wipe()
        time.sleep(0.5)
        mortal.start()
        campaign.join(200)  # on a disk that stalls, each message waits for it
        for thread in threads:
            thread.stop.set()
        for thread in threads:
            thread.join(10)
    assert not campaign.open, f"{len(campaign.open)} jobs are neither stored nor offered again"
    assert {r.job_id for r in campaign.stored.values()} == {j.job_id for j in jobs}
    assert before.items() <= campaign.stored.items()
    assert 60 <= len(before) < 300
    if wiped:
        assert campaign.reissued > 0


@pytest.mark.fault(12)
def test_a_late_acknowledgement_loses_no_result(server: Any, job: Make, result: Make) -> None:
    """The server believes an ack of an old delivery; as results are delivered first, that costs nothing."""
    with open_queue(server.url, terms=replace(TERMS, ack_wait_s=0.5)) as queue:
        queue.declare("c1", ["pi5"])
        queue.offer([job("net")])
        (old,) = queue.take("pi5", 1, 1000)
        time.sleep(0.7)
        (new,) = queue.take("pi5", 1, 1000)
        assert (old.delivery, new.delivery, old.lost) == (1, 2, True)
        queue.finish([old])  # ours keeps still
        assert queue.standing([job("net")]) == ["leased"]
        assert queue.renew([old]) == []
        queue.deliver([result(old), result(new)])
        queue.finish([replace(old, deadline_s=now_s() + 60)])  # one that does not know that it is late
        deliveries = queue.results("c1", 10, 500)
        deliveries += queue.results("c1", 10, 100)
        found = {(d.result.delivery, d.result.attempt) for d in deliveries if d.result}
        assert found == {(1, old.attempt), (2, new.attempt)}


def test_renewals_keep_a_job(server: Any, job: Make) -> None:
    with open_queue(server.url, terms=TERMS) as queue:
        queue.declare("c1", ["pi5"])
        queue.offer([job("net")])
        leases = queue.take("pi5", 1, 1000)
        for _ in range(6):
            time.sleep(0.3)
            leases = queue.renew(leases)
            assert len(leases) == 1
        assert queue.take("pi5", 1, 50) == []
        queue.finish(leases)
        assert queue.standing([job("net")]) == ["absent"]


def test_an_absent_server_is_no_surprise(server: Any, job: Make) -> None:
    server.kill()
    with open_queue(server.url, terms=TERMS, patience_s=0.3) as queue:
        for call in (
            lambda: queue.declare("c1", ["pi5"]), lambda: queue.offer([job("net")]), lambda: queue.take("pi5", 1, 50),
            lambda: queue.results("c1", 1, 50), lambda: queue.agents(), lambda: queue.command("all", "pause"),
        ):  # fmt: skip
            with pytest.raises(QueueAwayError, match="does not answer"):
                call()
        lease = Lease(job("net"), 1, "f" * 16, now_s() + 60, "$JS.ACK.TG_JOBS.pi5.1.1.1.1.0")
        assert queue.renew([lease]) == [lease]
        assert queue.away_since_s is not None
        server.start()
        deadline = time.monotonic() + 30
        while queue.away_since_s is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        queue.declare("c1", ["pi5"])
        queue.offer([job("net")])
        assert len(queue.take("pi5", 1, 1000)) == 1
    queue.close()
    with pytest.raises(QueueAwayError, match="closed"):
        queue.offer([job("net")])


def test_a_call_waits_for_a_server_that_comes_back(server: Any, job: Make) -> None:
    with open_queue(server.url, terms=TERMS, patience_s=20) as queue:
        queue.declare("c1", ["pi5"])
        server.kill()
        server.wipe()
        timer = threading.Timer(0.7, server.start)
        timer.start()
        queue.offer([job("net")])  # the stream is gone: it is made again
        timer.join()
        assert queue.standing([job("net")]) == ["queued"]


def test_models_of_any_size(server: Any) -> None:
    contents = [b"x", b"y" * CHUNK_BYTES, bytes(range(256)) * 2000]
    blobs = [Blob("model.onnx", digest(content), len(content)) for content in contents]
    with open_queue(server.url) as queue:
        queue.declare("c1", ["pi5"])
        assert queue.put_models(contents) == [blob.sha256 for blob in blobs]
        queue.put_models(contents)
        absent = Blob("model.onnx", "0" * 64, 5)
        assert queue.get_models([*blobs, absent]) == {b.sha256: c for b, c in zip(blobs, contents, strict=True)}
        assert queue.get_models([replace(blobs[2], size_bytes=100)]) == {}
        queue.drop_models([blobs[0].sha256])
        assert blobs[0].sha256 not in queue.get_models(blobs)
        link = queue._link  # type: ignore[attr-defined]
        info = link.run(queue._api(f"STREAM.INFO.{subjects.MODELS_STREAM}"))  # type: ignore[attr-defined]
        assert info["state"]["messages"] == 2 + 1 + 4  # two metas; chunks: put twice they are there once
        assert info["state"]["consumer_count"] == 0


def test_a_model_is_what_its_name_says(server: Any) -> None:
    with open_queue(server.url) as queue:
        queue.declare("c1", ["pi5"])
        (name,) = queue.put_models([b"true" * 100])
        info = queue._link.run(queue._models._metas([name]))[name]  # type: ignore[attr-defined]
        other = (subjects.model(info["nuid"]), b"fake" * 100, {"Nats-Rollup": "sub"})
        queue._link.run(queue._publish([other]))  # type: ignore[attr-defined]
        assert queue.get_models([Blob("model.onnx", name, 400)]) == {}


def test_a_full_queue_says_so(server: Any, job: Make, result: Make) -> None:
    room = Room(jobs=50_000, results=20_000, models=10**6)
    with JetStreamQueue(server.url, access=Access(), terms=TERMS, room=room) as queue:
        queue.declare("c1", ["pi5"])
        jobs = [job(f"n{n}") for n in range(200)]
        with pytest.raises(QueueFullError, match="takes no more"):
            queue.offer(jobs)
        leases = queue.take("pi5", 40, 1000)
        answers = [result(lease) for lease in leases]
        with pytest.raises(QueueFullError):
            queue.deliver(answers)
        seen = set()
        for _ in range(40):  # room is made, and everything gets through
            deliveries = queue.results("c1", 100, 100)
            seen |= {d.result.key for d in deliveries if d.result}
            queue.confirm(deliveries)
            with contextlib.suppress(QueueFullError):
                queue.deliver(answers)
        assert seen == {answer.key for answer in answers}


@pytest.mark.fault(13)
def test_a_newer_job_is_given_back(server: Any, job: Make) -> None:
    with open_queue(server.url, terms=TERMS) as queue:
        queue.declare("c1", ["pi5"])
        body = json.dumps({"schema": "tempograd.job/2"}).encode()
        queue._link.run(queue._publish([(subjects.job("pi5", "f" * 64), body, {})]))  # type: ignore[attr-defined]
        with pytest.raises(NewerSchemaError, match="pip install --upgrade"):
            queue.take("pi5", 5, 1000)
        assert queue.standing([replace(job("net"), job_id="f" * 64)]) == ["leased"]


def test_states_environments_and_commands(each_server: Any) -> None:
    with open_queue(each_server.url) as near, open_queue(each_server.url) as far:
        near.declare("c1", ["pi5"])
        state = AgentState("a1", "0.1", ("tempograd.job/1",), (), 1, 1, "ready", "", 0, 0, 0, 0, 1)
        for sent in (state, replace(state, state="cooling"), replace(state, agent="a2")):
            far.announce(sent)
        far._link.run(far._publish([  # type: ignore[attr-defined]
            (subjects.agent("a3"), b"{}", {}), (subjects.agent("a4"), b'{"schema": "tempograd.agent/9"}', {}),
        ]))  # fmt: skip
        time.sleep(0.3)
        seen = near.agents()
        assert [(s.state.agent, s.state.state) for s in seen] == [("a1", "cooling"), ("a2", "ready")]
        assert all(0.2 < s.age_s < 10 for s in seen)
        environment = Environment("a1", {"place": "local"}, {"kernel": "6.1"})
        name = far.put_environment(environment)
        assert near.environment("a1", name) == environment
        assert near.environment("a2", name) is None
        assert near.environment("a1", "0" * 64) is None
        assert far.commands("a1") == []
        near.command("a1", "pause")
        near.command("a2", "drain")
        near.command("all", "resume")
        deadline = time.monotonic() + 5
        heard: list[str] = []
        while len(heard) < 2 and time.monotonic() < deadline:
            heard += far.commands("a1")
        assert heard == ["pause", "resume"]


def test_nothing_crosses_a_network_in_plain_text() -> None:
    for url in ("nats://farm.lan:4222", "nats://192.168.1.5:4222", "ws://127.0.0.1:4222", "nats://", "tls://", "x"):
        with pytest.raises(UsageError, match="allowed: "):
            open_queue(url)
    with pytest.raises(UsageError, match="login in the queue's address"):
        open_queue("tls://user:secret@farm.lan:4222")
    with pytest.raises(UsageError, match="PEM"):
        open_queue("tls://127.0.0.1:4222", access=Access(ca=Path("/nowhere/ca.pem")))
    with pytest.raises(UsageError, match="seed"):
        open_queue("nats://127.0.0.1:4222", access=Access(nkey=Path("/nowhere/agent.nk")))


def test_without_the_client_one_is_told_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['nats'] = None\n"
        "from tempograd.farm.connection import open_queue\n"
        "try: open_queue('nats://127.0.0.1:4222')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("UsageError")
    assert "pip install 'tempograd[farm]'" in said


def test_a_server_without_tls_learns_no_password() -> None:
    """Somebody in between who says that the server does not encrypt gets nothing."""
    heard = bytearray()

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.sendall(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576}\r\n')
                connection.settimeout(0.5)
                with contextlib.suppress(TimeoutError), connection:
                    while data := connection.recv(4096):
                        heard.extend(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        with (
            open_queue(url, access=Access(user="a1", password="secret"), patience_s=1.5) as queue,
            pytest.raises(QueueAwayError, match="does not offer TLS"),
        ):
            queue.agents()
        listener.shutdown(socket.SHUT_RDWR)
    assert heard == b""
