"""Maps made from maps that are there already: grown by new samples, or aligned over several views.

`grow` places the samples of activations that a map does not hold yet, says whether they have drifted from those that it
holds, and keeps the grown map in another folder. `align` fits one map per view on the same real samples, such that a
sample keeps its place from map to map. `dvc repro` does neither: there a map is fitted anew, on its view alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from modescope import files, params, store
from modescope.components import Picked
from modescope.projection import Drift, Reducer, aligned, movement
from modescope.quality import measure
from modescope.store import Activations


def grow(source: Path, activations: Activations, target: Path, *, part: str = "added") -> Drift:
    """Add the samples that the map of the real ones in `source` does not hold: `target`/reducer and real.parquet."""
    _check_empty(target)
    reducer, table = Reducer.load(source / "reducer"), files.read_table(source / "real.parquet")
    reducer.check_source(columns(activations), activations.config["network_hash"])
    new = np.flatnonzero(~np.isin(activations.ids, table["sample_id"]))
    if not len(new):
        raise ValueError(
            f"{activations.folder} holds no sample that the map in {source} does not hold; capture more of them first"
        )
    grown, drifted = reducer.grow(Picked(activations.matrix, new), part)
    ids = [*table["sample_id"], *(activations.ids[row] for row in new)]
    before = store.read_map(source / "real.parquet", list(table["sample_id"]))
    store.write_map(target / "real.parquet", ids, np.concatenate([before, grown.embedding[grown.rows(part)]]))
    grown.save(target / "reducer")
    return drifted


def align(
    views: Mapping[str, Activations], target: Path, *, seed: int, pull: float, how: params.ReducerParams
) -> pd.DataFrame:
    """Aligned maps of the real samples under several views, `target`/<view>, in the order given => a line for each:
    how well it keeps neighbours, and how far samples moved on it since the map before, in deviations of that one.
    """
    _check_empty(target)
    first, *others = views.values()
    for other in others:
        if other.ids != first.ids or other.standardised != first.standardised:
            raise ValueError(
                f"{other.folder} and {first.folder} hold other samples or keep other values; "
                "aligned maps need the same samples, all or none of them as principal components"
            )
    maps = aligned(
        {name: real.matrix for name, real in views.items()},
        pull=pull,
        seed=seed,
        standardise=not first.standardised,
        **how.model_dump(exclude={"fit_on", "views"}),
    )
    for name, reducer in maps.items():
        reducer.save(target / name / "reducer")
        store.write_map(target / name / "real.parquet", first.ids, reducer.embedding)
    moved = [None, *movement([reducer.embedding for reducer in maps.values()])]
    found = [
        measure(one.scores, one.embedding, k=how.n_neighbors, metric=how.metric, stability_rows=0)
        for one in maps.values()
    ]
    return pd.DataFrame(
        {
            "view": list(maps),
            "trustworthiness": [each.trustworthiness for each in found],
            "continuity": [each.continuity for each in found],
            "moved": moved,
        }
    )


def columns(activations: Activations) -> dict[str, tuple[int, ...]]:
    """Layer => shape of its part of a row."""
    return {layer: tuple(activations.manifest["arrays"][layer]["shape"]) for layer in activations.layers}


def _check_empty(target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"{target} is not empty; a map that is there is never replaced: give a new folder")
