"""Every missing region of one generator under one view, aimed at => metrics/<view>/<generator>.reach.*, plot, images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import figures, files, making, reaching
from modescope.making import Opened
from modescope.params import Params
from modescope.reaching import Aims, Batch, Region
from modescope.runtime import keep_memory
from stages import DATA, METRICS, PLOTS, progress, run

log = logging.getLogger(__name__)


def lines_of(
    opened: Opened,
    regions: Sequence[Region],
    made: Mapping[str, Batch],
    looked: pd.DataFrame,
    verdicts: pd.DataFrame,
    aims: Aims,
) -> list[Any]:
    """For the picture: words, the real images that were aimed at, and what each way made of them."""
    shown = []
    for number, region in enumerate(regions):
        rows = np.flatnonzero(aims.region == number)
        mine = verdicts[verdicts["rank"] == region.rank].set_index("way")
        ways = {}
        for way, batch in made.items():
            inside = looked[looked["way"] == way]["inside"].to_numpy(bool)[rows]
            ways[way] = batch.pixels[rows], inside, bool(mine.loc[way, "reached"])
        head = mine.iloc[0]
        words = f"{region.rank}: {len(region.ids)} real, {head['real_share']:.0%} count\n{str(head['classes'])[:26]}"
        shown.append((words, opened.pixels(list(dict.fromkeys(aims.targets[i] for i in rows))), ways))
    return shown


def ways_of(opened: Opened, view_name: str) -> tuple[str, ...]:
    """The baseline and the ways asked for, without `guided` where the view has no slopes to be guided by."""
    ways = ("free", *opened.params.reach.ways)
    if "guided" in ways and (why_not := making.cannot_steer(opened, view_name)):
        log.warning("way guided is left out: %s", why_not)
        return tuple(way for way in ways if way != "guided")
    return ways


def reach(params: Params, view_name: str, name: str) -> None:
    how, settings = params.generator(name), params.reach
    params.view(view_name)
    if how.sampler != "one-step":
        raise ValueError(
            f"{name} is sampled by {how.sampler} in {how.steps} steps; masks, inversion and steered noise act in the single "
            "step of a one-step generator: leave it out of reach.generators"
        )
    keep_memory()
    scores = files.read_table(DATA / "scores" / view_name / f"{name}.parquet")
    gaps = files.read_table(METRICS / view_name / f"{name}.gaps.csv")
    regions = reaching.regions_of(scores, gaps, settings.gaps)
    opened, made, shown = Opened(Path(), params), {}, []
    ways = ways_of(opened, view_name)
    verdicts, looked = pd.DataFrame(columns=list(reaching.COLUMNS)), pd.DataFrame({"sample_id": []})
    if regions:
        around = reaching.neighbourhood(opened, view_name, scores)
        aims = reaching.aims_at(opened, view_name, name, regions, settings.images)
        attempts = reaching.Attempts(opened=opened, view=view_name, generator=name, aims=aims, ways=ways)
        made = {batch.way: batch for batch in progress(attempts, f"{view_name} {name}: reach", "way")}
        tables = [reaching.looked_at(opened, view_name, aims, batch, around) for batch in made.values()]
        looked = reaching.counted(pd.concat(tables, ignore_index=True), regions)
        words = dict(zip(gaps["rank"], gaps["classes"].astype(str), strict=True))
        verdicts = reaching.verdicts(looked, regions, words, around, params.seed)
        shown = lines_of(opened, regions, made, looked, verdicts, aims)
    found = reaching.summary(verdicts, ways)
    write(view_name, name, verdicts, {"view": view_name, "generator": name, "regions": len(gaps), **found})
    keep(DATA / "reached" / view_name / name, looked, list(made.values()))
    title = f"{name}: {found['reached']} of {found['aimed']} missing regions reached"
    files.write_bytes(PLOTS / view_name / f"{name}.reach.png", figures.png(figures.reach_figure(title, shown)))
    log.info("%s", title)


def write(view_name: str, name: str, verdicts: pd.DataFrame, found: Mapping[str, Any]) -> None:
    folder = METRICS / view_name
    files.write_table(folder / f"{name}.reach.csv", verdicts.round(4))
    files.write_json(folder / f"{name}.reach.json", dict(found))


def keep(folder: Path, looked: pd.DataFrame, made: Sequence[Batch]) -> None:
    """Every image with the noise it was made from, in the order of the lines of samples.parquet."""
    arrays = {}
    if made:
        arrays = {
            "images": np.concatenate([batch.pixels for batch in made]),
            "noise": np.concatenate([batch.noise for batch in made]),
        }
    files.write_table(folder / "samples.parquet", looked)
    files.write_tensors(folder / "images.safetensors", arrays)


if __name__ == "__main__":
    run(reach, "<view>", "<generator>")
