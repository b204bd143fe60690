"""A text learnt by recurrent cells: the space is fitted to its vocabulary, trained along windows, and searched."""

import numpy as np
import pytest
import torch
from torch import nn

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.evaluator import train
from tempograd.search.price import Price
from tempograd.search.run import Options, search
from tempograd.search.training import Training
from tempograd.spaces.tracing.marks import Choice
from tempograd.spaces.tracing.tracer import space_from
from tempograd.tasks.fit import fit_space
from tempograd.tasks.load import load_task
from tempograd.testing.methods import device, priced

CELL = "recurrent:n=4,hidden=8"
RECIPE = Training(epochs=4, batch=8, optimizer="adamw", learning_rate=0.02)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Text in which all that comes next is sure, if one remembers the symbol before the last."""
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text("aab" * 400, encoding="utf-8")
    return load_task(f"text:{file},length=9")


def test_a_cell_tells_as_many_symbols_apart_as_the_text_has(task):
    space = fit_space(CELL, task)
    assert space.classes == len(task.class_names) == 3  # and one for all that is unknown
    assert task.fitted(space) is task
    with pytest.raises(UsageError, match=r"tells 2 apart; set classes=3"):
        task.fitted(registry.create("space", f"{CELL},classes=2"))


@pytest.mark.slow
def test_a_cell_learns_what_only_its_state_can_know(task):
    """By the last symbol alone ``a`` may be followed by both: two steps of three would cost a bit: 1.59."""
    space = fit_space(CELL, task)
    trained = train(space.parse("0>1 1>2"), space, task, RECIPE, seed=0)
    assert trained.score < 1.3 < task.metric.chance


@pytest.mark.slow
def test_autoshrink_comes_to_a_verdict_by_perplexity(task):
    space = fit_space(CELL, task)
    truth, measure = device(space)
    target_ms = float(np.quantile(truth(list(space.enumerate())), 0.6))
    method = registry.create("method", "autoshrink", k=2, epochs=1)
    options = Options(training=RECIPE, random_networks=0)
    result = search(
        space,
        method,
        Price(priced(space, factor=1.0), space),
        task,
        target_ms=target_ms,
        measure=measure,
        options=options,
    )
    assert result.verdict == "pass"
    assert result.found.measurement.latency_ms <= target_ms
    assert (result.metric.name, result.metric.higher_is_better) == ("perplexity", False)
    within = [query for query in result.queries if query.predicted_ms <= target_ms]
    assert result.architecture == min(within, key=lambda query: query.score).architecture


def test_a_space_of_other_sequences_is_refused_with_the_length_to_set(task):
    either = Choice({"a": nn.Conv1d(2, 4, 1), "b": nn.Sequential(nn.Conv1d(2, 4, 1), nn.ReLU())})
    space = space_from(nn.Sequential(either), torch.zeros(1, 2, 5))
    assert space.gives == ("sequence",)
    with pytest.raises(UsageError, match=r"gives 9 tokens at once, .* takes \(2, 5\)"):
        task.fitted(space)


def test_a_byte_order_mark_is_no_character(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ab " * 400, encoding="utf-8-sig")
    assert load_task(f"text:{path},length=16").class_names[1:] == (" ", "a", "b")


def test_a_number_of_words_is_refused_where_characters_are_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two three " * 400)
    message = r"words=3 of task text counts only with unit=words, and unit is characters; leave words out"
    for unit in ("", ",unit=characters"):
        with pytest.raises(UsageError, match=message):
            load_task(f"text:{path},words=3,length=9{unit}")
    assert len(load_task(f"text:{path},words=3,length=9,unit=words").class_names) == 3
