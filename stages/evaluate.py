"""Scores of one generator under one view: metrics/<view>/<generator>.json, its per-class table, and plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from modescope import figures, files, metrics, runtime, store
from modescope.metrics import Memberships
from modescope.params import Params
from stages import DATA, METRICS, PLOTS, run


def standardised(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides in units of the real mean and spread, column by column; constant columns become 0."""
    mean, spread = real.mean(axis=0, dtype=np.float64), real.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 0, spread, np.inf)
    x, y = (((side - mean) / scale).astype(np.float32) for side in (real, fake))
    return x, y


def summary(members: Memberships, x: np.ndarray, y: np.ndarray, k: int, seed: int) -> dict[str, Any]:
    """Every score beside its interval, and beside what real samples score in place of the generated ones."""
    n, m = len(x), len(y)
    half = metrics.half_vs_half(x, lambda real, fake: metrics.prdc(real, fake, k), seed=seed)
    kernel = metrics.kernel_estimate(x, y)
    return {
        **asdict(members.prdc()),
        "clipped_density": members.clipped().density,
        "clipped_coverage": members.clipped().coverage,
        "frechet": metrics.frechet_distance(x, y),
        "kernel": kernel.value,
        "kernel_standard_error": kernel.standard_error,
        "interval95": {name: [i.low, i.high] for name, i in metrics.intervals(members).items()},
        "equal_laws": {
            "coverage": metrics.expected_coverage(n, m, k),
            "clipped_density": 1.0,
            "clipped_coverage": 1.0,
            "density": 1.0,
            "frechet": metrics.frechet_bias(x, n, m),
        },
        "real_half_against_half": {"n": n // 2, **asdict(half)},
    }


def rounded(value: Any) -> Any:
    """Six significant digits: a rerun on the same kind of machine must not dirty the metrics."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def title(name: str, scores: Mapping[str, Any]) -> str:
    return f"{name}: recall {scores['recall']:.2f}, coverage {scores['coverage']:.2f}"


def evaluate(params: Params, view_name: str, name: str) -> None:
    view, k = params.view(view_name), params.metrics.k
    runtime.start(params.runtime.device, params.runtime.threads)
    real = store.open_activations(DATA / "activations" / view_name / "real")
    fake = store.open_activations(DATA / "activations" / view_name / name)
    store.check_same_view(real, fake)
    x, y = standardised(real.features(), fake.features())
    members = metrics.memberships(x, y, k)
    settings = {
        "view": view_name,
        "generator": name,
        "real": len(x),
        "fake": len(y),
        "k": k,
        "layers": view.layers,
        "protocol": view.protocol,
        "sigma": view.sigma,
        "network_hash": real.config["network_hash"],
    }
    scores = summary(members, x, y, k, params.seed)
    files.write_json(METRICS / view_name / f"{name}.json", {**settings, **rounded(scores)})

    classes = store.open_stored_images(DATA / "real").config["classes"]
    spread = metrics.per_class_spread(x, y, real.labels, fake.labels).drop(columns=["real", "fake"])
    table = metrics.per_class(members, real.labels, fake.labels).merge(spread, on="class_id")
    table.insert(1, "class_name", [classes[c] for c in table["class_id"]])
    files.write_table(METRICS / view_name / f"{name}.classes.csv", table.round(6))

    maps, folder = DATA / "maps" / view_name, PLOTS / view_name
    points = {title(name, scores): (store.read_map(maps / f"{name}.parquet", fake.ids), fake.labels)}
    drawn = figures.map_figure(store.read_map(maps / "real.parquet", real.ids), points, classes)
    files.write_bytes(folder / f"{name}.map.png", figures.png(drawn))
    bars = figures.coverage_figure(table, name, expected=scores["equal_laws"]["coverage"])
    files.write_bytes(folder / f"{name}.classes.png", figures.png(bars))


if __name__ == "__main__":
    run(evaluate, "<view>", "<generator>")
