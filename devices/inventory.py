"""Which places and runtimes are here, and the command that brings what is missing.

Nothing is imported in this process: versions come from the installed metadata, and whether an engine starts, and on
what, is asked of a child process: some engines take seconds, some end the process that asks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import DeviceError, TempogradError
from ..registry import create, load, names
from ..scratch import Scratch
from .runtime.packages import NotInstalledError, UnusableError

PROBE_S = 120.0
State = Literal["here", "missing", "unusable"]


@dataclass(frozen=True)
class Entry:
    """One place, or one way of computing on the local machine.

    Attributes:
        device: what ``--device`` takes.
        state: ``missing`` if it is not installed, ``unusable`` if it is but cannot do this here.
        version: Version of the engine, empty for a place.
        found: what it computes on, or what is wrong.
        remedy: the command that helps, empty where none is needed or known.
    """

    device: str
    state: State
    version: str = ""
    found: str = ""
    remedy: str = ""


def inventory() -> Iterator[Entry]:
    """Yield every place, then every runtime of the local one in every way that it knows of."""
    for place in names("device"):
        yield from _places(place)
    for runtime in names("runtime"):
        yield from _runtime(runtime)


def _places(name: str) -> Iterator[Entry]:
    """Yield one place, or all devices that it knows of, if it can tell."""
    elsewhere = getattr(load("device", name), "elsewhere", None)
    if elsewhere is not None:  # what is there is not of this machine
        yield Entry(name, "here", found=elsewhere)
        return
    try:
        specs: list[str] = getattr(load("device", name), "specs", lambda: [name])()
    except TempogradError as error:
        yield _wrong(name, "", error)
        return
    for spec in specs:
        try:
            hardware = create("device", spec).fingerprint.hardware
        except TempogradError as error:
            yield _wrong(spec, "", error)
        else:
            yield Entry(spec, "here", found=str(hardware.get("cpu") or ""))


def _runtime(name: str) -> list[Entry]:
    factory = load("runtime", name)
    specs = {way: f"local:runtime={name}" + (f",{way}" if way else "") for way in factory.ways}
    try:
        version = factory().package.version()
    except NotInstalledError as error:
        return [Entry(spec, "missing", "", error.found, error.remedy) for spec in specs.values()]
    return [_probed(name, way, spec, version) for way, spec in specs.items()]


def _probed(name: str, way: str, device: str, version: str) -> Entry:
    """Start an engine in a child process, and say what came of it."""
    command = [sys.executable, "-P", "-m", __name__, f"{name}:{way}"]
    with Scratch() as folder:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, cwd=folder, check=False)
        except subprocess.TimeoutExpired:
            return Entry(device, "unusable", version, f"it did not start within {PROBE_S:.0f} s")
    if done.returncode or not done.stdout:
        last = "".join(filter(str.isprintable, (done.stderr.strip().splitlines() or [""])[-1]))[-300:]
        return Entry(device, "unusable", version, f"it ended the process that asked ({done.returncode}): {last}")
    return Entry(**json.loads(done.stdout.splitlines()[-1]) | {"device": device, "version": version})


def _wrong(device: str, version: str, error: TempogradError) -> Entry:
    if isinstance(error, UnusableError):
        state: State = "missing" if isinstance(error, NotInstalledError) else "unusable"
        return Entry(device, state, version, error.found, error.remedy)
    return Entry(device, "unusable", version, str(error))


def main() -> None:
    """Start the runtime of this spec and print, as JSON, what came of it."""
    spec = sys.argv[1].removesuffix(":")
    try:
        runtime: Any = create("runtime", spec)
        runtime.versions()
        entry = Entry(spec, "here", found=runtime.start())
    except DeviceError as error:
        entry = _wrong(spec, "", error)
    sys.stdout.write(f"\n{json.dumps(asdict(entry))}\n")


if __name__ == "__main__":
    main()
