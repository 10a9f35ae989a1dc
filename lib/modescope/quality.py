"""How faithful a map is: do near rows stay near (continuity), are near places near rows (trustworthiness), does another
seed give the same map (stability), and does what separates two kinds of rows survive (separation)?

Rows are asked for in blocks, and a seeded part of them stands for all, so that cost and memory stay bounded. Values lie
in [0, 1], higher is better, and depend on N and k: compare only maps of the same rows at the same k. `metric` is that of
the map, "euclidean" or "cosine", between rows; places are always compared by Euclidean distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from jaxtyping import Float, Int

from modescope import layout
from modescope.layout import comparable, nearest
from modescope.seeds import stream

BLOCK_VALUES = 1 << 22
SEPARATE = 0.02  # a separation in features below this is chance: no share of it can be kept or lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Measures of one map: of `rows` rows asked for, among `of` rows, at `k` neighbours.

    `stability` is that of maps of `stability_rows` rows (see `stability`); None where it was not asked for.
    """

    rows: int
    of: int
    k: int
    trustworthiness: float
    continuity: float
    preservation: float
    stability: float | None
    stability_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """How far two kinds of rows lie apart, 0 (mixed by chance) to 1: in `features`, on the `map`, and the share kept.

    `kept` is None where they are not apart in features. It exceeds 1 where the map draws them farther apart.
    """

    rows: int
    k: int
    features: float
    map: float
    kept: float | None


def measure(
    features: Float[np.ndarray, "N P"],
    embedding: Float[np.ndarray, "N E"],
    *,
    k: int = 15,
    rows: int = 1000,
    seed: int = 0,
    stability_rows: int = 300,
    min_dist: float = 0.1,
    metric: str = "euclidean",
) -> Quality:
    """Every measure of a map, from `rows` seeded rows of it among all of them; `stability_rows` 0 leaves stability out.

    With fewer rows than 2k + 1, k is lowered to what they allow. `min_dist` and `metric` are those of the map.
    """
    ranked = comparable(features, metric)
    k = min(k, (len(features) - 1) // 2)
    asked = _some(len(features), rows, seed)
    some = min(stability_rows, len(features))
    return Quality(
        rows=len(asked),
        of=len(features),
        k=k,
        trustworthiness=trustworthiness(ranked, embedding, k=k, asked=asked),
        continuity=continuity(ranked, embedding, k=k, asked=asked),
        preservation=preservation(ranked, embedding, k=k, asked=asked),
        stability=stability(
            features[_some(len(features), some, seed)],
            n_neighbors=k,
            min_dist=min_dist,
            n_components=embedding.shape[1],
            metric=metric,
        )
        if some > 2 * k
        else None,
        stability_rows=some,
    )


def trustworthiness(
    features: Float[np.ndarray, "N P"],
    embedding: Float[np.ndarray, "N E"],
    *,
    k: int = 15,
    asked: Int[np.ndarray, " M"] | None = None,
    metric: str = "euclidean",
) -> float:
    """1 when the k neighbours of each row on the map are its k neighbours in feature space; intruders cost their rank.

    Venna & Kaski 2001, "Neighborhood preservation in nonlinear projection methods", equation 1. Equal distances share
    the better rank. `asked`: the rows to ask, whose mean estimates that of all (None). Raises ValueError for k outside
    1..N/2 - 1, where the measure is not defined.
    """
    return _agreement(comparable(features, metric), embedding, k, asked)


def continuity(
    features: Float[np.ndarray, "N P"],
    embedding: Float[np.ndarray, "N E"],
    *,
    k: int = 15,
    asked: Int[np.ndarray, " M"] | None = None,
    metric: str = "euclidean",
) -> float:
    """1 when the k neighbours of each row in feature space are its k neighbours on the map; rows torn away cost their
    rank there. The same paper, equation 2. Raises ValueError as `trustworthiness` does.
    """
    return _agreement(embedding, comparable(features, metric), k, asked)


def preservation(
    features: Float[np.ndarray, "N P"],
    embedding: Float[np.ndarray, "N E"],
    *,
    k: int = 15,
    asked: Int[np.ndarray, " M"] | None = None,
    metric: str = "euclidean",
) -> float:
    """The share of each row's k nearest neighbours that the map and the feature space have in common, on average."""
    _check(features, k)
    asked = np.arange(len(features)) if asked is None else asked
    pairs = zip(_others(comparable(features, metric), k, asked), _others(embedding, k, asked), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in pairs]) / k)


def stability(
    features: Float[np.ndarray, "N P"],
    *,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    n_components: int = 2,
    metric: str = "euclidean",
    seeds: tuple[int, ...] = (0, 1, 2),
) -> float:
    """How far maps of the same rows under several seeds agree: 1 less the mean Procrustes distance between two of them,
    the share of variance that remains when one is shifted, turned and scaled onto the other (Gower 1975).
    """
    found = nearest(features, features, n_neighbors, metric=metric)
    maps = [
        layout.arrange(
            features, *found, min_dist=min_dist, n_components=n_components, seed=seed, metric=metric
        ).embedding
        for seed in seeds
    ]
    return 1.0 - float(np.mean([scipy.spatial.procrustes(one, other)[2] for one, other in combinations(maps, 2)]))


def separation(
    one: Float[np.ndarray, "N P"],
    other: Float[np.ndarray, "M P"],
    one_places: Float[np.ndarray, "N E"],
    other_places: Float[np.ndarray, "M E"],
    *,
    k: int = 15,
    rows: int = 1000,
    seed: int = 0,
    metric: str = "euclidean",
) -> Separation:
    """How much of what separates two kinds of rows the map keeps, from up to `rows` of each, equally many.

    Separation is the share of own kind among each row's k nearest, less chance, over the most it could be (Schilling
    1986, "Multivariate two-sample tests based on nearest neighbors"), so that 0 is mixed and 1 apart.
    """
    count = min(len(one), len(other), rows)
    first, second = _some(len(one), count, seed), _some(len(other), count, seed)
    k = min(k, count - 1)
    features = _own(comparable(np.concatenate([one[first], other[second]]), metric), k)
    places = _own(np.concatenate([one_places[first], other_places[second]]), k)
    return Separation(
        rows=count, k=k, features=features, map=places, kept=places / features if features >= SEPARATE else None
    )


def _own(rows: np.ndarray, k: int) -> float:
    """Of rows whose first half is one kind and whose second half another: the separation."""
    half = len(rows) // 2
    found = _others(rows, k, np.arange(len(rows)))
    share = float(((found < half) == (np.arange(len(rows)) < half)[:, None]).mean())
    chance = (half - 1) / (2 * half - 1)
    return max(0.0, (share - chance) / (1 - chance))


def _some(n: int, rows: int, seed: int) -> Int[np.ndarray, " M"]:
    """`rows` of n row numbers, ascending; all of them where there are no more."""
    return np.arange(n) if n <= rows else np.sort(stream(seed, "quality").choice(n, rows, replace=False))


def _agreement(judge: np.ndarray, judged: np.ndarray, k: int, asked: np.ndarray | None) -> float:
    """Neighbours in `judged`, ranked in `judge`."""
    _check(judge, k)
    n = len(judge)
    asked = np.arange(n) if asked is None else asked
    chosen = _others(judged, k, asked)
    excess = 0
    step = max(1, BLOCK_VALUES // n)
    for begin in range(0, len(asked), step):
        own = asked[begin : begin + step]
        distances = scipy.spatial.distance.cdist(judge[own], judge, "sqeuclidean")
        distances[np.arange(len(own)), own] = np.inf
        for neighbour in chosen[begin : begin + step].T:
            limit = distances[np.arange(len(own)), neighbour]
            rank = 1 + (distances < limit[:, None]).sum(1)
            excess += int(np.maximum(rank - k, 0).sum())
    return 1.0 - 2.0 * excess / (len(asked) * k * (2 * n - 3 * k - 1))


def _others(rows: np.ndarray, k: int, asked: np.ndarray) -> Int[np.ndarray, "M K"]:
    """The k nearest other rows. Among many duplicates a row may miss itself in the list: then the last one goes."""
    found, _ = nearest(rows[asked], rows, k + 1)
    own = found == asked[:, None]
    own[~own.any(1), -1] = True
    return found[~own].reshape(len(asked), k)


def _check(rows: np.ndarray, k: int) -> None:
    if not 1 <= k < len(rows) / 2:
        raise ValueError(f"k is {k}, with {len(rows)} rows it must be from 1 to below half of that; lower k")
