import numpy as np
import pytest

from tempograd.errors import UsageError
from tempograd.predictor.evaluate import METRICS, BadSplitError, judge, judge_in_full, split_rows
from tempograd.predictor.models.ridge import RidgeLatency


class Remembering:
    """Knows by heart what it has seen, and says 1 ms of anything else."""

    def __init__(self, log):
        self.log = log

    def fit(self, X, y_ms, sample_weight=None):
        self.known = {row.tobytes(): label for row, label in zip(X, y_ms, strict=True)}
        self.log.append((X, sample_weight))
        return self

    def predict(self, X):
        return np.array([self.known.get(row.tobytes(), 1.0) for row in X])


def ridge(_seed):
    return RidgeLatency()


def test_scores_mean_and_sd_over_seeds(additive):
    noisy = additive.y_ms * np.exp(0.05 * np.random.default_rng(0).standard_normal(500))
    full = judge_in_full(ridge, additive.X, noisy, train=200, valid=0, seeds=(0, 1, 2))
    scores = judge(ridge, additive.X, noisy, train=200, valid=0, seeds=(0, 1, 2))
    assert scores == full.scores
    assert tuple(scores) == METRICS
    by_hand = [score.mape_pct for score in full.by_seed]
    assert len(set(by_hand)) == 3
    assert scores["mape_pct"] == pytest.approx({"mean": np.mean(by_hand), "sd": np.std(by_hand, ddof=1)})
    assert all(score.n == 300 for score in full.by_seed)


def test_the_spread_of_one_seed_is_unknown(additive):
    scores = judge(ridge, additive.X, additive.y_ms, train=200, valid=0, seeds=(0,))
    assert np.isnan(scores["mape_pct"]["sd"])


def test_nothing_of_the_test_is_learnt_from():
    X, log = np.arange(100.0)[:, None], []
    full = judge_in_full(lambda _: Remembering(log), X, np.full(100, 2.0), train=60, valid=10, seeds=(0,))
    assert full.by_seed[0].n == 30
    assert full.scores["mape_pct"]["mean"] == pytest.approx(50)  # 1 ms said of 2 ms, every time
    assert len(log[0][0]) == 60


def test_the_encoding_is_chosen_on_validation_rows(additive):
    useless = np.random.default_rng(0).standard_normal((500, 3))
    full = judge_in_full(
        ridge, {"useless": useless, "one_hot": additive.X}, additive.y_ms, train=200, valid=100, seeds=(0, 1)
    )
    assert full.picks == ("one_hot", "one_hot")
    assert full.scores["mape_pct"]["mean"] < 1


def test_the_factory_gets_the_seed_and_the_weights_follow_their_rows(additive):
    seeds, log = [], []
    weight = additive.y_ms * 7

    def factory(seed):
        seeds.append(seed)
        return Remembering(log)

    judge(factory, additive.y_ms[:, None], additive.y_ms, train=50, valid=0, seeds=(4, 9), sample_weight=weight)
    assert seeds == [4, 9]
    for X, given in log:
        np.testing.assert_allclose(given, 7 * X[:, 0])


def test_flagged_rows_are_left_out_of_the_second_scores_only(additive):
    y = additive.y_ms.copy()
    y[::10] = 1e-3
    full = judge_in_full(
        lambda _: RidgeLatency(relative=False), additive.X, y, train=200, valid=0, seeds=(0,), exclude=y < 0.01
    )
    assert full.scores_without_excluded is not None
    assert full.scores["mape_pct"]["mean"] > 1000
    assert full.scores_without_excluded["mape_pct"]["mean"] < 100
    assert judge_in_full(ridge, additive.X, y, train=200, valid=0, seeds=(0,)).scores_without_excluded is None


def test_equal_networks_do_not_fall_on_both_sides():
    groups = np.repeat(np.arange(50), 2)
    X, log = groups[:, None].astype(float), []
    full = judge_in_full(lambda _: Remembering(log), X, np.full(100, 2.0), train=40, valid=0, seeds=(0,), groups=groups)
    assert full.scores["mape_pct"]["mean"] == pytest.approx(50)  # not one twin was remembered
    assert full.by_seed[0].n < 60


def test_no_label_is_in_two_parts_of_a_split():
    labels = np.random.default_rng(0).integers(0, 150, 400)
    learn, choose, test = split_rows(labels, 100, 40, seed=3)
    parts = [set(labels[rows].tolist()) for rows in (learn, choose, test)]
    assert (len(learn), len(choose)) == (100, 40)
    assert not parts[0] & parts[1]
    assert not parts[2] & (parts[0] | parts[1])
    assert parts[2]
    by_name = split_rows(np.arange(400), 100, 40, seed=3)
    assert (learn == by_name[0]).all()  # so that both ways to split can be compared
    with pytest.raises(BadSplitError, match="others, too few for 40 rows to choose by"):
        split_rows(labels, 350, 40, seed=3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"train": 0},
        {"train": 500},
        {"train": 400, "valid": 100},
        {"seeds": ()},
        {"sample_weight": np.ones(3)},
        {"exclude": np.zeros(3, bool)},
        {"groups": np.zeros(500, int)},
        {"X": {"a": np.ones((500, 1)), "b": np.ones((500, 2))}},
        {"X": {}},
    ],
)
def test_refuses_a_split_that_leaves_nothing(wrong, additive):
    arguments = {"X": additive.X, "train": 300, "valid": 0, "seeds": (0,)} | wrong
    with pytest.raises(UsageError):
        judge_in_full(ridge, arguments.pop("X"), additive.y_ms, **arguments)
