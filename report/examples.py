"""What the network found makes of the test part, to be looked at: one section for each kind of output."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import numpy as np
from markupsafe import Markup
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..data.examples import Examples, Pixels
from ..data.result import Result
from ..shown import counted
from .captions import Picture
from .charts import COLOURS, styled, to_svg
from .formatting import percent
from .table import Table

_NAME, _TITLE = "examples", "What the network does"
_WRITTEN_IN = 12  # classes up to which counts stand in the cells
_MOST_BITS = 12.0  # a token of so many is shown darkest


def examples(result: Result) -> Picture:
    """Return the section: a confusion matrix, pictures beside the truth, or a passage of text."""
    told = result.examples
    if told is None:
        return Picture(_NAME, _TITLE, "This result holds no examples of what the network does.")
    return {"classes": _classes, "map": _map, "heatmaps": _heatmaps, "sequence": _sequence}[told.kind](told)


def _classes(told: Examples) -> Picture:
    counts = np.array(told.counts, dtype=np.int64)
    columns = {"truth": told.names} | {f"given {name}": counts[:, i].tolist() for i, name in enumerate(told.names)}
    table = Table(_NAME, columns)
    words = f"Each row is a class of the test part, each column what it was taken for. {_confused(told.names, counts)}"
    drawing = Markup(to_svg(_confusion_figure(told.names, counts), _NAME, _TITLE, words))
    return Picture(_NAME, "Which classes are confused?", words, (("", drawing),), table)


def _confused(names: Sequence[str], counts: NDArray[np.int64]) -> str:
    wrong = counts - np.diag(counts.diagonal())
    if not wrong.any():
        return "None was taken for another."
    truth, given = divmod(int(wrong.argmax()), len(names))
    found = counts.diagonal() / counts.sum(axis=1).clip(min=1)
    seldom = int(np.where(counts.sum(axis=1) > 0, found, np.inf).argmin())
    return (
        f"Most often {names[truth]} was taken for {names[given]}, {counted(int(wrong[truth, given]), 'time')}; "
        f"{names[seldom]} is found least often ({percent(float(found[seldom]), 0)})."
    )


@styled
def _confusion_figure(names: Sequence[str], counts: NDArray[np.int64]) -> Figure:
    n = len(names)
    figure = Figure(figsize=(7.6, 6.2))
    axes = figure.subplots()
    share = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    ticks = range(0, n, -(-n // 30))
    short = [_short(names[i]) for i in ticks]
    axes.set_xticks(ticks, short, rotation=90 if max(map(len, short)) > 3 else 0)
    axes.set_yticks(ticks, short)
    axes.set_xlabel("taken for")
    axes.set_ylabel("truth")
    if n <= _WRITTEN_IN:
        for (row, column), value in np.ndenumerate(counts):
            dark = share[row, column] > 0.5
            axes.text(column, row, str(value), ha="center", va="center", color="#ffffff" if dark else "#1f2431")
    return figure


def _short(name: str) -> str:
    text = name.replace("$", r"\$")  # no mathematics in names
    return text if len(text) <= 18 else f"{text[:17]}…"


def _map(told: Examples) -> Picture:
    words = (
        f"{counted(_pixels(told)[0].shape[0], 'test image')}, what is true of each pixel, and what the network says."
    )
    classes = len(told.names) or 1 + max(int(each.max()) for each in _pixels(told)[1:])
    colours = ListedColormap([_colour(i, classes) for i in range(classes)], "classes")
    images, truth, given = _pixels(told)
    hidden = np.zeros(truth.shape, bool) if told.ignored is None else truth == told.ignored
    planes = [np.ma.masked_array(each, hidden) for each in (truth, given)]
    figure = _beside(images, planes, colours, classes - 1, [_short(name) for name in told.names])
    drawing = Markup(to_svg(figure, _NAME, _TITLE, words))
    return Picture(_NAME, "Maps beside the truth", words, (("", drawing),))


def _heatmaps(told: Examples) -> Picture:
    images, truth, given = _pixels(told)
    words = (
        f"{counted(len(images), 'test image')}, the heat of all points ({', '.join(told.names)}) as it should be, "
        "and as the network gives it."
    )
    figure = _beside(images, [truth, given], "magma", 255, [])
    drawing = Markup(to_svg(figure, _NAME, _TITLE, words))
    return Picture(_NAME, "Heat maps beside the truth", words, (("", drawing),))


def _colour(i: int, classes: int) -> tuple[float, float, float]:
    from colorsys import hsv_to_rgb

    return (0.93, 0.93, 0.93) if i == 0 else hsv_to_rgb((i - 1) / max(1, classes - 1), 0.75, 0.8)


@styled
def _beside(
    images: NDArray[np.uint8], planes: Sequence[NDArray[np.uint8]], colours: ListedColormap | str, top: int,
    names: Sequence[str],
) -> Figure:  # fmt: skip
    """Return images in the first row, truth in the second, what was given in the third."""
    n = len(images)
    figure = Figure(figsize=(7.6, 6.0))
    grid = figure.subplots(3, n, squeeze=False)
    for row, (name, arrays) in enumerate(zip(("image", "truth", "given"), (images, *planes), strict=True)):
        for axes, array in zip(grid[row], arrays, strict=True):
            if row:
                axes.imshow(array, cmap=colours, vmin=0, vmax=max(top, 1), interpolation="nearest")
            else:
                grey = array.shape[2] == 1
                axes.imshow(array[..., 0] if grey else array, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
        grid[row][0].set_ylabel(name, color=COLOURS["ink"])
    if names and isinstance(colours, ListedColormap):
        handles = [grid[0][0].plot([], [], "s", color=colours(i), label=name)[0] for i, name in enumerate(names)]
        figure.legend(handles=handles[:12], loc="outside lower center", ncols=6)
    return figure


def _pixels(told: Examples) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    def array(each: Pixels | None) -> NDArray[np.uint8]:
        assert each is not None  # the document was read: it has all three
        return np.frombuffer(each.content(), np.uint8).reshape(each.shape)

    return array(told.images), array(told.truth), array(told.given)


def _sequence(told: Examples) -> Picture:
    bits = [bit for bit in told.bits if bit is not None]
    perplexity = 2 ** min(mean(bits), 1000.0) if bits else float("nan")
    words = (
        f"The beginning of the test part, {counted(len(bits), 'token')}: the darker, the less the network expected it. "
        f"Their perplexity is {perplexity:.3g}; one that knows nothing has as many as there are different tokens. "
        "Below is what the network writes after it, each token drawn by the chance that the network gives it."
    )
    marked = Markup("").join(
        Markup('<span title="{} bits" style="background:rgb(168 90 0 / {}%)">{}</span>').format(
            "?" if bit is None else f"{bit:.1f}", round(100 * min(bit or 0.0, _MOST_BITS) / _MOST_BITS), token
        )
        for token, bit in zip(told.tokens, told.bits, strict=True)
    )
    block = Markup('<p class="code" style="white-space:pre-wrap">{}</p>')
    table = Table(_NAME, {"token": told.tokens, "bits": told.bits})
    drawings = (("read", block.format(marked)), ("written", block.format(told.written)))
    return Picture(_NAME, "A sample of text", words, drawings, table)
