"""The phone's runner is built by one compiler line, beside an ONNX Runtime taken from where it is."""

from __future__ import annotations

import sys
import zipfile
from types import SimpleNamespace

import pytest

from tempograd.devices.android.build import ABIS, Tools, build
from tempograd.errors import DeviceError, InputRefusedError, UsageError


def test_the_library_comes_out_of_an_archive_too(tmp_path):
    archive = tmp_path / "onnxruntime-android.aar"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("jni/arm64-v8a/libonnxruntime.so", b"for a phone")
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; echo program > "$2"\n')
    compiler.chmod(0o755)
    tools = build("arm64-v8a", str(compiler), archive, tmp_path / "tools")
    assert tools.library.read_bytes() == b"for a phone"
    with pytest.raises(InputRefusedError, match="x86_64"):
        build("x86_64", str(compiler), archive, tmp_path / "tools")


def test_building_refuses_what_it_cannot_do(tmp_path):
    library = tmp_path / "lib.so"
    with pytest.raises(UsageError, match=", ".join(ABIS)):
        build("mips", "g++", library, tmp_path)
    with pytest.raises(InputRefusedError, match="cannot read ONNX Runtime"):
        build("x86_64", "g++", library, tmp_path)
    library.write_bytes(b"")
    with pytest.raises(DeviceError, match="cannot start no-compiler"):
        build("x86_64", "no-compiler", library, tmp_path)
    with pytest.raises(DeviceError, match=r"false .* failed"):
        build("x86_64", "false", library, tmp_path)
    with pytest.raises(DeviceError, match="build them once"):
        Tools.of("x86_64", tmp_path)


def test_the_tools_are_looked_for_by_abi(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match=r"tempograd-runner and libonnxruntime.so for x86_64 not in .*android/x86_64"):
        Tools.of("x86_64")


def test_called_wrongly_it_says_how_and_writes_nothing(tmp_path, monkeypatch, capsys):
    from tempograd.devices.android import build as module

    monkeypatch.setattr(sys, "argv", ["build", "x86_64"])
    monkeypatch.setattr(module, "__spec__", SimpleNamespace(name="tempograd.devices.android.build"))
    with pytest.raises(SystemExit, match=r"usage: python -m .*build arm64-v8a\|x86_64 COMPILER LIBRARY"):
        module.main()
    monkeypatch.setattr(sys, "argv", ["build", "mips", "g++", str(tmp_path / "no.so")])
    with pytest.raises(SystemExit, match="abi='mips'; allowed"):
        module.main()
    assert not list(tmp_path.iterdir())
