"""How the runner is built: one compiler line, and no header or library of ONNX Runtime.

    python -m tempograd.devices.android.build ABI COMPILER LIBRARY

``LIBRARY`` is a ``libonnxruntime.so`` of that ABI, or a zip that holds one, such as onnxruntime-android's ``.aar``.
Both go where the device looks for them; see ``docs/how-to/phone.md``.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from ...errors import DeviceError, InputRefusedError, TempogradError, UsageError
from ..runtime.packages import UnusableError

SOURCE = Path(__file__).parent / "runner" / "runner.cpp"
FLAGS = ("-O2", "-std=c++17", "-static-libstdc++", "-fPIE", "-pie")
ABIS = ("arm64-v8a", "x86_64")
_LIBRARY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Tools:
    """What a phone needs: the runner, and ONNX Runtime."""

    runner: Path
    library: Path

    @classmethod
    def of(cls, abi: str, folder: Path | None = None) -> Tools:
        """Return those for an ABI.

        Raises:
            UnusableError: they are not built.
        """
        folder = folder or user_data_path("tempograd") / "android" / abi
        found = cls(folder / "tempograd-runner", folder / "libonnxruntime.so")
        missing = [path.name for path in (found.runner, found.library) if not path.is_file()]
        if missing:
            raise UnusableError(
                f"{' and '.join(missing)} for {abi} not in {folder}",
                f"build them once (docs/how-to/phone.md): python -m {__name__} {abi} COMPILER onnxruntime-android.aar",
            )
        return found


def build(abi: str, compiler: str, library: Path, folder: Path | None = None) -> Tools:
    """Compile the runner and put it, and ONNX Runtime, where they are looked for.

    Args:
        abi: ``arm64-v8a`` or ``x86_64``.
        compiler: a C++17 compiler for it, such as the NDK's ``aarch64-linux-android24-clang++``.
        library: ``libonnxruntime.so``, or a zip that holds it under ``jni/ABI``.
        folder: where to, instead.

    Raises:
        UsageError: an ABI that is not supported.
        InputRefusedError: the library cannot be read.
        DeviceError: it does not compile.
    """
    if abi not in ABIS:
        raise UsageError(f"abi={abi!r}; allowed: {', '.join(ABIS)}")
    folder = folder or user_data_path("tempograd") / "android" / abi
    folder.mkdir(parents=True, exist_ok=True)
    content = _library(library, abi)
    runner = folder / "tempograd-runner"
    command = [compiler, *FLAGS, "-o", str(runner), str(SOURCE), "-ldl"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DeviceError(f"cannot start {compiler}: {error.strerror}; it comes with Android's NDK") from error
    if done.returncode:
        raise DeviceError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    (folder / "libonnxruntime.so").write_bytes(content)
    return Tools.of(abi, folder)


def _library(path: Path, abi: str) -> bytes:
    try:
        if not zipfile.is_zipfile(path):
            return path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"jni/{abi}/libonnxruntime.so")
            if member.file_size > _LIBRARY_BYTES:
                raise InputRefusedError(f"{path}: a library of {member.file_size} bytes; the limit is {_LIBRARY_BYTES}")
            return archive.read(member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputRefusedError(f"cannot read ONNX Runtime from {path}: {error}") from error


def main() -> None:
    """Build, and say where it went."""
    if len(sys.argv) != 4:
        sys.exit(f"usage: python -m {__spec__.name} {'|'.join(ABIS)} COMPILER LIBRARY")
    try:
        tools = build(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    except TempogradError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{tools.runner}\n{tools.library}\n")


if __name__ == "__main__":
    main()
