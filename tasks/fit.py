"""A space fitted to a task: what the user left open of its classes, channels and image size, the task decides."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature

from .. import registry
from ..errors import UnknownNameError, UsageError
from ..spaces.space import SearchSpace
from .task import Task, check_outputs

_LEAST = 16  # pixels: smaller images are repeated, since networks halve their maps several times


def fit_space(spec: str, task: Task) -> SearchSpace:
    """Return the space that a spec names, with the task's classes, channels and image size where these are not given.

    Args:
        spec: of a space of the registry, such as ``mbconv:family=ofa``; what it gives stands.
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
    if task.output.kind not in factory.outputs:
        raise UsageError(
            f"{task.name} asks for {task.output.kind}, {name} gives {' or '.join(factory.outputs)}; take another space "
            "or task"
        )
    takes = signature(factory).parameters
    open_: dict[str, int] = {"classes": task.output.count}
    shape = task.inputs[0].shape
    if len(shape) == 3:
        open_["channels"] = shape[0]
    wanted = {key: value for key, value in open_.items() if key in takes and key not in given}
    sizes = list(_sizes(shape)) if "size" in takes and "size" not in given and len(shape) == 3 else []
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
        spec: of the user, which may leave open what the task decides; None where he gave the space itself.
        task: what its networks will learn.

    Raises:
        UsageError: fewer classes, or another size; the message has the command that measures what fits.
    """
    if spec is None or not task.inputs:
        return
    name, given = registry.split_spec(spec)
    fitting = fit_space(spec, task)
    have, want = _told(space), _told(fitting)
    few = have["classes"] < want["classes"] and "classes" not in given
    resized = task.preprocessing is not None and task.preprocessing.decoded is not None
    other = resized and have["size"] != want["size"] and "size" not in given
    if few or other:
        what = f"{have['classes']} classes" if few else f"images of {have['size']} pixels"
        needs = f"{want['classes']}" if few else f"{want['size']}"
        raise UsageError(
            f"what was measured is {name} with {what}, and {task.name} has {needs}: measure what fits, tempograd "
            f"collect --space {fitting.spec}, or give --task there too"
        )


def _told(space: SearchSpace) -> dict[str, int]:
    return {"classes": space.graph.shape[0], "size": space.graph.input_shape[-1]}


def _sizes(shape: tuple[int, ...]) -> Iterator[int]:
    """Yield image sizes to try: the task's own, repeated where it is small, then what spaces that halve maps take."""
    size = shape[-1] * -(-_LEAST // shape[-1])
    yield size
    for multiple in (4, 8, 16, 32):
        if size % multiple:
            yield -(-size // multiple) * multiple


def _spec(name: str, texts: dict[str, str]) -> str:
    return f"{name}:{','.join(f'{key}={text}' for key, text in texts.items())}" if texts else name
