"""Scores of all generators under one view => one table, metrics/<view>.csv."""

from __future__ import annotations

import pandas as pd

from modescope import files
from modescope.params import Params
from stages import METRICS, run

SHOWN = ("precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage", "frechet", "kernel")


def compare(params: Params, view_name: str) -> None:
    params.view(view_name)
    scores = [files.read_json(METRICS / view_name / f"{name}.json") for name in params.generators]
    rows = [{"generator": s["generator"], **{name: round(s[name], 4) for name in SHOWN}} for s in scores]
    null = scores[0]["equal_laws"]
    rows.append({"generator": "equal laws", **{name: round(null[name], 4) for name in SHOWN if name in null}})
    files.write_table(METRICS / f"{view_name}.csv", pd.DataFrame(rows))


if __name__ == "__main__":
    run(compare, "<view>")
