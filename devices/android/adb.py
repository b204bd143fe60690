"""The link to one phone: adb's protocol through ``adbutils``, with every fault turned into a next step.

Nothing here starts or ends an adb server: other phones and other people share it. A link that breaks is waited for;
what was asked is asked again, so everything asked through `Phone.persist` must bear being asked twice.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from ...errors import DeviceError, InputRefusedError, UsageError
from ..runtime.packages import Package, UnusableError

ADBUTILS = Package.extra("adbutils", "adbutils", extra="android")
EXAMPLE = "127.0.0.1:5037"
STUBBORN = 5  # failures in a row of a phone that adb says is there
_PART_BYTES = 64 * 1024  # the largest that adb takes
_MOST_BYTES = 256 * 2**20
_OUT, _ERRORS, _EXIT = 1, 2, 3  # kinds of packets of adb's shell protocol
_SHUT_DOWN = frozenset(128 + end for end in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL))  # by the phone, not by us
_NEXT_STEP = {
    "unauthorized": "unlock it and accept the question whether this computer may debug it",
    "no permissions": "adb's server may not open its USB port; on Linux, install android-sdk-platform-tools-common "
    "(udev rules), then plug it in again",
    "recovery": "boot it into Android",
    "bootloader": "boot it into Android",
    "sideload": "boot it into Android",
    "offline": "unplug it and plug it in again; if that does not help, reboot it",
    "absent": "plug it in, and look at its USB debugging",
    "silent": "adb's server does not answer; restart it if no other phone is using it",
}

T = TypeVar("T")


class LinkError(DeviceError):
    """The connection broke, or an answer was none: it may be asked again."""


class CommandError(DeviceError):
    """A command ran on the phone and failed.

    Attributes:
        code: its exit status.
        text: what it printed to standard error.
    """

    def __init__(self, message: str, code: int, text: str) -> None:
        super().__init__(message)
        self.code, self.text = code, text


class Server:
    """The adb server of this machine, or of another one.

    Args:
        address: ``host:port``; by default what adb's own variables ``ANDROID_ADB_SERVER_ADDRESS`` and
            ``ANDROID_ADB_SERVER_PORT`` say, or this machine's 5037.
        answer_s: how long it may take to answer anything.

    Raises:
        NotInstalledError: adbutils is not installed.
        UsageError: the address is none.
    """

    def __init__(self, address: str | None = None, *, answer_s: float = 15.0) -> None:
        ADBUTILS.version()
        if address is None:
            host, port = (os.environ.get(f"ANDROID_ADB_SERVER_{name}") for name in ("ADDRESS", "PORT"))
            address = f"{host or '127.0.0.1'}:{port or 5037}"
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"server={address!r}; write it as host:port, such as {EXAMPLE}")
        self.address, self.answer_s = address, answer_s
        self._place = host, int(port)
        self.client: Any = import_module("adbutils").AdbClient(host=host, port=int(port), socket_timeout=answer_s)

    def phones(self) -> dict[str, str]:
        """Return serial -> state, such as ``device``, ``offline`` or ``unauthorized``.

        Raises:
            UnusableError: no server answers.
            LinkError: it broke off.
        """
        self.reach()
        with broken_off("the adb server"):
            return {found.serial: found.state for found in self.client.list()}

    def reach(self) -> None:
        """Check that somebody listens: adbutils would otherwise start a server of its own.

        Raises:
            UnusableError: nobody does.
        """
        try:
            socket.create_connection(self._place, self.answer_s).close()
        except OSError as error:
            raise UnusableError(f"no adb server at {self.address} ({error})", "adb start-server") from error

    def reconnect_offline(self) -> None:
        """Ask the server to reopen links that went stale; those of other phones stay."""
        with broken_off("the adb server"), self.client.make_connection() as connection:
            connection.send_command("host:reconnect-offline")
            connection.check_okay()


class Phone:
    """One phone.

    Args:
        server: that it hangs on.
        serial: as ``adb devices`` shows it.
        patience_s: how long a phone that is gone is waited for.
        pause_s: between two looks at whether it is back, at first.
    """

    def __init__(self, server: Server, serial: str, *, patience_s: float = 180.0, pause_s: float = 0.5) -> None:
        self.serial = serial
        self._server, self._patience_s, self._pause_s = server, patience_s, pause_s

    def persist(self, what: Callable[[], T]) -> T:
        """Do something, again after each time that the link broke and came back.

        Raises:
            DeviceError: the phone is not back in time, or does not answer although it is there.
        """
        for failures in range(STUBBORN):
            try:
                return what()
            except (LinkError, UnusableError) as error:  # the server may be on its way up again
                self._wait_until_back(error)
                if failures == STUBBORN - 1:
                    raise DeviceError(
                        f"phone {self.serial} is connected but answers nothing that can be read ({error}); unplug it "
                        "and plug it in again, or restart adb's server if no other phone is using it. Nothing is "
                        "lost: the same command goes on"
                    ) from error
                time.sleep(self._pause_s * failures)
        raise AssertionError

    def run(self, words: Sequence[str], *, answer_s: float | None = None) -> bytes:
        """Run a command on the phone and return what it printed.

        Args:
            words: the command and its arguments; each arrives as it stands.
            answer_s: how long nothing at all may come; by default as the server.

        Raises:
            LinkError: the link broke, or the phone ended the command, as it does when it shuts down.
            CommandError: it ended with another status than 0.
        """
        printed: dict[int, bytearray] = {_OUT: bytearray(), _ERRORS: bytearray()}
        with self._connected(f"shell,v2:{shlex.join(words)}", answer_s) as connection:
            while True:
                kind, length = struct.unpack("<BI", connection.read_exact(5))
                if length > _MOST_BYTES or sum(map(len, printed.values())) > _MOST_BYTES:
                    raise DeviceError(f"{words[0]} on phone {self.serial} printed more than {_MOST_BYTES} bytes")
                content = connection.read_exact(length)
                if kind == _EXIT:
                    break
                printed.setdefault(kind, bytearray()).extend(content)
        status = int.from_bytes(content[:1])
        if status in _SHUT_DOWN:
            raise LinkError(f"phone {self.serial} ended {words[0]} with {signal.Signals(status - 128).name}")
        if status or not content:
            text = bytes(printed[_ERRORS] or printed[_OUT]).decode(errors="replace").strip()[-500:]
            told = text or f"exit status {status}"
            raise CommandError(f"{words[0]} on phone {self.serial}: {told}{_hint(text)}", status, text)
        return bytes(printed[_OUT])

    def push(self, files: Sequence[tuple[bytes | Path, str, int]]) -> None:
        """Copy files to the phone, all over one connection; folders are made as they are needed.

        Args:
            files: content or path, where to, and permissions.

        Raises:
            LinkError: the link broke.
            DeviceError: the phone does not take one, for instance because its storage is full.
        """
        with self._connected("sync:") as connection:
            for source, target, mode in files:
                self._push(connection, source, target, mode)

    def pull(self, path: str) -> bytes:
        """Return a file of the phone.

        Raises:
            LinkError: the link broke, or there is no such file.
        """
        found = bytearray()
        with self._connected("sync:") as connection:
            connection.conn.sendall(b"RECV" + struct.pack("<I", len(path.encode())) + path.encode())
            while True:
                status, length = struct.unpack("<4sI", connection.read_exact(8))
                if status == b"DONE":
                    return bytes(found)
                content = connection.read_exact(min(length, _PART_BYTES))
                if status != b"DATA":
                    raise LinkError(f"phone {self.serial} does not give {path}: {content.decode(errors='replace')}")
                found += content
                if len(found) > _MOST_BYTES:
                    raise DeviceError(f"{path} on phone {self.serial} has more than {_MOST_BYTES} bytes")

    @contextmanager
    def _connected(self, service: str, answer_s: float | None = None) -> Generator[Any]:
        """Open a service of the phone.

        Not through adbutils' own device: it leaves sockets open when it is refused, waits ten minutes whatever it is
        told, and ignores how much of a file a socket took.
        """
        self._server.reach()
        connect = self._server.client.make_connection
        with broken_off(f"phone {self.serial}"), connect(answer_s or self._server.answer_s) as connection:
            for request in (f"host:transport:{self.serial}", service):
                connection.send_command(request)
                connection.check_okay()
            yield connection

    def _push(self, connection: Any, source: bytes | Path, target: str, mode: int) -> None:
        name = f"{target},{stat.S_IFREG | mode}".encode()
        try:
            connection.conn.sendall(b"SEND" + struct.pack("<I", len(name)) + name)
            for part in _parts(source):
                connection.conn.sendall(b"DATA" + struct.pack("<I", len(part)) + part)
            connection.conn.sendall(b"DONE" + struct.pack("<I", int(time.time())))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the phone hung up: perhaps it said why
        status, length = struct.unpack("<4sI", connection.read_exact(8))
        if status == b"FAIL":
            reason = connection.read_exact(min(length, 4096)).decode(errors="replace")
            raise DeviceError(f"phone {self.serial} does not take {target}: {reason}{_hint(reason)}")
        if status != b"OKAY":
            raise LinkError(f"phone {self.serial} answered {status!r} to a file")

    def _wait_until_back(self, broken: DeviceError) -> None:
        """Return when the phone is connected again.

        Raises:
            DeviceError: it is not, or it needs a person.
        """
        end, pause_s = time.monotonic() + self._patience_s, self._pause_s
        while True:
            try:
                state = self._server.phones().get(self.serial, "absent")
                if state == "offline":
                    self._server.reconnect_offline()
            except (LinkError, UnusableError) as error:
                state, broken = "silent", error
            if state == "device":
                return
            if time.monotonic() > end or state in ("unauthorized", "no permissions"):
                raise DeviceError(
                    f"phone {self.serial} is {state} ({broken}): {next_step(state)}. "
                    "Nothing is lost: the same command goes on"
                ) from broken
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)


def next_step(state: str) -> str:
    """Return what helps a phone that is in this state."""
    return _NEXT_STEP.get(state, "look at it")


@contextmanager
def broken_off(who: str) -> Generator[None]:
    """Turn whatever adbutils and sockets raise when an answer is cut or missing into a LinkError."""
    try:
        yield
    except DeviceError:
        raise
    except (import_module("adbutils").AdbError, OSError, EOFError, ValueError, struct.error, AssertionError) as error:
        raise LinkError(f"{who}: {' '.join(str(error).split()) or type(error).__name__}"[:300]) from error


def _parts(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield from (source[i : i + _PART_BYTES] for i in range(0, len(source), _PART_BYTES))
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise InputRefusedError(f"cannot read {source}: {error.strerror}") from error
    with file:
        while part := file.read(_PART_BYTES):
            yield part


def _hint(text: str) -> str:
    if "No space left" in text or "storage full" in text:
        return "; free storage on the phone. Nothing is lost: the same command goes on"
    if "ermission denied" in text:
        return "; /data/local/tmp must be writable for the shell, as it is on an unmodified phone"
    return ""
