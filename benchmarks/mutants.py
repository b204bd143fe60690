"""Is every mechanism of a paper tested? Each is taken out or made wrong, one at a time, and a test must fail.

    python benchmarks/mutants.py [--only msgdas toponas] [--list]

A mutant is one replacement in a copy of the tree; the tests that ought to notice run there. One that they do not notice
survives: a test is missing. Prints JSON, and exits with 1 where there are survivors.
"""

# ruff: noqa: E501 - a row of the table is a line

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = shutil.ignore_patterns(".git", ".venv", ".links", "__pycache__", ".*_cache", "*.db", "site", "build")
LIMIT_S, LONGEST_S, _OTHER = 600, 6000, 99  # of a processor, whatever else runs; of a clock, where something waits
OFTEN = (
    "onnx",
    "pymoo.indicators.hv",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.gaussian_process",
    "sklearn.linear_model",
)


@dataclass(frozen=True)
class Mutant:
    """One replacement.

    Attributes:
        method: recipe whose mechanism it breaks.
        mechanism: what is broken.
        file: relative to the root.
        old: occurs once in the file.
        new: stands in its place.
        tests: that ought to fail, relative to ``tests``.
    """

    method: str
    mechanism: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _of(method: str, tests: str, *rows: tuple[str, str, str, str]) -> list[Mutant]:
    files = tuple(test if test.startswith(("spaces/", "verbs/")) else f"search/{test}" for test in tests.split())
    return [Mutant(method, what, file, old, new, files) for what, file, old, new in rows]


ALTERNATION, NETWORK = "search/searchers/alternation.py", "spaces/network.py"
ONE_SHOT, SHRINK, META = "search/searchers/one_shot.py", "search/searchers/shrink.py", "search/searchers/meta_graph.py"
PIPELINE, TWO_LEVEL = "search/searchers/pipeline.py", "search/searchers/two_level.py"
GROUPED, MODULES = "search/searchers/grouped_shot.py", "search/searchers/module_evolution.py"
EVOLUTION, SURROGATE = "search/searchers/evolution.py", "search/searchers/surrogate.py"
EDGE, EVALUATOR = "search/searchers/edge.py", "search/evaluator.py"
NARROWER, TRACED = "spaces/tracing/shrink.py", "spaces/tracing/traced.py"
BERNOULLI, COMBINATION, CIRCUIT = "search/laws/bernoulli.py", "search/laws/combination.py", "spaces/circuit.py"
MULTIPLIER = "partial(LearnedMultiplier, eta=eta, two_sided=True)"
DEAF = "lambda target_ms: LearnedMultiplier(target_ms, eta=1e-9, damping=0.0)"


def recipe(name: str) -> str:
    return f"search/methods/{name}.py"


MUTANTS = [
    *_of(
        "all", "methods/test_recipes.py",
        ("the law learns on its own part of the images", ALTERNATION, 'self.stream("law", self.task.law,', 'self.stream("law", self.task.weights,'),
        ("weights learn on theirs", ALTERNATION, "self.steps(self.task.weights, schedule.batch):", "self.steps(self.task.law, schedule.batch):"),
        ("latency is heard", "search/objective.py", "return self.term.form.gradients(loss, cost_ms, tuple(law.parameters()))", "return self.term.form.gradients(loss, 0 * cost_ms + 1, tuple(law.parameters()))"),
        ("its weight is the one given", "search/searchers/gradient.py", "self.weighted(problem.lam or 0.0, problem.reference_ms)", "self.weighted(0.0, problem.reference_ms)"),
    ),
    *_of(
        "all", "searchers/test_gradient.py",
        ("the seed is that of first logits", "search/searchers/gradient.py", "law = _over(self.law, problem, torch.Generator().manual_seed(problem.seed))", "law = _over(self.law, problem, torch.Generator().manual_seed(0))"),
        ("of first weights", "search/searchers/gradient.py", "with seeded(problem.seed):", "with seeded(0):"),
        ("and of draws", "search/searchers/gradient.py", "            seed=problem.seed,\n            compute=problem.compute,\n            warm_up", "            seed=0,\n            compute=problem.compute,\n            warm_up"),
        ("statistics rest in law steps", ALTERNATION, "with frozen_statistics(self.supernet):\n            loss = self._law_loss", "with torch.enable_grad():\n            loss = self._law_loss"),
        ("a law is told of its steps", ALTERNATION, "        self.law.stepped()\n", ""),
        ("a multiplier is damped", "search/forms.py", "self.summed + self.damping * violation", "self.summed"),
    ),
    *_of(
        "all", "methods/test_ofa.py",
        ("inherited scores are of the law's part", "search/evaluator.py", 'self._task.score(self._network(architecture), "law", self._compute)', 'self._task.score(self._network(architecture), "test", self._compute)'),
        ("statistics are taken anew", "search/evaluator.py", "        recalibrate(network, self._images)\n", ""),
    ),
    *_of(
        "all", "methods/test_objectives.py",
        ("in units of a reference", "search/searchers/gradient.py", "self.weighted(problem.lam or 0.0, problem.reference_ms)", "self.weighted(problem.lam or 0.0, 1.0)"),
        ("DARTS' Adam", ALTERNATION, "law_betas: tuple[float, float] = (0.5, 0.999)", "law_betas: tuple[float, float] = (0.9, 0.999)"),
        ("DARTS' decay", ALTERNATION, "law_decay: float = 1e-3", "law_decay: float = 0.0"),
    ),
    *_of(
        "all", "methods/test_arguments.py",
        ("temperatures do not take the epochs' place", recipe("toponas"), "epochs=epochs, warm_up=warm_up, batch=batch, tau", "warm_up=warm_up, batch=batch, tau"),
        ("images a step", recipe("la_darts"), "warm_up=warm_up, batch=batch", "warm_up=warm_up"),
        ("a step of the multiplier", recipe("msgdas"), "eta=eta", "eta=0.3"),
        ("a supernet's epochs", recipe("gram"), "OneShotSchedule(epochs=epochs, ", "OneShotSchedule(epochs=15, "),
        ("a share of modules", recipe("scalenas"), "(queries, population, share, rate)", "(queries, population, 0.25, rate)"),
    ),
    *_of(
        "la_darts", "methods/test_la_darts.py",
        ("the mean of all that are sampled", "search/cost.py", "self.predict(corners + (relaxed - relaxed.detach())).mean()", "self.predict(corners + (relaxed - relaxed.detach()))[0]"),
        ("none stays where a rule counts edges", "search/laws/softmax.py", "not none and site.name not in ruled and", "not none and"),
        ("the predictor is asked about samples", "search/cost.py", "return self.sampled(law, generator, self.draws)", "return self(law.marginals())"),
        ("by default", recipe("la_darts"), 'feed: Feed = "sampled"', 'feed: Feed = "direct"'),
        ("as many draws as asked for", recipe("la_darts"), "feed=feed, draws=draws", "feed=feed"),
        ("the mixture runs", recipe("la_darts"), "Gumbel if one_path else Softmax, none", "Gumbel, none"),
        ("one path where asked for", recipe("la_darts"), "Gumbel if one_path else Softmax, none", "Softmax, none"),
        ("none out of the law where asked for", recipe("la_darts"), ", none=none)", ")"),
        ("second order", recipe("la_darts"), "second_order=second_order", "second_order=False"),
        ("the law rests in warm-up", ALTERNATION, "searching, tau = number >= schedule.epochs - schedule.law_epochs,", "searching, tau = True,"),
        ("what an option saves is its slope", "search/cost.py", "self.predict(corners + (relaxed - relaxed.detach())).mean()", "self.predict(corners - (relaxed - relaxed.detach())).mean()"),
    ),
    *_of(
        "la_darts", "methods/test_recipes.py",
        ("a weight of latency", recipe("la_darts"), "weighted=Linear,", "weighted=lambda lam, reference_ms: Linear(0.0, reference_ms),"),
        ("a target's weight is learnt", recipe("la_darts"), MULTIPLIER, DEAF),
    ),
    *_of(
        "la_darts", "test_cost.py",
        ("the slope is that of the law's mean", "search/cost.py", "self.predict(corners + (relaxed - relaxed.detach())).mean()", "self.predict(corners + 2 * (relaxed - relaxed.detach())).mean()"),
    ),
    *_of(
        "la_darts", "test_deriver.py",
        ("the two strongest edges of a node are kept", "search/deriver.py", "sorted(live, key=lambda site: -live[site].max())", "sorted(live, key=lambda site: live[site].max())"),
        ("none is no operation of an edge that is kept", "search/deriver.py", "np.where(np.arange(scores.shape[1]) == none, -np.inf, scores[i])", "scores[i]"),
    ),
    *_of(
        "la_darts", "searchers/test_unrolled.py",
        ("ahead by a step with momentum", "search/searchers/unrolled.py", "decayed if before is None else decayed + momentum * before", "decayed"),
        ("and decay", "search/searchers/unrolled.py", "decayed = gradient + decay * weight.detach()", "decayed = gradient"),
        ("down the slope", "search/searchers/unrolled.py", "with moved(weights, step, -rate):", "with moved(weights, step, rate):"),
        ("at the rate", "search/searchers/unrolled.py", "factor = rate / (2 * reach)", "factor = 1 / (2 * reach)"),
        ("the second derivatives", "search/searchers/unrolled.py", "slope - factor * (up - down)", "slope"),
        ("their sign", "search/searchers/unrolled.py", "slope - factor * (up - down)", "slope + factor * (up - down)"),
    ),
    *_of(
        "densenas", "methods/test_densenas.py",
        ("their probability, not their mean logit", "search/laws/two_path.py", "torch.logsumexp(before, dim=-1, keepdim=True) - torch.logsumexp(two, dim=-1, keepdim=True)", "before.mean(dim=-1, keepdim=True) - two.mean(dim=-1, keepdim=True)"),
        ("of all that it decides about", "search/deriver.py", "for name, option in space.sites[sites[0]].when:", "for name, option in space.sites[sites[0]].when[:1]:"),
        ("the pair keeps its probability, through the product", "search/law.py", "        for law in self._all():\n            law.stepped()", "        return"),
        ("the pair keeps its probability", "search/laws/two_path.py", "self.logits.scatter_(-1, pair, two + shift)", "self.logits.scatter_(-1, pair, two)"),
        ("two operations at a time", "search/laws/markov_route.py", "operations = TwoPath(space, generator, noise=noise, sites=others, hard=hard)", "operations = Softmax(space, generator, noise=noise, sites=others)"),
        ("both mixed", "search/laws/markov_route.py", "hard: bool = False", "hard: bool = True"),
        ("weights on one path", recipe("densenas"), '"routes" if mix else "sample"', '"draw"'),
        ("weights on all routes where asked for", recipe("densenas"), '"routes" if mix else "sample"', '"sample"'),
        ("the best of all routes", "search/deriver.py", "            total[index[name], option] += value\n", "            total[index[name], option] += 0.0\n"),
        ("weights on paths as the law has them", recipe("densenas"), '"routes" if mix else "sample"', '"routes" if mix else "uniform"'),
        ("uniform ones in warm-up", ALTERNATION, 'law = self.uniform if warm or self.schedule.paths == "uniform" else self.law', 'law = self.uniform if self.schedule.paths == "uniform" else self.law'),
        ("a block costs as often as a route visits it", CIRCUIT, "reach = (leaf,) if probability is None else (probability, leaf)", "reach = (leaf,)"),
        ("by the chain of all steps before it", CIRCUIT, "terms.append(gate if before is None else Product((before, gate)))", "terms.append(gate)"),
    ),
    *_of(
        "densenas", "methods/test_recipes.py",
        ("a weight of latency", recipe("densenas"), "weighted=LogTarget,", "weighted=lambda lam, reference_ms: LogTarget(0.0, reference_ms),"),
        ("a target's weight is learnt", recipe("densenas"), MULTIPLIER, DEAF),
    ),
    *_of(
        "densenas", "spaces/test_routed.py",
        ("every block of the last stage may be the last", "spaces/zoo/routed.py", "if stage == self._blocks[-1][1] else found", "if i == len(self._blocks) - 1 else found"),
        ("so many blocks may follow one", "spaces/zoo/routed.py", "min(i + self.reach, len(self._blocks) - 1)", "min(i + self.reach + 1, len(self._blocks) - 1)"),
        ("of the same stage or the next", "spaces/zoo/routed.py", "if self._blocks[j][1] - stage <= 1]", "if self._blocks[j][1] - stage <= 2]"),
        ("a new stage halves the map", "spaces/zoo/routed.py", "self._operation(operation, width, 1 + stage - before)", "self._operation(operation, width)"),
    ),
    *_of(
        "densenas", "test_forms.py",
        ("the logarithm of the target", "search/forms.py", "_log(cost_ms, self.unit_ms) / self._log_target", "_log(cost_ms, self.unit_ms)"),
    ),
    *_of(
        "fbnetv2", "methods/test_fbnetv2.py",
        ("it is heard in weight steps", ALTERNATION, "            return self.law.draws(self.generator, tau=tau)\n        law", "            return self.law.draws(self.generator, tau=1.0)\n        law"),
        ("and in law steps", ALTERNATION, "drawn = self.law.draws(self.generator, tau=tau)\n        with frozen", "drawn = self.law.draws(self.generator, tau=1.0)\n        with frozen"),
        ("soft draws", recipe("fbnetv2"), "law=partial(Gumbel, hard=False, one_copy=True)", "law=Gumbel"),
        ("one resolution a pass", recipe("fbnetv2"), "hard=False, one_copy=True", "hard=False"),
        ("drawn with the soft draw's gradient", "search/laws/gumbel.py", "one = straight_through(one_hot(noisy.argmax(dim=-1), soft), soft)", "one = one_hot(noisy.argmax(dim=-1), soft)"),
        ("draws with noise", "search/laws/gumbel.py", "noisy = log_p + gumbel(tuple(log_p.shape), generator, log_p.dtype)", "noisy = log_p"),
        ("the temperature falls", recipe("fbnetv2"), "tau_first=5.0, tau_last=0.1", "tau_first=5.0, tau_last=5.0"),
        ("it is heard", "search/laws/gumbel.py", "torch.softmax(noisy / tau, dim=-1)", "torch.softmax(noisy, dim=-1)"),
        ("the loss is multiplied", recipe("fbnetv2"), "from ..forms import LearnedMultiplier, MulLog", "from ..forms import LearnedMultiplier\nfrom ..forms import LogTarget as MulLog"),
    ),
    *_of(
        "fbnetv2", "methods/test_recipes.py",
        ("a weight of latency", recipe("fbnetv2"), "weighted=MulLog,", "weighted=lambda lam, reference_ms: MulLog(0.0, reference_ms),"),
        ("a target's weight is learnt", recipe("fbnetv2"), MULTIPLIER, DEAF),
    ),
    *_of(
        "fbnetv2", "spaces/test_mbconv.py spaces/test_blocks.py",
        ("the first channels are left", NETWORK, "(torch.arange(max(sizes)) < torch.tensor(sizes)[:, None])", "(torch.arange(max(sizes)).flip(0) < torch.tensor(sizes)[:, None])"),
        ("down to four sevenths", "spaces/zoo/mbconv.py", "LEAST = 4 / 7", "LEAST = 1 / 2"),
        ("masks", "spaces/blocks.py", 'return builder.add("mask", Mask(conv.out), x) if mask and isinstance(conv.out, Width) else x', "return x"),
        ("masks before the squeeze", "spaces/blocks.py", "y = conv_bn(conv, activation)(", "y = conv_bn(conv, activation, mask=not squeeze)("),
        ("masks behind the normalisation", "spaces/blocks.py", 'x = builder.add("bn", BatchNorm(residual), builder.add("conv", conv, x))', 'x = builder.add("conv", conv, x)\n        x = builder.add("bn", BatchNorm(residual), builder.add("early", Mask(conv.out), x) if isinstance(conv.out, Width) and mask else x)\n        return x if activation is None else builder.add("act", activation, x)'),
        ("a smaller resolution is a grid of all of the image", "spaces/layers.py", "int((i + 0.5) * height / self.size) for i in range(self.size)", "i for i in range(self.size)"),
    ),
    *_of(
        "fbnetv2", "spaces/test_layers.py",
        ("expansions of all widths", "spaces/layers.py", "max(1, round(size * f)) for (o, size), (i, f) in options", "max(1, round(max(before.values()) * f)) for (o, size), (i, f) in options"),
    ),
    *_of(
        "toponas", "methods/test_toponas.py",
        ("what connects nothing is not derived", "search/deriver.py", "return best if space.is_connected(best) else derive(law, space)", "return best"),
        ("the odds that an edge is kept", COMBINATION, "kept.logit()", "kept.log()"),
        ("aggressive", "search/regularisers.py", "law.sets.sub_(min(", "law.sets.add_(min("),
        ("passive-aggressive steps", recipe("toponas"), "regularisers=(valid,),", ""),
        ("regularisers are told of steps", ALTERNATION, "            regulariser.stepped(self.law)\n", "            pass\n"),
        ("passive below the bound", "search/regularisers.py", "        if float(excess.detach()) <= 0:\n            return\n", ""),
        ("the bound", recipe("toponas"), "PassiveAggressive(space, most_invalid)", "PassiveAggressive(space, 0.2)"),
        ("the most probable set", recipe("toponas"), "        deriver=argmax_combination,\n", ""),
        ("the most probable set", "search/deriver.py", "    return best if space.is_connected(best) else derive(law, space)", "    return derive(law, space)"),
        ("topology is annealed", recipe("toponas"), "tau_first=10.0, tau_last=0.02, tau_from=2 / 3", "tau_first=1.0, tau_last=1.0"),
        ("late", recipe("toponas"), "tau_from=2 / 3", "tau_from=0.0"),
        ("the temperature is heard by sets", COMBINATION, "torch.softmax(self._all_sets() / tau, dim=-1)", "torch.softmax(self._all_sets(), dim=-1)"),
        ("operations are compared all the while", COMBINATION, "self._live() / min(tau, 1.0)", "self._live() / tau"),
        ("sets of edges are learnt", COMBINATION, "kept = self.kept(tau)[:, None]", "kept = self.kept(tau)[:, None].detach()"),
        ("any number of them where the space leaves it free", COMBINATION, "range(0 if empty else 1, edges + 1)", "range(1, edges + 1)"),
    ),
    *_of(
        "toponas", "test_regularisers.py",
        ("nodes of every cell", "search/regularisers.py", "            first += len(cell)\n", ""),
        ("no longer than the cap", "search/regularisers.py", "min(self.cap, float(excess.detach() / gradient.square().sum()))", "float(excess.detach() / gradient.square().sum())"),
        ("inputs of nodes without readers", "search/regularisers.py", " + (1 - empty[first + n]) * silent", ""),
        ("any reader will do", "search/regularisers.py", "silent = torch.stack(unread).prod() if unread", "silent = torch.stack(unread).mean() if unread"),
        ("the output reads the last node", "search/regularisers.py", "if unread else torch.zeros(())", "if unread else torch.ones(())"),
        ("readers of invalid nodes", "search/regularisers.py", "empty[first + n] * (1 - silent) + (1 - empty[first + n]) * silent", "(1 - empty[first + n]) * silent"),
        ("the length of a step", "search/regularisers.py", "float(excess.detach() / gradient.square().sum())", "float(excess.detach())"),
        ("those who read a node", "search/regularisers.py", "if source == inputs + n]", "if source == n]"),
    ),
    *_of(
        "toponas", "methods/test_recipes.py",
        ("a weight of latency", recipe("toponas"), "weighted=Linear,", "weighted=lambda lam, reference_ms: Linear(0.0, reference_ms),"),
        ("a target's weight is learnt", recipe("toponas"), MULTIPLIER, DEAF),
    ),
    *_of(
        "msgdas", "methods/test_msgdas.py",
        ("weighed as the law has it", ALTERNATION, "every = (self.law.marginals(),) if", "every = ({site: torch.full_like(row, 1 / len(row)) for site, row in self.law.marginals().items()},) if"),
        ("the teacher moves no statistic", ALTERNATION, "with torch.no_grad(), frozen_statistics(self.supernet):\n            every", "with torch.no_grad():\n            every"),
        ("softened to two", "search/regularisers.py", "tau: float = 2.0", "tau: float = 1.0"),
        ("distillation", recipe("msgdas"), "distillation=Distillation(distillation, teacher=teacher),", ""),
        ("its weight", recipe("msgdas"), "Distillation(distillation, teacher=teacher)", "Distillation(teacher=teacher)"),
        ("the supernet teaches", recipe("msgdas"), 'Beside("distillation")] = "mixture"', 'Beside("distillation")] = "mean"'),
        ("the argument is heard", recipe("msgdas"), "Distillation(distillation, teacher=teacher)", "Distillation(distillation)"),
        ("it reaches the loss", ALTERNATION, "loss = loss + self.objective.distillation(", "loss = loss + 0 * self.objective.distillation("),
        ("in weight steps", ALTERNATION, "        teacher = self._teacher(images, drawn)\n        self.weights_optimizer", "        teacher = None\n        self.weights_optimizer"),
        ("in law steps", ALTERNATION, "        teacher = self._teacher(images, drawn)\n        value, slopes", "        teacher = None\n        value, slopes"),
        ("skips are dropped", recipe("msgdas"), "drop_skips=drop_skips", "drop_skips=0.0"),
        ("a search sets it", ALTERNATION, "self.supernet.on_skip = drop if rate > 0 else None", "self.supernet.on_skip = None"),
        ("less with every epoch", ALTERNATION, "schedule.drop_skips * (1 - number / schedule.epochs)", "schedule.drop_skips"),
        ("several paths", recipe("msgdas"), "partial(ExclusiveTopK, paths=paths)", "partial(ExclusiveTopK, paths=1)"),
        ("paths share nothing", "search/laws/exclusive_top_k.py", "left = left.masked_fill(hard.bool(), NEVER)", "left = left + gumbel(tuple(left.shape), generator, left.dtype)"),
        ("one path at a time", "search/laws/exclusive_top_k.py", "self._gates(straight_through(hard, soft))", "self._gates(soft)"),
        ("the temperature falls", recipe("msgdas"), "tau_first=5.0, tau_last=0.1, ", ""),
        ("it is heard", "search/laws/exclusive_top_k.py", "torch.softmax(left / tau, dim=-1)", "torch.softmax(left, dim=-1)"),
        ("the slope of the noisy order", "search/laws/exclusive_top_k.py", "torch.softmax(left / tau, dim=-1)", "torch.softmax((log_p + (left - left).detach()) / tau, dim=-1)"),
        ("the mean of all paths", ALTERNATION, "loss = self._loss(images, labels, gates, teacher) / len(drawn)\n            total", "loss = self._loss(images, labels, gates, teacher)\n            total"),
    ),
    *_of(
        "msgdas", "test_regularisers.py",
        ("paths follow the teacher", "search/regularisers.py", "distance(logits / self.tau, teacher.detach() / self.tau)", "distance(teacher.detach() / self.tau, logits / self.tau)"),
        ("no gradient to the teacher", "search/regularisers.py", "teacher.detach() / self.tau", "teacher / self.tau"),
        ("softened by the temperature", "search/regularisers.py", "self.weight * self.tau**2 * distance", "self.weight * distance"),
    ),
    *_of(
        "msgdas", "test_drop_block.py",
        ("as much as asked for", "search/drop_block.py", "gamma = rate / side**2 * height * width / valid", "gamma = rate"),
        ("of skips alone", NETWORK, "self.training and isinstance(node.operation, Identity)", "self.training"),
        ("the mean is kept", "search/drop_block.py", "kept * (kept.numel() / kept.sum().clamp_min(1))", "kept"),
        ("blocks and not pixels", "search/drop_block.py", "BLOCK = 3", "BLOCK = 1"),
        ("in training only", NETWORK, "self.on_skip is not None and self.training and", "self.on_skip is not None and"),
    ),
    *_of(
        "msgdas", "methods/test_recipes.py",
        ("a weight of latency", recipe("msgdas"), "weighted=Linear,", "weighted=lambda lam, reference_ms: Linear(0.0, reference_ms),"),
        ("a target's weight is learnt", recipe("msgdas"), MULTIPLIER, DEAF),
    ),
    *_of(
        "proxylessnas", "methods/test_proxylessnas.py",
        ("both paths run", ALTERNATION, "drawn, ahead, self.law.beside())", "drawn, ahead)"),
        ("both paths run", NETWORK, " or option in self.beside.get(site, ())", ""),
        ("one of the two is on", recipe("proxylessnas"), "partial(TwoPath, hard=True)", "TwoPath"),
        ("two of all options", recipe("proxylessnas"), "from ..laws.two_path import TwoPath", "from ..laws.gumbel import Gumbel as TwoPath"),
        ("drawn by the two's probabilities", "search/laws/two_path.py", "soft = straight_through(one_hot(on, soft), soft)", "soft = one_hot(on, soft) + 0 * soft"),
        ("what was not drawn rests: momentum", recipe("proxylessnas"), "law_betas=(0.0, 0.999)", "law_betas=(0.5, 0.999)"),
        ("what was not drawn rests: decay", recipe("proxylessnas"), "law_decay=0.0", "law_decay=1e-3"),
        ("what was not drawn rests: the two's shift", "search/laws/two_path.py", "self.logits.scatter_(-1, pair, two + shift)", "self.logits.scatter_(-1, pair, two)"),
        ("weight steps for each law step", recipe("proxylessnas"), "law_every=law_every", "law_every=1"),
    ),
    *_of(
        "proxylessnas", "methods/test_objectives.py",
        ("weights on paths as the law has them", recipe("proxylessnas"), 'paths="sample"', 'paths="uniform"'),
        ("a third of warm-up", recipe("proxylessnas"), "warm_up: Share = 1 / 3", "warm_up: Share = 0.0"),
    ),
    *_of(
        "proxylessnas", "methods/test_recipes.py",
        ("a weight of latency", recipe("proxylessnas"), "weighted=Ratio,", "weighted=lambda lam, reference_ms: Ratio(0.0, reference_ms),"),
        ("a target", recipe("proxylessnas"), "targeted=partial(Ratio, lam)", "targeted=partial(Ratio, 0.0)"),
    ),
    *_of(
        "lightnas", "methods/test_lightnas.py",
        ("one path", recipe("lightnas"), "law=Gumbel,", "law=partial(Gumbel, hard=False),"),
        ("pairs in warm-up", recipe("lightnas"), "warm_up=partial(ExclusiveTopK, noise=0.0),", ""),
        ("warm-up is uniform", ALTERNATION, "if warm and self.warm_up is not self.law:", "if self.warm_up is not self.law:"),
        ("priced by the path that runs", recipe("lightnas"), 'feed: Feed = "draw"', 'feed: Feed = "sampled"'),
        ("a multiplier that is learnt", recipe("lightnas"), MULTIPLIER, DEAF),
        ("both ways", recipe("lightnas"), "two_sided=True", "two_sided=False"),
    ),
    *_of(
        "lightnas", "methods/test_objectives.py",
        ("damped threefold", "search/forms.py", "damping: float = 3.0", "damping: float = 0.3"),
        ("the temperature falls", recipe("lightnas"), "tau_first=5.0, tau_last=0.1", "tau_first=5.0, tau_last=5.0"),
    ),
    *_of(
        "lightnas", "methods/test_recipes.py",
        ("a weight of latency", recipe("lightnas"), "weighted=Linear,", "weighted=lambda lam, reference_ms: Linear(0.0, reference_ms),"),
    ),
    *_of(
        "hardcorenas", "methods/test_hardcorenas.py",
        ("weights on uniform paths", recipe("hardcorenas"), 'paths="uniform"', 'paths="draw"'),
        ("weights rest while the law moves", recipe("hardcorenas"), "law_only=True", "law_only=False"),
        ("within the budget", "search/searchers/frank_wolfe.py", "self.budget = law, Budget(space, cost, budget_ms)", "self.budget = law, Budget(space, cost, 1.5 * budget_ms)"),
        ("projected onto the budget", recipe("hardcorenas"), "deriver=within_target,", ""),
        ("it moves", "search/searchers/frank_wolfe.py", "2 * count / (number + 2 * count)", "0.0"),
    ),
    *_of(
        "scalenas", "methods/test_scalenas.py",
        ("training by groups", recipe("scalenas"), "(queries, population, share, rate), GroupedShot)", "(queries, population, share, rate))"),
        ("the groups are of sizes", GROUPED, "groups=by_size(space)", "groups=()"),
        ("statistics are taken anew", "search/evaluator.py", "        recalibrate(network, self._images)\n", "        network.eval()\n"),
        ("whole modules are crossed", MODULES, "share=self.share, modules=True)", "share=self.share)"),
        ("what is found keeps its weights", recipe("scalenas"), '        deploys="inherited",\n', ""),
        ("the best that was asked about is kept", ONE_SHOT, "keeps_asked: ClassVar[bool] = True", "keeps_asked: ClassVar[bool] = False"),
        ("half the distance", recipe("scalenas"), "distillation: NonNegative = 0.5", "distillation: NonNegative = 0.0"),
        ("as asked for", recipe("scalenas"), "distillation=distillation", "distillation=0.5"),
    ),
    *_of(
        "scalenas", "searchers/test_grouped_shot.py",
        ("the teacher stays as it was", GROUPED, "if self.done == self.schedule.largest:", "if self.done >= self.schedule.largest:"),
        ("by AdamW", GROUPED, "torch.optim.AdamW(self.supernet.parameters(), schedule.rate, weight_decay=schedule.decay)", "torch.optim.SGD(self.supernet.parameters(), schedule.rate, weight_decay=schedule.decay)"),
        ("its decay", GROUPED, "weight_decay=schedule.decay)", "weight_decay=0.0)"),
        ("the teacher's statistics rest", GROUPED, "to(compute).eval().requires_grad_", "to(compute).requires_grad_"),
        ("as many networks as asked for", GROUPED, "for _ in range(self.schedule.draws):", "for _ in range(1):"),
        ("the teacher's distance is in the loss", GROUPED, "by_labels + self.schedule.distillation * self.task.distillation(outputs, told)", "by_labels"),
        ("not of raw outputs", GROUPED, "self.task.distillation(outputs, told)", "torch.nn.functional.mse_loss(outputs, told)"),
        ("heat maps by their places", "tasks/dense.py", "maps[:, : self.count].flatten(2).transpose(1, 2) for maps", "maps[:, : self.count] for maps"),
        ("of each pixel its classes", "tasks/dense.py", "return divergence(outputs[:, : self.count], teacher[:, : self.count])", "return divergence(outputs.flatten(2).mT, teacher.flatten(2).mT)"),
        ("the teacher is the trained largest", GROUPED, "            inherit(self.teacher, self.supernet)\n", "            pass\n"),
        ("whose turn it is is kept", GROUPED, '"groups": self.groups, ', ""),
    ),
    *_of(
        "scalenas", "searchers/test_module_evolution.py",
        ("fusions flip", MODULES, "crossed(space, parent, other, rng, share=self.share, modules=True), rng, self.rate)", "crossed(space, parent, other, rng, share=self.share, modules=True), rng, 0.0)"),
        ("depths do not", MODULES, "if flips[i] and is_part(site) and", "if flips[i] and"),
        ("the best scores stay", MODULES, "for i in reversed(places)", "for i in places"),
        ("nothing above the target is asked about", MODULES, "if queries.may_ask(child):", "if child not in queries.known:"),
        ("parents are peeled off by fronts", MODULES, "peeled(list(queries.known.values()), metric)[: self.population]", "sorted(queries.known.values(), key=lambda query: -metric.merit(query.score))[: self.population]"),
        ("front after front", MODULES, "left = [query for i, query in enumerate(left) if i not in set(places)]", "left = sorted((query for i, query in enumerate(left) if i not in set(places)), key=lambda query: -query.score)\n        order, left = order + left, []"),
        ("a quarter of the modules", MODULES, "crossed(space, parent, other, rng, share=self.share, modules=True)", "crossed(space, parent, other, rng, share=0.5, modules=True)"),
        ("a child each", MODULES, "for parent in alive:", "for parent in alive[:1] * len(alive):"),
        ("the first third is random", MODULES, "_FRESH = 3", "_FRESH = 6"),
    ),
    *_of(
        "scalenas", "spaces/test_multibranch.py",
        ("coarse branches are repeated", "spaces/zoo/multibranch.py", 'builder.add("repeat", Upsample((side, side)), x)', 'builder.add("repeat", Upsample((side, side), "bilinear"), x)'),
        ("and enlarged smoothly in the head", "spaces/zoo/multibranch.py", 'Upsample((side, side), "bilinear"), value)', 'Upsample((side, side)), value)'),
        ("past its depth a branch passes unchanged", "spaces/zoo/multibranch.py", 'found.append(_either(builder, f"b{b}/out", fused, reached[b], values[b], passed[b]))', "found.append(fused)"),
        ("others take what it passes", "spaces/zoo/multibranch.py", 'there = [_either(builder, f"b{b}/there", own[b], reached[b], values[b], passed[b]) for b in branches]', "there = own"),
        ("its own value always", "spaces/zoo/multibranch.py", "terms = {own[b]: (FIXED, 0)}", "terms = {values[b]: (FIXED, 0)}"),
    ),
    *_of(
        "scalenas", "laws/test_grouped.py",
        ("at random", "search/laws/grouped.py", "rows.multinomial(1, generator=generator)[:, 0], rows)", "rows.argmax(dim=-1), rows)"),
        ("groups in turn", "search/laws/grouped.py", "        self.turn += 1\n", ""),
        ("a window of depths", "search/laws/grouped.py", "_WINDOW = 2", "_WINDOW = 1"),
    ),
    *_of(
        "slim", "methods/test_slim.py",
        ("nothing is trained for it", recipe("slim"), "epochs: Epochs = 0", "epochs: Epochs = 1"),
        ("not even the largest", recipe("slim"), "largest=0", "largest=1"),
        ("epochs where they are asked for", recipe("slim"), "epochs=epochs", "epochs=0"),
        ("random ones beside the ends", recipe("slim"), "draws=draws", "draws=0"),
        ("as many as asked for", recipe("slim"), "draws=draws", "draws=1"),
        ("images a step", recipe("slim"), "batch=batch", "batch=64"),
        ("as many queries as asked for", recipe("slim"), "Edge(queries)", "Edge()"),
        ("what is found is trained", recipe("slim"), 'deploy: Deploy = "trained"', 'deploy: Deploy = "inherited"'),
        ("or not, as asked for", recipe("slim"), "        deploys=deploy,\n", ""),
        ("weights of the supernet", EVALUATOR, "inherit(space.to_torch(space.from_key(architecture.key)).to(self._compute), self._supernet)", "space.to_torch(space.from_key(architecture.key)).to(self._compute)"),
        ("the first of its channels", NETWORK, "shared[k][tuple(map(slice, v.shape))] if k in shared else v", "shared[k][tuple(slice(len(s) - n, None) for s, n in zip(map(range, shared[k].shape), v.shape))] if k in shared else v"),
        ("the supernet begins with the trained network", TRACED, "        network = super().supernet()\n        self._begin(network)\n", "        network = super().supernet()\n"),
        ("statistics are taken anew", EVALUATOR, "        recalibrate(network, self._images)\n", "        network.eval()\n"),
        ("of images that are not held out", EVALUATOR, "calibration(self._task.weights, generator", "calibration(self._task.law, generator"),
        ("networks are told by their loss", EDGE, "_worth(problem, query, ask.merit(query.architecture))", "_worth(problem, query, problem.task.metric.merit(query.score))"),
        ("the less the better", EVALUATOR, "return -self._losses[architecture]", "return self._losses[architecture]"),
        ("on held-out examples", EVALUATOR, "inputs, targets = task.law.take(some)", "inputs, targets = task.weights.take(some)"),
        ("each counts once", EVALUATOR, "targets.to(compute))) * len(targets)", "targets.to(compute)))"),
        ("of a sample of them", EDGE, "few=_FEW", "few=None"),
        ("the same for all networks", EVALUATOR, "index = torch.arange(len(task.law)) if index is None else index", "index = torch.arange(len(task.law)) if index is None else torch.randperm(len(task.law))[: len(index)]"),
        ("less a weight of latency", EDGE, " - (problem.lam or 0.0) * query.predicted_ms / problem.reference_ms", ""),
        ("less and not more", EDGE, "merit - (problem.lam", "merit + (problem.lam"),
        ("in units of a reference", EDGE, "query.predicted_ms / problem.reference_ms", "query.predicted_ms"),
        ("what is found is the best smoothed", EDGE, "np.argsort(-order, kind=\"stable\")", "range(len(order))"),
        ("not the worst", EDGE, "np.argsort(-order", "np.argsort(order"),
        ("repair moves along the line", EDGE, "scores=scores, passes", "passes"),
        ("those that learnt are measured in turn", EDGE, "candidates=tuple(query.architecture for query in learnt)", "candidates=()"),
        ("training begins with the weights asked about", EDGE, "            begin=begin, seconds", "            seconds"),
        ("finalists are told by them too", EDGE, "inherited=ask,", "inherited=None,"),
        ("they can be kept as they are", EDGE, "deployed=ask.deployed", "deployed=None"),
        ("no file where nothing is trained", EDGE, "kept if self._trains else None", "kept"),
        ("one where something is", EDGE, "kept if self._trains else None", "None"),
        ("learns from the whole network", "search/method.py", "teacher=None if recipe.teacher else self.space.teacher(),", "teacher=None,"),
        ("passes are counted", EDGE, "        queries.passes = shot.passes\n", ""),
        ("eight learn for an epoch", recipe("slim"), '"trained")] = 8', '"trained")] = 4'),
        ("as many as asked for", recipe("slim"), 'shortlist if deploy == "trained" else 1', '8 if deploy == "trained" else 1'),
        ("none where weights are kept", recipe("slim"), 'shortlist if deploy == "trained" else 1', "shortlist"),
        ("of those the best after it", EDGE, "np.argsort(-np.array(worth)", "np.argsort(np.array(worth)"),
        ("by its loss then", EDGE, "_worth(problem, query, -loss)", "_worth(problem, query, loss)"),
        ("for one epoch", EDGE, "replace(full, epochs=1,", "replace(full, epochs=2,"),
        ("with as large a share of it to warm up", EDGE, "warm_up=full.warm_up / full.epochs", "warm_up=0.0"),
        ("its last weights", EDGE, "validate=False, patience=0)", ")"),
        ("nothing where weights are random", EDGE, "not (begun and task.by_recipe):", "not task.by_recipe:"),
        ("its images are counted", EDGE, "            passes += trained.passes\n", ""),
    ),
    *_of(
        "slim", "searchers/test_edge.py",
        ("walks to the target", EDGE, "        space, predict, limit_ms = queries.problem.space, queries.problem.predict(), (1 - MARGIN) * queries.limit_ms\n", "        return start\n        space, predict, limit_ms = queries.problem.space, queries.problem.predict(), (1 - MARGIN) * queries.limit_ms\n"),
        ("down to it", EDGE, "within = next((a for a, ms in down if ms <= limit_ms), start)", "within = start"),
        ("and up to it again", EDGE, "*_, (end, _ms) = islice(descend(space, within, predict, scores, sign=-1, limit_ms=limit_ms), _CLIMB)\n        return end", "return within"),
        ("never above it", EDGE, "sign=-1, limit_ms=limit_ms", "sign=-1, limit_ms=1.2 * limit_ms"),
        ("a margin below it", EDGE, "(1 - MARGIN) * queries.limit_ms", "queries.limit_ms"),
        ("far enough", EDGE, "_CLIMB = 200", "_CLIMB = 2"),
        ("each in a direction of its own", EDGE, "self._walked(queries, start, _random(space, rng))", "self._walked(queries, start, 0 * _random(space, rng))"),
        ("networks of even shares first", EDGE, "range(most if not space.rules else 0)", "range(0)"),
        ("of one share at every site", EDGE, "round(number / max(1, most - 1) * (width - 1))", "min(number, width - 1)"),
        ("then random ones", EDGE, "        yield from queries.draws(np.random.default_rng(queries.problem.seed))\n", ""),
        ("the first half before any line", EDGE, "first: float = 0.5", "first: float = 1.0"),
        ("not less", EDGE, "first: float = 0.5", "first: float = 0.1"),
        ("four lines", EDGE, "rounds: int = 4", "rounds: int = 1"),
        ("walks along the line", EDGE, "(self._walked(queries, start, scores) for", "(self._walked(queries, start, _random(space, rng)) for"),
        ("the likeliest first", EDGE, "np.argsort(-network_scores(scores, space, pool)", "np.argsort(network_scores(scores, space, pool)"),
        ("of several", EDGE, "_WALKS = 4", "_WALKS = 1"),
        ("from relatives of the best", EDGE, "best = sorted(known, key=worth, reverse=True)[: max", "best = sorted(known, key=worth)[: max"),
        ("of a quarter", EDGE, "_BEST = 0.25", "_BEST = 1.0"),
        ("mutants of them", EDGE, "_RATE = 0.2", "_RATE = 1e-9"),
        ("and no strangers", EDGE, "_RATE = 0.2", "_RATE = 1.0"),
        ("neighbours where walks end at nothing new", EDGE, " or list(islice(_new(queries, near), batch))", ""),
        ("of the best first", EDGE, "for one in sorted(known, key=worth, reverse=True) for a", "for one in sorted(known, key=worth) for a"),
        ("each once", EDGE, "        if queries.may_ask(network, seen):\n            seen.append(network)\n", "        if queries.may_ask(network):\n"),
        ("the line is of what was told", EDGE, "told = np.array([worth(query) for query in queries])", "told = np.array([query.predicted_ms for query in queries])"),
        ("in units of what it leaves open", EDGE, "np.asarray(model.coef_) / left", "np.asarray(model.coef_)"),
        ("half of it is what was told", EDGE, "return scores, (told + said) / 2", "return scores, said"),
        ("half what the line says", EDGE, "return scores, (told + said) / 2", "return scores, told"),
        ("parts that nobody trained are refused", EDGE, "            raise UsageError(\n                f\"epochs=0", "            print(\n                f\"epochs=0"),
        ("with epochs they are trained", EDGE, "if not self._trains and not", "if not"),
    ),
    *_of(
        "slim", "spaces/tracing/test_shrink.py",
        ("channels by importance", NARROWER, "        _sort(group.members, group.order)\n", "        pass\n"),
        ("the most important first", NARROWER, "scores.argsort(descending=True)", "scores.argsort()"),
        ("of all layers of a group", NARROWER, "GroupMagnitudeImportance(p=2)", "GroupMagnitudeImportance(p=2, group_reduction='first')"),
        ("in every layer", NARROWER, "        done.add((id(layer), out))\n", "        done.add((id(layer), out))\n        if not out:\n            continue\n"),
        ("statistics with them", NARROWER, "values = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]", "values = [*layer.named_parameters(recurse=False)]"),
        ("weights to begin with", TRACED, "        network = super().to_torch(architecture)\n        self._begin(network)\n", "        network = super().to_torch(architecture)\n"),
        ("those of the first channels", TRACED, "value.copy_(kept[tuple(map(slice, value.shape))])", "value.copy_(kept[tuple(slice(size - n, None) for size, n in zip(kept.shape, value.shape))])"),
        ("blocks may go", NARROWER, "_rows(own, examples) if depth else {}", "{}"),
        ("unless it is said", NARROWER, "_rows(own, examples) if depth else {}", "_rows(own, examples)"),
        ("that give the shape they take", NARROWER, "return before == after and any(", "return any("),
        ("what is joined goes together", NARROWER, "        for maker in group.makers:\n            holder, last", "        for maker in group.makers[:1]:\n            holder, last"),
        ("sizes in steps", NARROWER, "max(step, step * round(group.channels * share / step))", "max(step, round(group.channels * share))"),
        ("down to the least", NARROWER, "least + (1 - least) * i / (options - 1)", "0.75 + 0.25 * i / (options - 1)"),
        ("the whole network is one of them", NARROWER, "for size in found if size < group.channels} | {group.channels}", "for size in found if size < group.channels}"),
        ("it teaches", NARROWER, "space.left_out, space.trained = left_out, True", "space.left_out, space.trained = left_out, False"),
        ("a copy is sorted", NARROWER, "return copy.deepcopy(network)", "return network"),
        ("what stays is told", NARROWER, "space.left_out, space.trained = left_out, True", "space.left_out, space.trained = {}, True"),
    ),
    *_of(
        "slim", "verbs/test_shrink.py",
        ("a share of the whole", "verbs/shrink.py", "target_ms = share * whole_ms", "target_ms = whole_ms"),
        ("the whole is measured", "verbs/shrink.py", "item = Items.of(space, [space.whole], batch=place.batch)", "item = Items.of(space, [space.architecture(0 for _ in space.sites)], batch=place.batch)"),
        ("steps as the device likes them", "verbs/shrink.py", 'wanted: int = told["step"]', "wanted = 1"),
        ("halved until it can shrink", "verbs/shrink.py", "(wanted >> i for i in range(wanted.bit_length()))", "(wanted,)"),
        ("what was measured is not measured again", "verbs/shrink.py", 'if remade or known is None or known["asked"] != asked:', "if True:"),
        ("unless otherwise asked", "verbs/shrink.py", 'if remade or known is None or known["asked"] != asked:', "if remade or known is None:"),
        ("of another device it is refused", "verbs/shrink.py", 'if self._told["device"] != own["device"]:', "if False:"),
        ("as many sub-networks as asked for", "verbs/shrink.py", "count=space.at_most(count)", "count=space.at_most(150)"),
        ("slim searches", "verbs/shrink.py", 'method: str = "slim"', 'method: str = "ofa"'),
    ),
    *_of(
        "slim", "verbs/test_width_step.py",
        ("little is gained below a step", "verbs/width_step.py", "LITTLE = 0.5", "LITTLE = -5.0"),
        ("the widest step", "verbs/width_step.py", "STEPS = (16, 8, 4, 2)", "STEPS = (2, 4, 8, 16)"),
    ),
    *_of(
        "ofa", "methods/test_ofa.py",
        ("the largest first", ONE_SHOT, "alone = self.schedule, self.done < self.schedule.largest", "alone = self.schedule, False"),
        ("then all sizes", ONE_SHOT, "        if not alone:", "        if alone is None:"),
        ("the smallest among them", ONE_SHOT, "for gates in (self.smallest, *drawn):", "for gates in drawn:"),
        ("random ones among them", ONE_SHOT, "for gates in (self.smallest, *drawn):", "for gates in (self.smallest,):"),
        ("the draws asked for", recipe("ofa"), "draws=draws", "draws=1"),
        ("nothing above the target is asked about", "search/queries.py", "return inf if self.problem.target_ms is None else self.problem.target_ms", "return inf"),
        ("the best quarter are parents", EVOLUTION, "_PARENTS = 0.25", "_PARENTS = 1.0"),
        ("half of the children by mutation", EVOLUTION, "mutant = rng.random() < 0.5", "mutant = True"),
        ("half by crossover", EVOLUTION, "mutant = rng.random() < 0.5", "mutant = False"),
        ("its rate", EVOLUTION, "child = mutated(space, one, rng, rate=self.rate) if mutant", "child = mutated(space, one, rng) if mutant"),
    ),
    *_of(
        "ofa", "searchers/test_evolution.py",
        ("the best stay", EVOLUTION, "return sorted(alive + born, key=queries.merit, reverse=True)[: self.population]", "return born"),
    ),
    *_of(
        "ofa", "searchers/test_one_shot.py",
        ("a cosine in each stage", ONE_SHOT, "first, length = (0, schedule.largest) if alone else (schedule.largest, schedule.epochs)", "first, length = 0, self.total"),
        ("the rate falls", ONE_SHOT, "cosine(schedule.rate, 0.0, (self.done", "cosine(schedule.rate, schedule.rate, (self.done"),
        ("the teacher has no slope", ONE_SHOT, "told = logits.detach()", "told = logits"),
        ("parts learn from the largest", ONE_SHOT, "learnt = self.task.distillation(self._forward(images, gates), told)", "learnt = self.task.loss(self._forward(images, gates), labels)"),
    ),
    *_of(
        "ofa", "test_run.py",
        ("weights are deployed without training", "search/run.py", 'if method.deploys == "trained":', "if method.deploys:"),
        ("where that is asked for", recipe("ofa"), "deploys=deploy,", ""),
    ),
    *_of(
        "autoshrink", "searchers/test_shrink.py",
        ("as many as there are", SHRINK, "on[i] for i in order[: self.k]", "on[i] for i in order[: self.k - 1]"),
        ("nothing above the target is found", SHRINK, "if query.predicted_ms <= limit_ms]", "if query.predicted_ms <= 1e9]"),
        ("the best removal goes", SHRINK, "reverse=True)[: self.drop]", "reverse=False)[: self.drop]"),
        ("k of the edges are tried", SHRINK, "order[: self.k]", "order"),
        ("in random order", SHRINK, "order = torch.randperm(len(on), generator=self.generator).tolist()", "order = list(range(len(on)))"),
        ("it ends at the target", SHRINK, "few or not self.queries.left or (within and bool(self.queries.known))", "few or not self.queries.left"),
        ("latency in the score", "search/searchers/asking.py", "self.form.value(self.merit(query), query.predicted_ms)", "self.merit(query)"),
        ("the paper's k", recipe("autoshrink"), "k: Count = 10", "k: Count = 5"),
        ("the keep fraction", SHRINK, "few = len(self.on) <= self.keep * len(self.space.sites)", "few = not self.on"),
    ),
    *_of(
        "autoshrink", "methods/test_autoshrink.py",
        ("under a target the most accurate", SHRINK, "(walk.score(q) if problem.target_ms is None else walk.merit(q), -q.predicted_ms)", "(walk.score(q), -q.predicted_ms)"),
        ("early enough to end anything", "search/searchers/asking.py", "self.patience = patience if patience < epochs else 0", "self.patience = 0"),
        ("trained as long as asked", "search/searchers/asking.py", "training, epochs=epochs, patience", "training, patience"),
        ("ended early", "search/searchers/asking.py", "patience=self.patience or training.patience)", "patience=training.patience)"),
        ("as asked for", recipe("autoshrink"), "patience=patience, ", "patience=5, "),
        ("one supernet where asked for", recipe("autoshrink"), "if shared else None", "if not shared else None"),
        ("of which two edges go", SHRINK, "drop=2 if self.schedule else 1", "drop=1"),
        ("all edges at first", SHRINK, "self.current = complete(problem)", "self.current = next(iter(self.space.enumerate()))"),
        ("the weight of latency", recipe("autoshrink"), "weight: NonNegative = 0.1", "weight: NonNegative = 0.0"),
        ("as asked for", "search/searchers/asking.py", "Score(weight if problem.lam is None else problem.lam, MICROSECOND)", "Score(weight, MICROSECOND)"),
        ("the best that was asked about", SHRINK, "merits.index(max(merits))", "len(merits) - 1"),
    ),
    *_of(
        "autoshrink", "spaces/test_masks.py",
        ("what is left dead goes too", "spaces/masks.py", "clean[:, column] *= there[:, source]", "clean[:, column] *= 1"),
        ("operations are dealt out evenly", "spaces/masks.py", "options[node % len(options)]", "options[min(node, len(options) - 1)]"),
    ),
    *_of(
        "autoshrink", "spaces/test_nodedag.py",
        ("leaves alone leave", "spaces/zoo/nodedag.py", "among=into, unless=out", "among=into"),
        ("the operation of the node that is entered", "spaces/zoo/nodedag.py", "builder.block(site, names[node], _convolve(names[node], width), values[source], when=((site, on),)):", "builder.block(site, names[node], _convolve(names[source], width), values[source], when=((site, on),)):"),
        ("one graph in all stages", "spaces/zoo/nodedag.py", "        names = self.operations_of_nodes\n", "        names = self.operations_of_nodes if width == self.width else self.operations_of_nodes[::-1]\n"),
    ),
    *_of(
        "autoshrink", "spaces/test_unrolled.py",
        ("a node of the cell is a mean", "spaces/zoo/recurrent.py", 'builder.mix(f"node{node}", edges, mean=True)', 'builder.mix(f"node{node}", edges)'),
        ("the new state is the mean of the leaves", "spaces/zoo/recurrent.py", 'builder.mix("leaves", leaves, mean=True)', 'builder.mix("leaves", leaves)'),
        ("the leaves alone", "spaces/zoo/recurrent.py", "among=into, unless=self.out_of(node))", "among=into)"),
        ("through a gate", "spaces/common/highway.py", "torch.lerp(x[0], made.to(x[0].dtype), gate.sigmoid().to(x[0].dtype))", "made + gate.sigmoid() * x[0]"),
        ("node 0 mixes symbol and state", "spaces/zoo/recurrent.py", 'builder.add("node0", Highway(_FIRST), state, symbol)', 'builder.add("node0", Highway(_FIRST), symbol, state)'),
    ),
    *_of(
        "gram", "methods/test_gram.py",
        ("of 512 images", "search/searchers/asking.py", "_FEW = 512", "_FEW = 64"),
        ("at a weight nothing is pruned", META, " if problem.lam is None else (learnt.law.best(),)", ""),
        ("one supernet answers", recipe("gram"), "shared: bool = True", "shared: bool = False"),
        ("of few images", "search/evaluator.py", "generator=torch.Generator().manual_seed(seed))[:few]", "generator=torch.Generator().manual_seed(seed))"),
        ("with statistics of its own", "search/evaluator.py", "        recalibrate(network, self._images)\n", "        network.eval()\n"),
        ("the weight of latency", recipe("gram"), "weight: NonNegative = 0.1", "weight: NonNegative = 0.0"),
        ("in units of the usual spread", META, "return apart / sqrt(self.variance) if self.variance else 0.0", "return apart"),
        ("what was learnt is kept", META, '"law": self.law}', "}"),
        ("better answers make likelier", "search/laws/bernoulli.py", "step = self.eta * advantage * (mask - self.weights)", "step = -self.eta * advantage * (mask - self.weights)"),
    ),
    *_of(
        "gram", "searchers/test_meta_graph.py",
        ("the usual spread follows the answers", META, "self.variance + _RATE * (apart**2 - self.variance)", "self.variance"),
        ("smaller members are measured in turn", META, "else members, begin", "else members[:1], begin"),
        ("answers teach", META, "self.law.learn(drawn, self.advantage(score))", "self.law.learn(drawn, 0.0)"),
        ("against a baseline", META, "apart = score - self.mean", "apart = score"),
        ("pruned to the target", META, "limit_ms = _BELOW * float(predict([member])[0])", "return"),
        ("edges go by rising probability", META, "strict=True))\n        member = complete", "strict=True))\n        weights = {name: -weight for name, weight in weights.items()}\n        member = complete"),
        ("the usual follows the answers", META, "        self.mean += _RATE * apart\n", ""),
        ("the first answer is no news", META, "        if not self.rounds_done:\n            self.mean = score\n", ""),
        ("it ends when the graph is still", META, "self.unchanged + 1 if self.law.best() == before else 0", "0"),
        ("the share passed on", recipe("gram"), "spread=spread", "spread=0.0"),
    ),
    *_of(
        "gram", "laws/test_bernoulli.py",
        ("in random order", BERNOULLI, "for edge in torch.randperm(len(mask), generator=generator).tolist():", "for edge in range(len(mask)):"),
        ("the likely edges", BERNOULLI, "(self.weights > 0.5)", "(self.weights >= 0.5)"),
        ("given all others", BERNOULLI, "other = [*mask[:edge], 1 - mask[edge], *mask[edge + 1 :]]", "other = [0] * len(mask)"),
        ("drawn by what was learnt", BERNOULLI, "mask[edge] = int(uniform[edge] < chance[edge])", "mask[edge] = int(uniform[edge] < 0.5)"),
        ("what is passed on", BERNOULLI, "self.spread *", "0.0 *"),
        ("to edges that are on too", BERNOULLI, "neighbours = self._touching * mask[:, None] * mask[None]", "neighbours = self._touching * mask[:, None]"),
        ("to edges that share a node", BERNOULLI, "neighbours = self._touching * mask[:, None] * mask[None]", "neighbours = (1 - torch.eye(len(mask))) * mask[:, None] * mask[None]"),
        ("shared out among them", BERNOULLI, "neighbours / neighbours.sum(dim=1, keepdim=True).clamp_min(1)", "neighbours"),
        ("no edge is drawn dead", BERNOULLI, "            if self._is_clean(other):\n                mask[edge]", "            if other:\n                mask[edge]"),
        ("a sweep goes on from the last", BERNOULLI, "mask = self.mask.tolist()", "mask = [0] * len(self.mask)"),
        ("no edge is given up for good", BERNOULLI, "self.weights.clamp(_OPEN, 1 - _OPEN).tolist()", "self.weights.tolist()"),
        ("they are probabilities", BERNOULLI, ".clamp_(0, 1)", ""),
    ),
    *_of(
        "hdas", "methods/test_hdas.py",
        ("depth of stages", recipe("hdas"), "regularisers=(partial(Depth, depth),), ", ""),
        ("its weight", recipe("hdas"), "partial(Depth, depth)", "partial(Depth, 1.0)"),
        ("deep and not shallow", "search/regularisers.py", "return -self.weight * self.depth(law)", "return self.weight * self.depth(law)"),
        ("a number of cells", recipe("hdas"), "weighed=(_length(length),)", "weighed=()"),
        ("its weight", recipe("hdas"), "return Length(weight, space) if", "return Length(1.0, space) if"),
        ("few cells", "search/regularisers.py", "return self.weight * self.cells(law)", "return -self.weight * self.cells(law)"),
        ("under a target latency in its place", "search/searchers/gradient.py", "(self.weighed if problem.target_ms is None else ())", "self.weighed"),
        ("cells are asked for neither", recipe("hdas"), '{"cells": searcher(), "stages": stages}', '{"cells": stages, "stages": stages}'),
        ("operations and connections mixed", recipe("hdas"), "from ..laws.softmax import Softmax", "from ..laws.gumbel import Gumbel as Softmax"),
        ("the predictor is asked about samples", recipe("hdas"), 'feed: Feed = "sampled"', 'feed: Feed = "direct"'),
        ("second order", recipe("hdas"), "second_order=second_order", "second_order=False"),
        ("weights alone at first", recipe("hdas"), "warm_up=warm_up", "warm_up=0.0"),
    ),
    *_of(
        "hdas", "methods/test_recipes.py",
        ("a weight of latency", recipe("hdas"), "weighted=Linear,", "weighted=lambda lam, reference_ms: Linear(0.0, reference_ms),"),
        ("a target's weight is learnt", recipe("hdas"), MULTIPLIER, DEAF),
    ),
    *_of(
        "hdas", "searchers/test_pipeline.py",
        ("the share of the cells", recipe("hdas"), '{"cells": share, "stages": 1 - share}', '{"cells": 1 - share, "stages": share}'),
        ("scores of the law that decided a site", PIPELINE, "row[: len(site.options)] = self.scores[site.name]", "row[: len(site.options)] += 0"),
        ("a level begins anew", PIPELINE, "            begins=True,\n", "            begins=False,\n"),
        ("what cells are found is given to the stages", PIPELINE, "given={**self.given, **{name: taken[name] for name in own}}", "given=self.given"),
        ("epochs of each level", PIPELINE, "wanted = round(left * share / rest) if rest else left", "wanted = 1"),
    ),
    *_of(
        "hdas", "spaces/test_staged.py",
        ("a chain of middle length", "spaces/zoo/staged.py", "middle = self._lengths[(len(self._lengths) - 1) // 2]", "middle = self._lengths[0]"),
        ("of which cells are searched", "spaces/zoo/staged.py", "found = {_length(stage): (len(self._lengths) - 1) // 2 for", "found = {_length(stage): 0 for"),
        ("whose cells read the last two values", "spaces/zoo/staged.py", "if edge in edges[-KEPT:]", "if edge in edges[:KEPT]"),
        ("the last three values", "spaces/zoo/staged.py", "WINDOW = 3", "WINDOW = 2"),
        ("of which two are kept", "spaces/zoo/staged.py", "KEPT = 2", "KEPT = 1"),
        ("the last two leave", "spaces/zoo/staged.py", "Concat(), *states[number : number + 2]", "Concat(), *states[number + 1 : number + 2]"),
        ("cells past the length are not there", "spaces/zoo/staged.py", "cell, x, when=self._when(stage, place))", "cell, x)"),
    ),
    *_of(
        "hdas", "spaces/test_darts.py",
        ("cells of each stage", "spaces/zoo/darts.py", "self.kinds[reduces if self.stages == 1 else 2 * stage + reduces]", "self.kinds[reduces if self.stages == 1 else reduces]"),
    ),
    *_of(
        "hdas", "test_regularisers.py",
        ("the mean of all cells", "search/regularisers.py", "return torch.stack(found).mean()", "return torch.stack(found).max()"),
        ("cells that are always there count", "search/regularisers.py", "return self.always + self._sum.cost({}, law.marginals())", "return self._sum.cost({}, law.marginals())"),
        ("a step each edge", "search/regularisers.py", "(torch.stack([states[source] for _, source in node]) + 1)", "torch.stack([states[source] for _, source in node])"),
        ("by the share of kept edges", "search/regularisers.py", "share = kept / kept.sum().clamp_min(torch.finfo(kept.dtype).tiny)", "share = kept"),
    ),
    *_of(
        "egdas", "methods/test_egdas.py",
        ("under a target too", TWO_LEVEL, "targeted=lambda target_ms: Pareto(preference)", "targeted=lambda target_ms: Pareto(1.0)"),
        ("evenly on a logarithmic scale", TWO_LEVEL, "np.geomspace(1 / self.spread, self.spread, len(slots))", "np.linspace(1 / self.spread, self.spread, len(slots))"),
        ("a site of the stages a mutant", TWO_LEVEL, "replace(self.evolution, rate=1 / len(queries.free)).ask(queries)", "self.evolution.ask(queries)"),
        ("each slot has its law's scores", TWO_LEVEL, "        scores[rows] = found.scores[rows]\n", "        scores = found.scores\n"),
        ("passes of all slots", TWO_LEVEL, "            library.passes + found.passes,\n", "            found.passes,\n"),
        ("children are made of these blocks", EVOLUTION, "            child = queries.settled(child)\n", ""),
        ("one option a site", "search/laws/gumbel_rao.py", "self._gates(straight_through(winner, soft))", "self._gates(soft)"),
        ("the slope of its logits", "search/laws/gumbel_rao.py", "noisy = log_p + (noisy - log_p.detach())", "noisy = 0 * log_p + noisy"),
        ("draws of less variance", TWO_LEVEL, "GumbelRao(space, generator, sites=own)", "GumbelRao(space, generator, sites=own, averaged=1)"),
        ("the noise is conditioned on the draw", "search/laws/gumbel_rao.py", "noise / log_p.detach().exp().clamp_min(least) + first", "noise / log_p.detach().exp().clamp_min(least)"),
        ("an ascent of neither", TWO_LEVEL, "weighted=lambda lam, reference_ms: Pareto(preference)", "weighted=lambda lam, reference_ms: __import__(Pareto.__module__, fromlist=['Linear']).Linear(preference, reference_ms)"),
        ("the direction, not a sum", "search/forms.py", "min(1.0, max(0.0, float((two - one) @ two) / distance))", "0.5"),
        ("one path at a time", TWO_LEVEL, "from ..laws.gumbel_rao import GumbelRao", "from ..laws.softmax import Softmax as GumbelRao"),
        ("a preference a slot", TWO_LEVEL, "np.geomspace(1 / self.spread, self.spread, len(slots))", "np.ones(len(slots))"),
        ("from the accurate to the fast", TWO_LEVEL, "np.geomspace(1 / self.spread, self.spread, len(slots))", "np.geomspace(self.spread, 1 / self.spread, len(slots))"),
        ("accurate blocks are sought from the slow ones", TWO_LEVEL, "law.logits.add_(ahead)", "law.logits.add_(0.0)"),
        ("not from the fast", TWO_LEVEL, "return _AHEAD * share", "return -_AHEAD * share"),
        ("the further the more accuracy counts", TWO_LEVEL, "0.5 - log(preference) / log(self.spread) / 2 if self.spread > 1 else 0.5", "0.5"),
        ("its spread", recipe("egdas"), "            spread,\n", "            1.0,\n"),
        ("one slot at a time", TWO_LEVEL, "others = {name: option for name, option in space.taken(start).items() if name not in own}", "own, others = [*space.taken(start)], dict[str, int]()"),
        ("alone in all stages", TWO_LEVEL, "s.options.index(slot) if slot in s.options else 1", "0 if slot in s.options else 1"),
        ("blocks stay as they were found", TWO_LEVEL, "        return Library(\n            found.architecture,", "        return Library(\n            library.base,"),
        ("networks of these blocks", TWO_LEVEL, "return self.problem.space.changed(self.base, {i: max(architecture.choices[i], 0) for i in self.free})", "return architecture"),
        ("weights alone at first", recipe("egdas"), "warm_up=warm_up", "warm_up=0.0"),
        ("as many epochs a training as asked for", recipe("egdas"), "            train_epochs,\n", "            5,\n"),
        ("as many queries", recipe("egdas"), 'EvolutionSearcher("nsga2", queries, population)', 'EvolutionSearcher("nsga2", 24, population)'),
    ),
    *_of(
        "egdas", "searchers/test_two_level.py",
        ("where the archive cannot use the target, repair can", TWO_LEVEL, "candidates=kept if uses else ()", "candidates=kept"),
        ("where nothing fits, the fastest", TWO_LEVEL, "int(np.argmin(self._predict(made)))", "int(np.argmax(self._predict(made)))"),
        ("evolution by several objectives", recipe("egdas"), '"nsga2"', '"best"'),
        ("the archive is measured, best first", TWO_LEVEL, "for query in queries.archive.best_first", "for query in queries.archive.members"),
        ("nothing above the target", TWO_LEVEL, "[: int((predicted_ms <= self.limit_ms).sum())]", ""),
        ("the first are fast and slow alike", TWO_LEVEL, "np.argsort(np.argsort(spread))", "rng.permutation(len(spread))"),
    ),
    *_of(
        "egdas", "searchers/test_evolution.py",
        ("the least crowded of a front first", "search/searchers/evolution.py", 'front[np.argsort(-crowding, kind="stable")]', "front"),
    ),
    *_of(
        "egdas", "test_forms.py",
        ("between both", "search/forms.py", "min(1.0, max(0.0, float((two - one) @ two) / distance))", "float((two - one) @ two) / distance"),
        ("gradients of one length", "search/forms.py", "first.double() / lengths[0], second.double() / (lengths[1] * preference)", "first.double(), second.double() / preference"),
        ("divided by the preference", "search/forms.py", "second.double() / (lengths[1] * preference)", "second.double() * preference / lengths[1]"),
    ),
    *_of(
        "egdas", "test_archive.py",
        ("whom no other beats", "search/archive.py", "return cls(tuple(asked[i] for i in places), metric)", "return cls(tuple(asked), metric)"),
    ),
    *_of(
        "evolution", "searchers/test_evolution.py",
        ("who stays is chosen by fronts", EVOLUTION, "return by_fronts(alive + born, queries.problem.task.metric)[: self.population]", "return sorted(alive + born, key=queries.merit, reverse=True)[: self.population]"),
        ("and who is a parent", EVOLUTION, 'if self.survival == "nsga2"\n            else sorted', 'if self.survival == "none"\n            else sorted'),
        ("by accuracy and latency", EVOLUTION, "[-metric.merit(query.score), query.predicted_ms] for query in queries", "[-metric.merit(query.score), 0.0] for query in queries"),
        ("parents are crossed", EVOLUTION, "mutated(space, crossed(space, one, parent(), rng), rng, rate=self.rate)", "mutated(space, one, rng, rate=self.rate)"),
    ),
    *_of(
        "regularized_evolution", "searchers/test_evolution.py",
        ("the oldest die", EVOLUTION, "return (alive + born)[-self.population :]", "return sorted(alive + born, key=queries.merit, reverse=True)[: self.population]"),
        ("one change a child", EVOLUTION, "child = mutated(space, one, rng)\n", "child = mutated(space, one, rng, rate=0.5)\n"),
        ("the best of a few is the parent", EVOLUTION, "order[int(rivals.min())]", "order[int(rivals.max())]"),
        ("one child a turn", EVOLUTION, 'range(1 if self.survival == "ageing" else self.population)', "range(self.population)"),
    ),
    *_of(
        "surrogate_search", "searchers/test_surrogate.py",
        ("the most promising are asked about", SURROGATE, "np.argsort(-model.gain(queries, pool), kind=\"stable\")", "np.arange(len(pool))"),
        ("improvement on the best", SURROGATE, "z = (mean - score.max()) / np.maximum(sd, 1e-9)", "z = -(mean - score.max()) / np.maximum(sd, 1e-9)"),
        ("times the chance to be within the target", SURROGATE, "return expected * problem.chance(problem.predict()(pool))", "return expected"),
        ("what is likelier above it is left out", SURROGATE, "if p >= LIKELY and a not in queries.known", "if a not in queries.known"),
    ),
    *_of(
        "all", "searchers/test_alternation.py",
        ("the rate of weights falls along a cosine", ALTERNATION, "set_rate(self.weights_optimizer, cosine(schedule.weights_rate, schedule.weights_rate_last, done))", "pass"),
        ("over all epochs", ALTERNATION, "done = (number * steps + index) / (schedule.epochs * steps)", "done = index / steps"),
        ("their steps are clipped", ALTERNATION, "move(self.weights_optimizer, self.schedule.clip)", "self.weights_optimizer.step()"),
        ("a multiplier is told what would be derived", ALTERNATION, "self.term.form.update(self.derived_ms())", "self.term.form.update(float(self.term.model(self.law.marginals()).detach()))"),
    ),
    *_of(
        "all", "test_objective.py",
        ("a predictor is asked as it predicts, not as it was trained", "search/cost.py", "deepcopy(module).eval().requires_grad_(False)", "deepcopy(module).requires_grad_(False)"),
        ("what a swap costs more is its slope", "search/cost.py", "effect = (latency[1:] - latency[0])", "effect = (latency[0] - latency[1:])"),
    ),
    *_of(
        "hdas", "methods/test_objectives.py",
        ("the weight of depth", recipe("hdas"), "depth: NonNegative = 1.0", "depth: NonNegative = 0.1"),
        ("the weight of a cell", recipe("hdas"), "length: NonNegative = 0.4", "length: NonNegative = 1.0"),
    ),
    *_of(
        "hdas", "test_deriver.py",
        ("a longer stage is not the less likely for its edges", "search/laws/softmax.py", "log_p = torch.where(self._relative[:, None], log_p - best[:, None], log_p)", "log_p = log_p + 0"),
    ),
    *_of(
        "ofa", "spaces/test_network.py",
        ("the middle of a kernel", NETWORK, "0 if axis < 2 else (size - own) // 2", "0"),
    ),
    *_of(
        "scalenas", "test_evaluator.py",
        ("statistics begin anew", EVALUATOR, "        norm.reset_running_stats()\n", ""),
        ("and are plain means", EVALUATOR, "norm.momentum = None  # torch's word for a plain mean", "norm.momentum = 0.1"),
    ),
    *_of(
        "toponas", "spaces/test_darts.py",
        ("the last node alone is the output where edges are free", "spaces/zoo/darts.py", 'cell = nodes[-1] if self.in_edges == "any" else', 'cell = nodes[-1] if self.in_edges == "none" else'),
    ),
    *_of(
        "all", "test_run.py",
        ("a weight is relative to the median network", "search/run.py", "target_ms, lam, middle_ms,", "target_ms, lam, table.smallest_ms,"),
    ),
    *_of(
        "all", "test_price.py",
        ("predictors in a sum are asked as the recipe says", "search/price.py", "else _made(self.cost, cost)", "else self.cost"),
    ),
    *_of(
        "hardcorenas", "test_budget.py",
        ("block after block", "search/searchers/frank_wolfe.py", "self.budget.blocks[number % count]", "self.budget.blocks[0]"),
        ("a little of every option", "search/laws/simplex.py", "explore: Share = 0.1", "explore: Share = 0.0"),
    ),
    *_of(
        "all", "test_finalists.py",
        ("the best finalist is that of the metric", "search/finalists.py", "-metric.merit(each.trained.validation_score)", "-each.trained.validation_score"),
        ("finalists are drawn best first by the metric", "search/finalists.py", "return metric.merit(told[architecture])", "return told[architecture]"),
        ("finalists are drawn by the seed", "search/finalists.py", "np.random.default_rng(seed))", "np.random.default_rng(0))"),
        ("where none drawn uses the target, a walk does", "search/finalists.py", "yield from near or [_walked(", "yield from near or drawn[:1] or [_walked("),
    ),
    *_of(
        "all", "methods/test_metrics.py",
        ("answers are merit", "search/queries.py", "return self.problem.task.metric.merit(query.score) -", "return query.score -"),
        ("scores of graphs are of merit", "search/searchers/asking.py", "return self.problem.task.metric.merit(query.score)", "return query.score"),
        ("options add merit", ONE_SHOT, "[metric.merit(query.score) for query in queries]", "[query.score for query in queries]"),
    ),
    *_of(
        "autoshrink", "methods/test_metrics.py",
        ("edges add merit", SHRINK, "effects(problem.space, known, problem.task.metric)", "effects(problem.space, known)"),
    ),
    *_of(
        "egdas", "methods/test_metrics.py",
        ("fronts are of merit", EVOLUTION, "[-metric.merit(query.score), query.predicted_ms]", "[-query.score, query.predicted_ms]"),
        ("the front of merit stays", EVOLUTION, "return by_fronts(alive + born, queries.problem.task.metric)[", "return by_fronts(alive + born)["),
        ("and has children", EVOLUTION, "            by_fronts(alive, queries.problem.task.metric)\n", "            by_fronts(alive)\n"),
        ("the archive is of merit", TWO_LEVEL, "return Archive.of(self.known.values(), self.problem.task.metric)", "return Archive.of(self.known.values())"),
    ),
    *_of(
        "scalenas", "methods/test_metrics.py",
        ("fronts are of merit", MODULES, "front([metric.merit(query.score) for query in left]", "front([query.score for query in left]"),
    ),
    *_of(
        "scalenas", "searchers/test_module_evolution.py",
        ("each fusion flips by itself", MODULES, "flips = rng.random(len(space.sites)) < rate", "flips = np.full(len(space.sites), rng.random() < rate)"),
    ),
    *_of(
        "all", "test_price.py",
        ("a measured network has no part in its prediction by a line", "search/price.py", "_least_absolute(rows[others]) @ rows[i] * y_ms[i]", "_least_absolute(rows) @ rows[i] * y_ms[i]"),
        ("nor by a factor", "search/price.py", "np.median(factors[groups != group])", "np.median(factors)"),
        ("a line follows most networks", "search/price.py", "REWEIGHTINGS = 15", "REWEIGHTINGS = 1"),
    ),
    *_of(
        "msgdas", "test_drop_block.py",
        ("blocks are no wider than a map", "search/drop_block.py", "side = min(block, height, width)", "side = min(block, height)"),
    ),
    *_of(
        "hdas", "test_regularisers.py",
        ("depth of all stages", "search/regularisers.py", "        for cell in self.cells:\n            states", "        for cell in self.cells[:1]:\n            states"),
    ),
    *_of(
        "gram", "laws/test_bernoulli.py",
        ("what is nearly sure is drawn so", BERNOULLI, "_OPEN = 0.05", "_OPEN = 0.3"),
    ),
    *_of(
        "gram", "searchers/test_meta_graph.py",
        ("graphs are drawn by the seed", "search/searchers/asking.py", "self.generator = torch.Generator().manual_seed(problem.seed)", "self.generator = torch.Generator().manual_seed(0)"),
    ),
    *_of(
        "gram", "methods/test_gram.py",
        ("a training may begin with the supernet's weights", META, ", begin=learnt.begin,", ","),
    ),
    *_of(
        "autoshrink", "methods/test_autoshrink.py",
        ("a training may begin with the supernet's weights", SHRINK, "            begin=walk.begin,\n", ""),
    ),
    *_of(
        "hardcorenas", "test_projection.py",
        ("the constant of a sum is taken off the budget", "search/projection.py", "return project(scores, space, costs, budget_ms - constant)", "return project(scores, space, costs, budget_ms)"),
        ("each cost counts by its weight", "search/projection.py", "found.get(option, 0.0) + weight * cost", "found.get(option, 0.0) + cost"),
    ),
]  # fmt: skip


def mutated(text: str, mutant: Mutant) -> str:
    """Return a file's text with the mutant in it."""
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.file}: {text.count(mutant.old)} times, expected once: {mutant.old}")
    return text.replace(mutant.old, mutant.new)


def killed(mutant: Mutant, scratch: Path) -> bool:
    """Return whether a test fails with the mutant in a copy of the tree, which is as it was afterwards."""
    path = scratch / "tempograd" / mutant.file
    text = path.read_text()
    path.write_text(mutated(text, mutant))
    try:
        return not passes(scratch, mutant.tests)
    finally:
        path.write_text(text)


def passes(scratch: Path, tests: Sequence[str]) -> bool:
    """Return whether tests pass in a copy of the tree, in a process of their own; it must be the copy they import."""
    for library in OFTEN:
        import_module(library)  # once, for all; torch too
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        signal.alarm(LONGEST_S)
        os.chdir(scratch / "tempograd")
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.path.insert(0, str(scratch))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        import tempograd

        if not str(tempograd.__file__).startswith(str(scratch)):
            os._exit(_OTHER)
        files = [str(Path("tests") / test) for test in tests]
        os._exit(pytest.main(["-x", "-q", "-n0", "--reruns=0", "-p", "no:cacheprovider", *files]))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, 1):
        raise SystemExit(f"{', '.join(tests)}: pytest ended with {code}; {_OTHER}: another tempograd than the copy")
    return code == 0


def survivors(mutants: Sequence[Mutant]) -> list[Mutant]:
    """Return the mutants that no test notices."""
    left = list[Mutant]()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        shutil.copytree(ROOT, scratch / "tempograd", ignore=SKIPPED, symlinks=True)
        for tests in dict.fromkeys(mutant.tests for mutant in mutants):
            if not passes(scratch, tests):
                raise SystemExit(f"{', '.join(tests)} fails without any mutant")
        for mutant in mutants:
            dead = killed(mutant, scratch)
            left += [] if dead else [mutant]
            word = "killed" if dead else "SURVIVES"
            print(f"{word}: {mutant.method}: {mutant.mechanism}", file=sys.stderr, flush=True)
    return left


def main() -> int:
    torch.set_num_threads(1)  # a process with threads should not be forked
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="methods; all by default")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not asked.only or mutant.method in asked.only]
    if asked.list:
        print(json.dumps([asdict(mutant) for mutant in chosen], indent=1))
        return 0
    left = survivors(chosen)
    print(json.dumps({"mutants": len(chosen), "survivors": [asdict(mutant) for mutant in left]}, indent=1))
    return bool(left)


if __name__ == "__main__":
    sys.exit(main())
