"""All generators under one view, side by side => metrics/<view>.csv, metrics/<view>.differences.csv, plots/<view>.png."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import figures, files, metrics, store
from modescope.params import Params
from stages import DATA, METRICS, PLOTS, run


def row(view_name: str, name: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    """A generator's line; `reached` (missing regions) and `invertible` (real images) where those were looked into."""
    line: dict[str, Any] = {"generator": name, **{n: round(scores[n], 4) for n in metrics.SHOWN if n in scores}}
    reach, inverted = METRICS / view_name / f"{name}.reach.json", METRICS / "inversion" / f"{name}.json"
    if reach.exists():
        found = files.read_json(reach)
        line["reached"] = f"{found['reached']} of {found['aimed']}"
    if inverted.exists():
        line["invertible"] = round(files.read_json(inverted)["real"]["made"], 4)
    return line


def differences(view_name: str, names: Sequence[str], k: int) -> pd.DataFrame:
    """Every pair of generators: by how much their scores differ, and whether noise alone may do that."""
    kept = {name: columns(DATA / "scores" / view_name / f"{name}.parquet") for name in names}
    lines = [
        {"score": score, "a": a, "b": b, "difference": d.value, "low": d.low, "high": d.high, "within_noise": d.within}
        for a, b in combinations(names, 2)
        for score, d in metrics.difference(kept[a], kept[b], k=k).items()
    ]
    return pd.DataFrame(lines, columns=["score", "a", "b", "difference", "low", "high", "within_noise"])


def columns(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The table of scores of single samples => the columns of the real and of the generated ones, in their own types."""
    table = files.read_table(path)
    real = table["sample_id"].str.startswith("real/").to_numpy()
    wanted = (
        {"covered": bool, "recalled": bool, "nearest_fake_row": np.int64},
        {"precise": bool, "real_balls": np.int64},
    )
    of_real, of_fake = (
        {name: table.loc[rows, name].to_numpy().astype(kind) for name, kind in kinds.items()}
        for rows, kinds in zip((real, ~real), wanted, strict=True)
    )
    return of_real, of_fake


def picture(view_name: str, scores: Mapping[str, Mapping[str, Any]]) -> bytes:
    maps, panels = DATA / "maps" / view_name, {}
    for name, s in scores.items():
        fake = store.open_stored_images(DATA / "fake" / name)
        points = store.read_map(maps / f"{name}.parquet", fake.ids)
        panels[f"{name}: recall {s['recall']:.2f}, coverage {s['coverage']:.2f}"] = points, fake.labels
    real = store.open_stored_images(DATA / "real")
    points = store.read_map(maps / "real.parquet", real.ids)
    return figures.png(figures.map_figure(points, panels, real.config["classes"]))


def compare(params: Params, view_name: str) -> None:
    params.view(view_name)
    scores = {name: files.read_json(METRICS / view_name / f"{name}.json") for name in params.generators}
    null = next(iter(scores.values()))["equal_laws"]
    rows = [row(view_name, name, found) for name, found in scores.items()]
    rows.append({"generator": "equal laws", **{n: round(null[n], 4) for n in metrics.SHOWN if n in null}})
    files.write_table(METRICS / f"{view_name}.csv", pd.DataFrame(rows))
    files.write_table(
        METRICS / f"{view_name}.differences.csv", differences(view_name, list(scores), params.metrics.k).round(4)
    )
    files.write_bytes(PLOTS / f"{view_name}.png", picture(view_name, scores))


if __name__ == "__main__":
    run(compare, "<view>")
