import re

import pytest

from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.errors import UsageError
from tempograd.profiler.campaign import run
from tempograd.profiler.plan import QUICK
from tempograd.verbs.collect import _drift_text, _text, collect, exit_code, failures, judged, repeated
from tempograd.verbs.fit import fit
from tempograd.verbs.outcome import PARTIAL, UNRELIABLE

from ..profiler.conftest import ScriptedDevice, items

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
FOUR = "multibranch:width=4,modules=1,depth=1,size=12"  # of four networks


def test_a_run_without_a_label_is_never_called_reliable(tmp_path):
    done = collect(SPACE, tmp_path / "s.db", device="simulated:crash=1", count=4)
    assert done.exit_code == PARTIAL
    assert done.document["labels"] == 0
    assert "reliable" not in done.text
    assert "no label" in done.text
    assert "predictor can be learnt" not in done.text


@pytest.mark.parametrize("whole", ["every", "operations"])
@pytest.mark.parametrize(
    ("given", "told"),
    [({"count": 5}, "--count 5"), ({"count": 300}, "--count 300"), ({"design": True}, "--design"),
     ({"count": 5, "design": True}, "--count 5 and --design")],
)  # fmt: skip
def test_all_there_is_leaves_nothing_to_choose(whole, given, told, tmp_path):
    with pytest.raises(UsageError, match=rf"^{told} beside --{whole}, .*leave out"):
        collect(SPACE, tmp_path / "s.db", device="simulated", **{whole: True}, **given)


def test_all_there_is_is_measured_where_nothing_chooses(tmp_path):
    for whole in ("every", "operations"):
        done = collect(FOUR, tmp_path / "s.db", device="simulated", dry_run=True, **{whole: True})
        assert done.document["jobs"] >= 4


@pytest.mark.slow
@pytest.mark.fault(17)
def test_noise_is_told_calmly_with_what_it_means_and_what_to_do(tmp_path):
    done = collect(SPACE, tmp_path / "s.db", device="simulated:disturbed=0.8", count=20, plan="quick")
    assert done.exit_code == UNRELIABLE
    assert "NOT RELIABLE" not in done.text
    assert "measures the network that it finds anew in three processes" in done.text
    assert "run the same command again" in done.text
    again = collect(SPACE, tmp_path / "s.db", device="simulated:disturbed=0.8", count=20, plan="quick")
    assert again.document["again"] == again.document["measured"] > 0  # the advice does something


@pytest.mark.slow
def test_a_plan_that_is_advised_is_one_that_the_device_meets(tmp_path):
    device = "simulated:noise=0.02"
    strict = collect(SPACE, tmp_path / "s.db", device=device, count=20, plan="precise")
    assert strict.exit_code == UNRELIABLE
    assert "--plan quick" in strict.text
    assert collect(SPACE, tmp_path / "s.db", device=device, count=20, plan="quick").exit_code == 0


@pytest.mark.slow
def test_the_default_plan_is_one_that_an_ordinary_machine_meets(tmp_path):
    device = "simulated:noise=0.02"
    assert collect(SPACE, tmp_path / "t.db", device=device, count=30, plan="standard").exit_code == UNRELIABLE
    done = collect(SPACE, tmp_path / "s.db", device=device, count=30)
    assert done.exit_code == 0
    assert "reliable: nothing speaks against these numbers" in done.text


DOUBT = "two processes disagree by 25.9% (standard deviation, 1 pair), more than the plan's 5%"
FAR = {"labels": 3, "pairs": 0, "repeatability": None, "disagreeing": ["a"], "doubts": ["far"], "interrupted": False}


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("told", "judgement"),
    [
        ({"pairs": 1, "repeatability": 0.01}, "nothing speaks against these numbers, but only 1 of them was timed"),
        ({"pairs": 4, "repeatability": 0.01}, "only 4 of them were timed twice: from 5, as of 29, it is said"),
        ({"pairs": 5, "repeatability": 0.01}, "reliable: nothing speaks against these numbers"),
        ({"pairs": 1, "repeatability": 0.259, "doubts": [DOUBT]}, DOUBT),
    ],
)
def test_few_pairs_call_nothing_reliable(told, judgement):
    document = FAR | {"disagreeing": [], "doubts": []} | told
    text = "\n".join([*repeated(document), *judged(document)])
    assert judgement in text
    assert ("reliable:" in text) == (told["pairs"] == 5)


def test_two_labels_of_one_network_too_far_apart_are_named_and_left_out(tmp_path):
    """Of a device that is 1.4 times slower in its last process, with the sentinel unmoved."""
    with Store(tmp_path / "s.db", write=True) as store:
        summary = run(Slowed(), items(3), QUICK, store, batch_size=1)
        rows = LatencyDataset.from_store(store).rows
    (apart,) = summary.disagreeing
    assert summary.verdicts == {"ok": 2, "quarantined": 2}
    assert [row.key for row in rows if row.verdict == "quarantined"] == [apart]
    assert "1 of 1 networks that were timed twice have labels too far apart" in summary.doubts[0]
    assert exit_code(summary) == UNRELIABLE
    assert failures(summary) == 0
    assert "left out as quarantined: a" in "\n".join(repeated(FAR))


class Slowed(ScriptedDevice):
    def __init__(self):
        super().__init__(on_round=lambda session, key: setattr(self, "at_work", session.number))

    def level_ms(self, key):
        return super().level_ms(key) * (1.0 if self.at_work < 3 else 1.4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "count", "following"),
    [("simulated:crash=1", 3, "tempograd doctor"), ("simulated", 3, "--count 200"), ("simulated", 30, "tempograd fit")],
)
def test_the_next_command_fits_what_was_measured(device, count, following, tmp_path):
    assert following in collect(SPACE, tmp_path / "s.db", device=device, count=count).following


@pytest.mark.parametrize(("count", "following"), [(2, "--count 4 "), (4, "tempograd export")])
def test_of_a_space_of_four_networks_no_more_are_asked_for(count, following, tmp_path):
    assert following in collect(FOUR, tmp_path / "s.db", device="simulated", count=count).following


@pytest.mark.parametrize("plan", ["quick", "standard"])
def test_a_dry_run_names_no_verdict(plan, tmp_path):
    assert "reliable" not in collect(SPACE, tmp_path / "s.db", device="simulated", plan=plan, dry_run=True).text


def test_a_store_that_holds_more_is_told_apart_from_what_was_asked_for_and_nothing_left_is_no_pace(tmp_path):
    store, device = tmp_path / "s.db", "simulated:seed=1,slow=1.0"
    first = collect(SPACE, store, device=device, count=12)
    assert re.search(r"this run: 15 in \d+ s \(\d+ an hour\)", first.text)
    done = collect(SPACE, store, device=device, count=6)
    held = sum(done.document["verdicts"].values())
    asked = done.document["networks"] + done.document["duplicates"]
    assert (done.document["measured"], held > asked) == (0, True)
    assert f"in {store}: there are {held} of this plan and seed: " in done.text
    assert "this run: nothing was left to measure" in done.text
    assert "an hour" not in done.text
    assert "reference state" not in done.text


@pytest.mark.parametrize(("seconds", "told"), [(5.0, "over 23 min of its own clock: "), (1400.0, "over 23 min: ")])
def test_a_clock_of_the_devices_own_is_named(seconds, told):
    drift = {"minutes": [0.0, 23.0], "sentinel_ms": [1.0, 1.0], "slow_share": 0.0}
    assert told in _drift_text(drift, seconds)


def test_a_dry_run_counts_what_the_store_has_not(tmp_path):
    store, how = tmp_path / "s.db", {"device": "simulated:seed=1", "plan": "quick"}
    assert collect(FOUR, store, count=4, dry_run=True, **how).document["jobs"] == 5
    collect(FOUR, store, count=2, **how)
    left = collect(FOUR, store, count=4, dry_run=True, **how)
    assert left.document["jobs"] == collect(FOUR, store, count=4, **how).document["measured"] < 5
    done = collect(FOUR, store, count=4, dry_run=True, **how)
    assert done.document["jobs"] == done.document["expected_seconds"] == 0
    assert "would measure 0 of 5 networks" in done.text
    assert f"{store} has the others" in done.text
    assert collect(FOUR, store, count=4, seed=1, dry_run=True, **how).document["jobs"] == 5  # of another campaign


def test_a_dry_run_asks_for_no_more_networks_than_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"^5 networks asked; .* has only 4$"):
        collect(FOUR, tmp_path / "s.db", device="simulated", count=5, dry_run=True)


@pytest.mark.slow
def test_the_next_command_names_what_is_meant_in_a_store_of_several(tmp_path):
    store = tmp_path / "s.db"
    collect(FOUR, store, device="simulated:seed=1", count=4)
    first = collect(SPACE, store, device="simulated:seed=1", count=24)
    assert f"--space {SPACE}" in first.following.replace("classes=10,", "")
    assert "--device" not in first.following
    second = collect(SPACE, store, device="simulated:seed=2", count=24)
    space, device = re.search(r"--space (\S+) --device (\w+) ", second.following).groups()
    assert fit(store, tmp_path / "predictor", space=space, device=device).document["device"] == device


def test_where_nothing_was_measured_nothing_is_said_of_drift(tmp_path):
    document = collect(FOUR, tmp_path / "s.db", device="simulated", count=4).document
    assert "the device over" in _text(document)
    assert "the device over" not in _text(document | {"measured": 0})
