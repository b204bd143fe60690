"""Recipes: how a network is trained, by name or from a TOML file of the user's.

``small`` is for what ships: tiny images, tiny networks, minutes. ``dense`` is for maps and heat maps of few images:
more, smaller steps. ``imagenet`` is for photographs. A file states what it
changes, and which recipe it begins with::

    base = "imagenet"
    epochs = 30
    optimizer = "adamw"
    learning_rate = 0.001
    teacher = "best/"       # paths are meant from the file's folder

Every value has a type and a range; what is wrong is told with the file, the key, the value and what is allowed.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from .. import arguments
from ..arguments import Beside
from ..errors import InputRefusedError, UnknownNameError, UsageError

INHERITED = "inherited"
_MAX_BYTES = 2**20  # of a recipe's file

Epochs = Annotated[int, Meta(ge=1, le=100_000)]
Images = Annotated[int, Meta(ge=2, le=65_536)]
Above = Annotated[float, Meta(gt=0)]
FromZero = Annotated[float, Meta(ge=0)]
BelowOne = Annotated[float, Meta(ge=0, lt=1)]
Some = Annotated[int, Meta(ge=0, le=100_000)]
Pieces = Annotated[int, Meta(ge=1, le=4096)]
Magnitude = Annotated[int, Meta(ge=0, le=30)]


@dataclass(frozen=True)
class Training:
    """How a network is trained. The defaults are the recipe ``small``.

    Attributes:
        name: Name of the recipe, as a result tells it.
        epochs, batch: passes over the images; images a step, of all processes and pieces together.
        optimizer: ``sgd`` or ``adamw``.
        learning_rate: its highest; it falls to ``last_rate`` along a cosine.
        last_rate: at the end.
        warm_up: epochs, also parts of one, in which the rate rises from 0 along a line.
        momentum: Momentum of SGD.
        nesterov: whether SGD looks ahead.
        beta1, beta2: Decay rates of AdamW's averages of the gradient and of its square.
        weight_decay: Weight decay of SGD, or AdamW's own.
        decay_all: whether scales of BatchNorm and biases decay as well.
        clip: largest norm of a gradient; 0 for any.
        accumulate: pieces that a batch is run in, one after the other: memory of one, BatchNorm by each.
        label_smoothing: share of a label that is spread over all classes.
        mixup, cutmix: parameter of the Beta distribution that weighs two images; 0 for none. With both, each batch
            takes one of them.
        rand_augment: operations an image that RandAugment draws; 0 for none.
        rand_magnitude: how strong they are, of 30.
        ema: decay of the average of weights that is kept in place of the last ones; 0 for none. It begins lower, at
            ``(1 + n) / (10 + n)`` after n steps.
        precision: ``fp32``, or what autocast computes in: ``bf16``, ``fp16``.
        teacher: a result folder, its ``weights.safetensors`` or ``network.onnx``, or any ONNX file of the same inputs
            and classes; empty for none.
        teacher_share: Share of the loss that is by what the teacher says, the rest is by labels.
        temperature: by which both logits are divided for that.
        start: weights to begin with: a result folder, a safetensors file of ``node.weight``, or ``inherited`` for the
            supernet's; empty for random ones.
        validate: whether every epoch is scored on held-out images; so it is where there is ``patience``.
        patience: epochs without a better score on held-out images after which training ends; the best epoch's weights
            are kept. 0: all epochs are trained, the last weights are kept.
        save_minutes: what an interruption may cost at most; every epoch is saved anyway.

    Raises:
        UsageError: a value of another type, out of its range, or that goes with no other.

    Example:
        >>> Training(epochs=5, optimizer="adamw", learning_rate=1e-3).name
        'small'
    """

    name: str = "small"
    epochs: Epochs = 20
    batch: Images = 64
    learning_rate: Above = 0.05
    momentum: Annotated[BelowOne, Beside("optimizer", "sgd")] = 0.9
    weight_decay: FromZero = 3e-4
    clip: FromZero = 5.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    nesterov: bool = False
    beta1: Annotated[BelowOne, Beside("optimizer", "adamw")] = 0.9
    beta2: Annotated[BelowOne, Beside("optimizer", "adamw")] = 0.999
    decay_all: bool = True
    last_rate: FromZero = 0.0
    warm_up: FromZero = 0.0
    accumulate: Pieces = 1
    label_smoothing: BelowOne = 0.0
    mixup: FromZero = 0.0
    cutmix: FromZero = 0.0
    rand_augment: Annotated[int, Meta(ge=0, le=16)] = 0
    rand_magnitude: Annotated[Magnitude, Beside("rand_augment")] = 9
    ema: BelowOne = 0.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    teacher: str = ""
    teacher_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    temperature: Above = 1.0
    start: str = ""
    validate: bool = False
    patience: Some = 0
    save_minutes: Above = 5.0

    def __post_init__(self) -> None:
        arguments.check_fields(self, what=f"the recipe {self.name}")
        changed = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}
        arguments.check_heeded(Training, changed, changed)
        if self.warm_up >= self.epochs:
            raise UsageError(f"warm_up={self.warm_up:g} of {self.epochs} epochs; allowed: fewer than there are epochs")
        if self.batch % self.accumulate or self.batch // self.accumulate < 2:
            raise UsageError(
                f"accumulate={self.accumulate} pieces of a batch of {self.batch}; allowed: pieces of equal size, of 2 "
                "images at least"
            )
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise UsageError(f"nesterov=true goes with sgd and a momentum; here {self.optimizer}, {self.momentum:g}")
        if self.last_rate > self.learning_rate:
            raise UsageError(f"last_rate={self.last_rate:g}; allowed: up to the learning_rate {self.learning_rate:g}")

    @property
    def validates(self) -> bool:
        """Return whether every epoch is scored on held-out images."""
        return self.validate or self.patience > 0

    def to_json(self) -> dict[str, Any]:
        """Return the whole recipe, JSON-ready."""
        return asdict(self)

    def told(self) -> str:
        """Return the recipe's name, of one that is the user's own with what tells it from another of that name."""
        own = RECIPES.get(self.name)
        if own is not None and replace(own, epochs=self.epochs) == self:
            return self.name
        text = json.dumps(self.identity(), sort_keys=True)
        return f"{self.name} ({sha256(text.encode()).hexdigest()[:8]})"

    def identity(self) -> dict[str, Any]:
        """Return what two trainings must share to give the same weights."""
        return {key: value for key, value in asdict(self).items() if key not in {"name", "save_minutes"}}


RECIPES: dict[str, Training] = {
    "small": Training(),
    "dense": Training(
        name="dense",
        epochs=40,
        batch=16,
        optimizer="adamw",
        learning_rate=5e-3,
        weight_decay=0.01,
        decay_all=False,
        warm_up=1.0,
    ),
    "imagenet": Training(
        name="imagenet",
        epochs=150,
        batch=256,
        learning_rate=0.1,
        nesterov=True,
        weight_decay=5e-5,
        decay_all=False,
        clip=0.0,
        warm_up=5.0,
        label_smoothing=0.1,
        mixup=0.2,
        cutmix=1.0,
        rand_augment=2,
        ema=0.9999,
        precision="bf16",
        validate=True,
    ),
}
"""By name. ``imagenet`` has the parts of torchvision's recipe of 2021 (smoothing, mixup and cutmix, no decay of norms,
average of weights), for fewer epochs."""

_KEYS = tuple(field.name for field in fields(Training) if field.name != "name")
_PATHS = ("teacher", "start")


def recipe(spec: str, **changes: Any) -> Training:
    """Return the recipe of a name or a file.

    Args:
        spec: ``small``, ``dense``, ``imagenet``, or a path that ends in ``.toml``.
        changes: values in place of the recipe's; None leaves the recipe's.

    Raises:
        UnknownNameError: no recipe has this name.
        InputRefusedError: the file cannot be read, or says something that is not allowed.
        UsageError: a change is not allowed.

    Example:
        >>> recipe("imagenet", epochs=30).label_smoothing
        0.1
    """
    if spec.lower().endswith(".toml"):
        found = read_recipe(Path(spec))
    elif spec in RECIPES:
        found = RECIPES[spec]
    else:
        raise UnknownNameError("recipe", spec, [*RECIPES, "FILE.toml"])
    return replace(found, **{key: value for key, value in changes.items() if value is not None})


def read_recipe(path: Path) -> Training:
    """Return the recipe of a TOML file.

    Raises:
        InputRefusedError: the file cannot be read, is no TOML, or says something that is not allowed; the message names
            file, key, value and what is allowed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise InputRefusedError(f"{path} is larger than {_MAX_BYTES} bytes, which no recipe needs")
        said: dict[str, Any] = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise InputRefusedError(f"cannot read the recipe {path}: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise InputRefusedError(f"{path} is no recipe in TOML: {error}") from error
    base = said.pop("base", "small")
    if not isinstance(base, str) or base not in RECIPES:
        raise InputRefusedError(f"{path}: base={base!r}; allowed: {', '.join(RECIPES)}")
    try:
        values = _values(said, path)
        arguments.check_heeded(Training, values, asdict(RECIPES[base]) | values)
        return replace(RECIPES[base], name=path.stem, **values)
    except InputRefusedError:
        raise
    except UsageError as error:
        raise InputRefusedError(f"{path}: {error}") from error


def _values(said: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the values of a file, each held against its type and range; paths from the file's folder."""
    values: dict[str, Any] = {}
    for key, value in said.items():
        if key not in _KEYS:
            raise UnknownNameError("key", key, _KEYS)
        try:
            if not isinstance(value, str | int | float):
                raise UsageError
            arguments.check(Training, {key: value})
        except UsageError as error:
            raise InputRefusedError(f"{path}: {key}={value!r}; allowed: {arguments.told(Training, key)}") from error
        if key in _PATHS and value not in {"", INHERITED}:
            value = str((path.parent / str(value)).resolve())
        values[key] = float(value) if isinstance(getattr(RECIPES["small"], key), float) else value
    return values
