"""What the kernel tells of a network beside its time: energy and memory; absent where it does not say, not guessed."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

from ..host import integer_of, text_of

_RESET_PEAK = "5"  # written to clear_refs, sets VmHWM back to what is resident now (Linux 4.0)


class EnergyMeter:
    """Energy of all CPU packages, from the counters that Linux shows under ``powercap`` (RAPL, on AMD too).

    They count whatever runs on a package, idle cores included, and move once a millisecond. Most kernels let only root
    read them.

    Args:
        root: where ``sys`` is.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        packages = [zone for zone in zones if (text_of(zone / "name") or "").startswith("package")]
        self._counters = [zone / "energy_uj" for zone in packages]
        self._ranges_uj = [integer_of(zone / "max_energy_range_uj") for zone in packages]

    def read_uj(self) -> tuple[int, ...] | None:
        """Return every package's counter, None if one cannot be read."""
        found = tuple(value for counter in self._counters if (value := integer_of(counter)) is not None)
        return found if found and len(found) == len(self._counters) else None

    def since_mj(self, before_uj: tuple[int, ...] | None) -> float | None:
        """Return the energy since an earlier reading, None if it is not known; a counter may wrap around once."""
        now_uj = self.read_uj()
        if now_uj is None or before_uj is None:
            return None
        total_uj = 0
        for now, before, range_uj in zip(now_uj, before_uj, self._ranges_uj, strict=True):
            if now < before and range_uj is None:
                return None
            total_uj += now - before + (range_uj or 0 if now < before else 0)
        return total_uj / 1e3


class MemoryMeter:
    """How far this process grows beyond what is resident when the meter is made.

    What the C library holds free is given back first, or a network would be loaded into it unseen.

    Args:
        proc: the process's folder under ``/proc``.
    """

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._status = proc / "status"
        with suppress(OSError, AttributeError):  # glibc has it, others have not
            ctypes.CDLL(None).malloc_trim(0)
        self._before: int | None = None
        with suppress(OSError):
            (proc / "clear_refs").write_text(_RESET_PEAK)
            self._before = self._bytes("VmRSS")

    def peak_bytes(self) -> int | None:
        """Return by how much the resident set has been larger at its highest; None where the kernel does not say."""
        peak = self._bytes("VmHWM")
        return None if peak is None or self._before is None else max(peak - self._before, 0)

    def _bytes(self, field: str) -> int | None:
        for line in (text_of(self._status) or "").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        return None
