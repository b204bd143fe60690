"""From a spec to a task: a name of the registry with its path and arguments, or a user's own file."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from hashlib import sha256
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from .. import registry
from ..errors import InputRefusedError, TempogradError, UnknownNameError, UsageError
from ..spaces.own import module_of, told_error
from .task import Scored, Task

_FILE = re.compile(r"(.+\.py):([A-Za-z_]\w*)")


def load_task(spec: str | Any, *, seed: int = 0) -> Task:
    """Return the task that a spec names, such as ``digits``, ``cifar10:PATH,limit=5000`` or ``mine.py:MyTask``.

    Args:
        spec: a name, for files a path, and arguments; ``FILE.py:NAME`` for a task of your own; or a task, or an object
            with ``score(network) -> float``, which is taken as it is.
        seed: Seed of the split; the same seed gives the same parts.

    Raises:
        UnknownNameError: no such task, or no such argument.
        UsageError: a path is missing or not wanted, or an argument is out of its range.
        InputRefusedError: files that are missing, malformed or too large.

    Example:
        >>> task = load_task("digits,limit=200")
        >>> task.output.count, task.metric.name
        (10, 'accuracy')
    """
    if not isinstance(spec, str):
        return _own(type(spec).__name__, spec)
    if found := _FILE.fullmatch(spec):
        return _from_file(Path(found[1]), found[2])
    if re.search(r"\.py(:|$)", spec):
        raise UsageError(
            f"cannot read task {spec!r}; write FILE.py:NAME, where NAME is a class or an object in the file"
        )
    name = re.split(r"[:,]", spec, maxsplit=1)[0]
    factory = registry.load("task", name)
    texts = _arguments(spec, name, factory)
    takes = signature(factory).parameters
    made = registry.make("task", name, texts, spec, **({"seed": seed} if "seed" in takes else {}))
    return _named(made, texts)


def _named(task: Task, texts: Mapping[str, str]) -> Task:
    """Return a task whose name says all arguments that were given: a training goes on for the very same ones only."""
    said = [f"{key}={texts[key]}" for key in sorted(texts) if key != "path"]
    if left := [each for each in said if each not in task.name]:
        object.__setattr__(task, "name", ",".join([task.name, *left]))  # tasks of ours are frozen
    return task


def content_of(spec: Any) -> str | None:
    """Return what tells the file of a user's task from every other content of it, None for other tasks.

    Raises:
        InputRefusedError: the file cannot be read.
    """
    found = _FILE.fullmatch(spec) if isinstance(spec, str) else None
    if found is None:
        return None
    try:
        return _digest(Path(found[1]).read_bytes())
    except OSError as error:
        raise InputRefusedError(f"cannot read {found[1]}: {error.strerror}") from error


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]


def _arguments(spec: str, name: str, factory: Any) -> dict[str, str]:
    """Return the arguments of a spec as they are written; a path may hold commas, colons and signs of equality."""
    takes, rest, texts = signature(factory).parameters, spec[len(name) :], dict[str, str]()
    while found := re.fullmatch(r"(|.*[^,])[,:](\w+)=([^,]*)", rest, re.DOTALL):
        if found[2] not in takes and found[1] == "" and rest.startswith(":") and "path" in takes:
            break  # a path with a sign of equality
        if found[2] not in takes:
            raise UnknownNameError(f"argument of task {name}", found[2], [key for key in takes if key != "seed"])
        if found[2] == "seed":
            raise UsageError(
                f"{spec!r} has a seed; leave it out: the seed of the command decides the split, --seed {found[3]}"
            )
        if found[2] in texts:
            raise UsageError(f"{found[2]} is given twice in {spec!r}; give it once")
        texts[found[2]], rest = found[3], found[1]
    path = rest.removeprefix(":")
    wanted = "path" in takes and "path" not in texts
    needed = wanted and takes["path"].default is Parameter.empty
    if (path and not wanted) or (needed and not path) or (rest and not rest.startswith(":")):
        why = "names no path" if needed and not path else "says more than its name"
        raise UsageError(f"task {spec!r} {why}; write {name}{':PATH' if wanted else ''}")
    return texts | ({"path": path} if path else {})


def _from_file(path: Path, name: str) -> Task:
    """Return a user's task from a file of his; the result bears the file's content in its name.

    Raises:
        InputRefusedError: the file cannot be read or does not run.
        UnknownNameError: it defines no such name.
    """
    module, content = module_of(path)
    if not hasattr(module, name):
        names = [key for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
        raise UnknownNameError(f"name in {path}", name, names)
    return _own(f"{path.name}:{name}@{_digest(content)}", getattr(module, name), f"{name}@{_training_of(content)}")


def _training_of(content: bytes) -> str:
    """Return what tells the training in a user's file from every other one: all its code but for methods ``score``.

    Those may be mended, and networks that are trained stay as they are. Where other code names them, they count too.
    """
    tree = ast.parse(content)
    whole = ast.dump(tree)
    for one in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        one.body = [each for each in one.body if not (isinstance(each, ast.FunctionDef) and each.name == "score")]
    rest = ast.dump(tree)
    return sha256((whole if "'score'" in rest else rest).encode()).hexdigest()[:12]


def _own(name: str, made: Any, training: str | None = None) -> Task:
    try:
        made = made() if isinstance(made, type) else made
    except TempogradError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's class raises
        raise InputRefusedError(f"{name} cannot be made without arguments: {told_error(error)}") from error
    return made if isinstance(made, Task) else Scored(name, made, training)
