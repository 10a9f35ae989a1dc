"""Scores of one generator under one view: metrics/<view>/<generator>.*, scores of every sample and class, and plots."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from modescope import components, datasets, figures, files, metrics, neighbours, runtime, selection, store
from modescope.components import Components
from modescope.neighbours import Journal, Nearest
from modescope.params import MetricsParams, Params
from modescope.store import Activations
from stages import DATA, METRICS, PLOTS, _pictures, rounded, run
from stages._compared import Compared

log = logging.getLogger(__name__)

JUDGED_ROWS, JUDGED_COMPONENTS = 20_000, 50
BAR_FROM = 20_000  # samples a side


def title(name: str, scores: Mapping[str, Any]) -> str:
    return f"{name}: recall {scores['recall']:.2f}, coverage {scores['coverage']:.2f}"


def standardised(scale: Components, side: Activations) -> np.ndarray:
    """Features in real standard deviations. ValueError naming folder and row where one is not finite."""
    try:
        return scale.project(side.matrix)
    except ValueError as error:
        raise ValueError(f"{side.folder}: {error}") from error


def ks(chosen: MetricsParams, real: Activations, fake: Activations) -> tuple[int, ...]:
    """The k of the scores, then those of the curve that the samples suffice for."""
    for side in (real, fake):
        if chosen.k >= len(side) - 1:
            raise ValueError(
                f"metrics.k is {chosen.k} and {side.folder} holds {len(side)} samples: the k-th neighbour must not be the "
                f"farthest of all; set metrics.k to at most {len(side) - 2}, or take more samples"
            )
    most = min(len(real), len(fake)) - 2
    if max(chosen.curve) > most:
        log.info("metrics.curve: k above %d is left out, %d and %d samples do not suffice", most, len(real), len(fake))
    return tuple(dict.fromkeys((chosen.k, *(k for k in chosen.curve if k <= most))))


def pairs_bar(n: int, m: int, what: str) -> tqdm:
    """Progress over the distances; none where it would be gone before it is read."""
    small = n * m < BAR_FROM**2
    return tqdm(total=metrics.pairs(n, m), desc=what, unit="pair", unit_scale=True, dynamic_ncols=True, disable=small)


def journal(params: Params, real: Activations, fake: Activations, report: Callable[[int], object]) -> Journal:
    """Where the search keeps what it has found, so that a run that was killed goes on; a short one keeps nothing."""
    if len(real) * len(fake) < BAR_FROM**2:
        return Journal(report=report)
    asked = [params.metrics.model_dump(), real.manifest["shards"], fake.manifest["shards"]]
    return Journal(folder=DATA / "neighbours" / store.config_hash({"search": asked}), report=report)


def neighbours_of_real(view_name: str, real: Activations, x: np.ndarray, depth: int, **search: Any) -> Nearest:
    """The real side's own neighbours, searched once per view and then found again for every generator."""
    key = store.config_hash({"rows": real.manifest["shards"], "standardised": real.standardised})
    path = DATA / "neighbours" / f"{view_name}.safetensors"
    return metrics.kept_neighbours(path, x, depth, key=key, **search)


def calibrated(params: Params, found: Compared) -> dict[str, Any]:
    """What held-out real samples score in the generated ones' place; nothing where half of the real ones are too few."""
    k, (real, fake) = params.metrics.k, (found.real, found.fake)
    if min(len(fake), len(real) // 2) <= max(k, 2):
        log.info("%d real samples do not suffice to hold some out at k = %d", len(real), k)
        return {}
    held_out = metrics.held_out(
        *found.features,
        seed=params.seed,
        k=k,
        splits=params.metrics.held_out_splits,
        labels=(real.labels, fake.labels),
        chunk=found.chunk,
        journal=replace(found.journal, report=None),
    )
    return metrics.calibration(held_out)


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


def compare(params: Params, view_name: str, name: str) -> Compared:
    real = store.open_activations(DATA / "activations" / view_name / "real")
    fake = store.open_activations(DATA / "activations" / view_name / name)
    store.check_same_view(real, fake)
    chosen, width = ks(params.metrics, real, fake), real.matrix.shape[1]
    scale = components.fit(real.matrix, None, standardise=not real.standardised)
    x, y = standardised(scale, real), standardised(scale, fake)
    depth = max(*chosen, params.metrics.k + 1, *metrics.gap_scales(len(x), len(y)))
    chunk, maps = neighbours.chunk_within(params.metrics.memory, width), DATA / "maps" / view_name
    with pairs_bar(len(x), len(y), f"{view_name} {name}: distances") as bar:
        if not bar.disable:
            log.info("%s", metrics.estimate(len(x), len(y), width, k=max(chosen)))
        kept = journal(params, real, fake, bar.update)
        near = neighbours_of_real(view_name, real, x, depth, chunk=chunk, journal=kept)
        comparison = metrics.compare(x, y, ks=chosen, real_nearest=near, chunk=chunk, journal=kept)
    return Compared(
        real=real,
        fake=fake,
        features=(x, y),
        points=(store.read_map(maps / "real.parquet", real.ids), store.read_map(maps / f"{name}.parquet", fake.ids)),
        classes=store.open_stored_images(DATA / "real").config["classes"],
        comparison=comparison,
        gaps=metrics.gaps(comparison, real_labels=real.labels, rate=params.metrics.gap_rate),
        judged=judged_by_pixels(name, params.seed),
        chunk=chunk,
        journal=kept,
    )


def score(params: Params, found: Compared) -> dict[str, Any]:
    """Numbers of the whole set."""
    (x, y), k = found.features, params.metrics.k
    on_map = metrics.mode_coverage(metrics.compare(*found.points, ks=(1,), chunk=found.chunk))
    return {
        **metrics.summarise(found.comparison, found.gaps, x, y, k=k, seed=params.seed, on_map=on_map),
        **calibrated(params, found),
        **metrics.judgement(found.judged),
    }


def settings_of(params: Params, view_name: str, name: str, found: Compared) -> dict[str, Any]:
    view = params.view(view_name)
    return {
        "view": view_name,
        "generator": name,
        "real": len(found.real),
        "fake": len(found.fake),
        "k": params.metrics.k,
        "layers": view.layers,
        "protocol": view.protocol,
        "sigma": view.sigma,
        "keep": view.keep,
        "network_hash": found.real.config["network_hash"],
    }


def sample_table(found: Compared) -> pd.DataFrame:
    """Scores of every sample, real and generated: what `real.scores` selects by."""
    columns = (metrics.real_columns(found.comparison, found.gaps), metrics.fake_columns(found.comparison))
    sides = zip((found.real, found.fake), columns, strict=True)
    return pd.concat([pd.DataFrame({"sample_id": list(side.ids), **c}) for side, c in sides], ignore_index=True)


def class_table(params: Params, view_name: str, found: Compared) -> pd.DataFrame:
    labels = found.real.labels, found.fake.labels
    table = metrics.class_table(
        found.comparison,
        *found.features,
        *labels,
        found.classes,
        k=params.metrics.k,
        found=found.gaps,
        modes=metrics.mode_coverage(found.comparison),
        judged=found.judged,
    )
    if params.view(view_name).family == "edm":
        return table  # its features know the class that they are told
    return table.merge(metrics.fidelity_table(found.comparison, *found.features, *labels), on="class_id", how="left")


def pictures(
    name: str, scores: Mapping[str, Any], found: Compared, tables: Mapping[str, pd.DataFrame], shifted: Any
) -> Iterator[tuple[str, Figure]]:
    points = found.points
    images = datasets.open_set(DATA / "real"), datasets.open_set(DATA / "fake" / name)
    classes = tables["classes"]
    worst = _pictures.class_lines(classes, found.comparison, *images)
    gaps = _pictures.gap_lines(found.gaps, tables["gaps"], found.comparison, *images)
    yield "map", figures.map_figure(points[0], {title(name, scores): (points[1], found.fake.labels)}, found.classes)
    yield "density", figures.density_figure(name, *points)
    yield "classes", figures.coverage_figure(classes, name, expected=scores["equal_laws"]["coverage"])
    yield "worst", figures.worst_figure(f"{name}: the worst covered classes", worst)
    yield "gaps", figures.gaps_figure(_pictures.words_of(name, scores), gaps)
    yield "curve", figures.curve_figure(name, tables["curve"])
    yield "channels", figures.channels_figure(f"{name}: the channels that moved farthest", shifted)


def evaluate(params: Params, view_name: str, name: str) -> None:
    params.view(view_name)
    runtime.start(params.runtime.device, params.runtime.threads, deterministic=params.runtime.deterministic)
    found = compare(params, view_name, name)
    scores = score(params, found)
    files.write_json(
        METRICS / view_name / f"{name}.json", {**settings_of(params, view_name, name, found), **rounded(scores)}
    )
    shifts, shifted = _pictures.channels(found.real, found.fake, params.seed)
    tables = {
        "classes": class_table(params, view_name, found),
        "gaps": metrics.gap_table(found.gaps, found.real.ids, found.classes),
        "curve": metrics.curve_table(found.comparison),
        "channels": shifts,
    }
    files.write_table(DATA / "scores" / view_name / f"{name}.parquet", sample_table(found))
    files.write_table(DATA / "scores" / view_name / f"{name}.classes.parquet", tables["classes"])
    for what, table in tables.items():
        files.write_table(METRICS / view_name / f"{name}.{what}.csv", rounded(table))
    for what, figure in pictures(name, scores, found, tables, shifted):
        files.write_bytes(PLOTS / view_name / f"{name}.{what}.png", figures.png(figure))
    found.journal.clear()


if __name__ == "__main__":
    run(evaluate, "<view>", "<generator>")
