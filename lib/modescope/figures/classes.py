"""Scores class by class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modescope.figures.style import PALETTE, page, panel

MOST, LINE, LONGEST = 40, 0.2, 28


def coverage_figure(table: pd.DataFrame, title: str, *, expected: float) -> Figure:
    """Coverage and recall per class with their 95% intervals, the worst covered class on top; at most 40 classes.

    The line is the coverage that equal laws would score, the same for every class whatever its size.
    """
    real = table.dropna(subset="coverage").sort_values(["coverage", "class_id"], kind="stable")
    shown, words = real.head(MOST), title
    if len(real) > len(shown):
        words += f": the {MOST} worst covered of {len(real)} classes"
    height = LINE * max(len(shown), 2)
    names = [
        f"{str(name)[:LONGEST]}  ({count})" for name, count in zip(shown["class_name"], shown["real"], strict=True)
    ]
    left = 0.3 + 0.07 * max(map(len, names), default=0)
    figure = page(left + 5.2, height + 1.15, words)
    axes = panel(figure, left, 0.62, 5.0, height)
    place = np.arange(len(shown))
    axes.barh(place, shown["coverage"], height=0.72, color="#a8b8d8", label="coverage")
    _interval(axes, shown, "coverage", place, PALETTE[0])
    axes.plot(shown["recall"], place + 0.22, "o", color=PALETTE[3], markersize=3.5, label="recall")
    _interval(axes, shown, "recall", place + 0.22, PALETTE[3])
    axes.axvline(expected, color="#444444", linewidth=1, linestyle="--", label="coverage under equal laws")
    axes.set_yticks(place, names)
    axes.set(xlim=(0, 1.02), ylim=(max(len(shown), 1) - 0.5, -0.5))
    axes.set_xlabel("share of the class's real samples, with 95% intervals (in brackets: how many)", fontsize=8)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False, borderaxespad=0.2)
    return figure


def _interval(axes: Axes, table: pd.DataFrame, score: str, place: np.ndarray, colour: str) -> None:
    if f"{score}_low" in table:
        axes.hlines(place, table[f"{score}_low"], table[f"{score}_high"], color=colour, linewidth=1.1)
