# pyright: basic, reportArgumentType=false
"""What every law owes: samples follow its marginals, gates are rows of all sites, and every parameter can learn."""

import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from .. import registry
from ..errors import UsageError
from .small import small_specs

DRAWS = 20_000


def generator(seed=1):
    """Return a seeded source of random numbers."""
    return torch.Generator().manual_seed(seed)


def law_over(name, space, seed=0, noise=1.0, **arguments):
    """Create a law of the registry over a space."""
    return registry.create("law", name, space=space, generator=generator(seed), noise=noise, **arguments)


def follows(counts, probabilities):
    """Chi-square: whether counts are a draw of these probabilities, at one in a hundred thousand."""
    counts = np.asarray(counts, float)
    expected = np.asarray(probabilities, float) * counts.sum()
    assert (counts[expected < 1e-6] == 0).all()
    rare = expected < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    statistic = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    return chi2.sf(statistic, max(1, len(counts) - 1)) > 1e-5


class LawContract:
    """A law gives gates of all sites, samples that follow its marginals, and a gradient to every parameter.

    It runs over every space that has what the law needs, and is refused over all others.

    Attributes:
        names: the laws' names in the registry.
        spaces: specs of the spaces; by default a small instance of each that is registered.
    """

    names: ClassVar[Sequence[str]]
    spaces: ClassVar[Sequence[str]] = ()

    def pytest_generate_tests(self, metafunc):
        """Run every test on every law over every space."""
        if "space" in metafunc.fixturenames:
            specs = self.spaces or [small_specs(name)[0] for name in registry.names("space")]
            metafunc.parametrize("space", specs, indirect=True, scope="class", ids=lambda spec: spec.partition(":")[0])
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names)

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, request):
        return registry.create("space", request.param)

    @pytest.fixture
    def law(self, name, space):
        if not registry.load("law", name).needs.holds(space):
            pytest.skip(f"{name} is refused over {space.name}, which has a test of its own")
        return law_over(name, space)

    def test_where_it_makes_no_sense_it_is_refused_with_what_it_needs(self, name, space):
        needs = registry.load("law", name).needs
        if needs.holds(space):
            assert set(law_over(name, space).marginals()) == {site.name for site in space.sites}
            return
        with pytest.raises(
            UsageError, match=f"cannot search {re.escape(space.name)}: it needs {re.escape(needs.text)}"
        ):
            law_over(name, space)

    def test_frequencies_of_samples_are_the_marginals(self, law):
        sample, marginals = law.sample(DRAWS, generator()), law.marginals()
        for site in marginals:
            assert follows(sample[site].sum(dim=0), marginals[site].detach()), site

    def test_gates_are_rows_of_all_sites(self, law, space):
        drawn = law.draws(generator(), tau=0.7)
        for gates in (*drawn, law.marginals()):
            assert {name: row.shape for name, row in gates.items()} == {
                site.name: (len(site.options),) for site in space.sites
            }
            assert all(torch.isclose(row.sum(), torch.tensor(1.0)) and (row >= 0).all() for row in gates.values())
        assert drawn[0].keys() == law.draw(generator(), tau=0.7).keys()

    def test_scores_are_of_all_sites_and_entropy_is_finite(self, law, space):
        scores = law.scores()
        assert scores.shape == (len(space.sites), max(space.widths))
        for row, width in zip(scores, space.widths, strict=True):
            assert (row[width:] == -torch.inf).all()
            assert torch.isfinite(row[:width]).all() or not list(law.parameters())
        assert torch.isfinite(law.entropy())

    def test_every_sample_is_an_architecture_and_samples_are_one_hot(self, law, space):
        sample = law.sample(200, generator())
        rows = torch.cat([sample[site.name] for site in space.sites], dim=1)
        assert set(rows.unique().tolist()) == {0.0, 1.0}
        for architecture in space.decode(rows.numpy()):
            assert space.architecture(architecture.choices) == architecture

    def test_the_same_seed_gives_the_same_samples_and_another_seed_others(self, law):
        one, two, other = (law.sample(50, generator(seed)) for seed in (9, 9, 10))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)

    def test_its_state_makes_it_again(self, law, name, space):
        again = law_over(name, space, seed=5)
        again.load_state_dict(law.state_dict())
        one, two = law.sample(50, generator()), again.sample(50, generator())
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert torch.equal(law.scores(), again.scores())

    def test_every_parameter_gets_a_gradient_from_draws_and_from_marginals(self, law, name, space):
        """Within a few draws, as a law of two paths moves few options at a time.

        A place may stay still only where it decides nothing: changed by much, all marginals are what they were.
        """
        law = law_over(name, space, noise=0.3)  # near to uniform: every option is drawn
        parameters = dict(law.named_parameters())
        values, rng = [law.marginals()], generator()
        values += [gates for _ in range(60) for gates in law.draws(rng, tau=1.0)]
        weights = {site: torch.randn(row.shape, generator=generator(5)) for site, row in values[0].items()}
        drawn = {key: torch.zeros_like(value) for key, value in parameters.items()}
        exact = {key: torch.zeros_like(value) for key, value in parameters.items()}
        for gates in values if parameters else []:
            value = torch.stack([(gates[site] * weight).sum() for site, weight in weights.items()]).sum()
            gradients = torch.autograd.grad(value, list(parameters.values()), retain_graph=True)
            for key, gradient in zip(parameters, gradients, strict=True):
                (exact if gates is values[0] else drawn)[key] += gradient.abs()
        one = all(sum(o != "none" for o in site.options) == 1 for site in space.sites)  # no operations to weigh
        assert not parameters or any(bool((total > 0).any()) for total in exact.values())
        for key, parameter in parameters.items():
            assert bool((exact[key] > 0).any()) or one, f"{key} decides nothing"
            still = (drawn[key] == 0) | (exact[key] == 0)
            assert not [place for place in still.nonzero().tolist() if _decides(law, parameter, tuple(place))], key


def _decides(law, parameter, place):
    """Tell whether any marginal changes with a place of a parameter."""
    with torch.no_grad():
        before, kept = law.marginals(), parameter[place].clone()
        parameter[place] += 3.0
        after = law.marginals()
        parameter[place] = kept
        return any(not torch.allclose(before[name], after[name], atol=1e-5) for name in before)
