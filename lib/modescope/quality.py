"""How faithful a map is: do near rows stay near (continuity), are near places near rows (trustworthiness)?

Measured in blocks of rows, so that no N x N matrix is held. Values lie in [0, 1], higher is better, and depend on N and
k: compare only maps of the same rows at the same k.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from modescope.layout import nearest

BLOCK_VALUES = 1 << 22


def trustworthiness(features: Float[np.ndarray, "N P"], embedding: Float[np.ndarray, "N E"], *, k: int = 15) -> float:
    """1 when the k neighbours of each row on the map are its k neighbours in feature space; intruders cost their rank.

    Venna & Kaski 2001, "Neighborhood preservation in nonlinear projection methods", equation 1. Equal distances share
    the better rank. Raises ValueError for k outside 1..N/2 - 1, where the measure is not defined.
    """
    return _agreement(features, embedding, k)


def continuity(features: Float[np.ndarray, "N P"], embedding: Float[np.ndarray, "N E"], *, k: int = 15) -> float:
    """1 when the k neighbours of each row in feature space are its k neighbours on the map; rows torn away cost their
    rank there. The same paper, equation 2. Raises ValueError as `trustworthiness` does.
    """
    return _agreement(embedding, features, k)


def preservation(features: Float[np.ndarray, "N P"], embedding: Float[np.ndarray, "N E"], *, k: int = 15) -> float:
    """The share of each row's k nearest neighbours that the map and the feature space have in common, on average."""
    _check(features, k)
    pairs = zip(_others(features, k), _others(embedding, k), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in pairs]) / k)


def _agreement(judge: np.ndarray, judged: np.ndarray, k: int) -> float:
    """Neighbours in `judged`, ranked in `judge`."""
    _check(judge, k)
    n = len(judge)
    chosen = _others(judged, k)
    excess = 0
    step = max(1, BLOCK_VALUES // n)
    for begin in range(0, n, step):
        block = slice(begin, begin + step)
        distances = cdist(judge[block], judge, "sqeuclidean")
        own = np.arange(begin, begin + len(distances))
        distances[np.arange(len(own)), own] = np.inf
        for neighbour in chosen[block].T:
            limit = distances[np.arange(len(own)), neighbour]
            rank = 1 + (distances < limit[:, None]).sum(1)
            excess += int(np.maximum(rank - k, 0).sum())
    return 1.0 - 2.0 * excess / (n * k * (2 * n - 3 * k - 1))


def _others(rows: np.ndarray, k: int) -> Int[np.ndarray, "N K"]:
    """The k nearest other rows. Among many duplicates a row may miss itself in the list: then the last one goes."""
    found, _ = nearest(rows, rows, k + 1)
    own = found == np.arange(len(rows))[:, None]
    own[~own.any(1), -1] = True
    return found[~own].reshape(len(rows), k)


def _check(rows: np.ndarray, k: int) -> None:
    if not 1 <= k < len(rows) / 2:
        raise ValueError(f"k is {k}, with {len(rows)} rows it must be from 1 to below half of that; lower k")
