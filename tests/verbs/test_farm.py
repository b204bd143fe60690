"""``tempograd farm``: set up, start, let in, look, shut out, as a user does, with a real server."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tempograd.devices.runtime.packages import NotInstalledError, UnusableError
from tempograd.farm.connection import open_queue, read_access
from tempograd.farm.messages import AgentDevice, AgentState
from tempograd.farm.server import folder as folder_module
from tempograd.farm.server import server
from tempograd.verbs import farm as verb


def run(*arguments):
    command = [sys.executable, "-m", "tempograd", "farm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["init", "up", "add-agent", "revoke", "status", "doctor", "pause", "resume", "drain", "release"]
)
def test_help_has_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"tempograd farm {command}" in done.stdout.split("Example")[1]


@pytest.mark.real
def test_a_laboratory_of_one(newest_nats_program, tmp_path, free_port):
    folder = tmp_path / "farm"
    made = run("init", folder, "--port", free_port)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1] == f"next: tempograd farm up {folder}"
    added = run("add-agent", "one", "--class", "pi5", "--farm", folder)
    assert "no server runs yet" in added.stdout
    assert added.stdout.splitlines()[-1] == f"next: scp -r {folder}/agents/one one:"
    up = json.loads(run("up", folder, "--detach", "--json").stdout)
    try:
        assert up["url"] == f"tls://127.0.0.1:{free_port}"
        told = json.loads(run("add-agent", "two", "--class", "pi5", "--password", "--farm", folder, "--json").stdout)
        assert told["reloaded"] is True
        shown = run("status", folder)
        assert shown.returncode == 0, shown.stderr
        assert [line.split()[:4] for line in shown.stdout.splitlines()[1:3]] == [
            ["one", "pi5", "never", "seen"], ["two", "pi5", "never", "seen"],
        ]  # fmt: skip
        gone = run("revoke", "one", "--farm", folder)
        assert "the running server knows it already" in gone.stdout
        document = json.loads(run("status", folder, "--json").stdout)
        assert [row["agent"] for row in document["agents"]] == ["two"]
        assert document["server"] == up["server"]
    finally:
        os.kill(up["pid"], signal.SIGTERM)
    end = time.monotonic() + 10
    while server.answers(("127.0.0.1", free_port)):
        assert time.monotonic() < end
    away = run("status", folder, "--json")
    assert away.returncode == 4
    assert "tempograd farm up" in json.loads(away.stdout)["error"]["message"]


@pytest.mark.real
def test_up_stays_until_it_is_asked_to_end(newest_nats_program, tmp_path, free_port):
    run("init", tmp_path / "farm", "--port", free_port, "--plain")
    command = [sys.executable, "-m", "tempograd", "farm", "up", tmp_path / "farm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "nats-server" in process.stdout.readline()
        assert server.answers(("127.0.0.1", free_port))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not server.answers(("127.0.0.1", free_port))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("up", "nothing"), 5, "tempograd farm init nothing"),
        (("status", "nothing"), 5, "no farm in it"),
        (("init", "taken"), 2, "not empty"),
        (("init", "new", "--plain", "--host", "farm.lan"), 2, "plain text"),
        (("add-agent", "a.b", "--class", "pi5", "--farm", "farm"), 2, "'a.b'"),
        (("revoke", "on", "--farm", "farm"), 2, "Did you mean 'one'"),
    ],
)
def test_bad_input_gets_one_message_and_its_exit_code(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    if "farm" in arguments:
        verb.init(tmp_path / "farm")
        verb.add_agent(tmp_path / "farm", "one", "pi5")
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_missing_or_too_old_is_refused_with_the_command(tmp_path, monkeypatch):
    verb.init(tmp_path / "here")
    verb.init(tmp_path / "reached", hosts=["farm.lan"])

    def absent():
        raise NotInstalledError("nats-server", server.INSTALL)

    monkeypatch.setattr(server, "find_server", absent)
    with pytest.raises(NotInstalledError, match="apt-get install nats-server"):
        verb.up(tmp_path / "here")
    monkeypatch.setattr(server, "find_server", lambda: (tmp_path / "nats-server", (2, 9, 10)))
    with pytest.raises(UnusableError, match=r"2\.9\.10, and other machines would reach it.*2\.12\.12"):
        verb.up(tmp_path / "reached")


@pytest.mark.real
def test_status_tells_how_agents_are(newest_nats_program, tmp_path, free_port):
    folder = tmp_path / "farm"
    verb.init(folder, port=free_port)
    carried = verb.add_agent(folder, "one", "pi5").document["folder"]
    _, process = verb.up(folder)
    try:
        url, access = read_access(folder / "farm.toml")
        with open_queue(url, access=access) as campaign:
            campaign.declare("c1", ["pi5"])
        url, access = read_access(tmp_path / carried / "agent.toml")
        device = AgentDevice("pi5", "local", "0" * 12, "0" * 64)
        started = int((time.time() - 3600) * 1e3)
        with open_queue(url, access=access) as agent:
            agent.announce(
                AgentState("one", "0.1", (), (device,), 1, 1, "cooling", "hot\x1b[2J", 3, 4, 1000, 100, started)
            )
        outcome = verb.status(folder)
        (row,) = outcome.document["agents"]
        assert row["rate_per_hour"] == pytest.approx(1000, rel=0.02)
        assert (row["good"], row["spooled"], row["state"]) == (0.9, 4, "cooling")
        assert outcome.document["jobs"] == [{"device_class": "pi5", "queued": 0, "leased": 0}]
        assert "\x1b" not in outcome.text
        assert "90%" in outcome.text
    finally:
        process.kill()
        process.wait()


@pytest.mark.real
def test_agents_do_what_they_are_told(newest_nats_program, tmp_path, free_port):
    folder = tmp_path / "farm"
    verb.init(folder, port=free_port)
    carried = verb.add_agent(folder, "one", "pi5").document["folder"]
    verb.add_agent(folder, "away", "pi5")
    _, process = verb.up(folder)
    told, over = [], threading.Event()

    def live():
        """Do what an agent does with commands: hear, obey, and say what it is now."""
        url, access = read_access(tmp_path / carried / "agent.toml")
        becomes = {"pause": "paused", "resume": "ready", "release": "ready", "drain": "draining"}
        device = AgentDevice("pi5", "local", "0" * 12, "0" * 64)
        with open_queue(url, access=access) as agent:
            agent.commands("one")
            state = "quarantined"
            while not over.is_set():
                for word in agent.commands("one"):
                    told.append(word)
                    state = becomes[word]
                agent.announce(AgentState("one", "0.1", (), (device,), 1, 1, state, "", 0, 0, 0, 0, 0))
                over.wait(0.1)

    try:
        url, access = read_access(folder / "farm.toml")
        with open_queue(url, access=access) as campaign:
            campaign.declare("c1", ["pi5"])
        agent = threading.Thread(target=live)
        agent.start()
        while verb.status(folder).document["agents"][0]["in_hand"] != 0:
            time.sleep(0.1)
        for word, state in [("release", "ready"), ("pause", "paused"), ("resume", "ready"), ("drain", "draining")]:
            outcome = verb.tell(folder, "one", word, wait_s=10)
            assert (outcome.exit_code, outcome.document["agents"]) == (0, {"one": state})
        assert told == ["release", "pause", "resume", "drain"]
        everyone = run("resume", "all", "--farm", folder)
        assert everyone.returncode == 4
        assert "not there: away" in everyone.stdout
        unknown = run("pause", "nobody", "--farm", folder)
        assert unknown.returncode == 2
        assert "allowed: all, away, one" in unknown.stderr
    finally:
        over.set()
        agent.join()
        process.kill()
        process.wait()


@pytest.mark.real
def test_a_watch_outlives_the_server(newest_nats_program, tmp_path, free_port):
    folder = tmp_path / "farm"
    verb.init(folder, port=free_port, plain=True)
    _, process = verb.up(folder)
    watching = verb.watch(folder, every_s=0.01)
    try:
        assert "error" not in next(watching).document
        process.kill()
        process.wait()
        for _ in range(2):
            away = next(watching)
        assert "no server at" in away.document["error"]
        assert away.text.count("before the server went away") == 1
        _, process = verb.up(folder)
        assert "error" not in next(watching).document
    finally:
        watching.close()
        process.kill()
        process.wait()


def levels(folder):
    outcome = verb.doctor(folder)
    return {f["topic"]: f["level"] for f in outcome.document["findings"]}, outcome


@pytest.mark.real
def test_a_doctor_finds_a_farm_well_and_leaves_it_as_it_was(newest_nats_program, tmp_path, free_port):
    folder = tmp_path / "farm"
    verb.init(folder, port=free_port)
    found, outcome = levels(folder)
    assert (found["server"], outcome.exit_code) == ("problem", 3)
    _, process = verb.up(folder)
    try:
        before = (folder / "accounts.conf").read_bytes()
        found, outcome = levels(folder)
        assert set(found) == {"files", "certificate", "disk", "server", "encryption", "permissions"}
        assert (set(found.values()), outcome.exit_code) == ({"good"}, 0), outcome.text
        assert (folder / "accounts.conf").read_bytes() == before
        assert list((folder / "agents").iterdir()) == []
        (folder / "campaign.nk").chmod(0o644)
        assert levels(folder)[0]["files"] == "problem"
    finally:
        process.kill()
        process.wait()


@pytest.mark.real
def test_a_doctor_notices_agents_that_may_too_much(newest_nats_program, tmp_path, free_port, monkeypatch):
    verb.init(tmp_path / "farm", port=free_port)

    def careless(campaign, agents):
        return {"ONE": {"jetstream": "enabled", "users": [campaign, *(who for who, _ in agents)]}}

    monkeypatch.setattr(folder_module, "accounts", careless)
    _, process = verb.up(tmp_path / "farm")
    try:
        found, outcome = levels(tmp_path / "farm")
        assert (found["permissions"], outcome.exit_code) == ("problem", 3)
        assert "$JS.API.STREAM.NAMES" in outcome.text
    finally:
        process.kill()
        process.wait()


def test_the_next_command_takes_a_folder_with_a_blank(tmp_path, free_port):
    folder = tmp_path / "my farm"
    made = run("init", folder, "--port", free_port)
    assert made.stdout.splitlines()[-1] == f"next: tempograd farm up '{folder}'"
    added = run("add-agent", "one", "--class", "pi5", "--farm", folder)
    assert added.stdout.splitlines()[-1] == f"next: scp -r '{folder}/agents/one' one:"
