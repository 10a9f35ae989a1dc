"""Scores of one generator under one view: metrics/<view>/<generator>.*, scores of every sample and class, and plots."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from modescope import components, datasets, figures, files, metrics, neighbours, runtime, selection, store
from modescope.components import Components
from modescope.metrics import Comparison, Gap
from modescope.neighbours import Journal, Nearest
from modescope.params import MetricsParams, Params
from modescope.store import Activations
from stages import DATA, METRICS, PLOTS, _pictures, rounded, run

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


def calibrated(
    params: Params, real: Activations, fake: Activations, x: np.ndarray, y: np.ndarray, chunk: int
) -> dict[str, Any]:
    """What held-out real samples score in the generated ones' place; nothing where half of the real ones are too few."""
    k = params.metrics.k
    if min(len(fake), len(real) // 2) <= max(k, 2):
        log.info("%d real samples do not suffice to hold some out at k = %d", len(real), k)
        return {}
    splits, labels = params.metrics.held_out_splits, (real.labels, fake.labels)
    return metrics.calibration(metrics.held_out(x, y, seed=params.seed, k=k, splits=splits, labels=labels, chunk=chunk))


def write_samples(path: Path, real: Activations, fake: Activations, compared: Comparison, gaps: Sequence[Gap]) -> None:
    """Scores of every sample, real and generated: what `real.scores` selects by."""
    columns = (metrics.real_columns(compared, gaps), metrics.fake_columns(compared))
    tables = [pd.DataFrame({"sample_id": list(side.ids), **c}) for side, c in zip((real, fake), columns, strict=True)]
    files.write_table(path, pd.concat(tables, ignore_index=True))


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
    runtime.start(params.runtime.device, params.runtime.threads, deterministic=params.runtime.deterministic)
    real = store.open_activations(DATA / "activations" / view_name / "real")
    fake = store.open_activations(DATA / "activations" / view_name / name)
    store.check_same_view(real, fake)
    chosen, width = ks(params.metrics, real, fake), real.matrix.shape[1]
    chunk = neighbours.chunk_within(params.metrics.memory, width)
    scale = components.fit(real.matrix, None, standardise=not real.standardised)
    x, y = standardised(scale, real), standardised(scale, fake)
    depth = max(*chosen, k + 1, *metrics.gap_scales(len(x), len(y)))
    with pairs_bar(len(x), len(y), f"{view_name} {name}: distances") as bar:
        if not bar.disable:
            log.info("%s", metrics.estimate(len(x), len(y), width, k=max(chosen)))
        search: dict[str, Any] = {"chunk": chunk, "journal": journal(params, real, fake, bar.update)}
        near = neighbours_of_real(view_name, real, x, depth, **search)
        compared = metrics.compare(x, y, ks=chosen, real_nearest=near, **search)
    gaps = metrics.gaps(compared, real_labels=real.labels, rate=params.metrics.gap_rate)
    maps = DATA / "maps" / view_name
    points = store.read_map(maps / "real.parquet", real.ids), store.read_map(maps / f"{name}.parquet", fake.ids)
    judged = judged_by_pixels(name, params.seed)
    scores = {
        **metrics.summarise(
            compared,
            gaps,
            x,
            y,
            k=k,
            seed=params.seed,
            on_map=metrics.mode_coverage(metrics.compare(*points, ks=(1,), chunk=chunk)),
        ),
        **calibrated(params, real, fake, x, y, chunk),
        **metrics.judgement(judged),
    }
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
    files.write_json(METRICS / view_name / f"{name}.json", {**settings, **rounded(scores)})
    write_samples(DATA / "scores" / view_name / f"{name}.parquet", real, fake, compared, gaps)
    names = store.open_stored_images(DATA / "real").config["classes"]
    table = metrics.class_table(
        compared,
        x,
        y,
        real.labels,
        fake.labels,
        names,
        k=k,
        found=gaps,
        modes=metrics.mode_coverage(compared),
        judged=judged,
    )
    if view.family != "edm":
        told = metrics.fidelity_table(compared, x, y, real.labels, fake.labels)
        table = table.merge(told, on="class_id", how="left")
    files.write_table(DATA / "scores" / view_name / f"{name}.classes.parquet", table)
    missing, curve = metrics.gap_table(gaps, real.ids, names), metrics.curve_table(compared)
    shifts, histograms = _pictures.channels(real, fake, params.seed)
    for what, lines in {"classes": table, "gaps": missing, "curve": curve, "channels": shifts}.items():
        files.write_table(METRICS / view_name / f"{name}.{what}.csv", rounded(lines))

    images = datasets.open_set(DATA / "real"), datasets.open_set(DATA / "fake" / name)
    drawn = {
        "map": figures.map_figure(points[0], {title(name, scores): (points[1], fake.labels)}, names),
        "density": figures.density_figure(name, *points),
        "classes": figures.coverage_figure(table, name, expected=scores["equal_laws"]["coverage"]),
        "worst": figures.worst_figure(
            f"{name}: the worst covered classes", _pictures.class_lines(table, compared, *images)
        ),
        "gaps": figures.gaps_figure(
            _pictures.words_of(name, scores), _pictures.gap_lines(gaps, missing, compared, *images)
        ),
        "curve": figures.curve_figure(name, curve),
        "channels": figures.channels_figure(f"{name}: the channels that moved farthest", histograms),
    }
    for what, figure in drawn.items():
        files.write_bytes(PLOTS / view_name / f"{name}.{what}.png", figures.png(figure))
    search["journal"].clear()


if __name__ == "__main__":
    run(evaluate, "<view>", "<generator>")
