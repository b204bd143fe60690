"""How a farm is: what a server says of itself to anybody, and what its interface says of jobs."""

import json
import socket
import threading
from contextlib import contextmanager

import pytest

from tempograd.errors import DeviceError, UsageError
from tempograd.farm.queue import Access, QueueAwayError
from tempograd.farm.queues.nats import Reply
from tempograd.farm.server.overview import ClassJobs, Overlook, greet


@contextmanager
def saying(line):
    """Whoever connects is told this line."""

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.sendall(line)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"nats://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_server_greets_everybody():
    with saying(b'INFO {"version": "2.14.3", "tls_required": true}\r\n') as url:
        assert greet(url) == {"version": "2.14.3", "tls_required": True}


@pytest.mark.parametrize("line", [b"", b"HTTP/1.1 400 Bad Request\r\n", b"INFO {\r\n", b"INFO [1]\r\n"])
def test_what_is_no_server_is_told_with_where_to_look(line):
    with saying(line) as url, pytest.raises(DeviceError, match="no nats-server; see the address"):
        greet(url)


def test_nothing_there_is_told_with_what_starts_it(free_port):
    with pytest.raises(QueueAwayError, match="start it with: tempograd farm up"):
        greet(f"nats://127.0.0.1:{free_port}")


class Server:
    """A connection on which the interface answers from a table; a queue on which one agent is."""

    problem = "no"

    def __init__(self, answers):
        self.answers, self.closed = answers, False

    def up(self, patience_s):
        return True

    def run(self, work):
        return work

    def ask(self, requests, patience_s):
        found = [self.answers.get(request.subject.removeprefix("$JS.API.")) for request in requests]
        return [None if tree is None else Reply("", json.dumps(tree).encode()) for tree in found]

    def agents(self):
        return ["one"]

    def close(self):
        self.closed = True


@pytest.fixture
def overlook(monkeypatch):
    def opened(answers):
        server = Server(answers)
        module = "tempograd.farm.server.overview"
        monkeypatch.setattr(f"{module}.open_queue", lambda *_, **__: server)
        monkeypatch.setattr(f"{module}.Link", lambda *_: server)
        monkeypatch.setattr(f"{module}.greet", lambda _: {"version": "2.14.3"})
        return Overlook("nats://127.0.0.1", Access()), server

    return opened


ANSWERS = {
    "INFO": {"storage": 5},
    "CONSUMER.LIST.TG_JOBS": {
        "consumers": [
            {"name": "pi5", "num_pending": 3, "num_ack_pending": 1},
            {"name": "pi4", "num_pending": 0, "num_ack_pending": 2},
        ]
    },
    "STREAM.INFO.TG_EXHAUSTED": {"state": {"messages": 4}},
    "STREAM.INFO.TG_RESULTS": {},
}


def test_jobs_are_told_by_class_and_what_is_not_said_is_none(overlook):
    over, server = overlook(ANSWERS)
    with over:
        seen = over.look()
    assert seen.jobs == [ClassJobs("pi4", 0, 2), ClassJobs("pi5", 3, 1)]
    assert (seen.exhausted, seen.results, seen.stored_bytes, seen.encrypted) == (4, 0, 5, False)
    assert server.closed


def test_a_server_that_answers_half_is_away(overlook):
    over, server = overlook({"INFO": {}})
    with over, pytest.raises(QueueAwayError, match="does not answer; see its log"):
        over.look()
    server.up = lambda _: False
    with pytest.raises(QueueAwayError, match=r"does not let the campaign in \(no\)"):
        over.look()


def test_an_address_that_is_not_allowed_is_refused():
    with pytest.raises(UsageError, match="plain text"):
        Overlook("nats://192.0.2.1:4222", Access())
