"""UMAP as functions over exact neighbours: lay rows out, place new rows between them, and umap-learn's own inverse.

McInnes, Healy, Melville 2018, "UMAP: Uniform Manifold Approximation and Projection", arXiv:1802.03426. The optimisation
is umap-learn's; what is ours is that neighbours come in from outside, and that a new row's place depends on that row
alone. umap-learn is imported on first use: it takes seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer
from scipy.linalg import orthogonal_procrustes
from sklearn.neighbors import NearestNeighbors

from modescope.seeds import stream

BLOCK_VALUES = 1 << 22  # values per block of a neighbour search: 32 MiB of float64
FEW = 64
SPARE = 16  # candidates beyond K that are measured again in float64
EPOCHS = 100  # umap-learn's number for up to 10,000 new rows; here for any number, so that a row's place is its own
RATE = 0.25  # a quarter of the fit's learning rate, as in umap-learn
BISECTIONS = 64
ROUNDS, SHORT = 30, 10  # aligned maps are pulled to each other so many times, every so many epochs
LEAST_WIDTH = 1e-3  # of the mean distance; umap-learn's MIN_K_DIST_SCALE


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Coordinates of the fitted rows, and what placing and inverting need.

    `a`, `b`: the curve 1 / (1 + a d^(2b)) of similarity against map distance. `rhos` and
    `sigmas`: distance to the nearest neighbour and width of the neighbourhood of each row.
    """

    embedding: Float[np.ndarray, "N E"]
    sigmas: Float[np.ndarray, " N"]
    rhos: Float[np.ndarray, " N"]
    a: float
    b: float


def _learn() -> ModuleType:
    """umap-learn, imported on first use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)  # for a variant not used here
        import umap
        import umap.layouts
    return umap


def nearest(
    queries: Float[np.ndarray, "M P"], rows: Float[np.ndarray, "N P"], k: int, *, metric: str = "euclidean"
) -> tuple[Integer[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
    """The k nearest rows of each query, nearest first, equal distances by row number; distances float32.

    Exact: candidates by brute force, their distances again in float64 from differences, so that a query's answer does
    not depend on the others in the batch. "cosine": 1 - cosine, of unit rows; a zero row is far from all (1).
    """
    if metric == "cosine":
        indices, distances = nearest(_unit(queries), _unit(rows), k)
        return indices, distances**2 / 2
    candidates = _candidates(queries, rows, min(k + SPARE, len(rows)))
    wanted = candidates.shape[1]
    exact = np.empty(candidates.shape)
    step = max(1, (1 << 22) // (wanted * rows.shape[1]))
    for begin in range(0, len(queries), step):
        span = slice(begin, begin + step)
        difference = rows[candidates[span]].astype(np.float64) - queries[span, None]
        exact[span] = np.sqrt((difference**2).sum(2))
    order = np.lexsort((candidates, exact), axis=1)[:, :k]
    return np.take_along_axis(candidates, order, 1), np.take_along_axis(exact, order, 1).astype(np.float32)


def _candidates(queries: np.ndarray, rows: np.ndarray, wanted: int) -> np.ndarray:
    """The `wanted` nearest rows of each query, in no order, by products in float64 on either path.

    A few queries rank by |x|^2 / 2 - q.x here: the threads of scikit-learn's search cost one query 100 ms when the
    machine is busy. Many go to that search, which is several times faster then.
    """
    if len(queries) > FEW:
        search = NearestNeighbors(n_neighbors=wanted, algorithm="brute").fit(rows)
        return search.kneighbors(queries, return_distance=False)
    exact = queries.astype(np.float64)
    rank = np.empty((len(queries), len(rows)))
    step = max(1, BLOCK_VALUES // rows.shape[1])
    for begin in range(0, len(rows), step):
        block = rows[begin : begin + step].astype(np.float64)
        rank[:, begin : begin + step] = np.einsum("np,np->n", block, block) / 2 - exact @ block.T
    return np.argpartition(rank, wanted - 1, axis=1)[:, :wanted]


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def arrange(
    scores: Float[np.ndarray, "N P"],
    indices: Integer[np.ndarray, "N K"],
    distances: Float[np.ndarray, "N K"],
    *,
    min_dist: float,
    n_components: int,
    seed: int | None,
    metric: str,
) -> Layout:
    """Fit a map from the K nearest rows of each row (itself first), nearest first.

    With a seed the result is the same on every run, on one thread; with None it takes all threads, and differs.
    """
    model = _fitted(
        scores,
        indices,
        distances,
        min_dist=min_dist,
        n_components=n_components,
        seed=seed,
        metric=metric,
        mode="embedding",
    )
    return _layout(model, model.embedding_)


def _fitted(
    scores: np.ndarray,
    indices: np.ndarray,
    distances: np.ndarray,
    *,
    min_dist: float,
    n_components: int,
    seed: int | None,
    metric: str,
    mode: Literal["embedding", "graph"],
) -> Any:
    """umap-learn's model: laid out, or its graph of similarities alone."""
    model = _learn().UMAP(
        n_neighbors=indices.shape[1],
        min_dist=min_dist,
        n_components=n_components,
        metric=metric,
        random_state=seed,
        n_jobs=-1 if seed is None else 1,
        precomputed_knn=(np.ascontiguousarray(indices, np.int32), np.ascontiguousarray(distances, np.float32)),
        transform_mode=mode,
    )
    with warnings.catch_warnings():
        # The index is for umap-learn's own transform, which is not used.
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\]", UserWarning)
        # Separate clusters are a property of data: umap-learn lays the parts out one by one.
        warnings.filterwarnings("ignore", "Graph is not fully connected", UserWarning)
        return model.fit(scores)


def _layout(model: Any, embedding: np.ndarray) -> Layout:
    return Layout(
        embedding=np.ascontiguousarray(embedding, np.float32),
        sigmas=np.asarray(model._sigmas, np.float32),
        rhos=np.asarray(model._rhos, np.float32),
        a=float(model._a),
        b=float(model._b),
    )


def arrange_together(
    levels: Sequence[Float[np.ndarray, "N _"]],
    *,
    n_neighbors: int,
    min_dist: float,
    n_components: int,
    seed: int,
    metric: str,
    pull: float,
) -> list[Layout]:
    """Maps of the same N rows seen at several levels, on which a row keeps its place as far as each level lets it.

    All start from one map of the levels joined (each with the same total variance), and are laid out in short rounds;
    after each, a row's place moves the share `pull` (0..1) of the way to its mean place on the maps beside.
    """
    shares = [level / max(float(np.sqrt(level.var(0).sum())), 1e-12) for level in levels]
    how: dict[str, Any] = dict(min_dist=min_dist, n_components=n_components, seed=seed, metric=metric)
    joined = np.ascontiguousarray(np.concatenate(shares, axis=1), np.float32)
    start = arrange(joined, *nearest(joined, joined, n_neighbors, metric=metric), **how).embedding
    models = [
        _fitted(level, *nearest(level, level, n_neighbors, metric=metric), **how, mode="graph") for level in levels
    ]
    places = [start] * len(levels)
    for round_ in range(ROUNDS):
        rate = RATE * (1 - round_ / ROUNDS)
        places = [
            _relaxed(model, place, rate, stream(seed, "aligned", ROUNDS * number + round_))
            for number, (model, place) in enumerate(zip(models, places, strict=True))
        ]
        places = _pulled(places, pull)
    return [_layout(model, place) for model, place in zip(models, places, strict=True)]


def _relaxed(model: Any, places: np.ndarray, rate: float, draw: np.random.Generator) -> np.ndarray:
    """`SHORT` epochs of umap-learn's optimiser on a model's graph, from given places.

    An edge too weak to be drawn once in so few epochs is drawn once with the chance that it has.
    """
    graph = model.graph_.tocoo()
    share = SHORT * graph.data / graph.data.max()
    drawn = draw.random(len(share)) < share
    own = places.copy()
    return _learn().layouts.optimize_layout_euclidean(
        own,
        own,
        graph.row[drawn].astype(np.int32),
        graph.col[drawn].astype(np.int32),
        SHORT,
        len(own),
        SHORT / np.minimum(np.maximum(share[drawn], 1.0), SHORT).astype(np.float64),
        model._a,
        model._b,
        draw.integers(-(2**31), 2**31, 3),
        initial_alpha=rate,
        negative_sample_rate=5.0,
        move_other=True,
    )


def _pulled(places: list[np.ndarray], pull: float) -> list[np.ndarray]:
    def beside(i: int) -> np.ndarray:
        return np.mean([places[j] for j in (i - 1, i + 1) if 0 <= j < len(places)], axis=0)

    if len(places) == 1:
        return places
    return [((1 - pull) * place + pull * beside(i)).astype(np.float32) for i, place in enumerate(places)]


def superposed(onto: Float[np.ndarray, "N E"], places: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N E"]:
    """`places` shifted and turned (or mirrored), never scaled, as near to `onto` as they go (Schoenemann 1966)."""
    centre, own = onto.mean(0), places.mean(0)
    turn, _ = orthogonal_procrustes(places - own, onto - centre)
    return (places - own) @ turn + centre


def memberships(distances: Float[np.ndarray, "M K"]) -> Float[np.ndarray, "M K"]:
    """How strongly each new row belongs to each of its K nearest fitted rows, in (0, 1].

    exp(-d / sigma) with sigma such that the K - 1 farther neighbours sum to log2 K, as umap-learn's `transform`
    weights them; but sigma is bounded below by the row's own mean distance, where umap-learn takes the batch's.
    """
    farther = distances[:, 1:].astype(np.float64)
    target = np.log2(distances.shape[1])
    low, high = np.zeros(len(distances)), np.full(len(distances), np.inf)
    sigma = np.ones(len(distances))
    for _ in range(BISECTIONS):
        wide = np.exp(-farther / sigma[:, None]).sum(1) > target
        high = np.where(wide, sigma, high)
        low = np.where(wide, low, sigma)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
    sigma = np.maximum(sigma, LEAST_WIDTH * distances.mean(1))
    sigma = np.maximum(sigma, np.finfo(np.float32).tiny)
    return np.exp(-distances / sigma[:, None])


def widths(distances: Float[np.ndarray, "M K"]) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """`sigmas` and `rhos` of new rows from the distances to their K nearest fitted rows: a row counts as its own nearest."""
    own = np.concatenate([np.zeros((len(distances), 1), np.float32), distances[:, :-1]], axis=1)
    sigmas, rhos = _learn().umap_.smooth_knn_dist(np.ascontiguousarray(own, np.float32), float(own.shape[1]))
    return np.asarray(sigmas, np.float32), np.asarray(rhos, np.float32)


def place(
    layout: Layout, indices: Integer[np.ndarray, "M K"], distances: Float[np.ndarray, "M K"], *, seed: int
) -> Float[np.ndarray, "M E"]:
    """Coordinates of new rows from their K nearest fitted rows, which stay where they are.

    Each row starts at the weighted mean of its neighbours and is moved by umap-learn's optimiser. Weights, epochs and
    the stream of negative samples are the row's own, so the batch does not matter: the result is, row by row, what
    umap-learn's `transform` does with one row at a time.
    """
    weights = memberships(distances)
    start = np.einsum("mk,mke->me", weights, layout.embedding[indices].astype(np.float64))
    start /= weights.sum(1, keepdims=True)
    weights /= weights.max(1, keepdims=True)  # the strongest edge is drawn in every epoch
    rows, columns = np.nonzero(weights >= 1 / EPOCHS)
    state = stream(seed, "layout").integers(-(2**31), 2**31, 3)
    return _learn().layouts.optimize_layout_euclidean(
        np.ascontiguousarray(start, np.float32),
        layout.embedding.copy(),
        rows.astype(np.int32),
        indices[rows, columns].astype(np.int32),
        EPOCHS,
        len(layout.embedding),
        1 / weights[rows, columns].astype(np.float64),
        layout.a,
        layout.b,
        state,
        initial_alpha=RATE,
        negative_sample_rate=5.0,
    )


def umap_inverse(
    layout: Layout, scores: Float[np.ndarray, "N P"], points: Float[np.ndarray, "M E"], *, metric: str, seed: int
) -> Float[np.ndarray, "M P"]:
    """umap-learn's `inverse_transform`, on a model rebuilt from arrays: scores of map points inside the convex hull.

    Slow (a second or more per call: it triangulates the map and walks the triangles in Python), and a row depends on
    its batch.
    """
    model = _learn().UMAP(
        metric=metric,
        a=layout.a,
        b=layout.b,
        n_components=layout.embedding.shape[1],
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,
    )
    model._raw_data = np.ascontiguousarray(scores, np.float32)
    model._a, model._b, model._initial_alpha = layout.a, layout.b, model.learning_rate
    model.knn_indices = model.knn_dists = model.knn_search_index = None
    model._validate_parameters()
    model.embedding_, model._sigmas, model._rhos = layout.embedding, layout.sigmas, layout.rhos
    return np.asarray(model.inverse_transform(np.ascontiguousarray(points, np.float32)), np.float32)
