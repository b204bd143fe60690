"""Regularisers against enumeration."""

import itertools
from dataclasses import replace

import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.regularisers import Depth, Distillation, Entropy, Length, PassiveAggressive, Regulariser, cells
from tempograd.spaces.zoo.darts import EDGES
from tempograd.testing.small import small_specs

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8")
DARTS = registry.create("space", "darts:layers=2,width=4,size=8")
MBCONV = registry.create("space", "mbconv:family=fbnet,size=8,classes=5,width=0.25,stages=2,layers=1")


def law_of(space, name="combination", seed=0, noise=1.0):
    generator = torch.Generator().manual_seed(seed)
    return registry.create("law", name, space=space, generator=generator, noise=noise)


def test_cells_are_told_apart_by_their_nodes():
    assert [len(cell) for cell in cells(NB201)] == [3]
    assert [len(cell) for cell in cells(DARTS)] == [4, 4]
    with pytest.raises(UsageError, match="no cells"):
        list(cells(MBCONV))


def test_depth_is_the_expected_length_of_the_walk_back():
    """All walks of NAS-Bench-201 by hand: nodes 1, 2, 3 see 1, 2, 3 earlier ones."""
    law = law_of(NB201, "softmax")
    kept = {name: float(1 - row[0].detach()) for name, row in law.marginals().items()}
    p21 = kept["e2"] / (kept["e1"] + kept["e2"])
    total = kept["e3"] + kept["e4"] + kept["e5"]
    d1, d2 = 1.0, 1 + p21
    d3 = 1 + kept["e4"] / total * d1 + kept["e5"] / total * d2
    depth = Depth(0.5, NB201)
    assert float(depth.depth(law).detach()) == pytest.approx((d1 + d2 + d3) / 3, rel=1e-5)
    assert float(depth.penalty(law).detach()) == pytest.approx(-(d1 + d2 + d3) / 6, rel=1e-5)


def test_depth_is_the_mean_over_the_nodes_of_all_cells():
    law, whole = law_of(DARTS, "softmax"), Depth(1.0, DARTS)
    parts = []
    for cell in whole.cells:
        part = Depth(1.0, DARTS)
        part.cells = (cell,)
        parts.append(float(part.depth(law).detach()))
    assert parts[0] != pytest.approx(parts[1], rel=1e-3)
    assert float(whole.depth(law).detach()) == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_more_depth_is_learnt_where_it_is_asked_for():
    law, depth = law_of(DARTS), Depth(1.0, DARTS)
    optimiser, first = torch.optim.Adam(law.parameters(), 0.1), float(depth.depth(law).detach())
    for _ in range(30):
        optimiser.zero_grad()
        depth.penalty(law).backward()
        optimiser.step()
    assert float(depth.depth(law).detach()) > first + 0.3


LENGTHS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def staged():
    (light,) = (spec for spec in small_specs("staged") if "stages=1" in spec)
    return registry.create("space", light.replace("most=2", "most=4"))


def walks(node, probability, edges):
    """Every walk from a value back to those that enter, with its length and probability."""
    if node < 2:
        yield 0, probability
        return
    for source, share in edges[node]:
        yield from ((1 + length, p) for length, p in walks(source, probability * share, edges))


def depth_by_walks(law, space):
    """The mean length of all walks through a stage, each along the kept edges of the last three values."""
    marginals, edges = law.marginals(), {}
    for place in LENGTHS:
        sources = range(max(0, place - 2), place + 1)
        kept = [float(1 - marginals[f"s0/c{place}/e{source}"][0].detach()) for source in sources]
        edges[place + 1] = [(source, share / sum(kept)) for source, share in zip(sources, kept, strict=True)]
    return sum(length * p for place in LENGTHS for length, p in walks(place + 1, 1.0, edges)) / len(LENGTHS)


@pytest.mark.parametrize("seed", range(3))
def test_depth_on_windows_is_the_mean_length_of_all_walks(staged, seed):
    law = law_of(staged, "softmax", seed=seed).double()
    depth = Depth(0.5, staged)
    assert float(depth.depth(law).detach()) == pytest.approx(depth_by_walks(law, staged), abs=1e-9)
    (slope,) = torch.autograd.grad(depth.penalty(law), [law.logits])
    for place in ((3, 1), (6, 0), (9, 2)):
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                law.logits[place] += step
            ends.append(-0.5 * depth_by_walks(law, staged))
            with torch.no_grad():
                law.logits[place] -= step
        assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-7)


def test_length_is_the_expected_number_of_cells(staged):
    law, length = law_of(staged, "softmax").double(), Length(0.4, staged)
    p = law.marginals()["s0/length"].tolist()
    expected = sum(number * share for number, share in zip(LENGTHS, p, strict=True))
    assert float(length.cells(law).detach()) == pytest.approx(expected, abs=1e-9)
    assert float(length.penalty(law).detach()) == pytest.approx(0.4 * expected, abs=1e-9)
    sample = law.sample(4000, torch.Generator().manual_seed(0))
    drawn = sample["s0/length"] @ torch.arange(1.0, 5.0, dtype=torch.float64)
    assert float(drawn.mean()) == pytest.approx(expected, abs=4 * float(drawn.std()) / 4000**0.5)


def test_length_counts_cells_alone_and_is_refused_where_their_number_is_no_choice(staged):
    whole = registry.create("space", "staged:most=3,least=1,width=4,size=8")
    law = law_of(whole, "softmax", noise=0.0)
    assert float(Length(1.0, whole).cells(law).detach()) == pytest.approx(3 * 2)
    for space in (NB201, DARTS, replace(staged, least=4)):
        with pytest.raises(UsageError, match=f"{space.name} has as many cells whatever is chosen"):
            Length(1.0, space)


def test_a_weight_on_entropy_makes_a_law_decide():
    law, entropy = law_of(NB201, "softmax"), Entropy(0.3)
    assert torch.isclose(entropy.penalty(law), 0.3 * law.entropy())
    first = float(law.entropy().detach())
    (gradient,) = torch.autograd.grad(entropy.penalty(law), [law.logits])
    with torch.no_grad():
        law.logits -= gradient
    assert float(law.entropy().detach()) < first


def invalid(kept):
    """Nodes of NAS-Bench-201 with inputs and no reader, or a reader and no inputs; the output reads node 3."""
    readers = {1: kept[2] or kept[4], 2: kept[5], 3: True}
    inputs = {1: kept[0], 2: kept[1] or kept[2], 3: kept[3] or kept[4] or kept[5]}
    return sum(bool(readers[n]) != bool(inputs[n]) for n in (1, 2, 3))


@pytest.mark.parametrize("seed", range(5))
def test_invalid_topologies_are_counted_as_by_enumeration(seed):
    law = law_of(NB201, seed=seed).double()
    pi = [torch.softmax(row[~missing], dim=0).tolist()
          for row, missing in zip(law.sets.detach(), law._missing, strict=True)]  # fmt: skip
    subsets = [[s for size in range(n + 1) for s in itertools.combinations(range(n), size)] for n in (1, 2, 3)]
    expected = 0.0
    for places in itertools.product(*(range(len(s)) for s in subsets)):
        probability, kept = 1.0, [False] * 6
        for node, (place, first) in enumerate(zip(places, (0, 1, 3), strict=True)):
            probability *= pi[node][place]
            for edge in subsets[node][place]:
                kept[first + edge] = True
        expected += probability * invalid(kept)
    found = PassiveAggressive(NB201).invalid(law)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-9)


def test_passive_aggressive_steps_bring_invalid_topologies_below_the_bound_and_stay_passive_there():
    law, regulariser = law_of(NB201), PassiveAggressive(NB201, most=0.05)
    assert float(regulariser.invalid(law).detach()) > 0.3
    operations = law.logits.detach().clone()
    for _ in range(60):
        regulariser.stepped(law)
    assert float(regulariser.invalid(law).detach()) <= 0.05 + 1e-4
    assert torch.equal(law.logits, operations)
    law.sets.data *= 3  # far inside
    assert float(regulariser.invalid(law).detach()) < 0.05
    before = law.sets.detach().clone()
    regulariser.stepped(law)
    assert torch.equal(law.sets, before)
    assert float(regulariser.penalty(law)) == 0.0


def test_one_step_meets_the_bound_to_first_order():
    law, regulariser = law_of(NB201).double(), PassiveAggressive(NB201, most=0.05)
    excess = regulariser.invalid(law) - 0.05
    (gradient,) = torch.autograd.grad(excess, [law.sets])
    before = law.sets.detach().clone()
    regulariser.stepped(law)
    promised = float(excess.detach() + (gradient * (law.sets.detach() - before)).sum())
    assert promised == pytest.approx(0.0, abs=1e-9)


def test_passive_aggressive_is_refused_where_everything_is_valid():
    with pytest.raises(UsageError, match="every topology"):
        PassiveAggressive(DARTS)
    with pytest.raises(UsageError, match="law combination"):
        PassiveAggressive(NB201).stepped(law_of(NB201, "softmax"))


def test_a_regulariser_does_nothing_by_default():
    law = law_of(NB201)
    before = [p.detach().clone() for p in law.parameters()]
    Regulariser().stepped(law)
    assert float(Regulariser().penalty(law)) == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, law.parameters(), strict=True))


def test_distillation_pulls_to_the_teacher_and_the_teacher_nowhere():
    teacher = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logits = torch.zeros(8, 5, requires_grad=True)
    distil = Distillation(weight=0.5, tau=2.0)
    loss = distil(logits, teacher)
    loss.backward()
    assert teacher.grad is None
    soft = torch.softmax(teacher.detach() / 2, dim=1)
    expected = 0.5 * 4 * (soft * (soft.log() - torch.tensor(1 / 5).log())).sum(dim=1).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)
    moved = logits.detach() - logits.grad
    assert float(distil(moved, teacher)) < float(loss.detach())
    assert float(distil(teacher.detach(), teacher).detach()) == pytest.approx(0.0, abs=1e-6)


def test_the_nodes_of_every_cell_are_counted():
    """By samples of a cell with any number of edges and of one whose nodes are hardly ever without, by hand."""
    space = registry.create("space", "darts:layers=3,width=4,size=8,in_edges=any")
    law, first = law_of(space), len(EDGES)
    full = law._holds[4:].sum(dim=-1)
    with torch.no_grad():
        law.sets[4:] = torch.where(full == full.amax(dim=1, keepdim=True), 9.0, -9.0)
    sample = law.sample(4000, torch.Generator().manual_seed(0))
    found = torch.zeros(4000)
    for cell in (0, 1):
        kept = [1 - sample[site.name][:, 0] for site in space.sites[first * cell : first * (cell + 1)]]
        for node in range(2, 6):
            enters = torch.stack([on for on, (_, target) in zip(kept, EDGES, strict=True) if target == node]).amax(
                dim=0
            )
            reads = [on for on, (source, _) in zip(kept, EDGES, strict=True) if source == node]
            found += (enters != (torch.stack(reads).amax(dim=0) if reads else 1.0)).float()
    expected = float(PassiveAggressive(space).invalid(law).detach())
    assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / 4000**0.5)
    assert expected > 0.2


def test_no_step_is_longer_than_the_cap_where_the_slope_is_nearly_flat():
    """Node 1 has an input and no reader, nearly surely: to first order the bound is hundreds of times further away."""
    law, regulariser = law_of(NB201).double(), PassiveAggressive(NB201)
    with torch.no_grad():
        law.sets.zero_()
        law.sets[[0, 1, 2], [1, 0, 1]] = 9.0
    invalid, before = regulariser.invalid(law), law.sets.detach().clone()
    (slope,) = torch.autograd.grad(invalid, [law.sets])
    assert float((invalid.detach() - 0.05) / slope.square().sum()) > 1000
    regulariser.stepped(law)
    assert torch.allclose(law.sets.detach(), before - 10 * slope)
