"""Encoded pictures (PNG, JPEG, …) to one uint8 array of equal size and kind."""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdbench.data.source import unreadable

_GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"RGB", "RGBA", "P", "CMYK", "YCbCr"})
JPEG_MAGIC = b"\xff\xd8\xff"

Opener = Callable[[], Image.Image]  # opens one picture; its pixels are read later
Picture = tuple[str, Opener]  # with its name, for messages


def from_bytes(data: bytes) -> Opener:
    """Opens an encoded picture in memory."""
    return lambda: Image.open(io.BytesIO(data))


def from_file(path: Path) -> Opener:
    """Opens a picture on disk."""
    return lambda: Image.open(path)


def is_grey(pictures: Iterable[Picture]) -> bool:
    """Whether every picture is grey; looks at headers, up to the first picture in colour."""
    return all(_mode(name, opener) in _GREY for name, opener in pictures)


def decode(pictures: Sequence[Picture], *, grey: bool) -> Tensor:
    """(N, 1, h, w) or, unless `grey`, (N, 3, h, w) uint8; greys among colours become colours.

    Raises UserError for a picture that cannot be read, has more than 8 bits per channel, is in colour where
    `grey`, or differs in size from the first.
    """
    rows: np.ndarray | None = None
    for index, (name, opener) in enumerate(pictures):
        with _open(name, opener) as image:
            pixels = _pixels(name, image, grey)
        if rows is None:
            rows = np.empty((len(pictures), *pixels.shape), dtype=np.uint8)
        if pixels.shape != rows.shape[1:]:
            _refuse_size(name, pixels.shape, rows.shape[1:])
        rows[index] = pixels
    if rows is None:
        raise unreadable("this data set", "which holds no image", "at least one image in each split")
    return torch.from_numpy(rows)


def any_jpeg(encoded: Iterable[bytes]) -> bool:
    """Whether one of the encoded pictures is a JPEG, by its first bytes."""
    return any(data.startswith(JPEG_MAGIC) for data in encoded)


def _mode(name: str, opener: Opener) -> str:
    with _open(name, opener) as image:
        return image.mode


def _open(name: str, opener: Opener) -> Image.Image:
    try:
        image = opener()
    except (OSError, Image.DecompressionBombError) as failure:
        raise unreadable(name, "which cannot be read as an image", "PNG, JPEG and the like") from failure
    if image.mode not in _GREY | _COLOUR:
        raise unreadable(name, f"whose pixels are of mode {image.mode}", "8 bits per channel, grey or colour")
    return image


def _pixels(name: str, image: Image.Image, grey: bool) -> np.ndarray:
    if grey and image.mode not in _GREY:
        raise unreadable(name, "which is in colour", "grey test images where all training images are grey")
    try:
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, SyntaxError) as failure:  # truncated or damaged; Pillow's PNG reader raises SyntaxError
        raise unreadable(name, f"which is damaged ({failure})", "whole images") from failure
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _refuse_size(name: str, given: tuple[int, ...], first: tuple[int, ...]) -> None:
    problem = f"which is {given[1]}x{given[2]} where the first image is {first[1]}x{first[2]}"
    raise unreadable(name, problem, "images of one size (height x width) in the whole data set")
