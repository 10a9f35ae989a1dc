"""Real images behind one door: `open_images(kind, path)` gives labelled pixels by row, whatever they are stored in.

A new kind is a class with two methods (see `ImageSource`) and a line in `READERS`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from modescope.images.digits import Digits
from modescope.images.folder import ImageFolder
from modescope.images.packed import PackedImageNet
from modescope.images.source import ImageSource

__all__ = ["READERS", "ImageSource", "open_images"]

READERS: dict[str, type[ImageSource]] = {"digits": Digits, "imagenet-npz": PackedImageNet, "folder": ImageFolder}


def open_images(
    kind: str, path: Path | str | None = None, resolution: int | None = None, **options: Any
) -> ImageSource:
    """The real images at `path`; `resolution` None: their own.

    `kind`: "digits" (no path), "imagenet-npz" (the packed files' folder, or one of them; options `split`, `cache`) or
    "folder" (one folder per class; options `split`, `preprocessing`, `filter`, `flip`, `strict`, `check`, `cache`,
    `workers`). ValueError names what is wrong and what to do.
    """
    if kind not in READERS:
        raise ValueError(f"kind {kind!r} is unknown; use {', '.join(READERS)}")
    accepted = [p.name for p in inspect.signature(READERS[kind]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = [name for name in options if name not in accepted]
    if unknown:
        raise ValueError(
            f"option {unknown[0]!r} is not one of {kind!r} images; there: {', '.join(accepted) or 'none at all'}"
        )
    if path is None and kind != "digits":
        raise ValueError(f"path is missing; {kind!r} images are read from a folder: give it")
    reader: Any = READERS[kind]
    opened: ImageSource = reader(path, resolution, **options)
    return opened
