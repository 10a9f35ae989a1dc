"""Colours, places, image sheets and PNG bytes of all figures."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#332288", "#e69f00", "#44aa99", "#cc6677", "#88ccee", "#882255", "#999933", "#aa4499", "#aa7744", "#ddcc77")
"""Ten colours that stay apart for colour-blind readers (after Paul Tol's schemes); classes cycle through them."""

REAL_GREY = "#b9b9b9"
DPI = 110
MARGIN = 0.12  # inches


def class_colours(classes: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(classes)]


def page(width: float, height: float, title: str = "") -> Figure:
    """A figure of this size in inches, its title in the upper left corner."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.text(MARGIN / width, 1 - 0.1 / height, title, ha="left", va="top", fontsize=11)
    return figure


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes by inches from the upper left corner of the figure: a layout engine takes longer than the drawing."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def bare(axes: Axes) -> Axes:
    """Without ticks and frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def strip(images: UInt8[np.ndarray, "N C H W"], tiles: int) -> np.ndarray:
    """Up to `tiles` images side by side on white, an eighth of their width apart: (H, width) or (H, width, 3)."""
    _, channels, height, width = images.shape
    step = width + width // 8
    canvas = np.full((height, tiles * step - width // 8, channels), 255, np.uint8)
    for place, image in enumerate(images[:tiles]):
        canvas[:, place * step : place * step + width] = image.transpose(1, 2, 0)
    return canvas[..., 0] if channels == 1 else canvas


def sheet(lines: Sequence[Sequence[UInt8[np.ndarray, "_ C H W"]]], tiles: int) -> np.ndarray:
    """Lines of strips on white: strips half a tile apart, lines a quarter."""
    size = next(images.shape[-1] for line in lines for images in line)
    rows = []
    for line in lines:
        strips = [strip(images, tiles) for images in line]
        gap = np.full_like(strips[0][:, :1], 255).repeat(size // 2, axis=1)
        rows.append(np.concatenate([part for one in strips for part in (one, gap)][:-1], axis=1))
    between = np.full_like(rows[0][:1], 255).repeat(max(1, size // 4), axis=0)
    return np.concatenate([part for one in rows for part in (one, between)][:-1])


def png(figure: Figure) -> bytes:
    """A figure => PNG bytes, the same on every run."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
