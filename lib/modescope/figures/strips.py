"""Lines of words and images: missing regions, and the classes that are covered worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from modescope.figures.style import MARGIN, bare, page, panel, sheet

WORDS, COLUMN = 1.75, 4.5  # inches
Line = tuple[str, Sequence[UInt8[np.ndarray, "_ C H W"]]]


def gaps_figure(title: str, gaps: Sequence[Line], *, tiles: int = 10) -> Figure:
    """A line per gap: what is missing in words, real images of the region, and the generated ones that lie nearest to it."""
    heads = ("real images of the region", "generated images nearest to it")
    return _lines(title, heads, gaps, tiles, "no region of the real data is missing beyond chance")


def worst_figure(title: str, classes: Sequence[Line], *, tiles: int = 8) -> Figure:
    """A line per class: scores in words, real images that nothing covers, the generated nearest ones, and those asked for."""
    heads = ("real images that nothing covers", "generated images nearest to them", "generated for this class")
    return _lines(title, heads, classes, tiles, "every real image is covered")


def _lines(title: str, heads: Sequence[str], lines: Sequence[Line], tiles: int, nothing: str) -> Figure:
    """Without lines the picture says `nothing`."""
    width = COLUMN * tiles / 10
    across = 2 * MARGIN + WORDS + width * (len(heads) + (len(heads) - 1) * 0.5 / tiles)
    if not lines:
        figure = page(across, 0.9, title)
        figure.text(MARGIN / across, 0.3, nothing, fontsize=10, color="#555555")
        return figure
    images = sheet([pictures for _, pictures in lines], tiles)
    shown = across - 2 * MARGIN - WORDS
    height = shown * images.shape[0] / images.shape[1]
    figure = page(across, height + 0.75, title)
    axes = bare(panel(figure, MARGIN + WORDS, 0.62, shown, height))
    axes.imshow(images, cmap="gray", vmin=0, vmax=255, aspect="auto")
    place: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8}
    for column, head in enumerate(heads):
        axes.text(column * (width + 0.5 * width / tiles) / shown, 1 + 0.07 / height, head, va="bottom", **place)
    for number, (words, _) in enumerate(lines):
        middle = 1 - (number * 1.25 + 0.5) / (len(lines) * 1.25 - 0.25)
        axes.text(-WORDS / shown, middle, words, va="center", linespacing=1.1, **place)
    return figure
