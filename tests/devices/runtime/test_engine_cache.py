from __future__ import annotations

import stat

import pytest

from tempograd.devices.runtime.engine_cache import EngineCache


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "cache")


def files(cache):
    return sorted(path for path in cache._folder.iterdir() if path.name != "secret")


def test_what_was_written_is_read_under_its_own_key_alone(cache):
    cache.write("a", b"engine")
    assert EngineCache(cache._folder).read("a") == b"engine"
    assert cache.read("b") is None
    cache.write("a", b"newer")
    assert cache.read("a") == b"newer"


@pytest.mark.fault(20)
@pytest.mark.parametrize("place", [0, 31, 32, -1])
def test_one_byte_changed_is_deleted_and_not_read(cache, place):
    cache.write("a", b"engine")
    (file,) = files(cache)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert cache.read("a") is None
    assert files(cache) == []


@pytest.mark.fault(20)
def test_a_file_of_another_key_or_of_another_machine_is_not_read(cache, tmp_path):
    cache.write("a", b"engine")
    (file,) = files(cache)
    cache.write("b", b"other")
    other = next(path for path in files(cache) if path != file)
    other.write_bytes(file.read_bytes())
    assert cache.read("b") is None
    elsewhere = EngineCache(tmp_path / "elsewhere")
    (elsewhere._folder / file.name).write_bytes(file.read_bytes())
    assert elsewhere.read("a") is None


def test_the_boundary_between_key_and_content_is_part_of_the_code(cache):
    assert cache._mac("ab", b"c") != cache._mac("a", b"bc")


@pytest.mark.fault(20)
@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_truncated_file_is_not_read(cache, content):
    cache.write("a", b"engine")
    files(cache)[0].write_bytes(content)
    assert cache.read("a") is None


def test_only_its_owner_may_look(cache):
    cache.write("a", b"engine")
    assert stat.S_IMODE(cache._folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in cache._folder.iterdir()} == {0o600}
