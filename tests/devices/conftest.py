"""Small networks, and a runtime that misbehaves as a network's graph name asks, installed as a plug-in would be."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

from tempograd.devices.android.build import build
from tempograd.testing.networks import Zoo

from .android.fake_adb import FakePhone, FakeServer

FAULTY = """
import os, signal, stat, subprocess, sys, time
from onnx import ModelProto
from tempograd.devices.worker.meters import EnergyMeter
from tempograd.devices.runtime.cuda import GpuLostError
from tempograd.devices.runtime.runtime import FallbackError
from tempograd.devices.runtime.engines.onnxruntime import OnnxRuntime


class Program:
    gpu_time, build_ms = None, 0.0

    def __init__(self, inner, what):
        self._inner, self._what, self._runs = inner, what, 0
        self._held, self._first = False, None
        self.providers, self.kernels = inner.providers, inner.kernels

    def run(self):
        self._runs += 1
        late = self._runs > 70
        if self._what == "segfault" and late:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._what == "hang" and late:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd="/")
            while True:
                time.sleep(1)
        if self._what == "oom" and late:
            raise MemoryError
        if self._what == "gpu_lost" and late:
            raise GpuLostError("CUDA: cudaErrorIllegalAddress; what the GPU holds is lost")
        if self._what == "talk":
            print("noise on standard output")
        if self._what == "lie" and late:
            for descriptor in range(3, 20):
                try:
                    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                        os.write(descriptor, b"\\x00\\x00\\x00\\x06[1, 2]")
                except OSError:
                    continue
        if self._what == "frozen" and late:
            time.thread_time_ns = lambda: 5
        if self._what == "doze":
            time.sleep(0.01)
        if not (self._what == "remember" and self._held):
            self._inner.run()

    def compute(self, values):
        if self._what == "remember":
            self._first = values if self._first is None else self._first
            return self._inner.compute(self._first)
        return self._inner.compute(values)

    def hold(self, held):
        self._held = held
        self._inner.hold(held)

    def invalid_output(self):
        return self._inner.invalid_output()


class Faulty(OnnxRuntime):
    def load(self, model, folder):
        what = ModelProto.FromString(model).graph.name
        if what == "abort_load":
            print("last words", file=sys.stderr, flush=True)
            os.abort()
        if what == "hang_load":
            time.sleep(600)
        if what == "metered":
            EnergyMeter.read_uj = lambda meter: (0,)
            EnergyMeter.since_mj = lambda meter, before: 1000.0
        if what == "fallback":
            raise FallbackError("nodes went elsewhere")
        return Program(super().load(model, folder), what)

    def profile(self, model, folder, *, seconds):
        if ModelProto.FromString(model).graph.name == "abort_profile":
            os.abort()
        return super().profile(model, folder, seconds=seconds)
"""


@pytest.fixture(autouse=True)
def floating_point():
    """ONNX Runtime flushes denormals in the thread that calls it: give this one its standard mode back."""
    yield
    libm = ctypes.CDLL("libm.so.6")
    libm.fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV of glibc


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path)


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the runtime that misbehaves."""
    site = tmp_path / "site"
    info = site / "faulty-1.dist-info"
    info.mkdir(parents=True)
    (site / "faulty_runtime.py").write_text(FAULTY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[tempograd.runtimes]\nfaulty = faulty_runtime:Faulty\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.delitem(__import__("sys").modules, "faulty_runtime", raising=False)
    return "faulty"


@dataclass
class Hung:
    """A phone on its server, and what ``--device`` takes for it."""

    phone: FakePhone
    server: FakeServer
    spec: str


@pytest.fixture(scope="session")
def phone_tools(tmp_path_factory) -> Path:
    """The runner, built here for here, and an ONNX Runtime that it can open."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("the phone's runner is not built: there is no C++ compiler")
    try:
        (library,) = (f for f in files("sherpa-onnx-core") or () if f.name == "libonnxruntime.so")
    except (PackageNotFoundError, ValueError):
        pytest.skip("sherpa-onnx-core, which brings a libonnxruntime.so, is not installed")
    folder = tmp_path_factory.mktemp("tools")
    build("x86_64", compiler, Path(str(library.locate())), folder)
    return folder


@pytest.fixture
def hung(phone_tools: Path, tmp_path_factory):
    """A phone whose loops really run, in a folder; what it calls cool is wide, for the machine below is shared."""
    phone = FakePhone(tmp_path_factory.mktemp("phone"))
    (phone.tmp / "bin").mkdir(parents=True)
    for tool in phone_tools.iterdir():  # already there, to save time
        digest = sha256(tool.read_bytes()).hexdigest()
        (phone.tmp / "bin" / f"{digest[:16]}-{tool.name}").hardlink_to(tool)
    server = FakeServer(phone)
    spec = f"android:serial={phone.serial},server={server.address},tools={phone_tools},rest_s=0.01,cool_within=20"
    yield Hung(phone, server, spec)
    phone.kill_loops()
    server.close()
    shutil.rmtree(phone.root)
