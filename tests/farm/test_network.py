"""A campaign over networks that fail: nothing is lost, nothing counts twice, and who was away comes back."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tempograd.farm.connection import open_queue
from tempograd.farm.queue import QueueAwayError, Terms
from tempograd.farm.server import server
from tempograd.farm.server.folder import Farm

pytestmark = [pytest.mark.real, pytest.mark.slow]

CLASS, ACK_WAIT_S, WORK_MS, JOBS, LAST = "pi5", 1.5, 10, 300, 60
LOOP = Path(__file__).with_name("agent_loop.py")


class NotHereError(Exception):
    """This machine cannot make such a network; the message says why."""


class Namespaces:
    """Three hosts around a router: the server, an agent, and this machine with the campaign.

    ::

        10.x.1.2 server ── router ── agent 10.x.2.2
                              │
                        10.x.3.2 here

    What the router does not forward is lost without a word, as on a real way.
    """

    def __init__(self):
        self._net = f"10.{100 + os.getpid() % 100}"
        self.server_host = f"{self._net}.1.2"
        self._tag = f"tg{os.getpid() % 100000}"
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise NotHereError("network namespaces need root and iproute2")
        try:
            self._build()
        except subprocess.CalledProcessError as error:
            self.close()
            raise NotHereError(f"network namespaces cannot be made here: {error.stderr.strip()}") from error

    def _build(self):
        router = self._name("router")
        for name in ("router", "server", "agent"):
            self._ip("netns", "add", self._name(name))
        self._in("router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number, name in enumerate(("server", "agent", None), 1):
            inner, outer = f"{self._tag}i{number}", f"{self._tag}o{number}"
            self._ip("link", "add", inner, "type", "veth", "peer", "name", outer, "netns", router)
            self._in("router", "ip", "addr", "add", f"{self._net}.{number}.1/24", "dev", outer)
            self._in("router", "ip", "link", "set", outer, "up")
            if name is not None:
                self._ip("link", "set", inner, "netns", self._name(name))
            for arguments in (
                ("addr", "add", f"{self._net}.{number}.2/24", "dev", inner), ("link", "set", inner, "up"),
                ("route", "add", f"{self._net}.0.0/16", "via", f"{self._net}.{number}.1"),
            ):  # fmt: skip
                self._in(name, "ip", *arguments)
            if name is not None:
                self._in(name, "ip", "link", "set", "lo", "up")

    def server_program(self, program, folder):
        """Return a program that runs the server on its own host."""
        path = folder / "nats-server"
        path.write_text(f'#!/bin/sh\nexec ip netns exec {self._name("server")} {program} "$@"\n')
        path.chmod(0o700)
        return path

    def agent_command(self, path):
        """Return what is put before an agent's command, and the agent's file to use."""
        return ["ip", "netns", "exec", self._name("agent")], path

    def cut(self):
        """Lose everything between agent and server, in both directions."""
        self._in("router", "ip", "route", "add", "blackhole", f"{self._net}.2.2/32")
        self._in("router", "ip", "route", "add", "blackhole", f"{self._net}.1.2/32")

    def cut_one_way(self):
        """Lose what the server sends to the agent."""
        self._in("router", "ip", "route", "add", "blackhole", f"{self._net}.2.2/32")

    def slow(self):
        """Let 24 kB a second through in each direction, and hold what has to wait for up to 2 s."""
        for number in (1, 2):
            self._in("router", "tc", "qdisc", "add", "dev", f"{self._tag}o{number}", "root", "tbf", "rate", "192kbit",
                     "burst", "4kb", "latency", "2s")  # fmt: skip

    def heal(self):
        """Undo all harm."""
        for host in (f"{self._net}.2.2/32", f"{self._net}.1.2/32"):
            self._in("router", "ip", "route", "del", "blackhole", host, check=False)
        for number in (1, 2):
            self._in("router", "tc", "qdisc", "del", "dev", f"{self._tag}o{number}", "root", check=False)

    def close(self):
        for name in ("router", "server", "agent"):
            self._ip("netns", "del", self._name(name), check=False)

    def _name(self, host):
        return f"{self._tag}-{host}"

    def _in(self, host, *command, check=True):
        before = [] if host is None else ["ip", "netns", "exec", self._name(host)]
        subprocess.run([*before, *command], check=check, capture_output=True, text=True)

    def _ip(self, *arguments, check=True):
        subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


class Proxy:
    """A way through this process; what is cut waits in it and comes later, as what TCP sends again does."""

    server_host = "127.0.0.1"

    def __init__(self, port):
        self._port = port
        self._open = {"up": threading.Event(), "down": threading.Event()}
        self.heal()
        self._rate = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def server_program(self, program, _folder):
        return program

    def agent_command(self, path):
        """Return nothing to put before the command, and a file whose address leads through here."""
        port = self._listener.getsockname()[1]
        detour = Path(path).with_name("detour.toml")
        detour.write_text(Path(path).read_text().replace(f":{self._port}", f":{port}"))
        return [], detour

    def cut(self):
        self._open["up"].clear()
        self._open["down"].clear()

    def cut_one_way(self):
        self._open["down"].clear()

    def slow(self):
        self._rate = 24_000

    def heal(self):
        self._rate = None
        for way in self._open.values():
            way.set()

    def close(self):
        self.heal()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                near.close()
                continue
            for way, source, target in (("up", near, far), ("down", far, near)):
                threading.Thread(target=self._carry, args=(way, source, target), daemon=True).start()

    def _carry(self, way, source, target):
        with suppress(OSError):
            while data := source.recv(4096):
                self._open[way].wait()
                if self._rate:
                    time.sleep(len(data) / self._rate)
                target.sendall(data)
        for end in (source, target):
            _shut(end)


def _shut(end):
    """Close a socket under whoever still reads it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@pytest.fixture(params=["namespaces", "proxy"])
def network(request, free_port):
    """Namespaces, a proxy, or the first of them that can be made: ``either``."""
    network = Proxy(free_port) if request.param == "proxy" else None
    if network is None:
        try:
            network = Namespaces()
        except NotHereError as reason:
            if request.param == "namespaces":
                pytest.skip(str(reason))
            network = Proxy(free_port)
    yield network
    network.close()


class Field:
    """A campaign here, an agent ``near`` the server, and one, ``far``, at the other end of the network."""

    def __init__(self, program, folder, port, network, job, content):
        self.network, self.folder, self.content = network, folder, content
        self.jobs = [job(str(n)) for n in range(JOBS)]
        hosts = [network.server_host] if network.server_host != "127.0.0.1" else []
        self.farm = Farm.create(folder / "farm", hosts=hosts, port=port, version=server.server_version(program))
        self.program, self.address = network.server_program(program, folder), (network.server_host, port)
        self.process, self.agents = None, {}
        self.accepted, self.others, self.bytes = {}, [], {}
        self.start_server()
        url, access = self.farm.access
        self.queue = open_queue(url, access=access, terms=Terms(ack_wait_s=ACK_WAIT_S), patience_s=5.0)

    def start_server(self):
        self.process = server.start(self.program, self.farm.configuration, self.address, log=self.farm.log)

    def kill_server(self):
        self.process.kill()
        self.process.wait()

    def begin(self):
        self.queue.declare("c1", [CLASS])
        self.queue.put_models([self.content[1]])
        self.queue.offer(self.jobs[:-LAST])

    def start_agent(self, name, **environment):
        if name not in self.farm.agents:
            self.farm.add(name, CLASS)
            self.farm.reload()
        before, path = [], self.farm.folder / "agents" / name / "agent.toml"
        if name == "far":
            before, path = self.network.agent_command(path)
        command = [*before, sys.executable, str(LOOP), str(path), CLASS, str(ACK_WAIT_S), str(WORK_MS)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.agents[name] = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)

    def store(self, until, limit_s=60.0):
        """Store results, as a campaign does, until something is true."""
        deadline = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline, self.said()
            for agent in self.agents.values():
                assert agent.poll() in (None, -9), self.said()
            try:
                deliveries = self.queue.results("c1", 64, 200)
            except QueueAwayError:
                continue
            for delivery in deliveries:
                assert delivery.result is not None, delivery.refusal
                key = delivery.result.key
                assert self.bytes.setdefault(key, delivery.raw) == delivery.raw
                known = self.accepted.setdefault(delivery.result.job_id, delivery.result)
                if known.key != key:
                    self.others.append(delivery.result)
            try:
                self.queue.confirm(deliveries)
            except QueueAwayError:
                continue

    def finish(self):
        """Offer the last jobs, store the rest, and check that every job was done, and only evidence is left over."""
        self.queue.offer(self.jobs[-LAST:])
        self.store(lambda: len(self.accepted) == JOBS)
        assert set(self.accepted) == {job.job_id for job in self.jobs}
        self.store(lambda: set(self.queue.standing(self.jobs)) == {"absent"}, 20.0)
        assert len(self.others) <= 64, "more was done again than was under way"

    def by(self, name):
        return sum(result.agent == name for result in self.accepted.values())

    def said(self):
        logs = [path.read_text(errors="replace")[-1500:] for path in self.folder.glob("*.log")]
        return f"{len(self.accepted)} of {JOBS} jobs; " + "\n".join(logs)

    def close(self):
        for agent in self.agents.values():
            agent.kill()
            agent.wait()
        self.queue.close()
        self.kill_server()


@pytest.fixture
def field(newest_nats_program, tmp_path, free_port, network, job, content):
    field = Field(newest_nats_program, tmp_path, free_port, network, job, content)
    yield field
    field.close()


@pytest.mark.fault(9)
@pytest.mark.fault(10)
@pytest.mark.parametrize("harm", ["cut", "cut_one_way", "slow"])
def test_a_network_that_fails_for_a_while_loses_and_doubles_nothing(field, harm):
    field.begin()
    for name in ("near", "far"):
        field.start_agent(name)
    field.store(lambda: field.by("far") >= 30 and field.by("near") >= 10)
    getattr(field.network, harm)()
    start = time.monotonic()
    field.store(lambda: time.monotonic() > start + 2.5 * ACK_WAIT_S)
    before = field.by("far")
    field.network.heal()
    field.agents["near"].kill()
    field.finish()
    assert field.by("far") > before, "who was away did not come back"


@pytest.mark.fault(13)
@pytest.mark.parametrize("network", ["either"], indirect=True)
def test_a_server_and_an_agent_that_are_killed_lose_and_double_nothing(field):
    field.begin()
    for name in ("near", "far"):
        field.start_agent(name)
    for _ in range(3):
        stored = len(field.accepted)
        field.store(lambda stored=stored: len(field.accepted) >= min(stored + 60, JOBS - LAST))
        field.kill_server()
        field.agents["far"].kill()
        field.agents["far"].wait()
        field.start_server()
        field.start_agent("far")
    field.finish()
    assert field.by("far")


FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


@pytest.mark.fault(14)
@pytest.mark.skipif(FAKETIME is None, reason="no libfaketime: apt-get install faketime")
@pytest.mark.parametrize("network", ["proxy"], indirect=True)
def test_a_clock_that_jumps_loses_and_doubles_nothing(field):
    """The wall clock of an agent jumps by hours, ahead and back, as when a board without a battery is told the time."""
    clock = field.folder / "clock"
    clock.write_text("+0h")
    fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    field.begin()
    field.start_agent("far", **fake)
    for number, jump in enumerate(("+26h", "-26h", "+0h"), 1):
        field.store(lambda number=number: field.by("far") >= 16 * number)
        clock.write_text(jump)
    field.start_agent("near")
    field.finish()
    assert len(field.others) <= 16, "a lease depends on the wall clock"


@pytest.mark.fault(9)
@pytest.mark.parametrize("network", ["either"], indirect=True)
def test_a_real_campaign_and_a_real_agent_on_another_host_outlive_a_cut(
    newest_nats_program, tmp_path, free_port, network
):
    host = network.server_host
    farm = Farm.create(tmp_path / "farm", hosts=[host] if host != "127.0.0.1" else [], port=free_port)
    path = farm.add("far", "sim") / "agent.toml"
    path.write_text(path.read_text().replace('"local"', '"simulated"'))
    before, path = network.agent_command(path)
    tempograd = [sys.executable, "-m", "tempograd"]
    collect = [*tempograd, "collect", "--space", "nasbench201:cells=1,width=4,size=8,channels=1", "--count", "240",
               "--device", f"farm:sim,config={farm.folder / 'farm.toml'}", "--plan", "quick", "--json",
               "--store", str(tmp_path / "run.db")]  # fmt: skip
    running = [server.start(network.server_program(newest_nats_program, tmp_path), farm.configuration,
                            (host, free_port), log=farm.log)]  # fmt: skip
    try:
        running.append(
            subprocess.Popen([*before, *tempograd, "agent", "--config", str(path)], stderr=subprocess.DEVNULL)
        )
        campaign = subprocess.Popen(collect, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(campaign)
        _wait_for(lambda: _stored(tmp_path / "run.db") > 20)
        network.cut()
        time.sleep(4)
        stored = _stored(tmp_path / "run.db")
        network.heal()
        out, said = campaign.communicate(timeout=120)
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert campaign.returncode in (0, 3), said
    assert stored < 240, "the cut came too late to matter"
    document = json.loads(out)
    assert sum(document["verdicts"].values()) == document["networks"] + document["duplicates"]
    assert set(document["verdicts"]) <= {"ok", "noisy"}
    assert document["networks"] == 240


def _stored(path):
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store, suppress(sqlite3.OperationalError):
        return store.execute("SELECT count(*) FROM measurements").fetchone()[0]
    return 0


def _wait_for(fact, limit_s=60.0):
    end = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.1)
