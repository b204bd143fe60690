"""What would make a farm safer or surer, with the command that does it.

Only `permissions` changes anything, for a moment.
"""

from __future__ import annotations

import secrets
import shutil
import stat
from datetime import UTC, datetime
from shlex import quote

from ...devices.doctor import Finding
from ...errors import DeviceError
from .. import subjects
from ..address import is_loopback
from ..connection import read_access
from ..queues.nats import Link, Request
from . import server
from .folder import Farm
from .overview import PATIENCE_S, greet

SOON_DAYS = 60
_FORBIDDEN = (
    "$JS.API.INFO", "$JS.API.STREAM.NAMES", f"$JS.API.STREAM.INFO.{subjects.RESULTS}",
    f"$JS.API.CONSUMER.LIST.{subjects.JOBS}", f"$JS.API.DIRECT.GET.{subjects.AGENTS_STREAM}",
    f"$JS.API.STREAM.MSG.GET.{subjects.RESULTS}", "$SYS.REQ.SERVER.PING",
)  # fmt: skip


def examine(farm: Farm) -> list[Finding]:
    """Return the findings for a farm, whose server may be down."""
    findings = [_files(farm), _certificate(farm), _sync(farm)]
    if findings[0].level == "problem":
        return findings  # nobody logs in with a key that others may read
    url, _ = farm.access
    try:
        greeting = greet(url)
    except DeviceError as error:
        return [*findings, Finding("server", "problem", str(error), f"tempograd farm up {quote(str(farm.folder))}")]
    findings += [
        _version(farm, str(greeting.get("version", ""))),
        _encryption(farm, greeting.get("tls_required") is True),
    ]
    if server.running(farm.pid_file) is None:
        return [*findings, Finding("permissions", "unknown", "the server was not started from this folder", "")]
    return [*findings, permissions(farm)]


def permissions(farm: Farm) -> Finding:
    """Let an agent in for a moment, ask in its name for what it may not have, and shut it out again."""
    name = f"doctor-{secrets.token_hex(4)}"
    carried = farm.add(name, "doctor")
    try:
        farm.reload()
        link = Link(*read_access(carried / "agent.toml"))
        try:
            if not link.run(link.up(PATIENCE_S)):
                return Finding(
                    "permissions", "problem", f"a new agent does not get in ({link.problem})", f"see {farm.log}"
                )
            answers = link.run(link.ask([Request(subject) for subject in _FORBIDDEN], 1.0))
        finally:
            link.close()
    finally:
        farm.revoke(name)
        farm.reload()
        shutil.rmtree(carried)
    open_ = [subject for subject, answer in zip(_FORBIDDEN, answers, strict=True) if answer is not None]
    if open_:
        remedy = f"restore accounts in {farm.configuration}, then: tempograd farm up {quote(str(farm.folder))}"
        return Finding("permissions", "problem", f"an agent may ask for {', '.join(open_)}", remedy)
    return Finding(
        "permissions", "good", f"an agent gets in, and none of {len(_FORBIDDEN)} forbidden requests is answered"
    )


def _files(farm: Farm) -> Finding:
    seen = [p for p in farm.folder.glob("*") if p.is_file() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    seen = [p.name for p in seen if p.suffix in (".key", ".nk", ".json", ".conf", ".toml")]
    if seen or stat.S_IMODE(farm.folder.stat().st_mode) & 0o077:
        return Finding("files", "problem", f"others may read {', '.join(seen) or 'the folder'}",
                       f"chmod -R go= {farm.folder}")  # fmt: skip
    return Finding("files", "good", "only their owner reads them")


def _certificate(farm: Farm) -> Finding:
    path = farm.folder / "server.pem"
    if not path.exists():
        return Finding("certificate", "good", "none is needed: only this machine reaches the server")
    from cryptography import x509

    left = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc - datetime.now(UTC)
    if left.days < SOON_DAYS:
        return Finding(
            "certificate", "problem", f"ends in {left.days} days", "tempograd farm init NEW, and add its agents"
        )
    return Finding("certificate", "good", f"valid for {left.days} days")


def _sync(farm: Farm) -> Finding:
    if farm.syncs:
        return Finding("disk", "good", "written before it is acknowledged")
    return Finding("disk", "advice", "a power cut may lose what the server acknowledged; it is measured again",
                   f"sync_interval: always, within jetstream in {farm.configuration}, from 2.10 on")  # fmt: skip


def _version(farm: Farm, found: str) -> Finding:
    try:
        version = server.parse_version(found)
    except ValueError:
        return Finding("server", "unknown", f"version {found!r}")
    if server.has_known_fixes(version):
        return Finding("server", "good", found)
    level = "advice" if is_loopback(farm.listen[0]) else "problem"
    return Finding("server", level, f"{found} misses fixes; the oldest with them is {server.FLOOR}", server.INSTALL)


def _encryption(farm: Farm, encrypted: bool) -> Finding:
    if encrypted:
        return Finding("encryption", "good", "TLS")
    level = "good" if is_loopback(farm.listen[0]) else "problem"
    return Finding(
        "encryption", level, "none: only this machine may reach it", "" if level == "good" else "restore tls"
    )
