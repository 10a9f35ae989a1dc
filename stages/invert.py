"""Noise from which one generator makes each real image, and which it cannot make => data/inversions/<generator>, metrics."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from modescope import datasets, figures, files, inversion, jobs, store
from modescope.jobs import InvertJob
from modescope.params import Params
from stages import DATA, METRICS, PLOTS, SHARDS, rounded, run
from stages._sharing import compute, machine

log = logging.getLogger(__name__)

SHOWN = 20


def write_inversions(
    params: Params, name: str, job: InvertJob, shards: store.Shards, classes: list[str]
) -> pd.DataFrame:
    """The finished shards => data/inversions/<generator>, whose table it returns: a line per image, with its error."""
    listed, folder = job.listed(), DATA / "inversions" / name
    table = store.sample_table(
        listed.ids,
        listed.labels,
        batch_index=np.arange(len(listed.ids)) // job.batch_size,
        class_name=[classes[c] for c in listed.labels],
        source=name,
        seed=params.seed,
        sigma=job.sigma,
    )
    shards.finish(folder, table, kind="inversions", config={"generator": name}, track=params.capture.track)
    found, every = store.Rows(folder, "inversions"), np.arange(len(table))
    table = table.assign(kind=listed.kinds, error=found.take(every, "error"), start=found.take(every, "start"))
    files.write_table(folder / "samples.parquet", table)
    return table


def picture(name: str, table: pd.DataFrame, told: dict[str, dict[str, Any]], enough: float) -> Any:
    real, found = datasets.open_set(DATA / "real"), store.Rows(DATA / "inversions" / name, "inversions")
    shown = table[table["kind"] == "real"].sort_values("error", ascending=False, kind="stable").head(SHOWN)
    ids = list(shown["sample_id"])
    words = [f"{str(c)[:12]} {error:.3f}" for c, error in zip(shown["class_name"], shown["error"], strict=True)]
    errors = {kind: table.loc[table["kind"] == kind, "error"].to_numpy() for kind in told}
    title = f"{name} makes {told['real']['made']:.1%} of {told['real']['images']:,} real images"
    made = found.take(found.rows_of(ids), "made")
    return figures.inversion_figure(title, errors, enough, real.read(real.rows_of(ids)), made, words)


def invert(params: Params, name: str) -> None:
    job, enough = jobs.invert_job(params, name, DATA, machine(params)), params.inversion.enough
    listed, config = job.listed(), jobs.invert_config(job, name)
    shards = store.Shards(
        SHARDS,
        config,
        ids=listed.ids,
        labels=listed.labels,
        batch_size=job.batch_size,
        shard_rows=params.inversion.shard_rows,
    )
    if not compute(params, job, shards, "invert", name):
        return
    classes = store.open_stored_images(DATA / "real").config["classes"]
    table = write_inversions(params, name, job, shards, classes)
    errors = {kind: table.loc[table["kind"] == kind, "error"].to_numpy() for kind in ("real", *inversion.KINDS)}
    told = inversion.summary(errors, enough)
    for line in inversion.told_lines(told, enough):
        log.info("%s, %s", name, line)
    folder = METRICS / "inversion"
    settings = {"generator": name, "enough": enough, "steps": job.steps, "starts": job.starts}
    files.write_json(folder / f"{name}.json", {**settings, **rounded(told)})
    mine = table[table["kind"] == "real"]
    files.write_table(folder / f"{name}.csv", inversion.hardest(mine, enough).round(6))
    files.write_table(folder / f"{name}.classes.csv", inversion.by_class(mine, enough, classes).round(6))
    drawn = picture(name, table, told, enough)
    files.write_bytes(PLOTS / "inversion" / f"{name}.png", figures.png(drawn))


if __name__ == "__main__":
    run(invert, "<generator>")
