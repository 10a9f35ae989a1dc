"""Static pictures: the map, and coverage class by class. Functions return matplotlib figures; whoever asked saves them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from matplotlib.figure import Figure

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e69f00", "#882255", "#117733", "#332288")
"""Ten colours that stay apart for colour-blind readers (after Paul Tol's schemes); classes cycle through them."""

REAL_GREY = "#b9b9b9"


def class_colours(classes: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(classes)]


def map_figure(
    real: Float[np.ndarray, "N E"],
    fake: Float[np.ndarray, "M E"],
    labels: Int64[np.ndarray, " M"],
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """Real samples in grey, generated ones on top by class; the first two axes of the map."""
    figure = Figure(figsize=(7.2, 5.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(12_000 / (len(real) + len(fake) + 1), 0.3, 9))
    axes.scatter(real[:, 0], real[:, 1], s=size * 1.6, c=REAL_GREY, linewidths=0, label="real", rasterized=True)
    colours = np.array(class_colours(len(class_names)))
    axes.scatter(fake[:, 0], fake[:, 1], s=size, c=colours[labels], linewidths=0, alpha=0.85, rasterized=True)
    for index, name in enumerate(class_names[: len(PALETTE)]):
        axes.scatter([], [], s=30, c=[colours[index]], linewidths=0, label=name)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="generated", fontsize=9)
    axes.set(xticks=[], yticks=[], title=title)
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[:].set_visible(False)
    return figure


def coverage_figure(table: pd.DataFrame, title: str, *, expected: float) -> Figure:
    """Coverage and recall per class as bars, worst class first; the line is what equal laws would score."""
    table = table.sort_values("coverage", kind="stable").head(40)
    figure = Figure(figsize=(7.2, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(table))
    axes.bar(place - 0.2, table["coverage"], width=0.4, color=PALETTE[0], label="coverage")
    axes.bar(place + 0.2, table["recall"], width=0.4, color=PALETTE[3], label="recall")
    axes.axhline(expected, color="#444444", linewidth=1, linestyle="--", label="coverage under equal laws")
    axes.set_xticks(place, [str(name) for name in table["class_name"]], rotation=0 if len(table) <= 12 else 90)
    axes.set(ylim=(0, 1.05), title=title, xlabel="class, worst covered first", ylabel="share of real samples")
    axes.legend(loc="lower right", fontsize=8, framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def png(figure: Figure) -> bytes:
    """A figure => PNG bytes, the same on every run."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
