"""Who gets in and who does not, with the real client and real servers: authorities, plain text, keys, revocation."""

import asyncio
import json
import socket
import ssl
import threading
from dataclasses import replace

import nats
import pytest

from tempograd.farm.connection import open_queue, read_access
from tempograd.farm.messages import AgentDevice, AgentState, Environment
from tempograd.farm.queue import QueueAwayError
from tempograd.farm.queues.nats import end
from tempograd.farm.server import server
from tempograd.farm.server.folder import Farm

pytestmark = pytest.mark.real

CLASS = "pi5"


@pytest.fixture
def farm(nats_program, tmp_path, free_port):
    """A running farm with TLS and two agents."""
    farm = Farm.create(tmp_path / "farm", port=free_port, version=server.server_version(nats_program))
    farm.add("one", CLASS)
    farm.add("two", CLASS, password=True)
    process = server.start(nats_program, farm.configuration, farm.listen, log=farm.log)
    yield farm
    process.kill()
    process.wait()


def opened(path, **other):
    url, access = read_access(path)
    return open_queue(url, access=replace(access, **other), patience_s=2.0)


def test_a_campaign_and_an_agent_work_together_under_these_permissions(farm, job, result, content):
    blob, model = content
    with opened(farm.folder / "farm.toml") as campaign, opened(farm.folder / "agents/one/agent.toml") as agent:
        campaign.declare("c1", [CLASS])
        campaign.declare("c1", [CLASS])  # streams that exist are counted again: the server must have room for that
        assert agent.commands("one") == []
        assert campaign.put_models([model]) == [blob.sha256]
        campaign.offer([job("a"), job("b")])
        leases = agent.take(CLASS, 2, 2000)
        assert agent.get_models([blob]) == {blob.sha256: model}
        leases = agent.renew(leases)
        agent.deliver([result(lease, agent="one") for lease in leases])
        agent.finish(leases)
        environment = Environment("one", {"place": "local"}, {})
        digest = agent.put_environment(environment)
        device = AgentDevice(CLASS, "local", "0" * 12, digest)
        agent.announce(AgentState("one", "0.1", (), (device,), 1, 1, "ready", "", 0, 0, 2, 0, 1))
        campaign.command("one", "drain")
        delivered = campaign.results("c1", 2, 2000)
        campaign.confirm(delivered)
        assert [d.agent for d in delivered] == ["one", "one"]
        assert None not in [d.result for d in delivered]
        assert campaign.standing([job("a"), job("b")]) == ["absent", "absent"]
        assert campaign.environment("one", digest) == environment
        (seen,) = campaign.agents()
        assert seen.state.agent == "one"
        assert 0 <= seen.age_s < 60
        assert agent.commands("one") == ["drain"]


def test_another_authority_is_refused(farm, tmp_path):
    other = Farm.create(tmp_path / "other")
    with (
        opened(farm.folder / "farm.toml", ca=other.folder / "ca.pem") as queue,
        pytest.raises(QueueAwayError, match="certificate verify failed"),
    ):
        queue.agents()
    assert "authentication" not in farm.log.read_text()


def test_a_server_of_another_name_is_refused(nats_program, tmp_path, free_port):
    version = server.server_version(nats_program)
    farm = Farm.create(tmp_path / "farm", hosts=["farm.lan"], port=free_port, version=version)
    process = server.start(nats_program, farm.configuration, ("127.0.0.1", free_port), log=farm.log)
    _, access = farm.access
    try:
        with open_queue(f"tls://localhost:{free_port}", access=access, patience_s=2.0) as queue:
            assert queue.agents() == []
        with (
            open_queue(f"tls://127.0.0.2:{free_port}", access=access, patience_s=1.0) as queue,
            pytest.raises(QueueAwayError, match=r"IP address mismatch"),
        ):
            queue.agents()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def eavesdropper(free_port):
    """Something that answers as a server, in plain text, and keeps what it is told."""
    heard, done = [], threading.Event()

    def listen(greeting):
        with socket.create_server(("127.0.0.1", free_port)) as listener:
            listener.settimeout(0.2)
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(1)
                    connection.sendall(f"INFO {json.dumps(greeting)}\r\n".encode())
                    try:
                        heard.append(connection.recv(4096))
                    except OSError:
                        heard.append(b"")

    threads = []

    def start(greeting):
        threads.append(threading.Thread(target=listen, args=(greeting,)))
        threads[0].start()
        return heard

    yield start
    done.set()
    threads[0].join()


@pytest.mark.parametrize("offered", [False, True])
def test_who_stands_between_cannot_talk_a_client_out_of_encryption(offered, eavesdropper, tmp_path, free_port):
    """The server announces TLS in plain text; without the announcement, or without TLS after it, nothing is said."""
    greeting = {"server_id": "x", "version": "2.15.1", "max_payload": 2**20, "headers": True, "auth_required": True,
                "nonce": "abc", "tls_required": offered}  # fmt: skip
    heard = eavesdropper(greeting)
    farm = Farm.create(tmp_path / "farm", port=free_port)
    secret = (farm.add("one", CLASS, password=True) / "agent.nk").read_text().split()[1]
    with opened(farm.folder / "agents/one/agent.toml") as queue, pytest.raises(QueueAwayError):
        queue.take(CLASS, 1, 1500)
    assert heard
    for said in heard:
        assert b"CONNECT" not in said
        assert secret.encode() not in said


@pytest.mark.fault(29)
def test_who_is_added_comes_in_and_who_is_revoked_is_cut_while_others_stay(farm):
    clients = []

    async def login(name, lost):
        url, access = read_access(farm.folder / f"agents/{name}/agent.toml")
        who = {"nkeys_seed": str(access.nkey)} if access.nkey else {"user": access.user, "password": access.password}

        async def cut():
            lost.append(name)

        async def ignore(_):
            pass

        context, client = ssl.create_default_context(cafile=access.ca), nats.NATS()
        clients.append(client)
        await client.connect(url, **who, tls=context, allow_reconnect=False, closed_cb=cut, error_cb=ignore)
        return client

    async def story():
        try:
            return await revoked()
        finally:
            for client in clients:
                await end(client)

    async def revoked():
        lost = []
        stays, goes = await login("two", lost), await login("one", lost)
        farm.add("three", CLASS)
        assert farm.reload()
        comes = await _until(login, "three", lost)
        assert lost == []
        farm.revoke("one")
        assert farm.reload()
        for _ in range(100):
            if lost:
                break
            await asyncio.sleep(0.05)
        alive = [stays.is_connected, comes.is_connected, goes.is_connected]
        await stays.flush()
        await comes.flush()
        cut = list(lost)
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await _answered(login, "one")
        return alive, cut

    alive, cut = asyncio.run(story())
    assert alive == [True, True, False]
    assert cut == ["one"]


async def _answered(login, name):
    """Log in, or be told why not; again where the connection was cut before the answer was read."""
    for _ in range(100):
        try:
            return await login(name, [])
        except ConnectionResetError:
            await asyncio.sleep(0.05)
    raise AssertionError(f"{name} gets no answer")


async def _until(login, name, lost):
    """Log in as soon as the server has read its users again."""
    for _ in range(100):
        try:
            return await login(name, lost)
        except (nats.errors.Error, ConnectionResetError):  # refused, or cut before the refusal was read
            await asyncio.sleep(0.05)
    raise AssertionError(f"{name} does not get in")
