"""What was made, looked at: where every image landed, and which regions were reached by which way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from modescope.making import Opened
from modescope.reaching.regions import Neighbourhood, Region, is_reached, real_share
from modescope.reaching.ways import Aims, Batch

COLUMNS = (
    "rank",
    "centre",
    "classes",
    "way",
    "images",
    "inside",
    "share",
    "real_share",
    "distance",
    "reached",
)


def looked_at(opened: Opened, view: str, aims: Aims, batch: Batch, around: Neighbourhood) -> pd.DataFrame:
    """A line per image: what was asked for, where it landed, whether that counts, its distance to the aim in features."""
    features, places = opened.captured(view, list(aims.ids), batch.pixels, aims.labels)
    row, region, inside = around.landed(features)
    real = opened.activations(view, "real").ids
    columns = {
        "sample_id": [f"{name}/{batch.way}" for name in aims.ids],
        "way": batch.way,
        "region": aims.region,
        "class_id": aims.labels,
        "target": aims.targets,
        "nearest_real": [real[i] for i in row],
        "nearest_region": region,
        "in_ball": inside,
        "distance": np.linalg.norm(features - aims.features, axis=1).astype(np.float64),
        **{axis: places[:, i] for i, axis in enumerate("xyz"[: places.shape[1]])},
    }
    return pd.DataFrame(columns)


def counted(table: pd.DataFrame, regions: Sequence[Region]) -> pd.DataFrame:
    """With the column `inside`: the nearest real sample is of the region that was aimed at, and its ball is not left."""
    rank = np.array([region.rank for region in regions], np.int64)[table["region"].to_numpy()]
    return table.assign(rank=rank, inside=(table["nearest_region"].to_numpy() == rank) & table["in_ball"].to_numpy())


def verdicts(
    table: pd.DataFrame, regions: Sequence[Region], words: Mapping[int, str], around: Neighbourhood, root: int
) -> pd.DataFrame:
    """A line per region and way (`COLUMNS`), from `counted` lines of all ways, `free` among them. `words`: rank => classes.

    distance: median over the images, relative to `free`.
    """
    lines = []
    for region in regions:
        mine = table[table["rank"] == region.rank]
        real = real_share(around, region, root)
        free = mine[mine["way"] == "free"]
        for way, made in mine.groupby("way", sort=False):
            inside, images = int(made["inside"].sum()), len(made)
            reached = way != "free" and is_reached(inside, int(free["inside"].sum()), images, real)
            lines.append(
                {
                    "rank": region.rank,
                    "centre": region.centre,
                    "classes": words[region.rank],
                    "way": way,
                    "images": images,
                    "inside": inside,
                    "share": inside / images,
                    "real_share": real,
                    "distance": float(made["distance"].median() / free["distance"].median()),
                    "reached": reached,
                }
            )
    return pd.DataFrame(lines, columns=list(COLUMNS))


def summary(table: pd.DataFrame, ways: Iterable[str]) -> dict[str, Any]:
    """Regions aimed at, reached by any way, and by each; and the share of images inside, by each way."""
    by = {way: table[table["way"] == way] for way in ways}
    return {
        "aimed": int(table["rank"].nunique()),
        "reached": int(table[table["reached"].astype(bool)]["rank"].nunique()),
        "reached_by": {way: int(lines["reached"].sum()) for way, lines in by.items() if way != "free"},
        "inside": {way: float(lines["inside"].sum() / max(lines["images"].sum(), 1)) for way, lines in by.items()},
    }
