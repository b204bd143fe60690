"""Recipes: what is allowed, what a file may say, and what the learning rate does."""

import pytest

from tempograd.errors import InputRefusedError, UnknownNameError, UsageError
from tempograd.search.trainer import rate
from tempograd.search.training import RECIPES, Training, read_recipe, recipe


def test_small_is_the_training_that_there_always_was():
    small = recipe("small")
    assert small == Training()
    assert (small.epochs, small.batch, small.learning_rate, small.momentum) == (20, 64, 0.05, 0.9)
    assert (small.weight_decay, small.clip, small.optimizer, small.warm_up) == (3e-4, 5.0, "sgd", 0)
    assert recipe("small", epochs=3, batch=None) == Training(epochs=3)


def test_a_file_states_what_it_changes_and_takes_paths_from_its_folder(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'base = "imagenet"\nepochs = 7\nlearning_rate = 1\noptimizer = "adamw"\nnesterov = false\nteacher = "best"\n'
    )
    mine = recipe(str(tmp_path / "mine.toml"))
    assert (mine.name, mine.epochs, mine.optimizer, mine.mixup) == ("mine", 7, "adamw", RECIPES["imagenet"].mixup)
    assert mine.teacher == str(tmp_path / "best")
    assert isinstance(mine.learning_rate, float)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('epochs = "many"', r"epochs='many'; allowed: a whole number from 1"),
        ("epochs = 0", r"epochs=0; allowed: a whole number from 1"),
        ("epochs = true", r"epochs=True; allowed: a whole number"),
        ("batch = [64]", r"batch=\[64\]; allowed: a whole number from 2"),
        ("mixup = nan", r"mixup=nan; allowed: a number from 0"),
        ('optimizer = "adam"', r"optimizer='adam'; allowed: sgd or adamw"),
        ('base = "best"', r"base='best'; allowed: small, dense, imagenet"),
        ("epoch = 3", r"unknown key 'epoch'.*Did you mean 'epochs'"),
        ("accumulate = 3", r"accumulate=3 pieces of a batch of 64; allowed"),
        ("warm_up = 20", r"warm_up=20 of 20 epochs; allowed"),
        (
            'optimizer = "adamw"\nmomentum = 0.9',
            r"momentum=0\.9 counts only with optimizer=sgd, and optimizer is adamw; .*beta1 and beta2 count",
        ),
        ("beta1 = 0.9", r"beta1=0\.9 counts only with optimizer=adamw, and optimizer is sgd; .* momentum count"),
        ('base = "dense"\nmomentum = 0.8', r"momentum=0\.8 counts only with optimizer=sgd"),
        ("rand_magnitude = 9", r"rand_magnitude=9 counts only with rand_augment above 0, and rand_augment is 0"),
        ('base = "imagenet"\nrand_augment = 0\nrand_magnitude = 9', "rand_magnitude=9 counts only"),
        ("epochs", r"no recipe in TOML"),
    ],
)
def test_what_a_file_says_wrong_is_told_with_file_key_value_and_what_is_allowed(tmp_path, text, told):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputRefusedError, match=rf"(?s){path}.*{told}"):
        read_recipe(path)


def test_a_file_that_is_not_there_and_a_name_that_is_none_are_refused(tmp_path):
    with pytest.raises(InputRefusedError, match="cannot read the recipe"):
        recipe(str(tmp_path / "none.toml"))
    with pytest.raises(UnknownNameError, match=r"'imagnet'.*FILE\.toml.*Did you mean 'imagenet'"):
        recipe("imagnet")
    with pytest.raises(UsageError, match="nesterov"):
        Training(optimizer="adamw", nesterov=True)


def test_the_rate_rises_along_a_line_and_falls_along_a_cosine():
    warm = Training(epochs=4, warm_up=2, learning_rate=1.0, last_rate=0.1)
    assert [rate(warm, done, 2) for done in range(4)] == [0.25, 0.5, 0.75, 1.0]
    falling = [rate(warm, done, 2) for done in range(4, 9)]
    assert falling == sorted(falling, reverse=True)
    assert (falling[0], falling[-1]) == pytest.approx((1.0, 0.1))


def test_how_often_it_is_saved_makes_no_other_training():
    assert Training(save_minutes=1).identity() == Training().identity()
    assert Training(ema=0.9).identity() != Training().identity()


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 3\n", encoding="utf-8-sig")
    assert recipe(str(path)).epochs == 3


def test_in_python_too_what_nothing_heeds_is_refused():
    with pytest.raises(UsageError, match=r"momentum=0\.5 counts only with optimizer=sgd"):
        Training(optimizer="adamw", momentum=0.5)
    with pytest.raises(UsageError, match=r"beta2=0\.9 counts only with optimizer=adamw"):
        Training(beta2=0.9)
    assert Training(optimizer="adamw", beta2=0.9).beta2 == 0.9
