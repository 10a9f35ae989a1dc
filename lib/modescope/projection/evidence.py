"""How much rows change on the way to the map and back, by each inverse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from modescope.components import Joined, RowMatrix
from modescope.projection.inverses import QUICK, Inverse, RoundTrip
from modescope.projection.reducer import Reducer
from modescope.seeds import stream


def round_trip(reducer: Reducer, features: Float[np.ndarray, "M D"], method: Inverse | None = None) -> RoundTrip:
    """How much rows change on the way to the map and back: best asked with rows that the map was not fitted on."""
    points = reducer.transform(features)
    returned = reducer.inverse_transform(points, method, k=min(15, len(reducer.scores)))
    size = np.linalg.norm(features - reducer.components.mean, axis=1)
    spread = np.sqrt(reducer.embedding.var(0).sum())
    return RoundTrip(
        features=float(np.mean(np.linalg.norm(returned - features, axis=1) / np.where(size > 0, size, 1))),
        place=float(np.mean(np.linalg.norm(reducer.transform(returned) - points, axis=1)) / spread),
    )


def judged(
    reducer: Reducer,
    features: RowMatrix | Mapping[str, RowMatrix],
    *,
    rows: int = 200,
    methods: Iterable[Inverse] = QUICK,
) -> Reducer:
    """The same map with the evidence for its inverses: round trips of `rows` seeded rows of the `features` that it
    was fitted on, each time without those rows on the map.

    The layout still felt them, so errors are a little low. "umap" among `methods` takes seconds to minutes.
    """
    matrix = Joined(features) if isinstance(features, Mapping) else features
    reducer.check_own(matrix)
    count = min(rows, len(reducer.scores) - reducer.settings.n_neighbors - 1)
    if count < 1:
        raise ValueError(
            f"the map has {len(reducer.scores)} rows and {reducer.settings.n_neighbors} neighbours; none can be left "
            "out: add samples or lower n_neighbors"
        )
    chosen = np.sort(stream(reducer.settings.seed, "judged").choice(len(reducer.scores), count, replace=False))
    others, values = _without(reducer, chosen), np.asarray(matrix[chosen], np.float32)
    return replace(reducer, evidence={method: round_trip(others, values, method) for method in methods})


def _without(reducer: Reducer, rows: np.ndarray) -> Reducer:
    kept = np.setdiff1d(np.arange(len(reducer.scores)), rows)
    arranged = replace(
        reducer.layout,
        embedding=reducer.embedding[kept],
        sigmas=reducer.layout.sigmas[kept],
        rhos=reducer.layout.rhos[kept],
    )
    return replace(reducer, scores=reducer.scores[kept], layout=arranged, parts={}, evidence={})
