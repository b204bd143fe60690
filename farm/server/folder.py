"""A farm's folder: the server's configuration, the authority, the campaign's credential, and who may connect.

::

    farm/
      nats-server.conf   what the server reads; includes accounts.conf
      accounts.conf      who may connect and do what, written from agents.json by every command here
      agents.json        the agents: name, classes, public key or hash of a password
      ca.pem, ca.key     the authority; ca.pem goes to every agent, ca.key to nobody
      server.pem, .key   the server's certificate
      farm.toml          what a campaign needs to connect, with campaign.nk beside it
      agents/NAME/       to be carried to that agent: agent.toml, ca.pem and, if it was made here, agent.nk
      jetstream/         the server's own files

Every file here is readable by its owner only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from ...devices.runtime.packages import NotInstalledError
from ...errors import InputRefusedError, StoreError, UnknownNameError, UsageError
from ..address import PORT, check_name, is_loopback
from ..connection import read_access
from ..queue import Access
from ..subjects import EVERY_AGENT
from . import credentials, server
from .credentials import write_private
from .permissions import accounts, agent_permissions

MAX_PAYLOAD_BYTES = 2**20 + 2**16  # a message, and the headers that count as part of it
# The streams limit themselves: jobs to 2 GB, results 20 GB, models 5 GB, three more 1 GB each. This limit is above
# their sum, for the server counts a stream that is declared again twice.
MAX_FILE_STORE_BYTES = 60 * 10**9
SCHEMA = "tempograd.farm/1"


@dataclass(frozen=True)
class Agent:
    """One who may connect; either ``key`` or ``password_hash`` is empty.

    Attributes:
        name: unique in the farm.
        device_class: Class of the jobs that it may take.
        key: public nkey, ``U...``.
        password_hash: bcrypt.
        added: when, in UTC.
    """

    name: str
    device_class: str
    key: str = ""
    password_hash: str = ""
    added: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def login(self) -> dict[str, str]:
        """How the server's configuration knows it."""
        return {"nkey": self.key} if self.key else {"user": self.name, "password": self.password_hash}


class Farm:
    """The folder of a farm.

    Raises:
        InputRefusedError: the folder holds none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if not self.configuration.is_file() or not self._record.is_file():
            raise InputRefusedError(f"{folder}: no farm in it; make one with: tempograd farm init {folder}")

    @property
    def configuration(self) -> Path:
        """The server's configuration."""
        return self.folder / "nats-server.conf"

    @property
    def pid_file(self) -> Path:
        """Where a running server writes its process number."""
        return self.folder / "nats-server.pid"

    @property
    def log(self) -> Path:
        """What a server started here says."""
        return self.folder / "nats-server.log"

    @property
    def _record(self) -> Path:
        return self.folder / "agents.json"

    @property
    def access(self) -> tuple[str, Access]:
        """The server's address, and how the campaign logs in."""
        return read_access(self.folder / "farm.toml")

    @property
    def listen(self) -> tuple[str, int]:
        """Where the server listens, as its configuration says now.

        Raises:
            InputRefusedError: it does not say it in a line of its own.
        """
        found = re.search(r'^listen: "\[?([^"\]]+)\]?:(\d+)"$', self.configuration.read_text("utf-8"), re.MULTILINE)
        if found is None:
            raise InputRefusedError(f'{self.configuration}: no line listen: "HOST:PORT"')
        return found[1], int(found[2])

    @property
    def syncs(self) -> bool:
        """Whether the server is told to write through to the disk before it acknowledges."""
        return re.search(r"^\s*sync_interval: always$", self.configuration.read_text("utf-8"), re.MULTILINE) is not None

    @property
    def agents(self) -> dict[str, Agent]:
        """Who may connect, by name.

        Raises:
            InputRefusedError: the record is damaged or of another version.
        """
        try:
            tree = json.loads(self._record.read_text("utf-8"))
            if tree["schema"] != SCHEMA:
                raise InputRefusedError(f"{self._record}: schema {tree['schema']!r}; this version reads {SCHEMA!r}")
            rows = [Agent(**row) for row in tree["agents"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputRefusedError(f"{self._record}: no readable record of agents ({error})") from error
        return {row.name: row for row in rows}

    @property
    def campaign_key(self) -> str:
        """The campaign's public key."""
        return credentials.public_key((self.folder / "campaign.nk").read_text("ascii").strip())

    @classmethod
    def create(
        cls, folder: Path, *, hosts: Sequence[str] = (), port: int = PORT, plain: bool = False,
        version: server.Version | None = None,
    ) -> Farm:  # fmt: skip
        """Make a farm in a new or empty folder.

        Args:
            folder: its place.
            hosts: names and addresses under which agents reach the server; the first one is written into their files.
                None: only this machine reaches it.
            port: Port of the server.
            plain: without TLS; only without hosts.
            version: Version of the server that will read the configuration; None is a current one.

        Raises:
            UsageError: the folder is not empty, a host is none, or plain text would leave this machine.
            StoreError: a file cannot be written.
        """
        for host in hosts:
            if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host):
                raise UsageError(f"host {host!r}: allowed are names and addresses")
        remote = [host for host in hosts if not is_loopback(host)]
        if plain and remote:
            raise UsageError(f"--plain with --host {remote[0]}: plain text is for this machine alone; leave one out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageError(f"{folder} is not empty, and nothing in it is overwritten: choose another folder")
            folder.chmod(0o700)
            (folder / "jetstream").mkdir(mode=0o700)
            (folder / "agents").mkdir(mode=0o700)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written ({error.strerror})") from error
        folder = folder.absolute()
        names = list(dict.fromkeys([*hosts, "localhost", "127.0.0.1"]))
        if not plain:
            _write_certificates(folder, names)
        seed = credentials.new_seed()
        write_private(folder / "campaign.nk", seed + "\n")
        write_private(folder / "farm.toml", _farm_toml(_url(names[0] if hosts else "127.0.0.1", port, plain), plain))
        listen = "0.0.0.0" if remote else "127.0.0.1"
        write_private(folder / "nats-server.conf", _configuration(folder, listen, port, plain, version))
        write_private(folder / "agents.json", json.dumps({"schema": SCHEMA, "agents": []}) + "\n")
        farm = cls(folder)
        farm._write(())
        return farm

    def add(self, name: str, device_class: str, *, key: str | None = None, password: bool = False) -> Path:
        """Let an agent in, once the server has read its configuration again.

        Args:
            name: Name of the agent.
            device_class: Class of the jobs that it may take.
            key: its public key, made on the device; None makes one here.
            password: a password in place of a key.

        Returns:
            The folder to carry to it.

        Raises:
            UsageError: a name or key that is not allowed, or an agent that is there already.
        """
        check_name("agent", name)
        if name == EVERY_AGENT:
            raise UsageError(f"agent {name!r}: this name means every agent; choose another")
        check_name("class", device_class)
        with self._lock():
            agents = self.agents
            if name in agents:
                raise UsageError(f"agent {name!r} is there already; tempograd farm revoke {name} first")
            secret, agent = _credential(name, device_class, key, password)
            if agent.key and agent.key in {a.key for a in agents.values()} | {self.campaign_key}:
                raise UsageError(f"key {agent.key}: somebody else has it; every agent needs one of its own")
            carried = self._write_carried(agent, secret)
            self._write((*agents.values(), agent))
        return carried

    def revoke(self, name: str) -> Agent:
        """Shut an agent out, once the server has read its configuration again; return what it was.

        Raises:
            UnknownNameError: there is none of that name.
        """
        with self._lock():
            agents = self.agents
            if name not in agents:
                raise UnknownNameError("agent", name, agents)
            revoked = agents.pop(name)
            self._write(tuple(agents.values()))
        return revoked

    def refresh(self) -> None:
        """Write what the server reads anew, should a command have been stopped halfway."""
        with self._lock():
            self._write(tuple(self.agents.values()))

    def reload(self) -> bool:
        """Let a server that runs here read its configuration again; return whether there is one."""
        pid = server.running(self.pid_file)
        if pid is not None:
            server.reload(pid)
        return pid is not None

    def _lock(self) -> FileLock:
        return FileLock(self.folder / ".lock", mode=0o600)

    def _write(self, agents: Sequence[Agent]) -> None:
        """Write the record, then what the server makes of it."""
        record = {"schema": SCHEMA, "agents": [asdict(agent) for agent in agents]}
        write_private(self._record, json.dumps(record, indent=1) + "\n", replace=True)
        users = [(agent.login, agent_permissions(agent.name, agent.device_class)) for agent in agents]
        text = json.dumps(accounts({"nkey": self.campaign_key}, users), indent=1)
        write_private(self.folder / "accounts.conf", text + "\n", replace=True)

    def _write_carried(self, agent: Agent, secret: str | None) -> Path:
        folder = self.folder / "agents" / agent.name
        folder.mkdir(mode=0o700, exist_ok=True)
        url, access = self.access
        ca = (self.folder / "ca.pem").read_text("ascii") if access.ca else None
        device = f'[[device]]\nclass = "{agent.device_class}"\ndriver = "local"\n'
        files = {
            "agent.toml": f'name = "{agent.name}"\n\n{_queue_table(url, "agent.nk", ca is None)}\n{device}',
            "ca.pem": ca,
            "agent.nk": secret,
        }
        for name, text in files.items():
            (folder / name).unlink(missing_ok=True)  # of a namesake that was revoked
            if text is not None:
                write_private(folder / name, text)
        return folder


def _credential(name: str, device_class: str, key: str | None, password: bool) -> tuple[str | None, Agent]:
    """Return the secret to carry, if it was made here, and the agent."""
    if key is not None:
        if password:
            raise UsageError("--key and --password: an agent has one credential")
        return None, Agent(name, device_class, key=credentials.check_public_key(key))
    if password:
        secret, hashed = credentials.new_password()
        return f"{name} {secret}\n", Agent(name, device_class, password_hash=hashed)
    seed = credentials.new_seed()
    return seed + "\n", Agent(name, device_class, key=credentials.public_key(seed))


def _write_certificates(folder: Path, names: Sequence[str]) -> None:
    try:
        from .certificates import new_authority, new_server_certificate
    except ImportError as error:
        raise NotInstalledError("the library of certificates, cryptography", "pip install 'tempograd[farm]'") from error
    authority, authority_key = new_authority()
    certificate, key = new_server_certificate(authority, authority_key, names)
    for name, text in (
        ("ca.pem", authority), ("ca.key", authority_key), ("server.pem", certificate), ("server.key", key),
    ):  # fmt: skip
        write_private(folder / name, text)


def _url(host: str, port: int, plain: bool) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return f"{'nats' if plain else 'tls'}://{bracketed}:{port}"


def _queue_table(url: str, key: str, plain: bool) -> str:
    ca = "" if plain else 'ca = "ca.pem"\n'
    return f'[queue]\nurl = "{url}"\n{ca}key = "{key}"\n'


def _farm_toml(url: str, plain: bool) -> str:
    return "# What a campaign needs: tempograd collect ... --device farm:KIND\n" + _queue_table(
        url, "campaign.nk", plain
    )


def _configuration(folder: Path, listen: str, port: int, plain: bool, version: server.Version | None) -> str:
    """Return the server's configuration; nobody connects without a credential, and only by the client's protocol."""
    syncs = version is None or server.knows_sync_interval(version)
    sync = "sync_interval: always" if syncs else "# no sync_interval: always, which this server is too old for"
    oldest = '\n  min_version: "1.3"' if version is None or server.knows_min_version(version) else ""
    tls = f"""
tls {{
  cert_file: {json.dumps(str(folder / "server.pem"))}
  key_file: {json.dumps(str(folder / "server.key"))}
  timeout: 10{oldest}
}}
"""
    return f"""# Written by tempograd farm init; accounts.conf by tempograd farm add-agent. Read again on SIGHUP.
server_name: tempograd
listen: "{listen}:{port}"
pid_file: {json.dumps(str(folder / "nats-server.pid"))}
logfile_size_limit: 10MB
max_payload: {MAX_PAYLOAD_BYTES}

# Nobody connects without a credential, and only by the client's protocol: no MQTT, no WebSocket, no monitoring page.
authorization {{
  timeout: 10
}}
accounts {{
  include "accounts.conf"
}}
{"" if plain else tls}
jetstream {{
  store_dir: {json.dumps(str(folder / "jetstream"))}
  max_memory_store: 67108864
  max_file_store: {MAX_FILE_STORE_BYTES}
  {sync}
}}
"""
