"""The space of a search: what the user names, what was measured, and what the task decides."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING

from .. import registry
from ..errors import UsageError
from ..tasks.fit import FROM_TASK, check_fit, fit_space
from .outcome import REMARK, Progress, held_spaces, only_space, space_of

if TYPE_CHECKING:
    from ..data.store import Store
    from ..spaces.space import SearchSpace
    from ..tasks.task import Task


def space_for(asked: str | SearchSpace, task: Task | None, measured: str | None = None) -> SearchSpace:
    """Return the space that a user names; what he leaves open comes from what was measured, else from the task.

    Args:
        asked: a spec, ``FILE.py:NAME``, or a space; the last two stand as they are.
        task: what its networks will learn; None where they learn nothing.
        measured: the spec of the space that a predictor was learnt for.

    Raises:
        UsageError: it does not fit the task; the message has what to measure.
    """
    from ..spaces.own import is_file

    if not isinstance(asked, str) or is_file(asked):
        return space_of(asked)
    if measured is None:
        return space_of(asked if task is None else fit_space(asked, task))
    space = space_of(_filled(asked, dict(registry.split_spec(measured)[1])))
    if task is not None and space.spec == measured:
        check_fit(space, asked, task)
    return space


def spec_in(store: Store, asked: str | SearchSpace | None) -> str | None:
    """Return the spec by which a store knows the space that a user names; None where he names none of several.

    What he leaves open of output, sizes and channels is as it was measured, the rest has its defaults, in any order.

    Raises:
        UsageError: it has an argument that is not allowed, or fits several spaces of the store.
    """
    from ..spaces.own import is_file

    if asked is None:
        return only_space(store)
    if not isinstance(asked, str) or is_file(asked):
        return space_of(asked).spec
    held = held_spaces(store)
    name = registry.split_spec(asked)[0]
    if "@" in name or asked in {space for space, _ in store.sets()} or name not in registry.names("space"):
        return asked
    alike = [spec for spec in held if registry.split_spec(spec)[0] == name]
    meant = [spec for spec in alike if space_for(asked, None, spec).spec == spec]
    exactly = space_of(asked).spec if len(meant) > 1 else None
    if len(meant) > 1 and exactly not in meant:
        raise UsageError(f"--space {asked} is any of several in {store.path}; choose one: {', '.join(meant)}")
    return asked if not meant else exactly or meant[0]


def proxy_for(asked: str | None, space: SearchSpace) -> SearchSpace | None:
    """Return the proxy that a user names; what he leaves open is as in the space."""
    from ..spaces.own import is_file

    if asked is None or is_file(asked):
        return None if asked is None else space_of(asked)
    return space_of(_filled(asked, dict(registry.split_spec(space.spec)[1])))


def _filled(asked: str, other: dict[str, str]) -> str:
    """Return a spec with what a task decides as in another one, where it does not give it."""
    name, given = registry.split_spec(asked)
    takes = signature(registry.load("space", name)).parameters
    texts = {**{key: other[key] for key in FROM_TASK if key in other and key in takes}, **given}
    return f"{name}:{','.join(f'{key}={text}' for key, text in texts.items())}" if texts else name


def open_to_tasks(spec: str) -> str:
    """Return a spec without what a task decides, such as classes and sizes.

    >>> open_to_tasks("nasbench201:cells=5,width=16,classes=10,size=32,channels=3")
    'nasbench201:cells=5,width=16'
    """
    from ..spaces.own import is_file

    if is_file(spec) or "@" in spec:
        return spec
    name, given = registry.split_spec(registry.typed("space", spec))
    kept = [f"{key}={text}" for key, text in given.items() if key not in FROM_TASK]
    return f"{name}:{','.join(kept)}" if kept else name


def tell(task: Task, progress: Progress) -> None:
    """Say what is learnt, and what a user should know of his data."""
    progress(f"task {task.name}, scored by {task.metric.name}", 0, REMARK)
    for remark in task.remarks:
        progress(f"{task.name}: {remark}", 0, REMARK)
