"""Scores of one generator under one view: metrics/<view>/<generator>.*, scores of every sample, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import components, datasets, figures, files, metrics, runtime, selection, store
from modescope.metrics import Comparison, Gap
from modescope.neighbours import Nearest
from modescope.params import Params
from modescope.store import Activations
from stages import DATA, METRICS, PLOTS, run

SHOWN_GAPS, TILES = 8, 10
JUDGED_ROWS, JUDGED_COMPONENTS = 20_000, 50


def rounded(value: Any) -> Any:
    """Six significant digits: a rerun on the same kind of machine must not dirty the metrics."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def title(name: str, scores: Mapping[str, Any]) -> str:
    return f"{name}: recall {scores['recall']:.2f}, coverage {scores['coverage']:.2f}"


def neighbours_of_real(view_name: str, real: Activations, x: np.ndarray, depth: int) -> Nearest:
    """The real side's own neighbours, searched once per view and then found again for every generator."""
    key = store.config_hash({"rows": real.manifest["shards"], "standardised": real.standardised})
    return metrics.kept_neighbours(DATA / "neighbours" / f"{view_name}.safetensors", x, depth, key=key)


def write_samples(path: Path, real: Activations, fake: Activations, compared: Comparison, gaps: Sequence[Gap]) -> None:
    """Scores of every sample, real and generated: what `real.scores` selects by."""
    columns = (metrics.real_columns(compared, gaps), metrics.fake_columns(compared))
    tables = [pd.DataFrame({"sample_id": list(side.ids), **c}) for side, c in zip((real, fake), columns, strict=True)]
    files.write_table(path, pd.concat(tables, ignore_index=True))


def pictures_of(gaps: Sequence[Gap], table: pd.DataFrame, source: str, compared: Comparison) -> list[Any]:
    """For the largest gaps: words, images of the region from its centre outwards, and the generated ones nearest to it."""
    real, fake = datasets.open_set(DATA / "real"), datasets.open_set(DATA / "fake" / source)
    nearest, shown = metrics.real_columns(compared)["nearest_fake_row"], []
    for gap, line in zip(gaps[:SHOWN_GAPS], table.itertuples(), strict=False):
        rows = np.concatenate([[gap.centre], gap.rows[gap.rows != gap.centre]])[:TILES]
        words = (
            f"{100 * gap.missing:.1f}% missing\n{gap.found} of {gap.expected:.0f} expected\n{str(line.classes)[:28]}"
        )
        shown.append((words, real.read(rows), fake.read(np.unique(nearest[gap.rows])[:TILES])))
    return shown


def judged_by_pixels(name: str, seed: int) -> metrics.ProbeScores | None:
    """A classifier's view: of components of the pixels, since features of a network that is told the class know it."""
    sides, labels = [], []
    for images in (datasets.open_set(DATA / "real"), datasets.open_set(DATA / "fake" / name)):
        rows = selection.spread(len(images), JUDGED_ROWS, seed)
        sides.append(datasets.PixelRows(images, rows))
        labels.append(images.labels[rows])
    count, width = sides[0].shape
    basis = components.fit(sides[0], min(JUDGED_COMPONENTS, count - 1, width), standardise=False)
    x, y = (basis.project(side) for side in sides)
    return metrics.judge(x, y, *labels, seed=seed)


def evaluate(params: Params, view_name: str, name: str) -> None:
    view, k = params.view(view_name), params.metrics.k
    runtime.start(params.runtime.device, params.runtime.threads)
    real = store.open_activations(DATA / "activations" / view_name / "real")
    fake = store.open_activations(DATA / "activations" / view_name / name)
    store.check_same_view(real, fake)
    scale = components.fit(real.matrix, None, standardise=not real.standardised)
    x, y = scale.project(real.matrix), scale.project(fake.matrix)
    depth = max(k + 1, *metrics.gap_scales(len(x), len(y)))
    compared = metrics.compare(x, y, ks=(k,), real_nearest=neighbours_of_real(view_name, real, x, depth))
    gaps = metrics.gaps(compared, real_labels=real.labels, rate=params.metrics.gap_rate)
    labels = (real.labels, fake.labels)
    settings = {
        "view": view_name,
        "generator": name,
        "real": len(x),
        "fake": len(y),
        "k": k,
        "layers": view.layers,
        "protocol": view.protocol,
        "sigma": view.sigma,
        "keep": view.keep,
        "network_hash": real.config["network_hash"],
    }
    judged = judged_by_pixels(name, params.seed)
    scores = {
        **metrics.summarise(compared, gaps, x, y, k=k, seed=params.seed),
        **metrics.judgement(judged),
    }
    files.write_json(METRICS / view_name / f"{name}.json", {**settings, **rounded(scores)})
    classes = store.open_stored_images(DATA / "real").config["classes"]
    table = metrics.class_table(compared, x, y, *labels, classes, k=k, judged=judged)
    files.write_table(METRICS / view_name / f"{name}.classes.csv", table.round(6))
    missing = metrics.gap_table(gaps, real.ids, classes)
    files.write_table(METRICS / view_name / f"{name}.gaps.csv", missing.round(6))
    write_samples(DATA / "scores" / view_name / f"{name}.parquet", real, fake, compared, gaps)

    maps, folder = DATA / "maps" / view_name, PLOTS / view_name
    points = {title(name, scores): (store.read_map(maps / f"{name}.parquet", fake.ids), fake.labels)}
    bars = figures.coverage_figure(table, name, expected=scores["equal_laws"]["coverage"])
    regions = "1 region" if len(gaps) == 1 else f"{len(gaps)} regions"
    words = f"{name}: {regions} missing, with {100 * scores['missing_mass']:.1f}% of the mass"
    drawn = {
        "map": figures.map_figure(store.read_map(maps / "real.parquet", real.ids), points, classes),
        "classes": bars,
        "gaps": figures.gaps_figure(words, pictures_of(gaps, missing, name, compared)),
    }
    for what, figure in drawn.items():
        files.write_bytes(folder / f"{name}.{what}.png", figures.png(figure))


if __name__ == "__main__":
    run(evaluate, "<view>", "<generator>")
