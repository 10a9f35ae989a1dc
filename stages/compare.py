"""All generators under one view, side by side => metrics/<view>.csv and plots/<view>.png."""

from __future__ import annotations

import pandas as pd

from modescope import figures, files, store
from modescope.params import Params
from stages import DATA, METRICS, PLOTS, run

SHOWN = (
    "precision",
    "recall",
    "density",
    "coverage",
    "clipped_density",
    "clipped_coverage",
    "frechet",
    "kernel",
    "gaps",
    "missing_mass",
    "class_fidelity",
)


def compare(params: Params, view_name: str) -> None:
    params.view(view_name)
    scores = {name: files.read_json(METRICS / view_name / f"{name}.json") for name in params.generators}
    rows = [{"generator": name, **{n: round(s[n], 4) for n in SHOWN if n in s}} for name, s in scores.items()]
    null = next(iter(scores.values()))["equal_laws"]
    rows.append({"generator": "equal laws", **{n: round(null[n], 4) for n in SHOWN if n in null}})
    files.write_table(METRICS / f"{view_name}.csv", pd.DataFrame(rows))

    maps, panels = DATA / "maps" / view_name, {}
    for name, s in scores.items():
        fake = store.open_stored_images(DATA / "fake" / name)
        points = store.read_map(maps / f"{name}.parquet", fake.ids)
        panels[f"{name}: recall {s['recall']:.2f}, coverage {s['coverage']:.2f}"] = points, fake.labels
    real = store.open_stored_images(DATA / "real")
    drawn = figures.map_figure(store.read_map(maps / "real.parquet", real.ids), panels, real.config["classes"])
    files.write_bytes(PLOTS / f"{view_name}.png", figures.png(drawn))


if __name__ == "__main__":
    run(compare, "<view>")
