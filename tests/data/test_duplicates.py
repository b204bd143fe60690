from dataclasses import replace

import pytest

from tempograd.data.duplicates import usual_duplicates
from tempograd.data.store import Store
from tempograd.measurement.repeatability import AGAIN, spread
from tempograd.profiler.plan import QUICK
from tempograd.verbs.audit import audit
from tempograd.verbs.collect import collect
from tempograd.verbs.export import export
from tempograd.verbs.fit import fit

from .conftest import keep, make

SMALL = "nasbench201:cells=1,width=4,size=8,channels=1"


@pytest.mark.slow
def test_collect_audit_export_and_fit_tell_one_repeatability(tmp_path):
    """Networks that an audit times again are no blind duplicates: they lie at another time, and were chosen."""
    path, device = tmp_path / "s.db", "simulated:seed=1,process_noise=0.02"
    collected = collect(SMALL, path, device=device, count=60).document
    for seed in (0, 1):
        audited = audit(path, device=device, count=8, plan="quick", seed=seed).document
    exported = export(path, tmp_path / "set").document
    fitted = fit(path, tmp_path / "p", model="transfer").document
    (told,) = (check["found"] for check in audited["checks"] if check["check"] == "run.repeatability")
    assert told == f"{collected['repeatability']:.1%} from {collected['pairs']} pairs"
    for other in (exported, fitted):
        assert other["repeatability"] == pytest.approx(collected["repeatability"], rel=0.02)


def test_duplicates_are_of_one_campaign_and_were_not_chosen(tmp_path, fingerprint):
    one, two, three = "0.0.0.0.1.0", "0.0.0.0.2.0", "0.0.0.0.3.0"
    with Store(tmp_path / "s.db", write=True) as store:
        keep(store, fingerprint, make(one, [1.0] * 6, fingerprint), make(two, [1.0] * 6, fingerprint))
        keep(store, fingerprint, make(one, [1.2] * 6, fingerprint), seed=1)  # of another campaign
        keep(store, fingerprint, replace(make(two, [1.3] * 6, fingerprint), replicate=AGAIN))  # for its noise
        chosen = store.begin(make(three, [1.0], fingerprint).space, fingerprint, QUICK.record(0), 0, purpose="verify")
        store.append(chosen, *(make(three, [y] * 6, fingerprint, replicate=n) for n, y in enumerate((1.0, 1.4))))
        space = make(one, [1.0], fingerprint).space
        assert usual_duplicates(store, space, fingerprint.id) == []
        assert set(store.blind_campaigns(space, fingerprint.id)) == {""}
        campaign = keep(store, fingerprint, make(one, [1.02] * 6, fingerprint, replicate=1))
        (pair,) = usual_duplicates(store, space, fingerprint.id)
        assert pair.key == one
        assert spread([pair]) == pytest.approx(0.014, rel=0.05)
        assert usual_duplicates(store, space, fingerprint.id, campaign) == [pair]
        assert usual_duplicates(store, space, fingerprint.id, "another") == []
