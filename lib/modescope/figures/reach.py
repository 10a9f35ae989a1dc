"""What came of aiming at missing regions, in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure

from modescope.figures.style import MARGIN, PALETTE, bare, page, panel

WORDS, STRIP, GAP = 1.75, 2.2, 0.24  # inches

Way = tuple[UInt8[np.ndarray, "_ C H W"], Bool[np.ndarray, " _"], bool]
"""Images of one way, which of them count as in the region, and whether the region counts as reached."""


def reach_figure(
    title: str, regions: Sequence[tuple[str, UInt8[np.ndarray, "_ C H W"], Mapping[str, Way]]], *, tiles: int = 8
) -> Figure:
    """A line per region: words, real images of it, and what each way made. Images that count are framed, and a way that
    reached the region has a tick. Without regions the picture says so.
    """
    heads = ["real, of the region", *(regions[0][2] if regions else ())]
    shown = max(len(heads), 2) * (STRIP + GAP)
    across = 2 * MARGIN + WORDS + shown
    if not regions:
        figure = page(across, 0.9, title)
        nothing = "no region of the real data is missing, so none was aimed at"
        figure.text(MARGIN / across, 0.3, nothing, fontsize=10, color="#555555")
        return figure
    images = np.concatenate([_line(real, list(made.values()), tiles) for _, real, made in regions])
    height = shown * images.shape[0] / images.shape[1]
    figure = page(across, height + 0.75, title)
    said = "framed: counts as in the region; tick: the region is reached"
    figure.text(1 - MARGIN / across, 1 - 0.1 / (height + 0.75), said, ha="right", va="top", fontsize=8, color="#555555")
    axes = bare(panel(figure, MARGIN + WORDS, 0.62, shown, height))
    axes.imshow(images, interpolation="nearest", aspect="auto")
    place: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "va": "center"}
    for column, head in enumerate(heads):
        axes.text(column * (STRIP + GAP) / shown, 1 + 0.12 / height, head, **place)
    for number, (words, _, made) in enumerate(regions):
        middle = 1 - (number + 0.5) / len(regions)
        axes.text(-WORDS / shown, middle, words, linespacing=1.1, **place)
        for column, (_, _, reached) in enumerate(made.values(), start=2):
            if reached:
                axes.text((column * (STRIP + GAP) - GAP + 0.03) / shown, middle, "✓", color=PALETTE[2], **place)
    return figure


def _line(real: UInt8[np.ndarray, "R C H W"], made: Sequence[Way], tiles: int) -> UInt8[np.ndarray, "h w 3"]:
    """The real images and those of every way, each strip followed by white."""
    strips = [_framed(real[:tiles], np.zeros(len(real[:tiles]), bool), tiles)]
    strips += [_framed(images[:tiles], inside[:tiles], tiles) for images, inside, _ in made]
    high, wide = strips[0].shape[:2]
    around = (high // 10, high // 10), (0, round(wide * GAP / STRIP)), (0, 0)
    return np.concatenate([np.pad(part, around, constant_values=255) for part in strips], axis=1)


def _framed(
    images: UInt8[np.ndarray, "M C H W"], framed: Bool[np.ndarray, " M"], tiles: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Images side by side, each with a frame in colour or white around it."""
    _, channels, height, width = images.shape
    edge = max(1, width // 8)
    high, step = height + 2 * edge, width + 3 * edge
    canvas = np.full((high, tiles * step - edge, 3), 255, np.uint8)
    colour = tuple(int(PALETTE[1][i : i + 2], 16) for i in (1, 3, 5))
    for place, (image, inside) in enumerate(zip(images, framed, strict=True)):
        left = place * step
        if inside:
            canvas[:, left : left + width + 2 * edge] = colour
        rgb = image.transpose(1, 2, 0) if channels >= 3 else np.repeat(image[:1].transpose(1, 2, 0), 3, axis=2)
        canvas[edge : edge + height, left + edge : left + edge + width] = rgb[..., :3]
    return canvas
