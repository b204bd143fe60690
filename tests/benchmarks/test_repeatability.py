"""The figures of the repeatability benchmark, on labels whose figures are known."""

import json

import numpy as np
import pytest

from tempograd import registry
from tempograd.benchmarks.repeatability import analyse, figures, load, run, said
from tempograd.data.store import Store
from tempograd.profiler.plan import QUICK, Items, Plan
from tempograd.profiler.verify import measure

SPACE = "nasbench201:cells=1,width=4,size=8"
R, N = 20, 120


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def truth(rng):
    return np.exp(rng.uniform(np.log(0.3), np.log(2), N))


def noisy(truth, sd, rng, level=1.0):
    return truth * level * (1 + sd * rng.standard_normal((R, len(truth))))


@pytest.mark.parametrize("sd", [0.01, 0.05, 0.2])
def test_known_noise_gives_known_figures(truth, rng, sd):
    labels = noisy(truth, sd, rng)
    assert figures.repeatability(labels) == pytest.approx(sd, rel=0.1)
    assert figures.worst_case(labels, truth) == pytest.approx(1.96 * sd, rel=0.1)
    assert figures.bias(labels, truth) == pytest.approx(0, abs=0.1 * sd)


def test_noise_that_a_whole_process_shares_counts_as_variation_but_moves_no_rank(truth, rng):
    labels = truth * np.exp(0.1 * rng.standard_normal((R, 1)))
    assert figures.repeatability(labels) == pytest.approx(0.1, rel=0.4)
    assert figures.rank_agreement(labels) == pytest.approx(1)
    assert figures.swapped(labels, truth) == 0


def test_a_constant_error_is_bias_and_no_variation(truth):
    labels = np.tile(1.3 * truth, (R, 1))
    assert figures.repeatability(labels) == pytest.approx(0, abs=1e-12)
    assert figures.bias(labels, truth) == pytest.approx(0.3)
    assert figures.worst_case(labels, truth) == pytest.approx(0.3)


@pytest.mark.parametrize(("width", "expected"), [(1.96, 0.95), (1.0, 0.683), (0.1, 0.08)])
def test_coverage_is_what_the_intervals_promise(truth, rng, width, expected):
    labels = noisy(truth, 0.05, rng)
    half = width * 0.05 * truth
    assert figures.coverage(labels - half, labels + half, truth) == pytest.approx(expected, abs=0.02)


def test_coverage_leaves_out_what_has_no_interval(truth):
    low, high = np.full((R, N), np.nan), np.full((R, N), np.nan)
    assert np.isnan(figures.coverage(low, high, truth))
    low[0], high[0] = truth - 1, truth + 1
    low[1], high[1] = truth + 1, np.inf
    assert figures.coverage(low, high, truth) == 0.5


def test_ranks():
    truth = np.array([1.0, 1.01, 2.0, 3.0])
    same, near, far = truth, truth[[1, 0, 2, 3]], truth[[0, 1, 3, 2]]
    assert figures.rank_agreement(np.array([same, truth[::-1]])) == -1
    assert figures.rank_agreement(np.array([same, near])) == pytest.approx(1 - 2 / 6)
    assert figures.swapped(np.array([same, near]), truth) == 0  # they differ by 1 %: no true order
    assert figures.swapped(np.array([same, far]), truth) == pytest.approx(1 / 5)
    assert figures.rank_agreement(np.array([same])) != figures.rank_agreement(
        np.array([same])
    )  # NaN: nothing to compare


def test_labels_that_are_missing_are_left_out(truth, rng):
    labels = noisy(truth, 0.05, rng)
    whole = figures.repeatability(labels)
    labels[3, ::2] = np.nan
    labels[:, 7] = np.nan
    assert figures.repeatability(labels) == pytest.approx(whole, rel=0.1)
    assert np.isnan(figures.variation(labels)[7])
    assert np.isfinite(figures.worst_case(labels, truth))
    assert np.isfinite(figures.rank_agreement(labels))


def test_the_bootstrap_interval_holds_the_figure_and_knows_its_size(truth, rng):
    value, low, high = figures.bootstrap(figures.repeatability, noisy(truth, 0.05, rng))
    assert low < value < high
    assert high - low < 0.02
    few = figures.bootstrap(figures.repeatability, noisy(truth, 0.05, rng)[:3, :5])
    assert few[2] - few[1] > high - low


def test_a_predictor_errs_as_its_labels_do(rng):
    space = registry.create("space", SPACE)
    keys = [a.key for a in space.sample(300, rng)]
    counts = space.encode([space.from_key(key) for key in keys], "pruned").reshape(300, 6, 5).sum(1)
    truth = np.exp(counts @ np.array([0.0, 0.05, 0.2, 0.5, 0.1]) - 1)
    noise = np.exp(rng.standard_normal(260))
    exact, high, bad = (
        figures.prediction_errors(
            said.predictions(SPACE, keys[40:], labels, keys[:40], models=["ridge"])["ridge"], truth[:40]
        )
        for labels in (truth[40:], 1.3 * truth[40:], truth[40:] * noise)
    )
    error, shape, tau = exact
    assert error < 0.01
    assert shape < 0.01
    assert tau > 0.95
    assert high == pytest.approx((0.3, shape, tau), abs=0.02)
    assert bad[1] > 10 * shape
    assert np.isnan(figures.prediction_errors(truth[:40], np.full(40, np.nan))).all()


def test_a_line_cut_short_is_forgotten(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"tool": "plain"}\n{"tool": "to')
    assert said.read_runs(path) == [{"tool": "plain"}]
    assert path.read_text() == '{"tool": "plain"}\n'
    assert said.read_runs(tmp_path / "none") == []


def write_model(key, directory):
    path = directory / f"{key}.onnx"
    path.write_text(key)
    return path, key


@pytest.fixture
def raw(tmp_path):
    """A folder of raw data from the simulated device, whose truth is known, and a peer that adds 20 %."""
    latencies = {f"op{i}": 0.3 * 1.15**i for i in range(14)}
    items = Items("operations", tuple(latencies), write_model)
    simulated = registry.create("device", "simulated", seed=3, latency_of=lambda model: latencies[model.key])
    folder = tmp_path / "quiet"
    folder.mkdir()
    passes = Plan("reference", 20, (6,), 0.01, 0.985, requeue=False)
    lines = []
    for replicate in range(4):
        with Store(folder / "tempograd.db", write=True) as store:
            own = measure(simulated, items, QUICK, store, seed=replicate, batch_size=14)
        with Store(folder / "reference.db", write=True) as store:
            measure(simulated, items, passes, store, seed=replicate, batch_size=14)
        fields = {"wall_s": 0.1, "low_ms": None, "high_ms": None, "path": ""}
        mine = [{"key": m.key, "variant": "tempograd", "label_ms": m.latency_ms, **fields} for m in own]
        theirs = [
            {"key": key, "variant": "torch_blocked", "label_ms": 1.2 * ms, **fields} for key, ms in latencies.items()
        ]
        head = {"replicate": replicate, "seed": replicate, "timed_s": 1.4, "networks": 14}
        lines += [head | {"tool": "tempograd", "labels": mine}, head | {"tool": "torch", "labels": theirs}]
    (folder / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    note = {
        "space": "operations", "first": list(latencies), "second": [], "versions": {"torch": "2"},
        "fingerprint": {"hardware": {"cpu": "simulated", "logical_cores": 1, "system": "none"}},
    }  # fmt: skip
    (folder / "environment.jsonl").write_text(json.dumps(note) + "\n")
    return tmp_path, latencies


@pytest.mark.slow
def test_reference_and_labels_of_hindsight_find_a_known_truth(raw):
    folder, latencies = raw
    keys, truth = list(latencies), np.array(list(latencies.values()))
    found, gated = said.reference([folder / "quiet" / "reference.db"], keys)
    known = np.isfinite(found)
    assert known.mean() > 0.7
    assert (gated[known] >= 3).all()
    assert found[known] == pytest.approx(truth[known], rel=0.05)
    runs = [line for line in said.read_runs(folder / "quiet" / "runs.jsonl") if line["tool"] == "tempograd"]
    derived = said.derived(folder / "quiet" / "tempograd.db", runs, keys)
    assert set(derived) == {"tempograd_hindsight", "tempograd_alone"}
    hindsight = derived["tempograd_hindsight"]
    assert hindsight.ms.shape == (4, 14)
    assert abs(figures.bias(hindsight.ms, truth)) < 0.05
    assert figures.coverage(hindsight.low_ms, hindsight.high_ms, truth) > 0.7
    assert np.isfinite(hindsight.on("gated")).sum() + np.isfinite(hindsight.on("ratio")).sum() == 4 * 14


@pytest.mark.slow
def test_the_page_keeps_its_text_and_gets_the_figures(raw):
    folder, _ = raw
    page = folder / "results" / "repeatability.md"
    page.parent.mkdir()
    page.write_text(f"# Before\n\n{analyse.BEGIN}\nstale\n{analyse.END}\n\nafter\n")
    analyse.write(folder, folder)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("after\n")
    assert "stale" not in text
    peer = next(line for line in text.splitlines() if line.startswith("| torch_blocked"))
    assert "| 100 | 0.0 (0.0-0.0) |" in peer
    for image in ("variation", "errors", "errors-other-truth", "coverage"):
        assert f"../images/measuring-{image}.svg" in text
    assert (folder / "images" / "measuring-errors.svg").stat().st_size > 1000


def test_the_two_sets_differ_and_every_network_computes_something(tmp_path):
    models = run.build(SPACE, tmp_path, 10, 20, seed=0)
    keys = [key for key, *_ in (*models.first, *models.second)]
    assert (len(models.first), len(models.second)) == (10, 20)
    assert len(set(keys)) == 30
    assert models == run.build(SPACE, tmp_path, 10, 20, seed=0)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.onnx")]
    assert len(sizes) == 30


def test_the_load_is_the_same_for_the_same_seed_and_visits_every_state():
    one, other = (np.random.default_rng(5) for _ in range(2))
    series = [load.dwell(one) for _ in range(200)]
    assert series == [load.dwell(other) for _ in range(200)]
    states, seconds, bound = zip(*series, strict=True)
    assert set(states) == set(load.STATES)
    assert load.SHORTEST_S <= min(seconds) < 0.1
    assert 5 < max(seconds) <= load.LONGEST_S
    assert 0.3 < np.mean(bound) < 0.7
