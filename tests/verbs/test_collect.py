import pytest

from tempograd.verbs.collect import collect
from tempograd.verbs.outcome import PARTIAL, UNRELIABLE

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"


def test_a_run_without_a_label_is_never_called_reliable(tmp_path):
    done = collect(SPACE, tmp_path / "s.db", device="simulated:crash=1", count=4)
    assert done.exit_code == PARTIAL
    assert done.document["labels"] == 0
    assert "reliable" not in done.text
    assert "no label" in done.text
    assert "predictor can be learnt" not in done.text


@pytest.mark.fault(17)
def test_noise_is_told_calmly_with_what_it_means_and_what_to_do(tmp_path):
    done = collect(SPACE, tmp_path / "s.db", device="simulated:disturbed=0.8", count=20, plan="quick")
    assert done.exit_code == UNRELIABLE
    assert "NOT RELIABLE" not in done.text
    assert "measures the network that it finds anew in three processes" in done.text
    assert "run the same command again" in done.text
    again = collect(SPACE, tmp_path / "s.db", device="simulated:disturbed=0.8", count=20, plan="quick")
    assert again.document["again"] == again.document["measured"] > 0  # the advice does something


def test_a_plan_that_is_advised_is_one_that_the_device_meets(tmp_path):
    device = "simulated:noise=0.02"
    strict = collect(SPACE, tmp_path / "s.db", device=device, count=20, plan="precise")
    assert strict.exit_code == UNRELIABLE
    assert "--plan quick" in strict.text
    assert collect(SPACE, tmp_path / "s.db", device=device, count=20, plan="quick").exit_code == 0


def test_the_default_plan_is_one_that_an_ordinary_machine_meets(tmp_path):
    device = "simulated:noise=0.02"
    assert collect(SPACE, tmp_path / "t.db", device=device, count=30, plan="standard").exit_code == UNRELIABLE
    done = collect(SPACE, tmp_path / "s.db", device=device, count=30)
    assert done.exit_code == 0
    assert "reliable: nothing speaks against these numbers" in done.text


@pytest.mark.parametrize(
    ("device", "count", "following"),
    [("simulated:crash=1", 3, "tempograd doctor"), ("simulated", 3, "--count 200"), ("simulated", 30, "tempograd fit")],
)
def test_the_next_command_fits_what_was_measured(device, count, following, tmp_path):
    assert following in collect(SPACE, tmp_path / "s.db", device=device, count=count).following


@pytest.mark.parametrize(("count", "following"), [(2, "--count 4 "), (4, "tempograd export")])
def test_of_a_space_of_four_networks_no_more_are_asked_for(count, following, tmp_path):
    four = "multibranch:width=4,modules=1,depth=1,size=12"
    assert following in collect(four, tmp_path / "s.db", device="simulated", count=count).following


@pytest.mark.parametrize("plan", ["quick", "standard"])
def test_a_dry_run_names_no_verdict(plan, tmp_path):
    assert "reliable" not in collect(SPACE, tmp_path / "s.db", device="simulated", plan=plan, dry_run=True).text
