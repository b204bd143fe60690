"""Folders of images by class, as people have them: what is read, what is skipped and why, and which class is which."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputRefusedError
from ..shown import counted
from .decode import legible
from .links import around, once, shared
from .pictures import Examples, FileBytes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"})
_VALIDATION = ("val", "valid", "validation")
_SHOWN = 3


@dataclass
class Skipped:
    """What was not read, by kind, with the first names of each."""

    count: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    names: dict[tuple[str, str], list[str]] = field(default_factory=dict[tuple[str, str], list[str]])

    def add(self, noun: str, which: str, path: Path | str) -> None:
        """Count one, ``file`` and ``of other kinds``."""
        self.count[noun, which] += 1
        shown = self.names.setdefault((noun, which), [])
        if len(shown) < _SHOWN:
            shown.append(legible(path))

    def remarks(self) -> tuple[str, ...]:
        """Return a sentence for each kind."""
        return tuple(
            f"skipped {counted(count, noun)} {which}: {', '.join(self.names[noun, which])}"
            f"{', ...' if count > _SHOWN else ''}"
            for (noun, which), count in self.count.items()
        )


@dataclass(frozen=True)
class Folders:
    """What was found in folders of images.

    Attributes:
        parts: ``train``, and ``val`` and ``test`` where they are there.
        class_names: by label: the sorted names of the folders in train.
        remarks: what was skipped, classes that a part lacks, and images that parts share by links.
    """

    parts: Mapping[str, Examples]
    class_names: tuple[str, ...]
    remarks: tuple[str, ...]


def scan(root: Path) -> Folders:
    """Find the images of ``train/CLASS/*`` beside ``val`` and ``test``, or of ``CLASS/*`` alone.

    Hidden files and folders are skipped, links are followed, and a file counts once in a class. Classes are compared by
    their composed Unicode names.

    Raises:
        InputRefusedError: no such folder, no classes, an empty one, one that train lacks, or two of nearly one name.
    """
    if not root.is_dir():
        raise InputRefusedError(
            f"{root} is not a folder; give one with train/CLASS/ and val/CLASS/, or with CLASS/ alone"
        )
    skipped = Skipped()
    places = parts_of(root)
    found = {part: _distinct(folder, _classes(folder, skipped)) for part, folder in places.items()}
    names = sorted(found["train"])
    if len(names) < 2:
        raise InputRefusedError(
            f"{places['train']} holds {counted(len(names), 'folder')} of classes ({', '.join(names) or 'none'}); "
            "expected two or more folders with images, each the name of a class"
        )
    for part, classes in found.items():
        _check_classes(part, places[part], classes, names, skipped)
    labels = {name: label for label, name in enumerate(names)}
    examples = {part: _examples(classes, labels) for part, classes in found.items()}
    absent = [
        f"{part} has no images of {', '.join(missing[:_SHOWN])}{', ...' if len(missing) > _SHOWN else ''}"
        for part, classes in found.items()
        if (missing := [name for name in names if not classes.get(name)])
    ]
    return Folders(examples, tuple(names), (*skipped.remarks(), *absent, *shared(found)))


def parts_of(root: Path) -> dict[str, Path]:
    """Return the folder of every part; a folder without a train folder is all there is to train on."""
    below = {path.name.lower(): path for path in root.iterdir() if path.is_dir() and not _hidden(path)}
    if "train" not in below:
        return {"train": root}
    found = {"train": below["train"]}
    validation = [below[name] for name in _VALIDATION if name in below]
    if len(validation) > 1:
        raise InputRefusedError(f"{root} has {' and '.join(path.name for path in validation)}; keep one of them")
    return found | ({"val": validation[0]} if validation else {}) | ({"test": below["test"]} if "test" in below else {})


def _classes(folder: Path, skipped: Skipped) -> Iterator[tuple[str, list[Path]]]:
    for path in sorted(folder.iterdir()):
        if _hidden(path):
            skipped.add("path", "of a hidden name", path)
        elif path.is_dir():
            if legible(path) != str(path):
                raise InputRefusedError(f"class {legible(path)} has a name that is not UTF-8; rename the folder")
            images, again = once(sorted(_images(path, skipped)))
            for each in again:
                skipped.add("link", "to an image of the same class", each)
            yield unicodedata.normalize("NFC", path.name), images
        else:
            skipped.add("file", "outside of the folders of classes", path)


def _distinct(folder: Path, classes: Iterable[tuple[str, list[Path]]]) -> dict[str, list[Path]]:
    """Return the images by class; two folders that one reader or file system takes for one are refused."""
    found, seen = dict[str, list[Path]](), dict[str, str]()
    for name, images in classes:
        other = seen.setdefault(name.casefold(), name)
        if name in found or other != name:
            raise InputRefusedError(
                f"classes {other!r} and {name!r} in {folder} differ by case, or by how accents are written, only; "
                "rename one, or put their images together"
            )
        found[name] = images
    return found


def names_of(path: Path, classes: int, skipped: Skipped) -> tuple[str, ...]:
    """Return the names of classes in a text file, one a line; none where there is no file, or it names others.

    Raises:
        InputRefusedError: the file is not in UTF-8.
    """
    names = lines_of(path)
    if path.is_file() and len(names) != classes:
        skipped.add("file", f"of class names, as it has {len(names)} for {classes} classes", path)
        return ()
    return names


def lines_of(path: Path) -> tuple[str, ...]:
    """Return the names of classes in a text file, one a line; none where there is no file.

    Raises:
        InputRefusedError: the file is not in UTF-8.
    """
    if not path.is_file():
        return ()
    try:
        return tuple(path.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise InputRefusedError(f"{path} is not UTF-8 (byte {error.start}); convert it, or remove it") from error


def _images(folder: Path, skipped: Skipped) -> Iterator[Path]:
    """Yield the images at any depth below a class.

    Folders that were seen already are not entered again by a link, and one that the link lies in is not entered at all:
    it holds other classes.
    """
    seen: set[str] = set()
    for at, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(at)
        if real in seen or around(at):
            skipped.add("link", "to a folder that it lies in, or that was read already", Path(at))
            folders.clear()
            continue
        seen.add(real)
        for name in [name for name in folders if name.startswith(".")]:
            skipped.add("path", "of a hidden name", Path(at, name))
            folders.remove(name)
        for name in files:
            path = Path(at, name)
            if name.startswith("."):
                skipped.add("path", "of a hidden name", path)
            elif path.suffix.lower() not in SUFFIXES:
                skipped.add("file", f"of other kinds ({path.suffix.lower() or 'no suffix'})", path)
            elif not path.is_file():
                skipped.add("link", "to nowhere", path)
            else:
                yield path


def _raise(error: OSError) -> None:
    """Raise what `os.walk` would pass over: images that may not be read are not left out in silence."""
    raise error


def _check_classes(
    part: str, folder: Path, classes: Mapping[str, list[Path]], names: list[str], skipped: Skipped
) -> None:
    lower = {name.casefold(): name for name in names}
    for name, images in classes.items():
        if name in names:
            if not images and part == "train":
                raise InputRefusedError(
                    f"class {name!r} in {folder} has no images ({', '.join(sorted(SUFFIXES))})"
                    f"{_what_was(skipped, folder / name)}; remove the folder, or put images there"
                )
            continue
        if name.casefold() in lower:
            raise InputRefusedError(
                f"class {name!r} in {folder} and {lower[name.casefold()]!r} in train differ by case only; rename one"
            )
        raise InputRefusedError(
            f"class {name!r} in {folder} is not in train, which has {', '.join(names[:10])}"
            f"{', ...' if len(names) > 10 else ''}: add it to train, or remove it there"
        )


def _what_was(skipped: Skipped, folder: Path) -> str:
    kinds = [
        f"{noun}s {which}"
        for (noun, which), names in skipped.names.items()
        if any(Path(n).is_relative_to(folder) for n in names)
    ]
    return f"; skipped there: {', '.join(kinds)}" if kinds else ""


def _examples(classes: Mapping[str, list[Path]], labels: Mapping[str, int]) -> Examples:
    paths = [(str(path), labels[name]) for name in sorted(classes, key=lambda n: labels[n]) for path in classes[name]]
    return Examples(FileBytes.of(path for path, _ in paths), np.array([label for _, label in paths], np.int64))


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
