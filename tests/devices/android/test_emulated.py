"""The runner built for aarch64 and run under emulation: it shows that it works there, and nothing of how fast."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tempograd.devices.android.build import build
from tempograd.registry import create

from .fake_adb import FakePhone, FakeServer

COMPILER, QEMU = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")
LIBRARY = os.environ.get("TEMPOGRAD_ONNXRUNTIME_AARCH64", "")
SYSROOT = Path("/usr/aarch64-linux-gnu/lib")
CPUINFO = """processor\t: {}
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid asimdrdm
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd0b
CPU revision\t: 0

"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(
        not (COMPILER and QEMU and LIBRARY),
        reason="needs g++-aarch64-linux-gnu, qemu-user-static, and TEMPOGRAD_ONNXRUNTIME_AARCH64, which names a "
        "libonnxruntime.so (docs/how-to/phone.md)",
    ),
]


def test_an_emulated_phone_computes_the_same_and_no_time_of_it_counts(tmp_path, zoo):
    tools = tmp_path / "tools"
    build("arm64-v8a", str(COMPILER), Path(LIBRARY), tools)
    sysroot = tmp_path / "sysroot"
    (sysroot / "proc").mkdir(parents=True)
    (sysroot / "lib").symlink_to(SYSROOT)
    cpuinfo = CPUINFO.format(0) + CPUINFO.format(1)
    (sysroot / "proc/cpuinfo").write_text(cpuinfo)  # without it ONNX Runtime ends in a segmentation fault
    phone = FakePhone(tmp_path / "phone", emulator=[str(QEMU), "-cpu", "cortex-a76", "-L", str(sysroot)])
    phone.properties |= {"ro.product.cpu.abi": "arm64-v8a", "ro.boot.qemu": "1"}
    (phone.root / "proc/cpuinfo").write_text(cpuinfo)
    server = FakeServer(phone)
    try:
        device = create(
            "device",
            f"android:server={server.address},tools={tools},cores=big,sentinel=overhead,cool_within=1000,rest_s=0,load_s=120",
        )
        model = zoo.conv("a")
        values = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
        with device.open() as session:
            assert session.load([model])[0].failure is None
            (found,) = session.outputs("a", [values])
            session.start_timing()
            rounds = session.run_pass(["a", "a"], burst_ms=1.0).rounds
        assert device.fingerprint.hardware["emulated"] is True
        assert device.fingerprint.hardware["abi"] == "arm64-v8a"
        assert [r.events for r in rounds] == [("emulated",)] * 2
        assert all(r.invalid("cpu", 0.0) for r in rounds)
        (wanted,) = onnxruntime.InferenceSession(model.path).run(None, {"x": values})
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    finally:
        phone.kill_loops()
        server.close()
