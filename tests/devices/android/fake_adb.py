"""An adb server with one phone: the real protocol over TCP, and shell commands that are really run, in a folder.

It proves the driver, not a phone. The folder stands for the phone's root; what a test does to the phone (pull its
cable, deny, reboot, heat, fill, cut and stretch answers, say nothing) is a method or an attribute.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

CPUINFO = "\n".join(
    f"processor\t: {core}\nCPU implementer\t: 0x41\nCPU part\t: {'0xd05' if core < 1 else '0xd41'}\n"
    for core in range(2)
)
PROPERTIES = {
    "ro.product.manufacturer": "Nobody",
    "ro.product.model": "Fake 1",
    "ro.soc.model": "FK100",
    "ro.build.version.release": "16",
    "ro.product.cpu.abi": "x86_64",
}
BATTERY = (
    "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  level: {level}\n  temperature: 271\n"
)
FEATURES = "shell_v2,cmd"
PATHS = r"/(data/local/tmp|sys|proc/(cpuinfo|meminfo|sys/kernel/random))(?!\w)"


class FakePhone:
    """The folder that stands for a phone, and what happens to it."""

    def __init__(self, root: Path, serial: str = "0123FAKE", emulator: list[str] | None = None) -> None:
        self.root, self.serial = root, serial
        self.state = "device"
        self.full = False
        self.emulator = emulator or []
        self.properties = dict(PROPERTIES)
        self.log: list[str] = []
        self._shells: set[subprocess.Popen[bytes]] = set()
        for folder in ("data/local/tmp", "bin", "dumpsys", "proc", "sys/class/thermal/thermal_zone0"):
            (root / folder).mkdir(parents=True)
        for core, khz in ((0, 1_800_000), (1, 2_400_000)):
            cpufreq = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            cpufreq.mkdir(parents=True)
            (cpufreq / "cpuinfo_max_freq").write_text(f"{khz}\n")
            (cpufreq / "scaling_cur_freq").write_text(f"{khz}\n")
            (cpufreq / "scaling_governor").write_text("schedutil\n")
        battery = root / "sys/class/power_supply/battery"
        battery.mkdir(parents=True)
        (battery / "capacity").write_text("85\n")
        (root / "sys/class/thermal/thermal_zone0/type").write_text("cpu-1-0\n")
        (root / "sys/class/thermal/thermal_zone0/temp").write_text("41500\n")
        (root / "proc/cpuinfo").write_text(CPUINFO)
        (root / "proc/meminfo").write_text("MemTotal:        7812345 kB\n")
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        self._program("getprop", 'grep "^$1=" "$ROOT/properties" | cut -d= -f2-')
        self._program("dumpsys", 'for last; do :; done; cat "$ROOT/dumpsys/$last"')
        self._program("settings", "echo 1")
        (root / "dumpsys/power").write_text("  mWakefulness=Awake\n")
        self.battery(85)
        self.heat(0)
        self._boot()

    @property
    def tmp(self) -> Path:
        return self.root / "data/local/tmp/tempograd"

    def battery(self, level: int) -> None:
        (self.root / "dumpsys/battery").write_text(BATTERY.format(level=level))

    def heat(self, status: int) -> None:
        (self.root / "dumpsys/thermalservice").write_text(f"IsStatusOverride: false\nThermal Status: {status}\n")

    def unplug(self) -> None:
        """Shells end with the link; what detached itself lives on."""
        self.state = "absent"
        for shell in list(self._shells):
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGHUP)

    def plug(self) -> None:
        self.state = "device"

    def reboot(self) -> None:
        """Nothing that ran lives on; files do."""
        self.unplug()
        self.kill_loops()
        self._boot()

    def kill_loops(self) -> None:
        for file in self.tmp.glob("sessions/*/pid"):
            with suppress(ProcessLookupError, ValueError):
                os.killpg(int(file.read_text()), signal.SIGKILL)

    def loops(self) -> list[int]:
        """Process ids of loops that run."""
        found = []
        for file in self.tmp.glob("sessions/*/pid"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), 0)
                found.append(int(file.read_text()))
        return found

    def start(self, command: str) -> subprocess.Popen[bytes]:
        (self.root / "properties").write_text("".join(f"{k}={v}\n" for k, v in self.properties.items()))
        self.log.append(command)
        command = re.sub(rf"(?<![\w/]){PATHS}", lambda found: f"{self.root}{found[0]}", command)
        if self.emulator and re.match(r"\S*-tempograd-runner\s", command):
            command = " ".join([*self.emulator, command])
        environment = {"ROOT": str(self.root), "PATH": f"{self.root}/bin:/usr/bin:/bin"}
        words = ["env", "--default-signal=HUP", "/bin/sh", "-c", command]  # nohup's children would ignore it
        shell = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            start_new_session=True, cwd=self.root,
        )  # fmt: skip
        self._shells.add(shell)
        return shell

    def done(self, shell: subprocess.Popen[bytes]) -> None:
        self._shells.discard(shell)

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def _program(self, name: str, script: str) -> None:
        (self.root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.root / "bin" / name).chmod(0o755)

    def _boot(self) -> None:
        (self.root / "proc/sys/kernel/random/boot_id").write_text(os.urandom(8).hex() + "\n")


class FakeServer:
    """Serves one phone to adb clients, one thread a connection."""

    def __init__(self, phone: FakePhone, port: int = 0) -> None:
        self.phone = phone
        self.asked: list[str] = []
        self.piece = 0  # bytes of an answer that go out at a time; 0: all
        self.cut: list[int] = []  # of the next transports, bytes after which the connection breaks
        self.silent, self.closed = False, False
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not end a call that waits in it
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def unplug(self) -> None:
        self.phone.unplug()
        self._hang_up()

    def reboot(self) -> None:
        self.phone.reboot()
        self._hang_up()

    def _hang_up(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            with connection:
                _Link(self, connection).serve()
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(1.0)
                while connection.recv(65536):  # what the client still says: closing before would cut our answer off
                    pass
        except (OSError, EOFError):
            pass
        finally:
            self._open.discard(connection)


class _Link:
    def __init__(self, server: FakeServer, connection: socket.socket) -> None:
        self._server, self._phone, self._connection = server, server.phone, connection
        self._left: int | None = None

    def serve(self) -> None:
        while (request := self._request()) is not None:
            self._server.asked.append(request)
            while self._server.silent and not self._server.closed:
                time.sleep(0.02)
            if not self._answer(request):
                return

    def _answer(self, request: str) -> bool:
        """Return whether another request may follow on this connection."""
        phone = self._phone
        request = re.sub(rf"^host-serial:{re.escape(phone.serial)}:", "host:", request)
        match request.partition(":"):
            case "host", _, "version":
                self._say(b"OKAY" + _block("0029"))
            case "host", _, "devices" | "devices-l" as which:
                gone = phone.state == "absent"
                rest = "          device product:fake model:Fake_1 transport_id:1" if which == "devices-l" else ""
                line = (
                    f"{phone.serial}{rest}\n"
                    if rest and phone.state == "device"
                    else f"{phone.serial}\t{phone.state}\n"
                )
                self._say(b"OKAY" + _block("" if gone else line))
            case "host", _, "features" | "host-features":
                self._say(b"OKAY" + _block(FEATURES))
            case "host", _, "get-state":
                self._say(b"OKAY" + _block(phone.state))
            case "host", _, "reconnect-offline":
                if phone.state == "offline":
                    phone.plug()
                self._say(b"OKAY" + _block("reconnecting"))
            case "host", _, service if service.startswith(("transport", "tport")):
                return self._transport(service)
            case "shell" | "exec", _, command:
                self._say(b"OKAY")
                self._shell(command)
                return False
            case head, _, command if head.startswith("shell,v2"):
                self._say(b"OKAY")
                self._shell_v2(command)
                return False
            case "sync", _, _:
                self._say(b"OKAY")
                self._sync()
                return False
            case _:
                self._say(b"FAIL" + _block(f"unknown service {request}"))
                return False
        return request.startswith("host:tr")

    def _transport(self, service: str) -> bool:
        if self._phone.state != "device":
            reasons = {"absent": f"device '{self._phone.serial}' not found", "offline": "device offline"}
            reason = reasons.get(self._phone.state, "device unauthorized.\nThis adb server's key is not set")
            self._say(b"FAIL" + _block(reason))
            return False
        self._say(b"OKAY" + (struct.pack("<Q", 1) if service.startswith("tport") else b""))
        if self._server.cut:
            self._left = self._server.cut.pop(0)
        return True

    def _shell(self, command: str) -> None:
        shell = self._phone.start(command)
        assert shell.stdout is not None
        while part := shell.stdout.read1(65536):
            self._say(part)
        self._phone.done(shell)
        shell.communicate()

    def _shell_v2(self, command: str) -> None:
        shell = self._phone.start(command)
        out, errors = shell.communicate()
        self._phone.done(shell)
        for kind, content in ((1, out), (2, errors)):
            for start in range(0, len(content), 32768):
                part = content[start : start + 32768]
                self._say(struct.pack("<BI", kind, len(part)) + part)
        ended = shell.returncode if shell.returncode >= 0 else 128 - shell.returncode  # by a signal, as adbd says it
        self._say(struct.pack("<BIB", 3, 1, ended))

    def _sync(self) -> None:
        while True:
            verb, length = struct.unpack("<4sI", self._exactly(8))
            name = self._exactly(length).decode()
            if verb == b"QUIT":
                return
            if verb in (b"STAT", b"LSTA"):
                path = self._phone.path(name)
                found = path.stat() if path.exists() else None
                numbers = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
                self._say(verb + struct.pack("<III", *numbers))
            elif verb == b"SEND":
                self._receive(name)
            elif verb == b"RECV":
                self._deliver(name)
            else:
                self._fail(f"unknown sync verb {verb!r}")
                return

    def _receive(self, name: str) -> None:
        name, _, mode = name.rpartition(",")
        parts: list[bytes] = []
        while True:
            verb, length = struct.unpack("<4sI", self._exactly(8))
            if verb == b"DONE":
                break
            parts.append(self._exactly(length))
        if self._phone.full:
            self._fail("couldn't create file: No space left on device")
            return
        path = self._phone.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(parts))
        path.chmod(int(mode) & 0o777)
        self._say(b"OKAY" + struct.pack("<I", 0))

    def _deliver(self, name: str) -> None:
        try:
            content = self._phone.path(name).read_bytes()
        except OSError as error:
            self._fail(str(error))
            return
        for start in range(0, len(content), 65536):
            part = content[start : start + 65536]
            self._say(b"DATA" + struct.pack("<I", len(part)) + part)
        self._say(b"DONE" + struct.pack("<I", 0))

    def _fail(self, reason: str) -> None:
        self._say(b"FAIL" + struct.pack("<I", len(reason)) + reason.encode())

    def _say(self, content: bytes) -> None:
        if self._left is not None:
            content, self._left = content[: self._left], self._left - len(content)
        size = self._server.piece or len(content) or 1
        for start in range(0, len(content), size):
            self._connection.sendall(content[start : start + size])
            if self._server.piece:
                time.sleep(0.0002)
        if self._left is not None and self._left <= 0:
            raise EOFError

    def _request(self) -> str | None:
        try:
            return self._exactly(int(self._exactly(4), 16)).decode()
        except EOFError:
            return None

    def _exactly(self, length: int) -> bytes:
        content = b""
        while len(content) < length:
            part = self._connection.recv(length - len(content))
            if not part:
                raise EOFError
            content += part
        return content


def _block(text: str) -> bytes:
    return f"{len(text):04x}{text}".encode()
