"""From a decoded image of any mode and size to (C, R, R) bytes: upright, 8 bit, cropped or squashed, resized.

Every step that changes pixels has a name, so that a record can say what was done.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

Fit = Literal["center-crop", "squash"]
Filter = Literal["lanczos", "box", "bilinear", "hamming", "bicubic", "nearest"]


def resolved(resolution: int | None, native: int) -> int:
    """The side length to give out: `native` for None; checked."""
    if resolution is None:
        return native
    if isinstance(resolution, bool) or not isinstance(resolution, int) or not 1 <= resolution <= 4096:
        raise ValueError(f"resolution {resolution!r} is not a side length; give a whole number from 1 to 4096, or None")
    return resolution


def named_filter(name: str) -> Image.Resampling:
    if name not in get_args(Filter):
        raise ValueError(f"filter {name!r} is unknown; use {', '.join(get_args(Filter))}")
    return Image.Resampling[name.upper()]


def square_filter(side: int, resolution: int) -> Filter:
    """For images square already: BOX when shrinking by a whole factor (each pixel a plain mean), else LANCZOS."""
    return "box" if side > resolution and side % resolution == 0 else "lanczos"


def upright_rgb(image: Image.Image) -> Image.Image:
    """Any mode => 8-bit RGB, turned as its EXIF orientation says.

    16-bit values are scaled by 255/65535 (Pillow's own conversion would clip them); transparency is dropped, as in EDM.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def fit(image: Image.Image, resolution: int, how: str, resampling: Image.Resampling, *, flip: bool) -> Image.Image:
    """Crop the centre square of the short side (`center-crop`) or keep the whole (`squash`), then resize to R x R.

    `center-crop` with LANCZOS is what the published EDM networks were trained on. The crop comes before the resize:
    resizing a box of the larger image would let the filter see pixels outside it.
    """
    if how == "center-crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (resolution, resolution):
        image = image.resize((resolution, resolution), resampling)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def resize_batch(
    images: UInt8[np.ndarray, "n C S S"], resolution: int, resampling: Image.Resampling
) -> UInt8[np.ndarray, "n C R R"]:
    """Square images => the given side; each channel plane by itself (Pillow's filters treat them so anyway)."""
    out = np.empty((*images.shape[:2], resolution, resolution), np.uint8)
    for planes, target in zip(images, out, strict=True):
        for plane, place in zip(planes, target, strict=True):
            place[:] = Image.fromarray(plane).resize((resolution, resolution), resampling)
    return out
