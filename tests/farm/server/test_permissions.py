"""What an enrolled agent may do on a real server, and that everything else is denied and changes nothing."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import nats
import pytest
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

from tempograd.farm import subjects
from tempograd.farm.connection import read_access
from tempograd.farm.queues.nats import end
from tempograd.farm.server import server
from tempograd.farm.server.credentials import new_seed
from tempograd.farm.server.folder import Farm
from tempograd.farm.server.permissions import AGENTS, CAMPAIGNS, accounts, agent_permissions

pytestmark = pytest.mark.real

ME, OTHER, MINE, THEIRS, CAMPAIGN = "pi5-07", "pi5-08", "pi5", "pixel8", "first"
DIGEST = "a" * 64
STREAMS = (
    subjects.JOBS,
    subjects.RESULTS,
    subjects.MODELS_STREAM,
    subjects.AGENTS_STREAM,
    subjects.ENVIRONMENTS_STREAM,
)
NEXT, GET = "$JS.API.CONSUMER.MSG.NEXT", f"$JS.API.DIRECT.GET.{subjects.MODELS_STREAM}"


@pytest.fixture(scope="module")
def farm(nats_program, tmp_path_factory):
    """A running farm with two agents, of two classes; jobs, a model, a result and states are in it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder, version = tmp_path_factory.mktemp("farm") / "farm", server.server_version(nats_program)
    farm = Farm.create(folder, port=port, plain=True, version=version)
    farm.add(ME, MINE)
    farm.add(OTHER, THEIRS, password=True)
    process = server.start(nats_program, farm.configuration, farm.listen, log=farm.log)
    asyncio.run(fill(farm))
    yield farm
    process.kill()
    process.wait()


@asynccontextmanager
async def connected(farm, who=None):
    """Connect as the campaign or an agent; yield the connection and the list of what the server refuses."""
    refused = []

    async def note(error):
        refused.append(str(error))

    url, access = read_access(farm.folder / ("farm.toml" if who is None else f"agents/{who}/agent.toml"))
    login = {"nkeys_seed": str(access.nkey)} if access.nkey else {"user": access.user, "password": access.password}
    prefix = "_INBOX" if who is None else subjects.inbox(who)
    client = nats.NATS()
    try:
        await client.connect(url, **login, inbox_prefix=prefix, error_cb=note, allow_reconnect=False)
        yield client, refused
    finally:
        await end(client)


async def said(refused, count):
    """Wait until the server has refused so often; the client's own flush may return earlier."""
    for _ in range(100):
        if len(refused) >= count:
            break
        await asyncio.sleep(0.05)


async def fill(farm):
    async with connected(farm) as (client, _):
        js = client.jetstream()
        queue = RetentionPolicy.WORK_QUEUE
        await js.add_stream(StreamConfig(subjects.JOBS, subjects=[subjects.job("*", "*")], retention=queue))
        await js.add_stream(StreamConfig(subjects.RESULTS, subjects=[subjects.result("*", "*")], retention=queue))
        await js.create_object_store(subjects.MODELS)
        for bucket in (subjects.AGENTS, subjects.ENVIRONMENTS):
            await js.create_key_value(bucket=bucket)
        for device_class in (MINE, THEIRS):
            await js.add_consumer(subjects.JOBS, ConsumerConfig(
                durable_name=device_class, filter_subject=subjects.job(device_class, "*"), ack_policy="explicit",
            ))  # fmt: skip
            for n in range(64):  # more than all tests here take, in any order
                await js.publish(subjects.job(device_class, f"{n}"), b"{}")
        await js.add_consumer(subjects.RESULTS, ConsumerConfig(durable_name=CAMPAIGN, ack_policy="explicit"))
        await js.publish(subjects.model(DIGEST), b"bytes of a model")
        await js.publish(subjects.agent(OTHER), b"state of the other")
        await js.publish(subjects.result(CAMPAIGN, OTHER), b"result of the other")


async def state(js):
    """Return everything that an agent might have changed."""
    found = {}
    for name in STREAMS:
        of = (await js.stream_info(name)).state
        found[name] = (of.messages, of.first_seq, of.last_seq, of.consumer_count)
    for device_class in (MINE, THEIRS):
        of = await js.consumer_info(subjects.JOBS, device_class)
        found[device_class] = (of.num_pending, of.num_ack_pending, of.num_redelivered, of.delivered.stream_seq)
    return found


def test_an_agent_can_do_its_work(farm):
    async def work():
        async with connected(farm) as (campaign, _), connected(farm, ME) as (client, refused):
            js = client.jetstream()
            told = [await client.subscribe(subjects.control(name)) for name in (ME, subjects.EVERY_AGENT)]
            await client.flush()
            pulled = await js.pull_subscribe_bind(MINE, stream=subjects.JOBS)
            first, second = await pulled.fetch(2, timeout=5)
            await first.in_progress()
            await first.ack_sync()
            await second.nak()
            got = await client.request(f"{GET}.{subjects.model(DIGEST)}")
            result = await js.publish(subjects.result(CAMPAIGN, ME), b"{}", headers={"Nats-Msg-Id": "one"})
            again = await js.publish(subjects.result(CAMPAIGN, ME), b"{}", headers={"Nats-Msg-Id": "one"})
            await js.publish(subjects.agent(ME), b"{}")
            await js.publish(subjects.environment(ME, DIGEST), b"{}")
            heard = await campaign.subscribe(subjects.event("*"))
            await campaign.flush()
            await asyncio.sleep(0.1)  # the client's flush may return before the server listens
            await client.publish(subjects.event(ME), b"progress")
            for name in (ME, subjects.EVERY_AGENT):
                await campaign.publish(subjects.control(name), b"drain")
            words = [(await each.next_msg(5)).data for each in (*told, heard)]
            return first.subject, got.data, (result.duplicate, again.duplicate), words, refused

    subject, model, duplicates, words, refused = asyncio.run(work())
    assert subject.startswith(f"tg.job.{MINE}.")
    assert model == b"bytes of a model"
    assert duplicates == (None, True)
    assert words == [b"drain", b"drain", b"progress"]
    assert refused == []


OFFER = [subjects.job(MINE, "x"), subjects.job(THEIRS, "x")]
OTHERS = [
    subjects.result(CAMPAIGN, OTHER), subjects.agent(OTHER), subjects.environment(OTHER, DIGEST),
    subjects.environment(ME, f"{DIGEST}.x"), subjects.event(OTHER), f"{subjects.inbox(OTHER)}.x", "_INBOX.x",
]  # fmt: skip
COMMAND = [subjects.control(OTHER), subjects.control(ME), subjects.control(subjects.EVERY_AGENT)]
READ = [
    f"{NEXT}.{subjects.RESULTS}.{CAMPAIGN}", f"{NEXT}.{subjects.JOBS}.{THEIRS}",
    *(f"$JS.API.STREAM.MSG.GET.{stream}" for stream in STREAMS),
    *(f"$JS.API.DIRECT.GET.{stream}" for stream in STREAMS if stream != subjects.MODELS_STREAM),
    "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", *(f"$JS.API.STREAM.INFO.{s}" for s in STREAMS),
    f"$JS.API.STREAM.SNAPSHOT.{subjects.RESULTS}", f"$JS.API.CONSUMER.INFO.{subjects.JOBS}.{MINE}",
]  # fmt: skip
ACK = [
    f"$JS.ACK.{subjects.JOBS}.{THEIRS}.1.9.1.1.1", f"$JS.ACK.{subjects.RESULTS}.{CAMPAIGN}.1.1.1.1.1",
    f"$JS.ACK._.x.{subjects.JOBS}.{THEIRS}.1.9.1.1.1.x",
]  # fmt: skip
CHANGE = [
    *(f"$JS.API.STREAM.{verb}.{s}" for verb in ("DELETE", "PURGE", "CREATE", "UPDATE", "MSG.DELETE", "RESTORE")
      for s in (*STREAMS, "NEW")),
    *(f"$JS.API.CONSUMER.{verb}.{subjects.JOBS}.{MINE}" for verb in ("DELETE", "CREATE", "DURABLE.CREATE", "PAUSE")),
    f"$JS.API.CONSUMER.CREATE.{subjects.RESULTS}", f"$JS.API.CONSUMER.CREATE.{subjects.MODELS_STREAM}.mine.>",
    "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE.x", f"$JS.API.STREAM.LEADER.STEPDOWN.{subjects.JOBS}",
]  # fmt: skip
FORGE = [
    subjects.model(DIGEST), subjects.model_meta("x"), subjects.exhausted(MINE), f"$JS.EVENT.ADVISORY.API.{DIGEST}",
    "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.x.RELOAD", "$SRV.PING", "anything",
]  # fmt: skip
DENIED = {
    "offering jobs": OFFER, "writing for others": OTHERS, "giving commands": COMMAND, "reading": READ,
    "acknowledging for others": ACK, "creating, changing, deleting": CHANGE, "forging": FORGE,
}  # fmt: skip
EARS = [
    ">", "tg.>", subjects.job(MINE, "*"), subjects.result("*", "*"), subjects.control(OTHER), subjects.control("*"),
    subjects.event("*"), f"{subjects.inbox(OTHER)}.>", "_INBOX.>", "*.>", "$JS.>", "$KV.>", "$O.>", "$SYS.>",
]  # fmt: skip


@pytest.mark.fault(29)
@pytest.mark.parametrize("what", DENIED)
def test_everything_else_is_denied_and_changes_nothing(farm, what):
    async def attack():
        async with connected(farm) as (campaign, _), connected(farm, ME) as (client, refused):
            js = campaign.jetstream()
            before = await state(js)
            for subject in DENIED[what]:
                await client.publish(subject, b"{}", reply=f"{subjects.inbox(ME)}.x")
            await said(refused, len(DENIED[what]))
            return before, await state(js), refused

    before, after, refused = asyncio.run(attack())
    assert after == before
    heard = " ".join(refused).lower()
    assert [s for s in DENIED[what] if f'permissions violation for publish to "{s.lower()}"' not in heard] == []


@pytest.mark.parametrize("who", [ME, OTHER])
def test_an_agent_receives_nothing_that_is_not_for_it(farm, who):
    mine = {f"{subjects.inbox(who)}.>", subjects.control(who)}

    async def listen():
        async with connected(farm, who) as (client, refused):
            for subject in EARS:
                await client.subscribe(subject)
            await said(refused, len(EARS) - len(mine))
            return refused

    heard = " ".join(asyncio.run(listen())).lower()
    deaf = [s for s in EARS if f'permissions violation for subscription to "{s.lower()}"' in heard]
    assert deaf == [s for s in EARS if s not in mine]


LURES = [
    subjects.job(MINE, "x"), subjects.result(CAMPAIGN, OTHER), subjects.agent(OTHER), subjects.model(DIGEST),
    f"$JS.API.STREAM.PURGE.{subjects.AGENTS_STREAM}", f"$JS.API.STREAM.DELETE.{subjects.RESULTS}",
    f"$JS.API.STREAM.PURGE.{subjects.JOBS}", f"{NEXT}.{subjects.JOBS}.{THEIRS}", "$JS.API.STREAM.CREATE.NEW",
]  # fmt: skip


@pytest.mark.parametrize("allowed", ["jobs", "models", "result", "state"])
def test_a_reply_cannot_be_sent_where_one_may_not_publish(farm, allowed):
    """The server does not check where an answer is to go: with permissions alone this emptied a stream."""
    subject, body = {
        "jobs": (f"{NEXT}.{subjects.JOBS}.{MINE}", b'{"batch": 1, "expires": 100000000}'),
        "models": (GET, json.dumps({"last_by_subj": subjects.model(DIGEST)}).encode()),
        "result": (subjects.result(CAMPAIGN, ME), b"{}"),
        "state": (subjects.agent(ME), b"{}"),
    }[allowed]
    own = {"jobs": MINE, "models": subjects.MODELS_STREAM, "result": subjects.RESULTS, "state": subjects.AGENTS_STREAM}

    async def attack():
        async with connected(farm) as (campaign, _), connected(farm, ME) as (client, _):
            js = campaign.jetstream()
            before = await state(js)
            for lure in LURES:
                await client.publish(subject, body, reply=lure)
            await client.flush()
            await asyncio.sleep(0.2)
            theirs = await js.get_last_msg(subjects.AGENTS_STREAM, subjects.agent(OTHER))
            return before, await state(js), theirs.data

    before, after, theirs = asyncio.run(attack())
    before.pop(own[allowed])
    after.pop(own[allowed])
    assert after == before
    assert theirs == b"state of the other"


@pytest.mark.fault(29)
def test_nobody_connects_without_a_credential(farm):
    url, access = read_access(farm.folder / f"agents/{OTHER}/agent.toml")
    logins = [{}, {"user": OTHER, "password": "wrong"}, {"user": ME, "password": access.password},
              {"nkeys_seed_str": new_seed()}, {"token": "x"}]  # fmt: skip

    async def knock(login):
        async def ignore(_):
            pass

        client = nats.NATS()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await client.connect(url, **login, allow_reconnect=False, error_cb=ignore)
        await end(client)

    for login in logins:
        asyncio.run(knock(login))


def test_services_are_those_of_any_agent_and_no_more():
    tree = accounts({"nkey": "U"}, [({"nkey": "V"}, agent_permissions(ME, MINE))])
    (user,) = tree[AGENTS]["users"]
    exported = {export["service"] for export in tree[CAMPAIGNS]["exports"] if "service" in export}
    for name in (ME, MINE, THEIRS):
        assert not [subject for subject in exported if name in subject]
    assert {s.replace(ME, "*").replace(MINE, "*") for s in user["permissions"]["publish"]["allow"]} == exported
    assert "jetstream" not in tree[AGENTS]
