"""A trained network without marks becomes a space of widths and depths: what may go is marked for its author.

Which channels belong together is found by ``torch-pruning``'s dependency graph. Channels are sorted by importance, so
that a narrower network keeps the best of them. Blocks in a row whose inputs and outputs have one shape may be left out,
the last ones first. The network given is not touched.

References:
    Fang et al., *DepGraph: Towards Any Structural Pruning*, arXiv:2301.12900.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn

from ... import arguments
from ...errors import UsageError
from .marks import Depth, Width
from .surroundings import close, evaluated, noise_like, outputs_of
from .traced import TracedSpace
from .tracer import OF_OUTPUT, Tracer, examples_of, module_of, pairs_of, space_from, traced

INSTALL = "pip install 'tempograd[shrink]'"
Least = Annotated[float, Meta(gt=0, lt=1)]
Steps = Annotated[int, Meta(ge=1, le=1024)]
Options = Annotated[int, Meta(ge=2, le=64)]
_ENDS = "its channels are what the network gives"
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.ConvTranspose1d, nn.ConvTranspose2d)


@arguments.public()
def shrink(
    network: nn.Module,
    example_input: Tensor | Sequence[Tensor],
    *,
    options: Options = 4,
    least: Least = 0.25,
    step: Steps = 8,
    depth: bool = True,
) -> TracedSpace:
    """Return a search space of the narrower and shallower forms of a trained network, with its weights.

    Then everything works on it as on any space: collect, fit, search. What is found begins with the weights of the
    channels that it keeps, and learns from the whole network, which is one of the space: ``space.whole``. What must
    stay as it is is told in ``space.left_out``, layer by layer.

    Args:
        network: trained, without marks.
        example_input: one input, or one for each argument of ``forward``, with a batch.
        options: sizes that each width is chosen from.
        least: the smallest of them, a share of the channels.
        step: widths are multiples of it; runtimes are slow at others. ``tg.width_step(device)`` measures it.
        depth: whether blocks may be left out.

    Raises:
        UsageError: an argument out of its range, a network that cannot be traced, with its line, or one of which
            nothing can go; without torch-pruning, how to install it.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
        >>> shrink(net, torch.zeros(1, 3, 8, 8), step=4).sites[0].options
        ('4', '8', '12', '16')
    """
    given = {"options": options, "least": least, "step": step, "depth": depth}
    arguments.check(shrink, given, what="shrink")
    own, examples = _copy(module_of(network)), examples_of(example_input)
    Tracer(own, pairs_of(examples)).run()  # what cannot be traced at all is told once, with its line
    groups = _groups(own, examples)
    sizes = {name: _sizes(group, options, least, step) for name, group in groups.items()}
    left_out: dict[str, str] = {}
    kept: list[str] = []
    for name, group in groups.items():
        if len(sizes[name]) < 2:
            left_out[name] = f"{group.channels} channels are too few for multiples of {step}"
        elif why := _refusal(own, examples, {name: group}, sizes, {}) or _sorted(own, examples, group):
            left_out[name] = why
        else:
            kept.append(name)
    marked = {name: groups[name] for name in kept}
    rows: dict[str, int] = {}
    for name, fixed in (_rows(own, examples) if depth else {}).items():
        if why := _refusal(own, examples, marked, sizes, {**rows, name: fixed}):
            left_out[name] = why
        else:
            rows[name] = fixed
    if not marked and not rows:
        raise UsageError(_nothing(network, left_out))
    space = space_from(_marked(own, marked, sizes, rows), examples, name=type(network).__name__)
    space.left_out, space.trained = left_out, True
    return space


def _copy(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:  # what some module of the user's holds that cannot be copied
        raise UsageError(
            f"{type(network).__name__} cannot be copied: {error}; take out what deepcopy does not copy, such as the "
            "weight_norm of torch.nn.utils (that of torch.nn.utils.parametrizations can be)"
        ) from error


class _Group:
    """Channels of several layers that go together.

    Attributes:
        channels: how many.
        makers: qualified names of the layers that make them.
        members: torch-pruning's group.
        order: Order of the channels, the most important first.
    """

    def __init__(self, makers: list[str], members: Any, order: list[int]) -> None:
        self.channels, self.makers, self.members, self.order = len(order), makers, members, order


def _groups(network: nn.Module, examples: list[Tensor]) -> dict[str, _Group]:
    """Return the groups of channels by their first layer's name."""
    try:
        pruning: Any = import_module("torch_pruning")
    except ImportError as error:
        raise UsageError(f"shrink needs torch-pruning: {INSTALL}") from error
    names = {id(module): name for name, module in network.named_modules()}
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    with evaluated(network):
        try:
            with torch.enable_grad():  # the library follows gradients
                return dict(_read(pruning, network, tuple(examples), names))
        except Exception as error:  # whatever the library raises of a network that it does not know
            what = f"{type(network).__name__}: {type(error).__name__}: {error}"
            raise UsageError(f"torch-pruning cannot read {what}; mark what may go by Width and Depth") from error


def _read(
    pruning: Any, network: nn.Module, examples: tuple[Tensor, ...], names: dict[int, str]
) -> Iterator[tuple[str, _Group]]:
    graph = pruning.DependencyGraph().build_dependency(network, example_inputs=examples)
    importance = pruning.importance.GroupMagnitudeImportance(p=2)
    for group in graph.get_all_groups(root_module_types=list(_LAYERS)):
        root = group[0].dep.target.module
        channels = graph.get_out_channels(root)
        if len({*group[0].idxs}) != channels:
            continue
        makers = [
            names[id(item.dep.target.module)]
            for item in group
            if isinstance(item.dep.target.module, _LAYERS) and _is_out(item) and not _is_depthwise(item)
        ]
        scores = importance(group)
        if makers and scores is not None and len(scores) == channels:
            order = scores.argsort(descending=True).tolist()
            yield makers[0], _Group(list(dict.fromkeys(makers)), group, order)


def _is_out(item: Any) -> bool:
    return "out" in item.dep.handler.__name__


def _is_depthwise(item: Any) -> bool:
    return getattr(item.dep.target.module, "groups", 1) > 1


def _sorted(network: nn.Module, examples: list[Tensor], group: _Group) -> str:
    """Reorder a group's channels; return why they stay, empty if the network then computes what it did."""
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    values = noise_like(pairs_of(examples))
    before = outputs_of(network, values)
    try:
        _sort(group.members, group.order)
        after = outputs_of(network, values)
    except Exception:  # a kind of layer whose weights lie otherwise
        after = None
    if before is None or (after is not None and close(after, before)):
        return ""
    network.load_state_dict(kept)
    return "its channels cannot be put into another order"


def _sort(group: Any, order: list[int]) -> None:
    """Reorder a group's channels in every layer, the most important first: the network computes what it did."""
    done: set[tuple[int, bool]] = set()
    for item in group:
        layer, out = item.dep.target.module, _is_out(item)
        if (id(layer), out) in done or not isinstance(layer, nn.Module) or not list(layer.parameters(recurse=False)):
            continue
        if _is_depthwise(item) and (id(layer), not out) in done:
            continue  # its one kernel for each channel was moved already
        done.add((id(layer), out))
        places: dict[int, list[int]] = {}
        for place, root in zip(item.idxs, item.root_idxs, strict=True):
            places.setdefault(int(root), []).append(int(place))
        weight: Tensor = layer.get_parameter("weight")
        turned = bool(getattr(layer, "transposed", False)) and not _is_depthwise(item)
        axis = 0 if (out or _is_depthwise(item) or weight.ndim == 1) != turned else 1
        moved = list(range(weight.shape[axis]))
        for new, old in enumerate(order):
            for to, source in zip(places.get(new, []), places.get(old, []), strict=True):
                moved[to] = source
        _move(layer, axis, moved, others=axis == int(turned))


def _move(layer: nn.Module, axis: int, order: list[int], *, others: bool) -> None:
    """Reorder a layer's weight along an axis and, if these are its outputs, what else it has for each of them."""
    index = torch.tensor(order)
    values = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    with torch.no_grad():
        for name, value in values:
            if value.ndim and (name == "weight" or others):
                value.copy_(value.index_select(axis if name == "weight" else 0, index))


def _sizes(group: _Group, options: int, least: float, step: int) -> tuple[int, ...]:
    """Return the numbers of channels to choose from, multiples of ``step`` but for all of them."""
    shares = (least + (1 - least) * i / (options - 1) for i in range(options))
    found = {max(step, step * round(group.channels * share / step)) for share in shares}
    return tuple(sorted({size for size in found if size < group.channels} | {group.channels}))


def _refusal(
    network: nn.Module, examples: list[Tensor], groups: dict[str, _Group], sizes: Any, rows: dict[str, int]
) -> str:
    """Return why groups and rows cannot be marked, empty if they can."""
    marked, values = _marked(network, groups, sizes, rows), noise_like(pairs_of(examples))
    try:
        traced(marked, examples)
    except UsageError as error:
        return _ENDS if OF_OUTPUT in str(error) else str(error)
    before, after = outputs_of(network, values), outputs_of(marked, values)
    if before is None or (after is not None and close(after, before)):
        return ""
    return "the network asks in forward what kind of module it is"


def _marked(network: nn.Module, groups: dict[str, _Group], sizes: Any, rows: dict[str, int]) -> nn.Module:
    """Return a copy of the network in which these groups and rows are marked."""
    marked = copy.deepcopy(network)
    holders = {
        name: _holder(marked, name) for name in (*rows, *(one for group in groups.values() for one in group.makers))
    }
    for group_name, group in groups.items():
        for maker in group.makers:
            holder, last = holders[maker]
            width = Width(holder.get_submodule(last), sizes[group_name], name=group_name.replace(".", "-"))
            setattr(holder, last, width)
    for row, fixed in rows.items():
        holder, last = holders[row]
        setattr(holder, last, Depth(list(holder.get_submodule(last).children()), least=fixed))
    return marked


def _holder(network: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Return the module that holds a part, and what the part is called in it."""
    parent, _, last = path.rpartition(".")
    return network.get_submodule(parent), last


def _rows(network: nn.Module, examples: list[Tensor]) -> dict[str, int]:
    """Return rows of blocks of one kind whose last ones give the shape that they take: how many must stay, by name."""
    shapes: dict[int, tuple[Any, Any]] = {}

    def seen(module: nn.Module, given: Any, out: Any) -> None:
        first: Any = given[0] if given else None
        tensors = isinstance(first, Tensor) and isinstance(out, Tensor)
        shapes[id(module)] = (tuple(first.shape), tuple(out.shape)) if tensors else (None, out)

    hooks = [module.register_forward_hook(seen) for module in network.modules()]
    with evaluated(network), torch.no_grad():
        network(*examples)
    for hook in hooks:
        hook.remove()
    found: dict[str, int] = {}
    for name, row in network.named_modules():
        blocks = list(row.children())
        if not isinstance(row, nn.Sequential) or len(blocks) < 2 or not name:
            continue
        fixed = len(blocks)
        while fixed and _may_go(blocks[fixed - 1], shapes) and type(blocks[fixed - 1]) is type(blocks[-1]):
            fixed -= 1
        if max(fixed, 1) < len(blocks):
            found[name] = max(fixed, 1)
    return found


def _may_go(block: nn.Module, shapes: dict[int, tuple[Any, Any]]) -> bool:
    before, after = shapes.get(id(block), (None, ()))
    return before == after and any(True for _ in block.children())


def _nothing(network: nn.Module, left_out: dict[str, str]) -> str:
    reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
    return f"nothing of {type(network).__name__} can go{': ' + reasons if reasons else ''}"
