"""A campaign over a farm: real agents, in processes or threads, the real queue in a file, a real server."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.store import Store
from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.errors import DeviceError
from tempograd.farm import campaign as farm
from tempograd.farm.agent import quiet, supervisor
from tempograd.farm.agent.command import agent as lend
from tempograd.farm.agent.settings import Settings
from tempograd.farm.connection import open_queue
from tempograd.farm.device import FarmDevice
from tempograd.farm.messages import AgentDevice, AgentState, Environment, Result
from tempograd.farm.queue import Terms
from tempograd.farm.server import server as program
from tempograd.profiler.campaign import run
from tempograd.profiler.plan import QUICK, Items, duplicates
from tempograd.profiler.verify import measure
from tempograd.spaces.export import WeightPool, to_onnx
from tempograd.verbs.measure import measure as measure_networks

from ..graphs.models import convolution
from ..profiler.conftest import SPACE, write

pytestmark = pytest.mark.real

STILL = "simulated:seed=1,slow=1.0"


def items(n):
    return Items("toy", tuple(f"net{i}" for i in range(n)), write)


def truth(folder, n):
    path = folder / "truth.json"
    path.write_text("{" + ", ".join(f'"net{i}": {1 + i / 50}' for i in range(n)) + "}")
    return f"{STILL},table={path}"


@pytest.fixture
def url(tmp_path):
    return f"embedded:{tmp_path / 'queue.db'}"


@contextmanager
def agent_thread(tmp_path, url, device, *, name="a1", terms=None):
    """An agent in this process; its cores are left alone, for a simulated device has none."""
    stop, failed = threading.Event(), []
    settings = Settings(name=name, device_class="sim", url=url, spool=tmp_path / name, device=device)

    def serve():
        try:
            lend(settings, stop=stop, terms=terms)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield settings
    finally:
        stop.set()
        thread.join(60)
    assert not failed


def agent_process(tmp_path, url, device, name="a1"):
    command = [
        sys.executable, "-m", "tempograd", "agent", "--name", name, "--class", "sim", "--queue", url,
        "--device", device, "--spool", str(tmp_path / name),
    ]  # fmt: skip
    with (tmp_path / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command, stderr=log, stdout=log, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )


def end(process, number=signal.SIGTERM):
    process.send_signal(number)
    return process.wait(60)


def pairs(store, campaign):
    return [(m.key, m.replicate) for m in store.measurements(campaign=campaign)]


@pytest.mark.slow
def test_a_farm_fills_the_same_store_as_the_device_itself(tmp_path, url):
    device = truth(tmp_path, 60)
    with Store(tmp_path / "local.db", write=True) as store:
        local = run(registry.create("device", device), items(60), QUICK, store)
        there = {pair: store.labels(local.campaign)[pair] for pair in pairs(store, local.campaign)}
    with agent_thread(tmp_path, url, device), Store(tmp_path / "farm.db", write=True) as store:
        place = FarmDevice("sim", queue=url)
        found = run(place, items(60), QUICK, store)
        labels = store.labels(found.campaign)
        assert found.campaign == local.campaign  # same space, fingerprint, plan and seed
        assert labels.keys() == there.keys()
        assert len(labels) == 60 + len(duplicates(60))
        for pair, (verdict, latency_ms) in labels.items():
            assert verdict == "ok"
            assert latency_ms == pytest.approx(there[pair][1], rel=0.1)
        assert found.pairs == local.pairs == len(duplicates(60))
        assert found.calibration is not None
        assert store.calibrations(place.fingerprint.id)
        assert found.doubts == ()
        assert [r.fate for r in store.receipts(found.campaign)] == ["accepted"] * len(labels)
        again = run(place, items(60), QUICK, store)
        assert (again.found, again.measured) == (len(labels), 0)
        verified = measure(place, items(3), QUICK, store)
        assert [m.key for m in verified] == ["net0", "net1", "net2"]


def test_a_network_of_no_space_is_lent_with_its_own_batch_and_the_users_file_stays(tmp_path, url):
    path = tmp_path / "mine.onnx"
    path.write_bytes(convolution(sizes=(3, 3, 8, 8)).SerializeToString())
    with agent_thread(tmp_path, url, "simulated:seed=1,slow=1.0"):
        done = measure_networks([path], device=FarmDevice("sim", queue=url), plan="quick", store=tmp_path / "run.db")
    assert done.document["networks"][0]["verdict"] == "ok", done.text
    assert path.is_file()


def test_a_place_of_a_plug_in_is_lent_too(tmp_path, url, monkeypatch):
    """Whatever opens measuring processes: no list of names stands between a board of somebody else and a farm."""

    class Board(SimulatedDevice):
        @property
        def fingerprint(self):
            return replace(super().fingerprint, place="some_board")

    path = truth(tmp_path, 3).partition("table=")[2]
    known = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Board if name == "board" else known(kind, name))
    with agent_thread(tmp_path, url, f"board:seed=1,slow=1.0,table={path}"):
        place = FarmDevice("sim", queue=url)
        assert [m.verdict for m in measure(place, items(3), QUICK)] == ["ok"] * 3
        with open_queue(url) as queue:
            (seen,) = queue.agents()
    assert seen.state.devices[0].driver == place.fingerprint.place == "some_board"


def test_without_a_store_results_are_handed_over(tmp_path, url):
    with agent_thread(tmp_path, url, truth(tmp_path, 3)):
        assert [m.verdict for m in measure(FarmDevice("sim", queue=url), items(3), QUICK)] == ["ok"] * 3


@pytest.mark.slow
@pytest.mark.fault(12)
def test_agents_that_are_killed_lose_nothing_and_double_nothing(tmp_path, url):
    device = truth(tmp_path, 250)
    agents = {name: agent_process(tmp_path, url, device, name) for name in ("a1", "a2")}
    place = FarmDevice("sim", queue=url)
    kills = []

    def kill(progress):
        due = 40 * (len(kills) + 1)
        if progress.done >= due and len(kills) < 4:
            name = ("a1", "a2")[len(kills) % 2]
            agents[name].kill()
            agents[name].wait()
            agents[name] = agent_process(tmp_path, url, device, name)
            kills.append(name)

    try:
        with Store(tmp_path / "farm.db", write=True) as store:
            summary = run(place, items(250), QUICK, store, progress=kill)
            found = pairs(store, summary.campaign)
            assert len(found) == len(set(found)) == 250 + len(duplicates(250))
            assert not [d for d in summary.doubts if "agent" in d]
            accepted = [r.key for r in store.receipts(summary.campaign) if r.fate == "accepted"]
            assert len(accepted) == len(set(accepted)) == len(found)
    finally:
        codes = [end(process) for process in agents.values()]
    assert len(kills) == 4
    assert codes == [0, 0]
    with open_queue(url) as queue:
        assert queue.take("sim", 10, 0) == []


@pytest.mark.slow
def test_a_campaign_goes_on_where_it_was_stopped(tmp_path, url):
    stop = threading.Event()
    with agent_thread(tmp_path, url, truth(tmp_path, 100)), Store(tmp_path / "farm.db", write=True) as store:
        place = FarmDevice("sim", queue=url)
        first = run(place, items(100), QUICK, store, stop=stop, progress=lambda p: p.done >= 20 and stop.set())
        assert first.interrupted
        second = run(place, items(100), QUICK, store)
        found = pairs(store, first.campaign)
        assert len(found) == len(set(found)) == 100 + len(duplicates(100))
        assert second.measured == len(found) - first.measured
        assert {r.fate for r in store.receipts(first.campaign)} <= {"accepted", "evidence"}


@pytest.mark.slow
def test_draining_gives_jobs_back_at_once(tmp_path, url):
    process = agent_process(tmp_path, url, truth(tmp_path, 3000))
    place = FarmDevice("sim", queue=url, ahead_s=0.001)
    stop, done = threading.Event(), []

    def campaign():
        with Store(tmp_path / "farm.db", write=True) as store:
            run(place, items(3000), QUICK, store, stop=stop, progress=lambda p: done.append(p.done))

    thread = threading.Thread(target=campaign)
    thread.start()
    try:
        until = time.monotonic() + 60
        while (not done or done[-1] < 200) and time.monotonic() < until:
            time.sleep(0.05)
        assert end(process) == 0
        assert done[-1] >= 200
    finally:
        stop.set()
        thread.join()
    with open_queue(url) as queue:
        taken = queue.take("sim", 256, 0)
        assert len(taken) > 0
        held = [standing for standing in queue.standing([lease.job for lease in taken]) if standing == "leased"]
        ((jobs,),) = queue._database.read("SELECT count(*) FROM jobs")
        assert len(held) == len(taken) == jobs  # nobody else holds any


@pytest.mark.slow
@pytest.mark.fault(9)
@pytest.mark.fault(13)
def test_a_server_that_goes_away_costs_nothing_but_time(tmp_path, newest_nats_program, free_port):
    configuration = tmp_path / "nats.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:{free_port}"\n'
        f'jetstream {{ store_dir: "{tmp_path / "js"}", max_file_store: 60GB, max_memory_store: 16MB }}\n'
    )
    address, log, url = ("127.0.0.1", free_port), tmp_path / "nats.log", f"nats://127.0.0.1:{free_port}"
    servers = [program.start(newest_nats_program, configuration, address, log=log)]
    device = truth(tmp_path, 150)

    def restart(progress):
        if progress.done >= 30 and len(servers) == 1:
            servers[0].kill()
            servers[0].wait()
            time.sleep(1.5)  # the agent finishes what it holds meanwhile, and keeps it
            servers.append(program.start(newest_nats_program, configuration, address, log=log))

    try:
        with open_queue(url) as queue:
            queue.declare("class-sim", ["sim"])
        process = agent_process(tmp_path, url, device)
        try:
            with Store(tmp_path / "farm.db", write=True) as store:
                summary = run(FarmDevice("sim", queue=url), items(150), QUICK, store, progress=restart)
                found = pairs(store, summary.campaign)
        finally:
            code = end(process)
        assert code == 0
        assert len(servers) == 2
        assert len(found) == len(set(found)) == 150 + len(duplicates(150))
        assert "queue away" in (tmp_path / "a1.log").read_text()
    finally:
        for each in servers:
            each.kill()
            each.wait()


@pytest.mark.slow
@pytest.mark.fault(21)
def test_a_hostile_model_is_a_refused_outcome_and_the_others_are_timed(tmp_path, url, zoo_network):
    def build(key, folder):
        content = b"no model at all" if key == "bad" else zoo_network
        path = folder / f"{key}.onnx"
        path.write_bytes(content)
        return path, sha256(content).hexdigest()

    with agent_thread(tmp_path, url, "local"), Store(tmp_path / "farm.db", write=True) as store:
        found = measure(FarmDevice("sim", queue=url), Items("toy", ("good", "bad"), build), QUICK, store)
    good, bad = found
    assert good.failure is None
    assert good.latency_ms > 0
    assert (bad.failure.cause, bad.failure.phase, bad.verdict) == ("refused", "load", "failed")
    assert "not an ONNX model" in bad.failure.detail
    assert "own_process_group" in good.environment["isolation"]


@pytest.fixture
def zoo_network():
    space = registry.create("space", SPACE)
    graph = space.network_graph(space.sample(1, np.random.default_rng(0))[0])
    return to_onnx(graph, WeightPool.of(space.graph, 0).weights(graph)).SerializeToString()


def test_a_device_that_fails_opens_its_breaker_and_gives_jobs_back(tmp_path, url, monkeypatch):
    monkeypatch.setattr(supervisor, "RETURN_DELAY_MS", 0.0)
    place = FarmDevice("sim", queue=url)
    stop = threading.Event()

    def campaign():
        with Store(tmp_path / "farm.db", write=True) as store:
            run(place, items(60), QUICK, store, stop=stop)

    with agent_thread(tmp_path, url, truth(tmp_path, 60) + ",crash=1.0"):
        thread = threading.Thread(target=campaign)
        thread.start()
        try:
            with open_queue(url) as queue:
                until = time.monotonic() + 60
                states = set()
                while "breaker_open" not in states and time.monotonic() < until:
                    states = {seen.state.state for seen in queue.agents()}
                    time.sleep(0.05)
                (seen,) = queue.agents()
                assert seen.state.state == "breaker_open"
                assert "failed alike" in seen.state.reason
                taken = queue.take("sim", 256, 5000)  # another agent gets them
                assert len(taken) > 30
        finally:
            stop.set()
            thread.join()


def test_an_empty_queue_is_asked_again_soon_and_then_ever_more_rarely(tmp_path, url, monkeypatch):
    """A campaign builds its second batch while the first is timed: an agent that waited long would stand idle."""
    pauses, later = [], supervisor.Agent._later
    run_pass = quiet.QuietSession.run_pass

    def told(self, name, seconds):
        if name == "take" and self._busy:
            pauses.append(seconds)
        later(self, name, seconds)

    def slow(self, *arguments, **options):
        time.sleep(0.2)
        return run_pass(self, *arguments, **options)

    monkeypatch.setattr(supervisor.Agent, "_later", told)
    monkeypatch.setattr(quiet.QuietSession, "run_pass", slow)
    with agent_thread(tmp_path, url, truth(tmp_path, 4)), campaign_thread(tmp_path, url, 4):
        pass
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert max(pauses) <= 5.0


# -- an agent played by the test -------------------------------------------------------------------------------------


class Puppet:
    """An agent whose every step a test decides; what it delivers was timed on a simulated device."""

    def __init__(self, queue, folder, *, name="a1"):
        self.queue, self.name = queue, name
        self.device = registry.create("device", truth(folder, 10))
        fingerprint = self.device.fingerprint
        environment = Environment(name, json.loads(fingerprint.to_json()), {})
        self.lent = AgentDevice("sim", "simulated", fingerprint.id, environment.sha256)
        queue.put_environment(environment)
        self.announce()

    def announce(self):
        state = ("ready", "", 0, 0, 0, 0, 0)
        self.queue.announce(AgentState(self.name, "0", ("tempograd.job/1",), (self.lent,), 1, 1, *state))

    def take(self, n=10, wait_ms=20_000):
        return self.queue.take("sim", n, wait_ms)

    def result(self, lease, **changes):
        job = lease.job
        (m,) = measure(self.device, Items(job.space, (job.key,), write), QUICK)
        m = replace(m, plan=job.plan.record(job.seed), replicate=job.replicate)
        facts = {
            "job_id": job.job_id, "issue": job.issue, "delivery": lease.delivery, "attempt": lease.attempt,
            "campaign": job.campaign, "agent": self.name, "device_class": "sim", "model_sha256": job.model.sha256,
            "environment_sha256": self.lent.environment_sha256, "isolation": (), "started_unix_ms": 1, "measurement": m,
        }  # fmt: skip
        return Result(**facts | changes)


@contextmanager
def campaign_thread(folder, url, n, **options):
    """A campaign of n networks, without duplicates; yields what it returns and raises."""
    place, ended = FarmDevice("sim", queue=url, **options), {}
    stop = threading.Event()

    def work():
        try:
            with Store(folder / "farm.db", write=True) as store:
                ended["summary"] = run(place, items(n), QUICK, store, stop=stop)
                ended["receipts"] = [(r.fate, r.body) for r in store.receipts(ended["summary"].campaign)]
                ended["rows"] = list(store.measurements())
        except Exception as error:
            ended["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ended
        thread.join(60)
    finally:
        stop.set()
        thread.join()


@pytest.mark.fault(11)
@pytest.mark.fault(12)
def test_late_contradicting_and_foreign_results_never_become_rows(tmp_path, url):
    with open_queue(url) as queue:
        puppet = Puppet(queue, tmp_path)
        with campaign_thread(tmp_path, url, 3) as ended:
            leases = []
            while len(leases) < 4:  # a blind duplicate is among them
                leases += puppet.take()
            first, second, *rest = leases
            right = puppet.result(first)
            queue.deliver([right])
            late = replace(right, attempt=secrets.token_hex(8))
            queue.deliver([late])  # another generation of a job that is done
            other = replace(puppet.result(second).measurement, fingerprint_id="0" * 12)
            queue.deliver([puppet.result(second, measurement=other)])  # of another device
            queue.finish([first, second])
            again = puppet.take()[0]
            assert (again.job.job_id, again.job.issue) == (second.job.job_id, 2)
            queue.deliver([puppet.result(again)])
            lying = replace(right, started_unix_ms=2)  # the same attempt with other bytes
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("tempograd.farm.queues.embedded._is_new", lambda run, id_: True)
                queue.deliver([lying, right])
            queue.deliver([puppet.result(lease) for lease in rest])
            queue.finish([again, *rest])
        assert "error" not in ended
        fates = [fate for fate, _ in ended["receipts"]]
        assert sorted(fates) == ["accepted"] * 4 + ["contradiction", "evidence", "other_device"]
        assert all((body is None) == (fate == "accepted") for fate, body in ended["receipts"])
        assert {m.key for m in ended["rows"]} == {"net0", "net1", "net2"}
        assert {m.fingerprint_id for m in ended["rows"]} == {puppet.device.fingerprint.id}
        alarms = " ".join(ended["summary"].doubts)
        assert "two different results of one attempt" in alarms
        assert "fingerprint_id" in alarms


@pytest.mark.fault(12)
def test_forgotten_jobs_are_offered_again_and_deadly_ones_are_quarantined(tmp_path, url, monkeypatch):
    monkeypatch.setattr(farm, "RECONCILE_S", 0.1)
    monkeypatch.setattr(farm, "SILENT_S", 0.2)
    terms = Terms(ack_wait_s=0.4, max_deliver=2)
    monkeypatch.setattr(FarmDevice, "connect", lambda self: open_queue(self.url, terms=terms))
    with open_queue(url, terms=terms) as queue:
        puppet = Puppet(queue, tmp_path)
        with campaign_thread(tmp_path, url, 2) as ended:
            lost = puppet.take(1)[0]
            queue.finish([lost])  # without a result: the queue forgets the job
            until, done = time.monotonic() + 30, []
            while "summary" not in ended and time.monotonic() < until:
                for lease in puppet.take(2, 100):
                    if lease.job.job_id == lost.job.job_id:
                        done.append(lease.job.issue)
                        queue.deliver([puppet.result(lease)])
                        queue.finish([lease])  # the other one is taken and never finished
        assert done == [2]
        rows = {m.key: m for m in ended["rows"]}
        assert rows[lost.job.key].verdict == "ok"
        (deadly,) = rows.keys() - {lost.job.key}
        assert rows[deadly].verdict == "quarantined"
        assert "given out 2 times" in rows[deadly].failure.detail


def test_nobody_there_is_said(tmp_path, url):
    with pytest.raises(DeviceError, match="tempograd agent --class sim"):
        FarmDevice("sim", queue=url, patience_s=0.1).fingerprint  # noqa: B018
    with open_queue(url) as queue:
        Puppet(queue, tmp_path)
    place = FarmDevice("sim", queue=url, patience_s=0.1)
    assert place.fingerprint
    with open_queue(url) as queue:
        queue._database.read("UPDATE agents SET at_s = at_s - 1000")
    with pytest.MonkeyPatch.context() as patch, campaign_thread(tmp_path, url, 1, patience_s=0.5) as ended:
        patch.setattr(farm, "AGENTS_S", 0.2)
        until = time.monotonic() + 30
        while "error" not in ended and time.monotonic() < until:
            time.sleep(0.05)
    assert "nothing is lost" in str(ended["error"])


def test_agents_of_a_class_that_differ_are_told_apart(tmp_path, url):
    with open_queue(url) as queue:
        one = Puppet(queue, tmp_path)
        two = Puppet(queue, tmp_path, name="a2")
        other = registry.create("device", "simulated:seed=9")
        environment = Environment("a2", json.loads(other.fingerprint.to_json()), {})
        queue.put_environment(environment)
        two.lent = AgentDevice("sim", "simulated", other.fingerprint.id, environment.sha256)
        two.announce()
    with pytest.raises(DeviceError, match="not alike"):
        FarmDevice("sim", queue=url).fingerprint  # noqa: B018
    chosen = FarmDevice("sim", queue=url, fingerprint=one.lent.fingerprint_id)
    assert chosen.fingerprint == one.device.fingerprint
    with pytest.raises(DeviceError, match="there are"):
        FarmDevice("sim", queue=url, fingerprint="0" * 12).fingerprint  # noqa: B018
