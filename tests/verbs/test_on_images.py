"""Images with latencies of a table: what the table knows passes or fails, what it does not is a prediction only."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.verbs.report import report
from tempograd.verbs.search import search

SPACE = registry.create("space", "nasbench201:cells=1,width=4,classes=10,size=16,channels=1")
NETWORKS = [a for a in SPACE.sample(60, np.random.default_rng(7)) if SPACE.is_connected(a)]


def true_ms(architecture):
    return 1.0 + sum(0.5 * (choice == 3) + 0.2 * (choice == 2) for choice in architecture.choices)


def table(path, networks):
    rows = [f"{SPACE.format(a)},{true_ms(a)}" for a in networks]
    path.write_text("\n".join(["arch_str,lat_ms", *rows]))
    return f"table:{path}:lat_ms"


def find(latency, out, **more):
    fixed = {"method": "random_search", "queries": 1, "target_ms": 2.6, "train_epochs": 1, "random": 1}
    return search(SPACE.spec, None, out, latency=latency, task="synthetic:limit=100", **(fixed | more))


@pytest.mark.slow
@pytest.mark.promise(2)
def test_a_network_that_the_table_lacks_is_no_pass_until_the_table_has_it(tmp_path):
    latency, out = table(tmp_path / "few.csv", NETWORKS), tmp_path / "out"
    done = find(latency, out)
    measured = done.document["found"]["measured"]
    assert (done.exit_code, done.document["verdict"]) == (3, "unreliable")
    assert (measured["verdict"], measured["path"]) == ("predicted", "told")
    assert measured["low_ms"] < measured["latency_ms"] < measured["high_ms"] <= 2.6
    assert "UNRELIABLE: told" in done.text
    assert "is a prediction, until it is measured" in done.text
    assert done.following == f"tempograd measure {out / 'network.onnx'} --device local"
    again = find(latency, out)
    assert (again.exit_code, again.document["found"]) == (3, done.document["found"])
    report(out, tmp_path / "page.html")
    assert "an estimate, not a measurement" in (tmp_path / "page.html").read_text()

    found = SPACE.from_key(done.document["found"]["key"])
    assert found not in NETWORKS
    told = find(table(tmp_path / "more.csv", [*NETWORKS, found]), tmp_path / "more")
    assert told.document["found"]["key"] == found.key
    assert told.document["found"]["measured"]["latency_ms"] == pytest.approx(true_ms(found))
    assert (told.exit_code, told.document["verdict"]) == (0, "pass")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"device": "simulated"}, r"--latency table:\S+ and --device: .*nothing is timed; leave one"),
        ({"plan": "quick", "cost": "flops"}, "and --plan, --cost: "),
        ({"latency": "run.db"}, "--latency run.db; allowed: table:FILE:COLUMN"),
    ],
)
def test_what_would_not_be_heeded_is_refused_before_any_work(tmp_path, given, told):
    fixed = {"latency": "table:t.csv:lat_ms", "target_ms": 1.0}
    with pytest.raises(UsageError, match=told):
        search(SPACE.spec, None, tmp_path / "out", **(fixed | given))
    assert not (tmp_path / "out").exists()
