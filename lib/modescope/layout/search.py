"""The exact nearest rows of a query, in any batch the same."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

BLOCK_VALUES = 1 << 22  # values per block of a search: 32 MiB of float64
MANY = 1 << 25  # pairs beyond which scikit-learn's threads pay for their import
SPARE = 16  # candidates beyond K that are measured again in float64
METRICS = ("euclidean", "cosine")


def comparable(rows: Float[np.ndarray, "N P"], metric: str) -> Float[np.ndarray, "N _"]:
    """Rows whose Euclidean distances rank as `metric` does.

    "cosine": unit rows, whose squared distance is twice 1 - cosine. A row of zeros has no direction: it stands at right
    angles to all others (1), as in umap-learn, and so needs a column of its own. Raises ValueError for other metrics.
    """
    check_metric(metric)
    if metric == "euclidean":
        return rows
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.concatenate([rows / np.where(length > 0, length, 1), length == 0], axis=1, dtype=rows.dtype)


def check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(
            f"metric {metric!r} is unknown; use {' or '.join(map(repr, METRICS))}: exact neighbours of principal "
            "components are searched by products, which others (such as 'haversine') do not allow"
        )


def nearest(
    queries: Float[np.ndarray, "M P"], rows: Float[np.ndarray, "N P"], k: int, *, metric: str = "euclidean"
) -> tuple[Integer[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
    """The k nearest rows of each query, nearest first, equal distances by row number; distances float32.

    Exact: candidates by brute force, their distances again in float64 from differences, so that a query's answer does
    not depend on the others in the batch. "cosine": 1 - cosine (see `comparable`).
    """
    if metric != "euclidean":
        indices, distances = nearest(comparable(queries, metric), comparable(rows, metric), k)
        return indices, distances**2 / 2
    candidates = _candidates(queries, rows, min(k + SPARE, len(rows)))
    wanted = candidates.shape[1]
    exact = np.empty(candidates.shape)
    step = max(1, BLOCK_VALUES // (wanted * rows.shape[1]))
    for begin in range(0, len(queries), step):
        span = slice(begin, begin + step)
        difference = rows[candidates[span]].astype(np.float64) - queries[span, None]
        exact[span] = np.sqrt((difference**2).sum(2))
    order = np.lexsort((candidates, exact), axis=1)[:, :k]
    return np.take_along_axis(candidates, order, 1), np.take_along_axis(exact, order, 1).astype(np.float32)


def _candidates(queries: np.ndarray, rows: np.ndarray, wanted: int) -> np.ndarray:
    """The `wanted` nearest rows of each query, in no order, by products in float64 on either path.

    |x|^2 / 2 - q.x ranks as the distance does. Very many pairs go to scikit-learn's threads, which take a second to
    import and cost a single query 100 ms when the machine is busy.
    """
    if len(queries) * len(rows) > MANY:
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=wanted, algorithm="brute").fit(rows)
        return search.kneighbors(queries, return_distance=False)
    found = np.empty((len(queries), wanted), np.int64)
    step = max(1, BLOCK_VALUES // len(rows))
    for begin in range(0, len(queries), step):
        rank = _ranks(queries[begin : begin + step].astype(np.float64), rows)
        found[begin : begin + step] = np.argpartition(rank, wanted - 1, axis=1)[:, :wanted]
    return found


def _ranks(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    rank = np.empty((len(queries), len(rows)))
    step = max(1, BLOCK_VALUES // rows.shape[1])
    for begin in range(0, len(rows), step):
        block = rows[begin : begin + step].astype(np.float64)
        rank[:, begin : begin + step] = np.einsum("np,np->n", block, block) / 2 - queries @ block.T
    return rank
