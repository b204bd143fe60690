"""From the bytes of an image file to pixels: every mode and depth that people have, turned as the camera says.

References:
    EXIF 2.32, tag 0x0112 (orientation).
"""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputRefusedError

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_PIXELS = 80_000_000  # of one image; Pillow warns of more
_GREY = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"})
_MOST_16_BIT = 65_535
# what Pillow's readers raise at damaged files, but for its DecompressionBombError
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    zlib.error,
)


class BrokenImageError(InputRefusedError):
    """One image that cannot be read; a set may have a few of them."""


def header(content: bytes, place: str) -> tuple[int, int, bool]:
    """Return width, height as it will be seen, and whether an image is grey, from its first bytes.

    Raises:
        BrokenImageError: it is none, or is too large.
    """
    with _opened(content, place) as image:
        turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
        width, height = image.size[::-1] if turned else image.size
        return width, height, image.mode in _GREY or (image.mode == "I" and image.format == "PNG")


def pixels(content: bytes, place: str, size: int | None, *, grey: bool) -> NDArray[np.uint8]:
    """Return ``(C, H, W)`` pixels: the shorter side brought to ``size``, the middle square of that.

    A JPEG file of more than four times that size is decoded smaller, yet twice as large as it is wanted at least.

    Args:
        content: Content of the file.
        place: names it in messages.
        size: height and width; None: as it is.
        grey: one channel, else three.

    Raises:
        BrokenImageError: it cannot be read.
    """
    from PIL import Image, ImageOps

    with _opened(content, place) as opened:
        try:
            if size is not None and min(opened.size) >= 4 * size:
                opened.draft(None, (2 * size, 2 * size))  # of a JPEG file: decoded at a half, a quarter or an eighth
            turned: Any = ImageOps.exif_transpose(opened) if opened.getexif().get(0x0112, 1) != 1 else opened
            image, mode = _eight_bit(turned, place), "L" if grey else "RGB"
            image = image if image.mode == mode else image.convert(mode)
            if size is not None and image.size != (size, size):
                image = ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
            found = np.asarray(image)
        except _BROKEN as error:
            raise BrokenImageError(f"{place} is not a readable image: {error}") from error
    return found[None] if grey else found.transpose(2, 0, 1)


def need_pillow() -> None:
    """Refuse image files where Pillow is not installed.

    Raises:
        InputRefusedError: with the command that installs it.
    """
    try:
        import PIL  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise InputRefusedError(
            "image files need the package pillow: pip install 'tempograd[images]', or pip install pillow"
        ) from error


def _opened(content: bytes, place: str) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:  # its own text is of the buffer's address
        raise BrokenImageError(
            f"{place} is not a readable image: its format is unknown, or its start damaged"
        ) from error
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{place} is not a readable image: {error}") from error
    if image.width * image.height > LARGEST_PIXELS or not image.width * image.height:
        raise BrokenImageError(f"{place} is {image.width}x{image.height}; allowed: up to {LARGEST_PIXELS:,} pixels")
    return image


def _eight_bit(image: Image, place: str) -> Image:
    """Return an image of more than 8 bits a pixel at 8: white stays white, and the middle the middle.

    Raises:
        BrokenImageError: its range is not known.
    """
    from PIL import Image

    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    if not image.mode.startswith("I"):
        if image.mode == "F":
            raise BrokenImageError(f"{place} holds floating-point numbers, whose range is not known; save 8 or 16 bits")
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _MOST_16_BIT:
        raise BrokenImageError(f"{place} holds values up to {values.max()}; allowed: 8 or 16 bits")
    return Image.fromarray(np.round(values / (_MOST_16_BIT / 255)).astype(np.uint8))


def legible(path: Path | str) -> str:
    """Return a path as it can be shown and stored: bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
