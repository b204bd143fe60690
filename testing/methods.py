# pyright: basic, reportArgumentType=false
"""What every method owes: a target is used and held as measured, and what was stopped goes on bit for bit."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from .. import registry
from ..arguments import heeded
from ..errors import UsageError
from ..measurement.label import Reference
from ..measurement.measurement import Measurement
from ..measurement.rounds import Round
from ..search.cost import CostModel, TableCost, WeightedSum
from ..search.method import Method, Problem
from ..search.price import Price
from ..search.run import Options, search
from ..search.training import Training
from ..spaces.architecture import Architecture
from ..spaces.circuit import counts
from ..spaces.space import SearchSpace
from ..tasks.load import load_task
from .small import small_specs

SHORT = {"k": 3, "sweeps": 40, "still": 20, "epochs": 3, "warm_up": 1 / 3, "batch": 32, "networks": 2, "largest": 2,
         "queries": 24, "train_epochs": 1}  # fmt: skip
CLASSES = 10  # of the digits that it is tried on
FEWEST = 4.1  # decimal digits of the number of networks that a space needs, so that some lie just below a target


def short(name: str) -> Method:
    """Create a method of the registry that takes a few epochs."""
    return registry.create("method", name, **heeded(registry.load("method", name), SHORT))


def priced(space: SearchSpace, *, factor: float = 0.8) -> CostModel:
    """Return latency by multiply-accumulates and parameters, of which a search is told a part."""
    parts = [TableCost(space.circuit, counts(space.graph, space.operations, unit)) for unit in ("macs", "parameters")]
    return WeightedSum(((factor * 1e-6, parts[0]), (factor * 3e-6, parts[1])), 0.02)


def device(space: SearchSpace) -> tuple[Callable[..., Any], Callable[..., list[Measurement]]]:
    """Return a made-up device: its truth, and what measures networks on it."""
    truth = Price(priced(space, factor=1.0), space).predict

    def measure(architectures: Sequence[Architecture]) -> list[Measurement]:
        found: list[Measurement] = []
        for architecture, ms in zip(architectures, truth(architectures), strict=True):
            rounds = tuple(Round(architecture.key, float(i), (1.0,), (1.0,), (ms,), (ms,)) for i in range(8))
            plan = {"target": 0.05}
            found.append(
                Measurement(architecture.key, space.spec, "fake", plan, "", "wall", rounds, Reference(1.0, 1.1))
            )
        return found

    return truth, measure


@cache
def _space(spec: str) -> SearchSpace:
    """Create a space, once for all tests: what it has worked out of itself is kept."""
    return registry.create("space", spec)


def space_for(method: Method) -> SearchSpace:
    """Return the space of a method's paper as a small instance, or the smallest one that has what the method needs."""
    if method.home:
        return _space(small_specs(method.home)[0])
    every = [_space(spec) for name in registry.names("space") for spec in small_specs(name)]
    fitting = [space for space in every if space.size_log10 >= FEWEST and space.graph.shape[0] >= CLASSES]
    fitting = [space for space in fitting if method.needs.holds(space)]
    preferred = [space for space in fitting if not any(site.when for site in space.sites)]
    return min(preferred or fitting, key=lambda space: space.size_log10)


class MethodContract:
    """A method searches a space that it fits under a target and at a weight of latency, stopped and gone on.

    The device is made up: its truth is known, and the search is told a part of it.

    Attributes:
        names: the methods' names in the registry.
    """

    names: ClassVar[Sequence[str]]

    def pytest_generate_tests(self, metafunc):
        """Run every test on every method."""
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names)

    @pytest.fixture
    def method(self, name):
        return short(name)

    @pytest.fixture
    def space(self, method):
        return space_for(method)

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls):
        return load_task("digits,limit=150")

    @staticmethod
    def found(space, method, task, measure, **mode):
        options = Options(training=Training(epochs=1, batch=32), random_networks=0)
        return search(space, method, Price(priced(space), space), task, measure=measure, options=options, **mode)

    def test_a_target_is_used_and_held_as_measured(self, name, method, space, task):
        if not method.targets:
            with pytest.raises(UsageError, match="--lam in place of --target-ms"):
                self.found(space, method, task, lambda many: [], target_ms=1.0)
            return
        truth, measure = device(space)
        sample = truth(space.sample(300, np.random.default_rng(0)))
        target_ms = 1.02 * float(np.quantile(sample, 0.4))  # so that networks lie just below it
        result = self.found(space, method, task, measure, target_ms=target_ms)
        assert result.verdict == "pass"
        assert result.found.measurement.latency_ms <= target_ms
        if result.found.measurement.latency_ms < 0.93 * target_ms:
            # Accuracies of one epoch know no size. So a small network is right where it has the best one, and others
            # that use the target were asked about too.
            asked = [query for query in result.queries if truth([query.architecture])[0] <= target_ms]
            best = max(asked, key=lambda query: query.score)
            assert result.architecture in [query.architecture for query in asked if query.score == best.score]
            assert max(truth([query.architecture for query in asked])) >= 0.93 * target_ms
        assert result.method == name

    def test_a_weight_of_latency_is_taken_or_refused(self, method, space, task):
        if not method.weighs:
            with pytest.raises(UsageError, match="--target-ms in place of --lam"):
                self.found(space, method, task, lambda many: [], lam=0.1)
            return
        result = self.found(space, method, task, device(space)[1], lam=0.3)
        assert result.verdict == "measured"
        assert space.architecture(result.architecture.choices) == result.architecture

    def test_stopped_it_goes_on_bit_for_bit_and_the_same_seed_gives_the_same(self, name, method, space, task, tmp_path):
        if "epochs" not in method.accepts or "queries" in method.accepts:
            pytest.skip("keeps no checkpoint of its own: what it goes on from are its trainings")
        whole, path = method.find(self._problem(space, task)), tmp_path / "search.safetensors"

        class StoppedError(Exception):
            pass

        def stop(stage, done, total, numbers):
            if done == 2:
                raise StoppedError

        with pytest.raises(StoppedError):
            short(name).find(self._problem(space, task, path, stop))
        resumed = short(name).find(self._problem(space, task, path))
        rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in f.trace.rows()] for f in (whole, resumed)]
        assert rows[0] == rows[1]
        assert whole.architecture == resumed.architecture
        assert np.array_equal(whole.scores, resumed.scores)
        assert whole.passes == resumed.passes

    @staticmethod
    def _problem(space, task, checkpoint=None, progress=None):
        price = Price(priced(space), space)
        sample = price.predict(space.sample(200, np.random.default_rng(0)))
        middle_ms = float(np.median(sample))
        more = {} if progress is None else {"progress": progress}
        return Problem(
            space=space, proxy=space, price=price, task=task, target_ms=middle_ms,
            lam=None, reference_ms=middle_ms, training=Training(epochs=1), checkpoint=checkpoint, **more,
        )  # fmt: skip

    def test_it_says_where_it_is_from_and_what_it_is_made_of(self, name, method):
        assert method.name == name
        assert method.paper
        assert method.paper.split("arXiv:")[-1] in (registry.load("method", name).__doc__ or "")
        assert {"law", "objective", "deriver"} <= method.pieces.keys()
        assert method.weighs or method.targets

    def test_a_space_that_it_cannot_search_is_refused_before_any_training(self, method, task):
        for space in (_space(small_specs(name)[0]) for name in registry.names("space")):
            if method.needs.holds(space):
                continue
            with pytest.raises(UsageError, match=r"cannot search .*: it needs "):
                self.found(space, method, task, lambda many: [], target_ms=1.0)
