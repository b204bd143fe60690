"""Android phones: networks run in a loop on the phone, bound to one cluster of cores; see ``docs/how-to/phone.md``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from ...arguments import Batch, NonNegative, Seconds, Threads
from ...errors import DeviceError, UsageError
from ...measurement.fingerprint import Fingerprint
from ...registry import parse_spec
from ..android import facts
from ..android.adb import Phone, Server, next_step
from ..android.build import ABIS, Tools
from ..android.loop import OPTIMISATION, Cool, PhoneSettings, Program
from ..android.session import AndroidSession
from ..runtime.packages import UnusableError
from ..runtime.program import at_least_one_thread, one_of
from ..sentinels import KINDS, digest

MIN_BATTERY_PERCENT = 30


class AndroidDevice:
    """One phone with ONNX Runtime on its processor; see `Device`.

    Args:
        serial: as ``adb devices`` shows it; may be left out where one phone is connected.
        cores: a cluster's name, ``little``, ``middle`` or ``big``, or some of its cores, such as ``4-7``; by default
            the fastest cluster.
        threads: Threads of the engine, at most as many as cores.
        batch: inputs per inference.
        optimisation: ``none``, ``basic``, ``extended`` or ``all``.
        sentinel: the kind in every round: ``mixed``, ``convolution``, ``depthwise`` or ``overhead``.
        duty_s, rest_s: work at a stretch, and rest after it.
        cool_within: a stretch begins when the sentinel is within this share of its cool time and Android calls itself
            cool; else the phone pauses, longer each time.
        max_pause_s: all pauses before a stretch together; then its rounds bear the event ``thermal``.
        patience_s: how long a phone that is gone is waited for.
        load_s: time that loading, and then warming up, one network may take.
        tools: folder with the runner and ONNX Runtime; by default where ``devices.android.build`` puts them.
        server: Address of the adb server, ``host:port``; by default as adb's own variables say.

    Raises:
        NotInstalledError: adbutils is not installed.
        UsageError: a value that is not allowed.
    """

    def __init__(
        self,
        serial: str | int | float | None = None,
        *,
        cores: str | int | None = None,
        threads: Threads = 1,
        batch: Batch = 1,
        optimisation: str = "all",
        sentinel: str = "convolution",
        duty_s: Seconds = 1.5,
        rest_s: NonNegative = 0.5,
        cool_within: NonNegative = 0.03,
        max_pause_s: NonNegative = 300.0,
        patience_s: NonNegative = 180.0,
        load_s: Seconds = 60.0,
        tools: str | Path | None = None,
        server: str | None = None,
    ) -> None:
        at_least_one_thread(threads)
        one_of("optimisation", optimisation, OPTIMISATION)
        one_of("sentinel", sentinel, KINDS)
        if batch < 1 or min(duty_s, load_s) <= 0 or min(rest_s, cool_within, max_pause_s, patience_s) < 0:
            raise UsageError(
                f"batch={batch}, duty_s={duty_s}, load_s={load_s}, rest_s={rest_s}, cool_within={cool_within}, "
                f"max_pause_s={max_pause_s}, patience_s={patience_s}; none may be negative, the first three not 0"
            )
        self._server = Server(server)
        self._asked, self._cores = serial, None if cores is None else str(cores)
        self._threads, self._batch = threads, batch
        self._optimisation, self._sentinel = optimisation, sentinel
        self._duty = {"duty_s": duty_s, "rest_s": rest_s, "cool_within": cool_within}
        self._max_pause_s, self._patience_s, self._load_s = max_pause_s, patience_s, load_s
        self._cool = Cool()
        self._folder = None if tools is None else Path(tools)

    @classmethod
    def specs(cls) -> list[str]:
        """Return what ``--device`` takes for each phone that adb knows of.

        Raises:
            NotInstalledError: adbutils is not installed.
            UnusableError: no adb server answers, or it knows of no phone.
        """
        phones = Server().phones()
        if not phones:
            raise UnusableError("adb knows of no phone", "plug one in and allow USB debugging (docs/how-to/phone.md)")
        return [f"android:serial={serial}" for serial in phones]

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What must be equal for two measurements to be comparable; no serial is in it.

        Raises:
            DeviceError: the phone cannot be reached, or the runner is not built.
        """
        cluster, cores = self._chosen
        return Fingerprint(
            place="android",
            hardware=self._facts.hardware,
            runtime={"name": "onnxruntime", **self._program.versions(self._phone)},
            options={
                "threads": self._threads,
                "batch": self._batch,
                "precision": "fp32",
                "optimisation": self._optimisation,
                "provider": "CPUExecutionProvider",
                "spinning": False,
                "denormals": "zero",
                "cluster": cluster,
                "cores": cores,
                "sentinel": self._sentinel,
                "sentinel_digest": digest(self._sentinel),
                **self._duty,
            },
        )

    @property
    def batch(self) -> int:
        """Inputs per inference."""
        return self._batch

    @property
    def occupies(self) -> tuple[str, ...]:
        """Return the phone: what one cluster does heats the others.

        Raises:
            DeviceError: the phone cannot be reached.
        """
        return (f"phone {self._phone.serial}",)

    def environment(self) -> dict[str, Any]:
        """Return battery, charger, screen, heat, governor and boot id; the cores are the phone's, not this machine's.

        Raises:
            DeviceError: the phone cannot be reached.
        """
        found = self._phone.persist(lambda: facts.state(self._phone.run))
        return {
            **found,
            "driver": "android",
            "phone_cores": self._chosen[1],
            "isolation": {"file_bytes": 2**28, "descriptors": 256, "core_files": False, "no_new_privileges": True},
        }

    def open(self) -> AndroidSession:
        """Start one loop on the phone.

        Raises:
            DeviceError: the phone cannot be reached, has too little battery, or the loop does not start.
        """
        percent = self.environment()["battery_percent"]
        if percent is not None and percent <= MIN_BATTERY_PERCENT:
            raise DeviceError(
                f"phone {self._phone.serial} has {percent} % battery; it throttles when low: charge it above "
                f"{MIN_BATTERY_PERCENT} %. Nothing is lost: the same command goes on"
            )
        return AndroidSession(self._phone, self._program, self._settings, self._cool)

    @cached_property
    def _phone(self) -> Phone:
        """The phone asked for, which must be usable.

        Raises:
            DeviceError: it is not connected, not authorised, or there are several and none was named.
        """
        phones = self._server.phones()
        serials = [s for s in phones if self._asked in (None, s, parse_spec(f"android:serial={s}")[1]["serial"])]
        if len(serials) != 1:
            known = ", ".join(f"{serial} ({state})" for serial, state in phones.items()) or "none"
            asked = "one phone" if self._asked is None else f"serial={self._asked}"
            raise DeviceError(f"{asked} is needed; adb at {self._server.address} knows {known}")
        (serial,) = serials
        if phones[serial] == "offline":
            self._server.reconnect_offline()
        elif phones[serial] != "device":
            raise UnusableError(f"phone {serial} is {phones[serial]}", next_step(phones[serial]))
        return Phone(self._server, serial, patience_s=self._patience_s)

    @cached_property
    def _facts(self) -> facts.Facts:
        return self._phone.persist(lambda: facts.facts(self._phone.run))

    @cached_property
    def _chosen(self) -> tuple[str, list[int]]:
        cluster, cores = self._facts.choose(self._cores)
        if self._threads > len(cores):
            raise UsageError(f"threads={self._threads} on cores {cores} ({cluster}); take as many cores as threads")
        return cluster, cores

    @cached_property
    def _program(self) -> Program:
        abi = self._facts.abi
        if abi not in ABIS:
            raise DeviceError(f"phone {self._phone.serial} is {abi or 'of no known ABI'}; supported: {', '.join(ABIS)}")
        return Program.installed(self._phone, Tools.of(abi, self._folder))

    @cached_property
    def _settings(self) -> PhoneSettings:
        cores = self._chosen[1]
        return PhoneSettings(
            threads=self._threads,
            batch=self._batch,
            optimisation=self._optimisation,
            sentinel=self._sentinel,
            timed_cores=tuple(cores),
            idle_cores=tuple(core for core in self._facts.cores if core not in cores) or tuple(cores),
            state_files={
                "frequency": f"/sys/devices/system/cpu/cpu{cores[0]}/cpufreq/scaling_cur_freq",
                "temperature": self._facts.temperature_file,
                "battery": self._facts.battery_file,
            },
            emulated=self._facts.emulated,
            duty_ms=1000 * self._duty["duty_s"],
            rest_ms=1000 * self._duty["rest_s"],
            cool_within=self._duty["cool_within"],
            max_pause_s=self._max_pause_s,
            load_s=self._load_s,
        )


DEVICE = AndroidDevice
