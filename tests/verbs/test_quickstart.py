import pytest

from tempograd.verbs import quickstart as quickly
from tempograd.verbs.outcome import MISSED, UNRELIABLE

NOISY = ("simulated:disturbed=0.8", "simulated:disturbed=1")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    space = "nasbench201:cells=1,width=4,size=8,channels=1"
    for name, value in {
        "SPACE": space,
        "COUNT": 60,
        "EPOCHS": 1,
        "TRAIN_EPOCHS": 1,
        "FINALISTS": 1,
        "RANDOM": 0,
    }.items():
        monkeypatch.setattr(quickly, name, value)


@pytest.mark.slow
@pytest.mark.fault(17)
@pytest.mark.parametrize("device", NOISY)
def test_a_noisy_machine_ends_in_a_verdict(device, tmp_path):
    done = quickly.quickstart(tmp_path / "q", device=device)
    assert done.exit_code in {0, UNRELIABLE, MISSED}
    assert (tmp_path / "q" / "report.html").is_file()
    assert done.document["fit"]["networks"] == 60
    assert done.text.count("This machine was") == 1
    assert "NOT" not in done.text


def told(verdict, doubts=(), processes=("ok", "ok", "ok"), of_all="ok"):
    measured = {"verdict": of_all, "processes": [{"verdict": each} for each in processes]}
    return list(quickly._noise({"doubts": doubts}, {"verdict": verdict, "found": {"measured": measured}}))


def test_noise_is_one_sentence_on_the_number_that_counts_and_what_to_do():
    assert told("pass") == []
    (busy,) = told("unreliable", processes=("noisy",) * 6)
    assert "give the same command again" in busy
    (not_quiet,) = told("pass", processes=("noisy", "ok", "ok", "ok"))
    assert "rests on the 3 of 4 processes" in not_quiet
    assert told("fail", doubts=["12 of 60 labels met the plan's 5%"])
    (noisy,) = told("pass", processes=("noisy",) * 6, of_all="noisy")
    assert "0 of 6 processes that timed the final network were ok" in noisy
    assert "rests on" not in noisy
    assert "the whole interval is within the target" in noisy
