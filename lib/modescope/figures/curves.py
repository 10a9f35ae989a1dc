"""Scores over k."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modescope.figures.style import PALETTE, page, panel


def curve_figure(title: str, table: pd.DataFrame) -> Figure:
    """Precision and recall over k, and coverage beside what equal laws would score (columns of `metrics.curve_table`)."""
    figure = page(7.2, 3.1, title)
    left, right = panel(figure, 0.55, 0.5, 2.9, 2.05), panel(figure, 4.1, 0.5, 2.9, 2.05)
    for axes, scores in ((left, ("precision", "recall")), (right, ("coverage",))):
        for number, score in enumerate(scores):
            colour = PALETTE[(0, 3)[number]] if axes is left else PALETTE[2]
            axes.plot(table["k"], table[score], "o-", color=colour, markersize=4, linewidth=1.5, label=score)
        _dress(axes, table)
    right.plot(table["k"], table["expected_coverage"], "--", color="#444444", linewidth=1.2, label="under equal laws")
    for axes in (left, right):
        axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure


def _dress(axes: Axes, table: pd.DataFrame) -> None:
    axes.set(xscale="log", ylim=(0, 1.04))
    axes.set_xticks(table["k"], [str(k) for k in table["k"]])
    axes.minorticks_off()
    axes.set_xlabel("k: which neighbour sets a radius", fontsize=9)
    axes.grid(alpha=0.25, linewidth=0.6)
