"""How one reaches the farm's server: what its files may say, and what would give something away."""

import pytest

from tempograd.errors import DeviceError, InputRefusedError, UsageError
from tempograd.farm.connection import open_queue, read_access
from tempograd.farm.server.folder import Farm

CLASS = "pi5"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nats://192.0.2.1:4222", "plain text"),
        ("nats://farm.lan:4222", "plain text"),
        ("nats://name:secret@127.0.0.1:4222", "address"),
        ("ws://127.0.0.1:4222", "allowed"),
    ],
)
def test_an_address_that_would_give_something_away_is_refused(url, message):
    with pytest.raises(UsageError, match=message) as caught:
        open_queue(url)
    assert "secret" not in str(caught.value)


def test_a_key_that_others_may_read_is_refused(tmp_path):
    farm = Farm.create(tmp_path / "farm")
    path = farm.add("one", CLASS) / "agent.nk"
    path.chmod(0o640)
    with pytest.raises(InputRefusedError, match="chmod 600"):
        read_access(path.with_name("agent.toml"))


def written(folder, content, key="agent.nk", secret="SUAB\n"):
    (folder / key).write_text(secret)
    (folder / key).chmod(0o600)
    path = folder / "agent.toml"
    path.write_text(content)
    return path


def test_files_are_named_relative_to_the_file_that_names_them(tmp_path):
    path = written(tmp_path, 'name = "a1"\n[queue]\nurl = "tls://farm.lan"\nca = "ca.pem"\nkey = "agent.nk"\n')
    url, access = read_access(path)
    assert url == "tls://farm.lan"
    assert (access.ca, access.nkey, access.agent) == (tmp_path / "ca.pem", tmp_path / "agent.nk", "a1")
    assert access.user == access.password == ""


def test_a_key_may_be_a_name_and_a_password_which_is_never_shown(tmp_path):
    path = written(tmp_path, '[queue]\nurl = "tls://farm.lan"\nkey = "agent.nk"\n', secret="one s3cret\n")
    _, access = read_access(path)
    assert (access.user, access.password, access.nkey, access.agent) == ("one", "s3cret", None, None)
    assert "s3cret" not in repr(access)


@pytest.mark.parametrize(
    ("content", "secret", "told"),
    [
        ("", "", r"no readable table \[queue\]"),
        ("[queue", "", r"no readable table \[queue\]"),
        ('[queue]\nurl = "x"\nport = "1"\n', "", "allowed in .* are texts for ca, key, url"),
        ('[queue]\nurl = "x"\nca = 1\n', "", "allowed in .* are texts"),
        ('[queue]\nca = "ca.pem"\n', "", r'has no url, such as "tls://farm.lan:4222"'),
        ('[queue]\nurl = "x"\nkey = "agent.nk"\n', "one two three", "neither an nkey's seed"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, content, secret, told):
    with pytest.raises(InputRefusedError, match=told):
        read_access(written(tmp_path, content, secret=secret))


def test_a_key_that_is_not_there_is_an_error_of_the_device(tmp_path):
    with pytest.raises(DeviceError, match="credential cannot be read"):
        read_access(written(tmp_path, '[queue]\nurl = "x"\nkey = "gone.nk"\n'))
