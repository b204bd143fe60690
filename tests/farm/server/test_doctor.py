"""What would make a farm safer: each finding comes with the command that does it; a farm that is down is told too."""

from datetime import UTC, datetime, timedelta

import pytest

from tempograd.farm.server import doctor
from tempograd.farm.server.folder import Farm


@pytest.fixture
def farm(tmp_path, free_port):
    return Farm.create(tmp_path / "farm", port=free_port, plain=True)


@pytest.fixture
def reachable(tmp_path, free_port):
    return Farm.create(tmp_path / "reachable", hosts=["farm.lan"], port=free_port)


def test_a_farm_that_is_down_is_told_with_how_it_comes_up(farm):
    *good, last = doctor.examine(farm)
    assert {finding.level for finding in good} <= {"good", "advice"}
    assert (last.topic, last.level) == ("server", "problem")
    assert last.remedy == f"tempograd farm up {farm.folder}"


def test_with_a_key_that_others_may_read_nobody_logs_in(farm, monkeypatch):
    farm.configuration.chmod(0o644)
    monkeypatch.setattr(doctor, "greet", lambda _: pytest.fail("it must not be asked"))
    files = doctor.examine(farm)[0]
    assert files.level == "problem"
    assert files.remedy == f"chmod -R go= {farm.folder}"


def test_a_certificate_that_ends_soon_is_a_problem(reachable, farm, monkeypatch):
    assert doctor._certificate(farm).found.startswith("none is needed")
    assert doctor._certificate(reachable).level == "good"

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) + timedelta(days=days)

    days = int(doctor._certificate(reachable).found.split()[2]) - doctor.SOON_DAYS + 2
    monkeypatch.setattr(doctor, "datetime", Later)
    finding = doctor._certificate(reachable)
    assert finding.level == "problem"
    assert "tempograd farm init NEW" in finding.remedy


@pytest.mark.parametrize(
    ("version", "alone", "level"),
    [("2.14.3", True, "good"), ("2.9.1", True, "advice"), ("2.9.1", False, "problem"), ("?", True, "unknown")],
)
def test_an_old_server_is_a_problem_where_others_reach_it(farm, reachable, version, alone, level):
    assert doctor._version(farm if alone else reachable, version).level == level


def test_plain_text_is_good_on_this_machine_alone(farm, reachable):
    assert doctor._encryption(farm, False).level == "good"
    assert doctor._encryption(reachable, True).level == "good"
    assert doctor._encryption(reachable, False).level == "problem"
