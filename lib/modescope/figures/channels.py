"""Histograms of single channels, real against generated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from modescope.figures.style import PALETTE, REAL_GREY, page, panel

ACROSS, WIDTH, HEIGHT = 4, 1.72, 1.0


def channels_figure(
    title: str, channels: Sequence[tuple[str, float, Shaped[np.ndarray, " B"], Shaped[np.ndarray, " B"]]]
) -> Figure:
    """A panel per channel: its name, how many real standard deviations its bins reach, and counts of both sides in them.

    The bins divide that much on either side of the real mean; the first and the last hold what lies beyond. Without
    channels the picture says so.
    """
    lines = -(-len(channels) // ACROSS)
    figure = page(0.24 + ACROSS * (WIDTH + 0.1), 0.6 + lines * (HEIGHT + 0.5), title)
    if not channels:
        figure.text(0.02, 0.25, "every channel is constant on the real side", fontsize=10, color="#555555")
        return figure
    for number, (words, reach, real, fake) in enumerate(channels):
        row, column = divmod(number, ACROSS)
        axes = panel(figure, 0.12 + column * (WIDTH + 0.1), 0.58 + row * (HEIGHT + 0.5), WIDTH, HEIGHT)
        edges = np.linspace(-reach, reach, len(real) - 1)
        axes.stairs(_shares(real), edges, fill=True, color=REAL_GREY, label="real")
        axes.stairs(_shares(fake), edges, color=PALETTE[3], linewidth=1.3, label="generated")
        axes.spines["left"].set_visible(False)
        axes.set(yticks=[], ylim=(0, None), xlim=(-reach * 0.75, reach * 0.75))
        axes.set_xticks([-3, 0, 3])
        axes.tick_params(labelsize=7, length=2)
        axes.set_title(words, fontsize=8, loc="left", pad=3)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="upper right", ncols=2, fontsize=8, frameon=False, borderaxespad=0.3)
    figure.text(
        0.5, 0.06 / figure.get_figheight(), "real standard deviations from the real mean", ha="center", fontsize=8
    )
    return figure


def _shares(histogram: Shaped[np.ndarray, " B"]) -> np.ndarray:
    """The open bins at the ends join their neighbours."""
    shares = histogram / max(histogram.sum(), 1)
    inner = shares[1:-1].copy()
    inner[[0, -1]] += shares[[0, -1]]
    return inner
