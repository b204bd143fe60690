import pytest

from tempograd.errors import InputRefusedError, UsageError
from tempograd.farm.agent.settings import Settings

TEXT = """name = "pi5-07"
[queue]
url = "tls://farm.lan:4222"
ca = "ca.pem"
[[device]]
class = "pi5-ort-cpu4"
driver = "local"
cores = [0, 1]
options = {sentinel = "overhead"}
[limits]
spool_bytes = 2_000_000
"""


def test_an_agents_file_is_read(tmp_path):
    (tmp_path / "agent.toml").write_text(TEXT)
    found = Settings.read(tmp_path / "agent.toml")
    assert (found.name, found.device_class, found.url) == ("pi5-07", "pi5-ort-cpu4", "tls://farm.lan:4222")
    assert found.device == "local:sentinel=overhead,cores=0+1,threads=2"
    assert (found.spool, found.spool_bytes) == (tmp_path / "spool", 2_000_000)
    assert (found.access.ca, found.access.agent) == (tmp_path / "ca.pem", "pi5-07")
    assert Settings.read(tmp_path / "agent.toml", device="simulated", name=None).device == "simulated"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("[limits]", "[limit]"), "limit"),
        (('name = "pi5-07"', ""), "no name"),
        (("spool_bytes = 2_000_000", "memory = 3"), "memory"),
        (("[limits]", '[[device]]\nclass = "b"\n[limits]'), "lends one device"),
    ],
)
def test_what_an_agent_does_not_know_is_refused(tmp_path, change, match):
    (tmp_path / "agent.toml").write_text(TEXT.replace(*change))
    with pytest.raises(InputRefusedError, match=match):
        Settings.read(tmp_path / "agent.toml")


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"spool_bytes": 5}, {"name": "A.b"}, {"device_class": "*"}])
def test_values_out_of_range_are_refused(tmp_path, bad):
    with pytest.raises(UsageError, match=r"allowed"):
        Settings(**{"name": "a", "device_class": "b", "url": "embedded:q", "spool": tmp_path} | bad)
