"""Spaces of the user's own: a class, a function or an object in a file of his, ``FILE.py:NAME``, or a Python object.

Such a space is bound by content. Its spec, which stores, predictors and results keep, is ``NAME@DIGEST:ARGUMENTS``; the
digest is that of the sites, the rules and the choice graph. A comment more in the file changes nothing; another kernel
is another space, and what was measured of the old one is refused.

Code runs only where the user names it: `given` reads a file, and keeps the space for this process. Opening a store, a
predictor or a result never does: `registry.create` finds what was given, or says how to give it.
"""

from __future__ import annotations

import re
import sys
import traceback
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Parameter, signature
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from .. import registry
from ..arguments import check, read_all
from ..errors import InputRefusedError, MismatchError, TempogradError, UnknownNameError, UsageError
from .space import SearchSpace

if TYPE_CHECKING:
    from torch import nn

_FILE = re.compile(
    r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)(@(?P<digest>[0-9a-f]+))?(?::(?P<arguments>.*))?", re.DOTALL
)
_OURS = ("weights", "options", "least", "step", "depth")  # of a network: a file of its weights, and those of ``shrink``
_LONGEST = 400  # characters of an error of others
_modules: dict[Path, tuple[ModuleType, bytes]] = {}


def given(asked: str | SearchSpace) -> SearchSpace:
    """Return the space that a user names, and keep it, so that what was stored of it can be opened in this process.

    Args:
        asked: ``FILE.py:NAME`` with arguments if it takes any, ``mine.py:MySpace:layers=3``, where ``NAME`` is a class,
            a space, or a function that returns one, or a network and an example input; a name of the registry; or a
            space. Of a network a file of its weights may follow, and of one without marks arguments of
            ``tg.shrink``: ``mine.py:network:weights=best.pt,step=4``.

    Raises:
        UsageError: no such name or argument, or a space that cannot be built; the message names the user's line.
        InputRefusedError: the file is missing or does not run.
        MismatchError: ``NAME@DIGEST`` was asked for, and the file now describes another space.

    Example:
        >>> given("nasbench201:cells=1,width=4").size_log10 > 4
        True
    """
    if not isinstance(asked, str | SearchSpace):  # pyright: ignore[reportUnnecessaryIsInstance] - from Python
        raise UsageError(
            f"space {asked!r}; allowed: a name with arguments, such as darts:layers=5, FILE.py:NAME, or a space"
        )
    found = _FILE.fullmatch(asked) if isinstance(asked, str) else None
    if isinstance(asked, str) and found is None and asked.endswith(".py"):
        raise UsageError(f"{asked} names no object in the file; write {asked}:NAME")
    if isinstance(asked, str) and found is None:
        return registry.create("space", asked)
    space = asked if isinstance(asked, SearchSpace) else _from_file(asked, found)  # type: ignore[arg-type]
    where = asked if isinstance(asked, str) else type(space).__qualname__
    try:
        spec = space.spec
    except TempogradError:
        raise
    except Exception as error:  # whatever a user's class raises
        raise UsageError(f"{where} cannot be built: {told_error(error)}") from error
    if found is not None and found["digest"] and f"@{found['digest']}" not in spec:
        raise MismatchError(
            f"{found['file']} has changed: it describes {spec} now, and {found['name']}@{found['digest']} was asked "
            "for. Take the file as it was, or leave the digest out and measure anew"
        )
    if "@" in spec.partition(":")[0]:
        registry.give("space", spec, space, asked if isinstance(asked, str) else None)
    return space


def is_file(asked: str) -> bool:
    """Return whether a text names a space in a file."""
    return _FILE.fullmatch(asked) is not None


def leaves_step(asked: str) -> bool:
    """Return whether a function in a file gives a trained network without marks, and nobody said its step of widths.

    Raises:
        UsageError, InputRefusedError: as `given`.
    """
    found = _FILE.fullmatch(asked)
    if found is None:
        return False
    made, ours = _made(asked, found)
    return "step" not in ours and _is_network(made) and not _is_marked(made[0])


def with_step(asked: str, step: int) -> str:
    """Return the text of the space of such a network with widths in a step.

    >>> with_step("net.py:network", 8), with_step("net.py:network:size=2", 8)
    ('net.py:network:step=8', 'net.py:network:size=2,step=8')
    """
    found = _FILE.fullmatch(asked)
    return f"{asked}{',' if found is not None and found['arguments'] else ':'}step={step}"


def _from_file(asked: str, found: re.Match[str]) -> SearchSpace:
    made, ours = _made(asked, found)
    if _is_network(made):
        network, example_input = made
        return _of_network(network, example_input, ours, found["name"])
    if ours:
        raise UnknownNameError(f"argument of space {found['name']}", next(iter(ours)), [])
    if not isinstance(made, SearchSpace):
        raise UsageError(
            f"{found['file']}:{found['name']} gives a {type(made).__name__}; allowed: a space, such as space_from "
            "returns, or a network and an example input"
        )
    return made


def _made(asked: str, found: re.Match[str]) -> tuple[Any, dict[str, str]]:
    """Return what stands under a name in a file, called if it can be, and the arguments that are left for us."""
    path = Path(found["file"])
    (module, _), name = module_of(path), found["name"]
    if not hasattr(module, name):
        raise UnknownNameError(f"space in {path}", name, _names(module))
    entry: Any = getattr(module, name)
    _, texts = registry.split_spec(f"{name}:{found['arguments'] or ''}")
    if isinstance(entry, SearchSpace):
        if texts:
            raise UsageError(f"{asked}: {name} is a space already and takes no arguments; write {path}:{name}")
        return entry, {}
    if not callable(entry):
        raise UsageError(f"{path}:{name} is a {type(entry).__name__}; allowed: a space, its class, or a function of it")
    own = set(texts) if _forwards(entry) else set(texts) - (set(_OURS) - set(signature(entry).parameters))
    ours = {key: text for key, text in texts.items() if key not in own}
    try:
        made = entry(**_arguments(entry, name, {key: texts[key] for key in texts if key in own}))
    except TempogradError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's class raises
        raise UsageError(f"{asked} cannot be made: {told_error(error)}") from error
    return made, ours


def _is_network(made: Any) -> bool:
    return isinstance(made, tuple) and len(made) == 2 and hasattr(made[0], "modules")  # type: ignore[arg-type] - a user's tuple


def _is_marked(network: nn.Module) -> bool:
    from .tracing.marks import MARKS

    return any(isinstance(one, MARKS) for one in network.modules())


def _of_network(network: nn.Module, example_input: Any, ours: dict[str, str], name: str) -> SearchSpace:
    """Return the space of a network with marks, or of one without, which can shrink; a file has its weights, if any."""
    from .tensors import load_weights
    from .tracing.shrink import shrink
    from .tracing.tracer import space_from

    given = dict(ours)
    if file := given.pop("weights", ""):
        load_weights(network, Path(file))
    if not _is_marked(network):
        return shrink(network, example_input, **read_all(shrink, given))
    if given:
        raise UnknownNameError(f"argument of space {name}", next(iter(given)), ["weights"])
    return space_from(network, example_input)


def _forwards(entry: Any) -> bool:
    """Return whether a callable takes arguments of any name."""
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in signature(entry).parameters.values())


def _arguments(entry: Any, name: str, texts: dict[str, str]) -> dict[str, Any]:
    allowed = signature(entry).parameters
    for key in () if _forwards(entry) else texts:
        if key not in allowed:
            ours = () if isinstance(entry, type) else _OURS  # where it is a function of a network
            raise UnknownNameError(f"argument of space {name}", key, [*allowed, *ours])
    values = read_all(entry, texts)
    check(entry, values, what=f"space {name}")
    return values


class _AsRead(SourceFileLoader):
    """Loads a file of Python as it was read; what is kept compiled is told apart by second and size alone."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._content, self.path)


def module_of(path: Path) -> tuple[ModuleType, bytes]:
    """Run a user's file, once as long as it does not change; what it imports from beside it is found.

    Returns:
        The module, and the content of the file that was run.

    Raises:
        InputRefusedError: it is missing or does not run.
    """
    try:
        content, place = path.read_bytes(), path.resolve()
    except OSError as error:
        raise InputRefusedError(
            f"cannot read {path} ({error.strerror}); write FILE.py:NAME with a file there"
        ) from error
    if place in _modules and _modules[place][1] == content:
        return _modules[place]
    name = f"tempograd_file_{sha256(str(place).encode()).hexdigest()[:12]}"
    found = spec_from_file_location(name, place)
    if found is None:
        raise InputRefusedError(f"{path} is no file of Python; write FILE.py:NAME")
    found.loader = loader = _AsRead(name, str(place), content)
    module = module_from_spec(found)
    sys.modules[name] = module  # dataclasses look their module up
    if str(place.parent) not in sys.path:
        sys.path.append(str(place.parent))
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's file raises
        del sys.modules[name]
        raise InputRefusedError(f"{path} does not run: {told_error(error)}") from error
    _modules[place] = module, content
    return module, content


def _names(module: ModuleType) -> list[str]:
    """Return what may be meant in a file: its own spaces, classes of spaces and functions."""
    found: list[str] = []
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if not name.startswith("_") and (isinstance(value, SearchSpace) or (callable(value) and own)):
            found.append(name)
    return found


def told_error(error: BaseException) -> str:
    """Return an error with the last line of a user's file that it came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(__file__).parent.parent not in _over(f)]
    place = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: " if frames else ""
    told = " ".join(str(error).split())
    return f"{place}{type(error).__name__}: {told[:_LONGEST]}{' ...' * (len(told) > _LONGEST)}"


def _over(frame: traceback.FrameSummary) -> tuple[Path, ...]:
    return tuple(Path(frame.filename).parents)
