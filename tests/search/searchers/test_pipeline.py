"""Two searches one after the other: what is found is given on, in one trace, one file and one budget."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tempograd import registry
from tempograd.errors import InputRefusedError, MismatchError, UsageError
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.repair import Repair
from tempograd.search.searchers.alternation import Alternation
from tempograd.search.training import Training
from tempograd.spaces.zoo.darts import Darts
from tempograd.spaces.zoo.staged import Staged
from tempograd.testing.methods import device, priced

from ..wiring import Planted, parts

SPACE = registry.create("space", "staged:most=2,least=1,width=4,size=8,channels=1")
LEVELS = SPACE.levels
CELLS = [site.name for site in SPACE.sites if not site.name.startswith("s")]
PRICE = Price(priced(SPACE), SPACE)
BEST = {"normal0": 4, "reduce0": 5, "normal1": 6, "reduce1": 7, "normal2": 3}  # the operation that is good in each cell
FEW = "hdas:epochs=4,batch=4"


def worth(site, options):
    """One operation is good in each cell, poolings between cells, and long stages; not so of what may be dear."""
    kind = site.partition("/")[0]
    if kind in BEST:
        return [1.0 if option == BEST[kind] else 0.0 for option in range(options)]
    return [0.2 * option for option in range(options)]


class Watched(Planted):
    """A supernet that notes which space it is of, and the gates of every pass."""

    def __init__(self, space, noted):
        super().__init__(space, [value for site in space.sites for value in worth(site.name, len(site.options))])
        self.noted = noted

    def forward(self, x, gates, *, beside=None):
        self.noted.append((self.space, {name: gate.detach().clone() for name, gate in gates.items()}))
        return super().forward(x, gates)


@pytest.fixture
def noted(monkeypatch):
    passes = []
    for kind in (Darts, Staged):
        monkeypatch.setattr(kind, "supernet", lambda self: Watched(self, passes))
    return passes


def problem(path=None, progress=None, price=PRICE, steps=2, **mode):
    mode = mode or {"lam": 0.0}
    more = {} if progress is None else {"progress": progress}
    return Problem(
        SPACE, SPACE, price, parts(steps), mode.get("target_ms"), mode.get("lam"), 1.0,
        training=Training(epochs=1), checkpoint=path, **more,
    )  # fmt: skip


def find(spec=FEW, **options):
    return registry.create("method", spec).find(problem(**options))


@pytest.mark.slow
def test_what_the_first_search_finds_is_an_option_of_the_second(noted):
    found = find("hdas:epochs=6,batch=4,depth=0,length=0", lam=0.0, steps=6)
    first, second = dict.fromkeys(space for space, _ in noted)
    assert first.spec == "darts:layers=5,width=4,classes=10,size=8,channels=1,stages=3"
    taken = SPACE.taken(found.architecture)
    assert second == replace(SPACE, cell=".".join(str(taken[name]) for name in CELLS))
    kept = {kind: {taken[name] for name in CELLS if name.startswith(f"{kind}/")} - {0} for kind in BEST}
    assert kept == {kind: {option} for kind, option in BEST.items()}
    assert [taken[f"s{stage}/length"] for stage in range(3)] == [1, 1, 1]
    given = [gates for space, gates in noted if space == second]
    assert all(int(gates[name].argmax()) == taken[name] and gates[name].max() == 1 for gates in given for name in CELLS)
    chain = [gates for space, gates in noted if space == first]
    before = LEVELS[0].before
    assert all(int(gates[name].argmax()) == before[name] and gates[name].max() == 1
               for gates in chain for name in before)  # fmt: skip


@pytest.mark.slow
def test_one_trace_one_budget_and_one_count_of_passes(noted):
    told = []
    found = find("hdas:epochs=7,batch=4,share=0.4,warm_up=0.5", progress=lambda *row: told.append(row[:3]))
    assert [epoch.epoch for epoch in found.trace.epochs] == list(range(7))
    assert [epoch.phase for epoch in found.trace.epochs] == ["warm_up"] + ["search"] * 2 + ["warm_up"] * 2 + [
        "search"
    ] * 2
    assert told == [("search", n + 1, 7) for n in range(7)]
    assert found.passes == 4 * len(noted)
    assert found.seconds == pytest.approx(sum(epoch.seconds for epoch in found.trace.epochs))


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "share", "first"), [(2, 0.5, 1), (4, 0.0, 1), (4, 1.0, 3), (7, 0.3, 2)])
def test_the_epochs_are_shared_out_and_no_level_has_none(noted, epochs, share, first):
    found = find(f"hdas:epochs={epochs},batch=4,share={share},warm_up=0")
    spaces = [space.name for space, _ in noted]
    steps = 2 * 2  # of weights and of the law, an epoch
    assert spaces.count("darts") == first * steps
    assert spaces.count("staged") == (epochs - first) * steps
    assert len(found.trace.epochs) == epochs


def test_fewer_epochs_than_levels_are_refused(noted):
    with pytest.raises(UsageError, match=r"epochs=1; allowed: from 2, one for each level: cells, stages"):
        find("hdas:epochs=1,batch=4")
    assert not noted


@pytest.mark.slow
def test_both_levels_are_priced_in_the_whole_space(noted):
    """Where one operation and one connection are all that costs, neither is in what is found."""
    table = {key: float(key.startswith(("sep_conv_3x3@", "avg_pool_3x3@"))) for key in SPACE.circuit.keys}
    cost = type(PRICE.cost.terms[0][1])(SPACE.circuit, table)
    free, weighed = (find("hdas:epochs=4,batch=4,depth=0,length=0", lam=lam, steps=8, price=Price(cost, SPACE))
                     for lam in (0.0, 20.0))  # fmt: skip
    taken = [SPACE.taken(found.architecture) for found in (free, weighed)]
    dear = [{name for name in each if (name in CELLS and each[name] == 4) or (name not in CELLS and "/e" in name and
             each[name] == 3)} for each in taken]  # fmt: skip
    assert {name.partition("/")[0] for name in dear[0]} == {"normal0", "s0", "s1", "s2"}
    assert not dear[1]


@pytest.mark.slow
def test_every_site_has_the_scores_of_the_law_that_decided_it(noted):
    found = find()
    assert np.isfinite([row[: len(site.options)] for row, site in zip(found.scores, SPACE.sites, strict=True)
                        if len(site.options) == 8]).all()  # fmt: skip
    rows = dict(zip((site.name for site in SPACE.sites), found.scores, strict=True))
    assert rows["normal0/e0"][4] == max(rows["normal0/e0"][1:])
    assert rows["normal0/e0"][1:8].min() > -10
    assert rows["s0/c1/e0"][1:4].min() > -10


@pytest.mark.slow
def test_what_is_found_is_repaired_to_a_target_as_measured_by_any_of_its_sites(noted):
    truth, measure = device(SPACE)
    sample = truth(SPACE.sample(100, np.random.default_rng(0)))
    found = find("hdas:epochs=4,batch=4,depth=0", target_ms=float(np.quantile(sample, 0.5)))
    target_ms = 0.9 * float(truth([found.architecture])[0])
    repair = Repair(SPACE, PRICE.predict, measure, found.scores, target_ms)
    kept = repair.run(found.architecture)
    assert 0.9 * target_ms <= kept.measurement.latency_ms <= target_ms
    assert kept.architecture != found.architecture


# -- stopped and gone on -----------------------------------------------------------------------------------------------


class StoppedError(Exception):
    pass


def stopped_after(path, epochs, spec=FEW):
    def stop(stage, done, total, numbers):
        if done == epochs:
            raise StoppedError

    with pytest.raises(StoppedError):
        find(spec, path=path, progress=stop)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_stopped_in_a_level_or_between_the_two_it_goes_on_bit_for_bit(noted, tmp_path, epochs):
    path = tmp_path / "search.safetensors"
    whole = find()
    stopped_after(path, epochs)
    noted.clear()
    resumed = find(path=path)
    left = [space.name for space, _ in noted]
    assert ("darts" in left) == (epochs < 2)
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in f.trace.rows()] for f in (whole, resumed)]
    assert rows[0] == rows[1]
    assert whole.architecture == resumed.architecture
    assert np.array_equal(whole.scores, resumed.scores)
    assert whole.passes == resumed.passes
    assert [each.name for each in tmp_path.iterdir()] == ["search.safetensors"]


@pytest.mark.slow
def test_stopped_in_the_middle_of_a_later_levels_epoch_it_goes_on(noted, tmp_path, monkeypatch):
    path, whole, steps = tmp_path / "search.safetensors", find(), [0]
    original = Alternation.step_weights

    def step(self, *args, **kwargs):
        steps[0] += 1
        if steps[0] == 6:  # the second of the second level
            raise StoppedError
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Alternation, "step_weights", step)
    init = Alternation.__init__

    def often(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.save_every_s = 0.0

    monkeypatch.setattr(Alternation, "__init__", often)
    with pytest.raises(StoppedError):
        find(path=path)
    monkeypatch.setattr(Alternation, "step_weights", original)
    resumed = find(path=path)
    assert whole.architecture == resumed.architecture
    assert np.array_equal(whole.scores, resumed.scores)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["hdas:epochs=6,batch=4", "hdas:epochs=4,batch=8", "hdas:epochs=4,batch=4,share=0.25",
                                   "hdas:epochs=4,batch=4,depth=0.5"])  # fmt: skip
def test_a_file_of_another_pipeline_is_refused_and_kept(noted, tmp_path, other):
    path = tmp_path / "search.safetensors"
    stopped_after(path, 3)
    there = path.read_bytes()
    with pytest.raises(MismatchError, match="is the checkpoint of another search"):
        find(other, path=path)
    assert path.read_bytes() == there


@pytest.mark.slow
def test_a_file_of_one_search_alone_is_refused_and_carries_nothing(noted, tmp_path):
    path = tmp_path / "search.safetensors"
    registry.create("method", "la_darts:epochs=1,batch=4").find(problem(path))
    with safe_open(path, "pt") as file:
        assert "carried" not in json.loads(file.metadata()["state"])
    with pytest.raises(MismatchError, match=r"is the checkpoint of another search: other .*laws"):
        find(path=path)
    stopped_after(tmp_path / "other.safetensors", 3)
    with pytest.raises(MismatchError, match=r"is the checkpoint of another search: other .*laws"):
        registry.create("method", "la_darts:epochs=1,batch=4").find(problem(tmp_path / "other.safetensors"))


def test_a_file_that_cannot_be_read_is_refused_and_kept(noted, tmp_path):
    path = tmp_path / "search.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(InputRefusedError, match=r"is not a checkpoint .*delete it to start anew"):
        find(path=path)
    save_file({}, path, {"state": json.dumps({"carried": {"level": 1}})})
    with pytest.raises(InputRefusedError, match=r"carries nothing of a pipeline .*delete it to start anew"):
        find(path=path)
    assert path.exists()


@pytest.mark.slow
def test_the_real_supernets_take_each_others_place():
    """No stub: both levels train their own, and what is found begins with the weights of the second's."""
    found = find("hdas:epochs=2,batch=4,warm_up=0")
    network = SPACE.to_torch(found.architecture)
    before = network.state_dict()["layers.s0/c1/cell/normal0/pre0/pre/conv.weight"].clone()
    assert found.begin is not None
    begun = found.begin(network).state_dict()["layers.s0/c1/cell/normal0/pre0/pre/conv.weight"]
    assert not torch.equal(before, begun)
