"""A farm's folder: what is written, for whose eyes, and what is refused."""

import json
import shutil
import stat
import tomllib

import bcrypt
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from tempograd.errors import InputRefusedError, StoreError, UnknownNameError, UsageError
from tempograd.farm.agent.command import run as agent
from tempograd.farm.connection import read_access
from tempograd.farm.server import server
from tempograd.farm.server.credentials import new_seed, public_key
from tempograd.farm.server.folder import Farm


@pytest.fixture
def farm(tmp_path):
    return Farm.create(tmp_path / "farm", hosts=["farm.lan", "192.0.2.7"])


def test_every_file_is_for_its_owner_only(farm):
    farm.add("one", "pi5")
    paths = [farm.folder, *farm.folder.rglob("*")]
    assert {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_file() and p.name != ".lock"} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_dir()} == {0o700}


def test_nothing_is_overwritten(farm):
    before = {p: p.read_bytes() for p in farm.folder.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="not empty"):
        Farm.create(farm.folder)
    assert {p: p.read_bytes() for p in farm.folder.rglob("*") if p.is_file()} == before


def test_the_authority_signs_the_server_for_its_names_only(farm):
    ca = x509.load_pem_x509_certificate((farm.folder / "ca.pem").read_bytes())
    certificate = x509.load_pem_x509_certificate((farm.folder / "server.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert [str(name.value) for name in names] == ["farm.lan", "192.0.2.7", "localhost", "127.0.0.1"]
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)


def test_an_agent_is_given_what_it_needs_and_no_more(farm):
    carried = farm.add("pi5-07", "pi5-ort-cpu4")
    assert sorted(p.name for p in carried.iterdir()) == ["agent.nk", "agent.toml", "ca.pem"]
    url, access = read_access(carried / "agent.toml")
    assert (url, access.agent) == ("tls://farm.lan:4222", "pi5-07")
    assert access.ca.read_text() == (farm.folder / "ca.pem").read_text()
    assert public_key(access.nkey.read_text().strip()) == farm.agents["pi5-07"].key
    seed = access.nkey.read_text().strip()
    kept = [p for p in farm.folder.rglob("*") if p.is_file() and seed in p.read_text(errors="replace")]
    assert kept == [carried / "agent.nk"]


def test_an_agent_with_a_key_of_its_own_is_given_no_secret(farm):
    key = public_key(new_seed())
    carried = farm.add("one", "pi5", key=key)
    assert sorted(p.name for p in carried.iterdir()) == ["agent.toml", "ca.pem"]
    assert farm.agents["one"].key == key
    with pytest.raises(UsageError, match="somebody else"):
        farm.add("two", "pi5", key=key)
    with pytest.raises(UsageError, match="somebody else"):
        farm.add("two", "pi5", key=farm.campaign_key)


def test_a_device_makes_a_key_that_it_keeps(farm, capsys):
    path = farm.folder / "agent.nk"
    assert agent(["--new-key", str(path)]) == 0
    key = capsys.readouterr().out.strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key == public_key(path.read_text().strip())
    farm.add("one", "pi5", key=key)
    assert agent(["--new-key", str(path)]) == 2
    assert "not overwritten" in capsys.readouterr().err


def test_a_password_is_kept_as_a_hash(farm):
    user, password = (farm.add("one", "pi5", password=True) / "agent.nk").read_text().split()
    assert user == "one"
    assert len(password) >= 43  # 256 bits
    assert bcrypt.checkpw(password.encode(), farm.agents["one"].password_hash.encode())
    assert password not in (farm.folder / "accounts.conf").read_text() + (farm.folder / "agents.json").read_text()


@pytest.mark.parametrize("key", ["", "U", "SUAB", "A" * 56, "UC32TUL46CU53OS5IIN67MXEERF3PRQCLD4U4BY7LM5T6OHDPJTAG358"])
def test_a_key_that_is_none_is_refused(farm, key):
    with pytest.raises(UsageError, match="public key"):
        farm.add("one", "pi5", key=key)
    assert farm.agents == {}


@pytest.mark.parametrize("name", ["", "all", "a.b", "*", ">", "A", "a b", "a" * 41, "../x", 'a"', "é"])
def test_a_name_that_would_widen_a_subject_is_refused(farm, name):
    with pytest.raises(UsageError, match="agent"):
        farm.add(name, "pi5")
    if name != "all":
        with pytest.raises(UsageError, match="class"):
            farm.add("one", name)
    assert farm.agents == {}


def test_an_agent_is_added_once_and_revoked_whole(farm):
    farm.add("one", "pi5")
    with pytest.raises(UsageError, match="revoke one first"):
        farm.add("one", "pi5")
    first = farm.revoke("one")
    assert "one" not in (farm.folder / "accounts.conf").read_text()
    with pytest.raises(UnknownNameError, match="'one'"):
        farm.revoke("one")
    farm.add("one", "pixel8")
    assert farm.agents["one"].key != first.key
    assert (farm.agents["one"].device_class, list(farm.agents)) == ("pixel8", ["one"])


def test_a_command_that_was_stopped_halfway_is_made_good(farm):
    farm.add("one", "pi5")
    (farm.folder / "accounts.conf").write_text("{}")
    farm.refresh()
    assert "tg.result.*.one" in (farm.folder / "accounts.conf").read_text()


def test_plain_text_and_other_machines_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="plain text"):
        Farm.create(tmp_path / "farm", hosts=["farm.lan"], plain=True)
    assert not (tmp_path / "farm").exists()
    farm = Farm.create(tmp_path / "farm", plain=True)
    assert farm.access[0] == "nats://127.0.0.1:4222"
    assert farm.listen == ("127.0.0.1", 4222)
    assert tomllib.loads((farm.add("one", "pi5") / "agent.toml").read_text())["queue"].keys() == {"url", "key"}


def test_damage_is_named(farm, tmp_path):
    for text in ("", "[]", '{"schema": "tempograd.farm/9", "agents": []}', '{"schema": "tempograd.farm/1"}'):
        (farm.folder / "agents.json").write_text(text)
        with pytest.raises(InputRefusedError, match=r"agents\.json"):
            farm.add("one", "pi5")
    with pytest.raises(InputRefusedError, match="tempograd farm init"):
        Farm(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Farm.create(tmp_path / "file" / "farm")


@pytest.mark.real
def test_each_server_takes_the_configuration_that_is_meant_for_it(nats_program, tmp_path):
    version = server.server_version(nats_program)
    for plain in (False, True):
        farm = Farm.create(tmp_path / str(plain), plain=plain, version=version)
        farm.add("one", "pi5")
        farm.add("two", "pi5", password=True)
        server.check_configuration(nats_program, farm.configuration)
        assert farm.syncs == (version >= (2, 10, 0))
        text = farm.configuration.read_text()
        assert not any(f"\n{word}" in text for word in ("mqtt", "websocket", "http", "leafnodes", "cluster", "no_auth"))
        users = [u for a in json.loads((farm.folder / "accounts.conf").read_text()).values() for u in a["users"]]
        assert all({"nkey"} <= user.keys() or {"user", "password"} <= user.keys() for user in users)
        shutil.rmtree(farm.folder)
