"""What is refused, and that nothing else happens: no other exception, no memory to speak of, no change of state."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempograd.errors import InputRefusedError
from tempograd.farm.connection import open_queue
from tempograd.farm.messages import AgentDevice, AgentState, Blob, Environment, Job, Result, job_id
from tempograd.farm.queue import Delivery, Lease, Terms
from tempograd.farm.wire import LIMIT_BYTES, NewerSchemaError, decode, encode
from tempograd.measurement.measurement import Measurement

Make = Callable[..., Any]


def _lease(job: Job) -> Lease:
    return Lease(job, 1, "f" * 16, 0.0, "")


@pytest.fixture
def messages(job: Make, result: Make) -> list[Any]:
    device = AgentDevice("pi5", "local", "0123456789ab", "e" * 64)
    state = AgentState(
        "a1", "0.1.0", ("tempograd.job/1",), (device,), 2**33, 2**40, "cooling", "sentinel +9 %", 3, 0, 7, 1, 17
    )  # fmt: skip
    environment = Environment("a1", {"place": "local", "hardware": {"cpu": "x", "cores": [0, 1]}}, {"kernel": "6.1"})
    return [
        job("net"), result(_lease(job("net"))), result(_lease(job("net")), rounds=0),
        result(_lease(job("big")), rounds=60), state, environment,
    ]  # fmt: skip


def _tree(message: Any) -> dict[str, Any]:
    data = encode(message)
    return json.loads(data if data[:1] == b"{" else zlib.decompress(data))


def _bytes(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def test_what_is_written_is_read(messages: list[Any]) -> None:
    for message in messages:
        assert decode(encode(message), type(message)) == message
    assert encode(messages[3])[:1] != b"{"  # the large one is compressed


@pytest.mark.slow
@given(
    text=st.text(st.characters(codec="utf-8"), max_size=30),
    number=st.floats(allow_nan=False, allow_infinity=False),
    whole=st.integers(-(2**63), 2**63 - 1),
)
def test_free_fields_hold_anything_that_is_json(job: Make, result: Make, text: str, number: float, whole: int) -> None:
    found = result(_lease(job("net")))
    free = {text: [number, whole, None, True, {"inner": text}]}
    sent = replace(found, calibration=free, measurement=replace(found.measurement, environment=free))
    assert decode(encode(sent), Result) == sent


def test_a_job_is_named_by_what_it_asks_for(job: Make) -> None:
    asked = job("net")
    of_the_job = ("model", "weights", "plan", "seed", "campaign", "device_class")
    fields = {name: getattr(asked, name) for name in (*of_the_job, "fingerprint_id", "key", "space", "replicate")}
    assert job_id(**fields) == job_id(**fields)
    others = [{"replicate": 1}, {"campaign": "c2"}, {"key": "other"}, {"seed": 1}]
    others.append({"plan": replace(asked.plan, target=0.04)})
    assert len({job_id(**fields | other) for other in others} | {job_id(**fields)}) == 6


@pytest.mark.slow
def test_every_field_is_needed_and_no_other_is_taken(messages: list[Any]) -> None:
    refused = 0
    for message in messages:
        for change in _spoilt_objects(_tree(message)):
            with pytest.raises(InputRefusedError):
                decode(_bytes(change), type(message))
            refused += 1
    assert refused > 400


@pytest.mark.slow
def test_every_value_is_of_its_kind(messages: list[Any]) -> None:
    """Whatever stands in the place of a value is refused, or is a value of that kind and comes back as it was."""
    strange = [None, True, -1, 0, 2**63, 1e308, "", "\x00/../..", [], [[]], {}, {"a": 1}, ["x"], "\ud800", 10**400]
    refused = accepted = 0
    for message in [*messages[:3], *messages[4:]]:
        tree = _tree(message)
        for path in _paths(tree):
            for value in strange:
                changed = copy.deepcopy(tree)
                _at(changed, path[:-1])[path[-1]] = value
                try:
                    found = decode(_bytes(changed), type(message))
                except InputRefusedError:
                    refused += 1
                else:
                    assert decode(encode(found), type(message)) == found
                    accepted += 1
    assert refused > 2_000
    assert refused > 2 * accepted


@pytest.mark.fault(29)
@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_id", "A" * 64), ("job_id", "a" * 63), ("job_id", "a" * 64 + "\n"), ("device_class", "pi5.>"),
        ("device_class", "*"), ("campaign", ""), ("campaign", "x" * 41), ("issue", 0), ("replicate", -1),
        ("key", ""), ("fingerprint_id", "0" * 13),
    ],
)  # fmt: skip
def test_ids_are_ids(job: Make, field: str, value: object) -> None:
    with pytest.raises(InputRefusedError, match=field):
        replace(job("net"), **{field: value})
    with pytest.raises(InputRefusedError, match=field):
        decode(_bytes(_tree(job("net")) | {field: value}), Job)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "model.onnx/x", "weights-0123456789ab.bin\0", "x"])
def test_a_file_has_one_of_our_names(name: str) -> None:
    with pytest.raises(InputRefusedError, match="name"):
        Blob(name, "a" * 64, 10)


def test_no_agent_is_called_as_everybody(job: Make, result: Make) -> None:
    with pytest.raises(InputRefusedError, match="every agent"):
        result(_lease(job("net")), agent="all")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "whole"),
        (b"null", "neither"),
        (b"\xff\xfe{}", "neither"),
        (b'{"schema": "tempograd.job/1", "issue": NaN}', "NaN"),
        (b'{"schema": "tempograd.job/1", "issue": 1, "issue": 1}', "twice"),
        (b'{"schema": "tempograd.job/1"' + b" " * LIMIT_BYTES + b"}", "up to"),
        (b'{"schema": ' * 50_000, "refused"),
        (b'{"schema": ' + b"[" * 100_000, "refused"),
        (b'{"schema": ' + b"9" * 10_000 + b"}", "refused"),
        (b'{"schema": "tempograd.result/1"}', "schema"),
        (b'{"schema": "tempograd.job/0"}', "schema"),
        (b'{"schema": ["tempograd.job/2"]}', "schema"),
        (zlib.compress(b"[1]") + b"more", "alone"),
        (zlib.compress(b"[1]")[:-2], "whole"),
        (zlib.compress(b"[1]"), "object"),
    ],
)
def test_what_is_no_message(text: bytes, reason: str) -> None:
    with pytest.raises(InputRefusedError, match=reason):
        decode(text, Job)


@pytest.mark.fault(13)
def test_a_newer_version_says_how_to_upgrade(job: Make) -> None:
    tree = _tree(job("net")) | {"schema": "tempograd.job/2", "unheard": "of"}
    with pytest.raises(NewerSchemaError, match="pip install --upgrade"):
        decode(_bytes(tree), Job)


@pytest.mark.slow
@pytest.mark.fault(30)
def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(b"\0" * 2**28)
    assert len(bomb) < LIMIT_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(InputRefusedError, match="inflated"):
            decode(bomb, Job)
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMIT_BYTES
    finally:
        tracemalloc.stop()


def test_too_large_is_not_sent(job: Make, result: Make) -> None:
    with pytest.raises(InputRefusedError, match="allowed: up to"):
        encode(result(_lease(job("net")), rounds=20_000))
    found = result(_lease(job("net")))
    with pytest.raises(InputRefusedError, match="cannot be written"):
        encode(replace(found, calibration={"beta": float("nan")}))


def test_a_result_answers_its_job(job: Make, result: Make) -> None:
    asked = job("net")
    found = result(_lease(asked))
    assert found.misfit(asked) is None
    assert decode(encode(found), Result).misfit(decode(encode(asked), Job)) is None
    measurement = found.measurement
    lies: list[Measurement] = [
        replace(measurement, plan=measurement.plan | {"target": 0.5}), replace(measurement, space="other"),
        replace(measurement, replicate=1), replace(measurement, onnx_digest="b" * 64),
    ]  # fmt: skip
    for lie in lies:
        assert "the job's is" in str(replace(found, measurement=lie).misfit(asked))
    assert "job_id" in str(found.misfit(job("other")))


def test_a_result_is_its_senders(job: Make, result: Make) -> None:
    """Whoever signs as somebody else, or for another campaign, is refused; the bytes of a newer version are kept."""
    raw = encode(result(_lease(job("net"))))
    assert Delivery.of("c1", "a1", raw, "h").result == decode(raw, Result)
    for campaign, agent in (("c1", "evil"), ("c2", "a1")):
        refused = Delivery.of(campaign, agent, raw, "h")
        assert refused.result is None
        assert "sent by" in str(refused.refusal)
    newer = Delivery.of("c1", "a1", b'{"schema": "tempograd.result/2"}', "h")
    assert isinstance(newer.refusal, NewerSchemaError)
    assert newer.raw == b'{"schema": "tempograd.result/2"}'


@pytest.mark.slow
def test_labels_can_be_derived_from_whatever_is_let_in(job: Make, result: Make) -> None:
    """A hostile result may be wrong, but deriving its label never raises what the store does not expect."""
    rng = random.Random(5)
    tree = _tree(result(_lease(job("net")), rounds=6))
    timed = [path for path in _paths(tree["measurement"]) if path[0] in ("rounds", "reference")]
    numbers = [path for path in timed if isinstance(_at(tree["measurement"], path), int | float)]
    let_in = 0
    for _ in range(2_000):
        changed = copy.deepcopy(tree)
        for path in rng.sample(numbers, 3):
            value = rng.choice([0, 1e-7, 1e9, -1e9, 1e-300, 10, -10, 1e308, 5e-324, 100, rng.random()])
            _at(changed["measurement"], path[:-1])[path[-1]] = value
        try:
            measurement = decode(_bytes(changed), Result).measurement
        except InputRefusedError:
            continue
        let_in += 1
        assert measurement.verdict in ("ok", "noisy", "hot")
        assert measurement.latency_ms >= 0 or measurement.estimate is None
    assert let_in > 100


# -- fuzzing ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault(29)
def test_twelve_thousand_mutations(messages: list[Any]) -> None:
    """Each is refused as documented, or says something that is allowed and comes back as it was."""
    rng = random.Random(20_261)
    refused = 0
    for n in range(12_000):
        message = messages[n % len(messages)]
        data = _mutate(rng, encode(message), messages)
        try:
            found = decode(data, type(message))
        except InputRefusedError:
            refused += 1
        else:
            assert decode(encode(found), type(message)) == found
    assert refused > 9_000


@pytest.mark.real
@pytest.mark.parametrize("place", ["embedded", "server"])
def test_a_queue_full_of_rubbish(
    place: str, request: pytest.FixtureRequest, tmp_path: Any, messages: list[Any], job: Make, result: Make
) -> None:
    """What is right among thousands of wrong messages is neither lost nor changed, and the wrong ones are gone."""
    rng = random.Random(7)
    url = f"embedded:{tmp_path / 'queue'}" if place == "embedded" else request.getfixturevalue("server").url
    jobs = [job(f"n{n}") for n in range(20)]
    with open_queue(url, terms=Terms(ack_wait_s=30)) as queue:
        queue.declare("c1", ["pi5"])
        wrong_jobs = [_wrong(rng, messages[0], Job) for _ in range(2_000)]
        wrong_results = [_wrong(rng, messages[1], Result) for _ in range(2_000)]
        _smuggle(queue, "jobs", wrong_jobs[:1_000])
        queue.offer(jobs)
        _smuggle(queue, "jobs", wrong_jobs[1_000:])
        leases: list[Lease] = []
        for _ in range(8):  # one that meets rubbish alone is empty
            leases += queue.take("pi5", 500, 50)
        assert sorted(lease.job.key for lease in leases) == sorted(j.key for j in jobs)
        answers = [result(lease) for lease in leases]
        _smuggle(queue, "results", wrong_results[:1_000])
        for _ in range(3):  # replayed
            queue.deliver(answers)
        _smuggle(queue, "results", wrong_results[1_000:])
        queue.finish(leases)
        right, refused = [], 0
        while deliveries := queue.results("c1", 500, 200):
            right += [d.result for d in deliveries if d.result]
            refused += sum(isinstance(d.refusal, InputRefusedError) for d in deliveries)
            queue.confirm(deliveries)
        assert sorted(r.key for r in right) == sorted(a.key for a in answers)
        assert refused == 2_000
        assert queue.standing(jobs) == ["absent"] * 20


def test_reading_messages_is_light() -> None:
    code = "import sys, tempograd.farm.queue; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy", "torch", "pydantic", "onnx", "sklearn", "matplotlib", "nats"} & set(loaded)


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where each value of a tree stands."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


FREE = {"environment", "calibration", "facts", "fingerprint", "state", "other_sentinels_ms", "plan"}


def _spoilt_objects(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the tree with a field less, and with one more, in each of its objects whose fields are not free."""
    for path in [(), *_paths(tree)]:
        fields = _at(tree, path)
        free = tree["schema"] != "tempograd.job/1" and FREE & set(path)
        if not isinstance(fields, dict) or free:
            continue
        for name in fields:
            less = copy.deepcopy(tree)
            del _at(less, path)[name]
            yield less
        more = copy.deepcopy(tree)
        _at(more, path)["more"] = 1
        yield more


def _mutate(rng: random.Random, data: bytes, others: list[Any]) -> bytes:
    if data[:1] != b"{" and rng.random() < 0.7:
        data = zlib.decompress(data)
        return (
            zlib.compress(_mutate_bytes(rng, data, others), 1)
            if rng.random() < 0.5
            else _mutate_bytes(rng, data, others)
        )
    return _mutate_bytes(rng, data, others)


def _mutate_bytes(rng: random.Random, data: bytes, others: list[Any]) -> bytes:
    text = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(7)
        if kind == 0 and text:
            text[at % len(text)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del text[at:]
        elif kind == 2:
            del text[at : at + rng.randint(1, 20)]
        elif kind == 3:
            text[at:at] = text[at : at + rng.randint(1, 200)]
        elif kind == 4:
            text[at:at] = rng.choice(
                [b"NaN", b"1e999", b'"', b"{", b"}", b"\\ud800", b",", b"null", b"-", b"\xff", b"9" * 5000]
            )
        elif kind == 5:
            other = encode(rng.choice(others))
            text[at:at] = other[rng.randrange(len(other)) :]
        else:
            text[at:at] = rng.randbytes(rng.randint(1, 30))
    return bytes(text)


def _wrong(rng: random.Random, message: Any, kind: type[Any]) -> bytes:
    """Return a mutation that is refused, and not for being of a newer version."""
    while True:
        data = _mutate_bytes(rng, encode(message), [message])
        try:
            decode(data, kind)
        except NewerSchemaError:
            continue
        except InputRefusedError:
            return data


def _smuggle(queue: Any, what: str, bodies: list[bytes]) -> None:
    """Put bytes where messages belong, as somebody could who does not use our code."""
    if hasattr(queue, "_link"):
        names = [f"tg.job.pi5.{random.randbytes(32).hex()}" if what == "jobs" else "tg.result.c1.evil" for _ in bodies]
        queue._link.run(queue._publish([(name, body, {}) for name, body in zip(names, bodies, strict=True)]))
        return
    with queue._database.transaction() as run:
        for body in bodies:
            if what == "jobs":
                row = (random.randbytes(32).hex(), 1, "pi5", body)
                run("INSERT INTO jobs (job_id, issue, device_class, body) VALUES (?, ?, ?, ?)", *row)
            else:
                run("INSERT INTO results (campaign, agent, body) VALUES ('c1', 'evil', ?)", body)
