"""tempograd: the best network that runs on your device in T milliseconds.

``import tempograd as tg`` is the product in Python: ``tg.collect``, ``tg.fit``, ``tg.search`` and what stands beside
them in `tempograd.api`. Importing it is light: torch and the inference runtimes are imported where they are used.

The repository root is this package: ``profiler/`` is ``tempograd.profiler``.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tempograd.errors import TempogradError

if TYPE_CHECKING:
    from tempograd.api import (
        collect,
        compare,
        device,
        evaluate,
        fit,
        load,
        measure,
        pick,
        predict,
        profile,
        report,
        search,
        space,
    )
    from tempograd.spaces.tracing.marks import Choice, Depth, Width
    from tempograd.spaces.tracing.shrink import shrink
    from tempograd.spaces.tracing.tracer import space_from
    from tempograd.verbs.width_step import width_step

__version__ = "0.1.0"
__all__ = [
    "Choice",
    "Depth",
    "TempogradError",
    "Width",
    "__version__",
    "collect",
    "compare",
    "device",
    "evaluate",
    "fit",
    "load",
    "measure",
    "pick",
    "predict",
    "profile",
    "report",
    "search",
    "shrink",
    "space",
    "space_from",
    "width_step",
]
_ELSEWHERE = {
    "Choice": "tempograd.spaces.tracing.marks",
    "Depth": "tempograd.spaces.tracing.marks",
    "Width": "tempograd.spaces.tracing.marks",
    "shrink": "tempograd.spaces.tracing.shrink",
    "space_from": "tempograd.spaces.tracing.tracer",
    "width_step": "tempograd.verbs.width_step",
}


def __dir__() -> list[str]:
    """Return the names that are there, those that are imported when they are used among them."""
    return sorted(__all__)


class _Verb(ModuleType):
    """A package that bears a verb's name, ``search`` or ``report``: calling it is the verb."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._verb(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(self._verb)

    @property
    def __doc__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return what `help` shows: the verb, and how it is called."""
        first, _, rest = str(self._verb.__doc__).partition("\n")
        plain = [one.replace(annotation=one.empty) for one in self.__signature__.parameters.values()]
        return f"{first}\n\n{self._verb.__name__}({', '.join(map(str, plain))})\n{rest}"

    @property
    def _verb(self) -> Any:
        return getattr(import_module("tempograd.api"), self.__name__.rpartition(".")[2])


class _Face(ModuleType):
    """The package itself: the import system sets a package within it as an attribute, wherever it is imported first."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in ("search", "report"):
            return import_module(f"{__name__}.{name}")
        if name in __all__:
            return getattr(import_module(_ELSEWHERE.get(name, "tempograd.api")), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Face
