"""A space fitted to a task: what the user left open of its output, its input and their sizes, the task decides.

A space takes what it has arguments for, by these names:

============  ==================================================================
``output``    the kind of output, where it can give several
``classes``   classes, points or tokens
``side``      height and width of maps that it gives
``channels``  of images
``size``      height and width of images
``length``    tokens of a sequence
============  ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature

from .. import registry
from ..errors import UnknownNameError, UsageError
from ..shown import counted
from ..spaces.space import SearchSpace
from .task import Task, check_kind, check_outputs, told_kinds

FROM_TASK = ("output", "classes", "side", "channels", "size", "length")
_LEAST = 16  # pixels: smaller images are repeated, since networks halve their maps several times


def fit_space(spec: str, task: Task) -> SearchSpace:
    """Return the space that a spec names, with what the task asks for where that is not given.

    Args:
        spec: Spec of a space of the registry, such as ``mbconv:family=ofa``; what it gives stands.
        task: what its networks will learn.

    Raises:
        UsageError: the space cannot give what the task asks for, or refuses every size; the message says which.

    Example:
        >>> from tempograd.tasks.load import load_task
        >>> fit_space("nasbench201:cells=1,width=4", load_task("digits")).spec
        'nasbench201:cells=1,width=4,classes=10,size=16,channels=1'
    """
    name, given = registry.split_spec(spec)
    factory: type[SearchSpace] = registry.load("space", name)
    if not task.inputs:
        return registry.create("space", spec)
    check_kind(task, factory)
    takes = signature(factory).parameters
    shape, asked = task.inputs[0].shape, task.output
    images = len(shape) == 3
    told = {"output": asked.kind, "classes": asked.count, "side": asked.side}
    told |= {"channels": shape[0]} if images else {"length": shape[0]}
    wanted = {key: value for key, value in told.items() if key in takes and key not in given and value is not None}
    sizes = list(_sizes(shape)) if "size" in takes and "size" not in given and images else []
    refused: UsageError | None = None
    for size in sizes or [None]:
        added = wanted | ({} if size is None else {"size": size})
        texts = {**given, **{key: str(value) for key, value in added.items()}}
        try:
            space: SearchSpace = registry.create("space", _spec(name, texts))
        except UnknownNameError:
            raise
        except UsageError as error:
            refused = refused or error
            continue
        check_outputs(task, space)
        return space
    assert refused is not None
    raise refused


def check_fit(space: SearchSpace, spec: str | None, task: Task) -> None:
    """Refuse a space whose images are of another size than those the task was made of, unless the user named it.

    Args:
        space: that was measured.
        spec: Spec of the user, which may leave open what the task decides; None where he gave the space itself.
        task: what its networks will learn.

    Raises:
        UsageError: another output, fewer classes, or another size; the message has the command that measures what
            fits.
    """
    if spec is None or not task.inputs:
        return
    name, given = registry.split_spec(spec)
    fitting = fit_space(spec, task)
    found = _misfit(space, fitting, task, given)
    if found is not None:
        raise UsageError(
            f"what was measured is {name} with {found[0]}, and {task.name} has {found[1]}: measure what fits, "
            f"tempograd collect --space {fitting.spec}, or give --task there too"
        )


def _misfit(space: SearchSpace, fitting: SearchSpace, task: Task, given: Mapping[str, str]) -> tuple[str, str] | None:
    """Return in what a space differs from the one that fits a task, and what that has; None where that is no matter."""
    (have, *sides), (want, *sides_wanted) = space.graph.shape, fitting.graph.shape
    if task.output.kind not in space.gives and "output" not in given:
        return f"output={told_kinds(space.gives)}", task.output.kind
    if have < want and "classes" not in given:
        return counted(have, "class", "classes"), str(want)
    if task.output.kind == "heatmaps" and sides != sides_wanted and "side" not in given:
        return f"heatmaps of {'x'.join(map(str, sides))}", "x".join(map(str, sides_wanted))
    resized = task.preprocessing is not None and task.preprocessing.decoded is not None
    have, want = space.graph.input_shape[-1], fitting.graph.input_shape[-1]
    if resized and have != want and "size" not in given:
        return f"images of {have} pixels", str(want)
    return None


def _sizes(shape: tuple[int, ...]) -> Iterator[int]:
    """Yield image sizes to try: the task's own, repeated where it is small, then what spaces that halve maps take."""
    size = shape[-1] * -(-_LEAST // shape[-1])
    yield size
    for multiple in (4, 8, 16, 32):
        if size % multiple:
            yield -(-size // multiple) * multiple


def _spec(name: str, texts: dict[str, str]) -> str:
    return f"{name}:{','.join(f'{key}={text}' for key, text in texts.items())}" if texts else name
