"""Can the rule of `reach` be met? Another generator, aimed at the regions that the first one misses.

    python -m benchmarks.reach_rule [missing generator] [aimed generator] [view]     => images that count, by region and way

A generator that makes these regions anyway should reach nearly all of them; one that cannot, none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from modescope import files, params, reaching
from modescope.making import Opened

WAYS = ("free", "mask", "inversion", "guided")


def main(missing: str = "dmd2-early", aimed: str = "dmd2", view: str = "default") -> None:
    settings = params.load()
    scores = files.read_table(Path(f"data/scores/{view}/{missing}.parquet"))
    gaps = files.read_table(Path(f"metrics/{view}/{missing}.gaps.csv"))
    regions = reaching.regions_of(scores, gaps, settings.reach.gaps)
    opened = Opened(Path(), settings)
    around = reaching.neighbourhood(opened, view, scores)
    aims = reaching.aims_at(opened, view, aimed, regions, settings.reach.images)
    attempts = reaching.Attempts(opened=opened, view=view, generator=aimed, aims=aims, ways=WAYS)
    looked = [reaching.looked_at(opened, view, aims, batch, around) for batch in tqdm(attempts, desc=aimed, unit="way")]
    counted = reaching.counted(pd.concat(looked, ignore_index=True), regions)
    words = dict(zip(gaps["rank"], gaps["classes"].astype(str), strict=True))
    found = reaching.verdicts(counted, regions, words, around, settings.seed)
    table = found.pivot(index="rank", columns="way", values="inside")[list(WAYS)]
    table["reached"] = found[found["reached"]].groupby("rank")["way"].agg(", ".join)
    print(table.to_string(na_rep=""))
    print(f"{aimed}, aimed at what {missing} misses: {reaching.summary(found, WAYS)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
