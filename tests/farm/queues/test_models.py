"""Models in an object store: in chunks under their SHA-256, whole or not there."""

import asyncio
import json
from hashlib import sha256

import pytest

from tempograd.farm import subjects
from tempograd.farm.messages import Blob
from tempograd.farm.queues.models import AT_ONCE, CHUNK_BYTES, Models
from tempograd.farm.queues.nats import Reply


class Disk:
    """A server's stream of models in memory; ``asked`` counts requests of each call."""

    def __init__(self):
        self.messages: list[tuple[str, bytes]] = []
        self.asked: list[int] = []

    async def publish(self, messages):
        for subject, body, headers in messages:
            if headers.get("Nats-Rollup"):
                self.messages = [(name, old) if name != subject else ("", b"") for name, old in self.messages]
            self.messages.append((subject, body))

    async def ask(self, requests):
        self.asked.append(len(requests))
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        if not request.body:
            subject = request.subject.partition(f"{subjects.MODELS_STREAM}.")[2]
            found = [body for name, body in self.messages if name == subject]
            return Reply(subject, found[-1]) if found else None
        wanted = json.loads(request.body)
        for number, (name, body) in enumerate(self.messages, 1):
            if name == wanted["next_by_subj"] and number >= wanted["seq"]:
                return Reply(name, body, {"Nats-Sequence": str(number)})
        return None


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def models(disk):
    return Models(disk.publish, disk.ask)


def named(*contents):
    return {sha256(content).hexdigest(): content for content in contents}


def blobs(contents):
    return [Blob("model.onnx", name, len(content)) for name, content in contents.items()]


def test_models_of_any_size_come_back_whole(models, disk):
    contents = named(b"x", b"y" * CHUNK_BYTES, bytes(range(256)) * 2000)
    asyncio.run(models.put(contents))
    assert asyncio.run(models.get(blobs(contents))) == contents
    assert len(disk.messages) == 3 + 1 + 1 + 4  # what they are, and their chunks


def test_what_is_there_is_not_sent_again(models, disk):
    contents = named(b"x", b"y")
    asyncio.run(models.put(contents))
    before = list(disk.messages)
    asyncio.run(models.put(contents))
    assert disk.messages == before


def test_what_is_not_there_is_cut_off_or_another_is_not_given(models, disk):
    contents = named(b"true" * 100)
    (name,) = contents
    assert asyncio.run(models.get(blobs(contents))) == {}
    asyncio.run(models.put(contents))
    assert asyncio.run(models.get([Blob("model.onnx", name, 100)])) == {}  # no more is read than was named
    (place,) = [i for i, (_, body) in enumerate(disk.messages) if body == contents[name]]
    disk.messages[place] = disk.messages[place][0], b"fake" * 100
    assert asyncio.run(models.get(blobs(contents))) == {}


def test_a_deleted_model_is_not_there(models, disk):
    contents = named(b"x")
    asyncio.run(models.put(contents))
    (meta,) = [i for i, (subject, _) in enumerate(disk.messages) if ".M." in subject]
    subject, body = disk.messages[meta]
    disk.messages[meta] = subject, json.dumps(json.loads(body) | {"deleted": True}).encode()
    assert asyncio.run(models.get(blobs(contents))) == {}
    assert asyncio.run(models.subjects_of(list(contents))) == []


def test_a_model_is_its_chunks_and_what_says_that_they_are_whole(models, disk):
    contents = named(b"x" * (CHUNK_BYTES + 1))
    asyncio.run(models.put(contents))
    assert set(asyncio.run(models.subjects_of(list(contents)))) == {subject for subject, _ in disk.messages}


def test_many_are_asked_for_in_portions(models, disk):
    contents = named(*[bytes([n]) for n in range(AT_ONCE + 3)])
    asyncio.run(models.put(contents))
    assert max(disk.asked) == AT_ONCE
    assert asyncio.run(models.get(blobs(contents))) == contents


def test_tools_of_nats_read_what_it_says(models, disk):
    contents = named(b"x" * 10)
    asyncio.run(models.put(contents))
    (meta,) = [json.loads(body) for subject, body in disk.messages if ".M." in subject]
    assert (meta["size"], meta["chunks"], meta["bucket"]) == (10, 1, "tg_models")
    assert meta["digest"].startswith("SHA-256=")
