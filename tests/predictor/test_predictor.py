"""The protocols of latency models: any regressor is one, and only those with a slope or a state are more."""

from sklearn.linear_model import LinearRegression

from tempograd import registry
from tempograd.predictor.predictor import DifferentiablePredictor, Predictor, SaveablePredictor


def test_a_regressor_that_never_heard_of_us_is_a_predictor_and_no_more():
    assert isinstance(LinearRegression(), Predictor)
    assert not isinstance(LinearRegression(), SaveablePredictor)


def test_every_model_that_ships_can_be_kept_and_those_with_a_module_be_followed():
    made = {name: registry.create("model", name) for name in registry.names("model")}
    assert all(isinstance(model, SaveablePredictor) for model in made.values())
    kinds = {name: hasattr(type(model), "module") for name, model in made.items()}
    assert kinds["ridge"]
    assert not kinds["trees"]


def test_a_slope_is_what_a_module_gives(additive):
    assert isinstance(
        registry.create("model", "ridge").fit(additive.X[:50], additive.y_ms[:50]), DifferentiablePredictor
    )
    assert not isinstance(registry.create("model", "trees"), DifferentiablePredictor)
