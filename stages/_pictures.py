"""What `evaluate` shows of its scores: rows chosen, images read, words written; `modescope.figures` draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from modescope import metrics, selection
from modescope.metrics import ChannelStatistics, Comparison, Gap
from modescope.store import Activations, Images

GAPS, CLASSES, CHANNELS = 8, 8, 8
TILES, CLASS_TILES = 10, 8
COUNTED_ROWS, BATCH = 20_000, 512

Line = tuple[str, list[np.ndarray]]


def gap_lines(gaps: Sequence[Gap], table: pd.DataFrame, compared: Comparison, real: Images, fake: Images) -> list[Line]:
    """For the largest gaps: words, images of the region from its centre outwards, and the generated ones nearest to it."""
    nearest, shown = metrics.real_columns(compared)["nearest_fake_row"], []
    for gap, line in zip(gaps[:GAPS], table.itertuples(), strict=False):
        rows = np.concatenate([[gap.centre], gap.rows[gap.rows != gap.centre]])[:TILES]
        words = f"{100 * gap.missing:.1f}% missing\n{gap.found} of {gap.expected:.0f} expected\n{_short(line.classes)}"
        shown.append((words, [real.read(rows), fake.read(np.unique(nearest[gap.rows])[:TILES])]))
    return shown


def class_lines(table: pd.DataFrame, compared: Comparison, real: Images, fake: Images) -> list[Line]:
    """For the worst covered classes: words, the real images farthest out of reach, the generated ones nearest to them,
    and the generated ones of the class.
    """
    columns, shown = metrics.real_columns(compared), []
    away = np.where(columns["covered"], -1.0, columns["nearest_fake"] / np.maximum(columns["radius"], 1e-12))
    worst = table[table["coverage"] < 1].sort_values(["coverage", "class_id"], kind="stable")
    for line in worst.head(CLASSES).itertuples():
        own = np.flatnonzero(real.labels == line.class_id)
        missed = own[np.argsort(-away[own], kind="stable")][: int((away[own] >= 0).sum())]
        rows = missed[:CLASS_TILES]
        across = list(dict.fromkeys(columns["nearest_fake_row"][rows].tolist()))
        asked = np.flatnonzero(fake.labels == line.class_id)[:CLASS_TILES]
        words = (
            f"{_short(line.class_name)}\ncoverage {line.coverage:.2f} [{line.coverage_low:.2f}, {line.coverage_high:.2f}]\n"
            f"{len(missed)} of {len(own)} out of reach"
        )
        shown.append((words, [real.read(rows), fake.read(np.array(across)), fake.read(asked)]))
    return shown


def _short(words: object, most: int = 27) -> str:
    text = str(words)
    return text if len(text) <= most else f"{text[: most - 2].rstrip(' ;,')} .."


def channels(
    real: Activations, fake: Activations, seed: int
) -> tuple[pd.DataFrame, list[tuple[str, float, np.ndarray, np.ndarray]]]:
    """Shifts of every channel of every layer, farthest first; of the farthest ones the name, what their bins reach (in
    real standard deviations) and the histograms. Of `keep: pca` the components are the channels.
    """
    tables, layers = [], {}
    for layer in real.layers:
        bins = metrics.choose_bins(_batches(real, layer, seed))
        sides = [metrics.channel_statistics(_batches(side, layer, seed), bins) for side in (real, fake)]
        tables.append(metrics.channel_shifts(*sides).assign(layer=layer))
        layers[layer] = sides
    table = pd.concat(tables, ignore_index=True).sort_values("distance", ascending=False, kind="stable")
    table = table[["layer", *(name for name in table if name != "layer")]].reset_index(drop=True)
    farthest = table.dropna().head(CHANNELS)
    places = zip(farthest["layer"].tolist(), farthest["channel"].tolist(), farthest["shift"].tolist(), strict=True)
    return table, [_histograms(layer, channel, shift, *layers[layer]) for layer, channel, shift in places]


def _histograms(
    layer: str, channel: int, shift: float, real: ChannelStatistics, fake: ChannelStatistics
) -> tuple[str, float, np.ndarray, np.ndarray]:
    reach = float((real.high - real.low)[channel] / 2 / real.spread[channel])
    return f"{_short(layer, 20)} {channel}: {shift:+.2f}", reach, real.histogram[channel], fake.histogram[channel]


def _batches(side: Activations, layer: str, seed: int) -> Iterator[np.ndarray]:
    rows = selection.spread(len(side), COUNTED_ROWS, seed)
    for start in range(0, len(rows), BATCH):
        yield side.take(rows[start : start + BATCH], layer)


def words_of(name: str, scores: Mapping[str, Any]) -> str:
    regions = "1 region" if scores["gaps"] == 1 else f"{scores['gaps']} regions"
    return f"{name}: {regions} missing, with {100 * scores['missing_mass']:.1f}% of the mass"
