"""Rows laid out, one level or several together, and new rows placed between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float, Integer

from modescope.layout.graph import curve, memberships, similarities, widths
from modescope.layout.search import comparable, nearest
from modescope.seeds import stream

EPOCHS = 100  # umap-learn's number for up to 10,000 new rows; here for any number, so that a row's place is its own
RATE = 0.25  # a quarter of the fit's learning rate, as in umap-learn
LARGE, FIT_EPOCHS, LARGE_EPOCHS = 10_000, 500, 200  # umap-learn's numbers of epochs, up to so many rows and beyond
EXTENT, NOISE = 10.0, 1e-4  # of the start, along its longest axis
SMALL = 10  # rows or columns up to which the start's components are not iterated for
ROUNDS, SHORT = 30, 10  # aligned maps are pulled to each other so many times, every so many epochs


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


class _Edges(NamedTuple):
    """Pulls between rows: each edge acts once in `every` epochs."""

    heads: np.ndarray
    tails: np.ndarray
    every: np.ndarray


def arrange(
    scores: Float[np.ndarray, "N P"],
    indices: Integer[np.ndarray, "N K"],
    distances: Float[np.ndarray, "N K"],
    *,
    min_dist: float,
    n_components: int,
    seed: int,
    metric: str,
) -> Layout:
    """Fit a map from the K nearest rows of each row (itself first), nearest first. The same on every run.

    It starts from the first principal components (Kobak & Linderman 2021, "Initialization is critical for preserving
    global data structure in both t-SNE and UMAP").
    """
    sigmas, rhos = widths(distances)
    graph = similarities(indices, distances, sigmas, rhos)
    a, b = curve(min_dist)
    epochs = FIT_EPOCHS if len(scores) <= LARGE else LARGE_EPOCHS
    draw = stream(seed, "layout")
    places = _start(comparable(scores, metric), n_components, draw)
    _descend(places, places, _edges(graph, epochs), epochs, draw, rate=1.0, a=a, b=b)
    return Layout(embedding=places, sigmas=sigmas, rhos=rhos, a=a, b=b)


def _start(rows: np.ndarray, n_components: int, draw: np.random.Generator) -> np.ndarray:
    """The first principal components, with a little noise that parts duplicates."""
    centred = rows - rows.mean(0, dtype=np.float64).astype(rows.dtype)
    if min(rows.shape) > SMALL:
        left, values, right = scipy.sparse.linalg.svds(centred, k=n_components, v0=np.ones(min(rows.shape), rows.dtype))
        order = values.argsort()[::-1]
    else:
        left, values, right = np.linalg.svd(centred, full_matrices=False)
        order = np.arange(min(n_components, len(values)))
    signs = np.where(right[order, np.abs(right[order]).argmax(1)] < 0, -1.0, 1.0)
    places = np.zeros((len(rows), n_components))
    places[:, : len(order)] = left[:, order] * values[order] * signs
    extent = float(np.ptp(places, axis=0).max())
    places *= EXTENT / extent if extent > 0 else 0.0
    return (places + NOISE * draw.standard_normal(places.shape)).astype(np.float32)


def _edges(graph: scipy.sparse.csr_array, epochs: float) -> _Edges:
    """An edge acts as often as its share of the strongest one's similarity; it is left out if not once in all epochs."""
    every = graph.data.max() / graph.data
    there = every <= epochs
    heads = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    return _Edges(heads[there].astype(np.int32), graph.indices[there].astype(np.int32), every[there])


def _descend(
    places: np.ndarray,
    anchors: np.ndarray,
    edges: _Edges,
    epochs: int,
    draw: np.random.Generator,
    *,
    rate: float,
    a: float,
    b: float,
) -> None:
    """`descent.descend`, in place. A row's random stream is a function of `draw` and of where the row starts."""
    from modescope.layout.descent import descend  # numba takes half a second to import

    base = draw.integers(0, 2**32, 3, dtype=np.uint32)
    bits = np.ascontiguousarray(places, np.float32).view(np.uint32)[:, :1]
    states = ((bits * np.uint32(2654435761)) ^ base | np.uint32(16)).astype(np.int64)  # mixed by Knuth's constant
    descend(places, anchors, *edges, states, epochs, rate, a, b, places is anchors)


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
    joined = np.ascontiguousarray(np.concatenate(shares, axis=1), np.float32)
    start = arrange(
        joined,
        *nearest(joined, joined, n_neighbors, metric=metric),
        min_dist=min_dist,
        n_components=n_components,
        seed=seed,
        metric=metric,
    )
    found = [nearest(level, level, n_neighbors, metric=metric) for level in levels]
    sizes = [widths(distances) for _, distances in found]
    graphs = [similarities(*near, *size) for near, size in zip(found, sizes, strict=True)]
    places = [start.embedding] * len(levels)
    for round_ in range(ROUNDS):
        rate = RATE * (1 - round_ / ROUNDS)
        places = [
            _relaxed(graph, place, start, rate, stream(seed, "aligned", ROUNDS * number + round_))
            for number, (graph, place) in enumerate(zip(graphs, places, strict=True))
        ]
        places = _pulled(places, pull)
    return [
        Layout(embedding=place, sigmas=sigmas, rhos=rhos, a=start.a, b=start.b)
        for place, (sigmas, rhos) in zip(places, sizes, strict=True)
    ]


def _relaxed(
    graph: scipy.sparse.csr_array, places: np.ndarray, like: Layout, rate: float, draw: np.random.Generator
) -> np.ndarray:
    """`SHORT` epochs of the descent on a graph, from given places.

    An edge too weak to act once in so few epochs acts once with the chance that it has.
    """
    edges = _edges(graph, np.inf)
    drawn = draw.random(len(edges.every)) * edges.every < SHORT
    edges = _Edges(edges.heads[drawn], edges.tails[drawn], np.minimum(edges.every[drawn], SHORT))
    own = places.copy()
    _descend(own, own, edges, SHORT, draw, rate=rate, a=like.a, b=like.b)
    return own


def _pulled(places: list[np.ndarray], pull: float) -> list[np.ndarray]:
    def beside(i: int) -> np.ndarray:
        return np.mean([places[j] for j in (i - 1, i + 1) if 0 <= j < len(places)], axis=0)

    if len(places) == 1:
        return places
    return [((1 - pull) * place + pull * beside(i)).astype(np.float32) for i, place in enumerate(places)]


def superposed(onto: Float[np.ndarray, "N E"], places: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N E"]:
    """`places` shifted and turned (or mirrored), never scaled, as near to `onto` as they go (Schoenemann 1966)."""
    centre, own = onto.mean(0), places.mean(0)
    turn, _ = scipy.linalg.orthogonal_procrustes(places - own, onto - centre)
    return (places - own) @ turn + centre


def place(
    layout: Layout, indices: Integer[np.ndarray, "M K"], distances: Float[np.ndarray, "M K"], *, seed: int
) -> Float[np.ndarray, "M E"]:
    """Coordinates of new rows from their K nearest fitted rows, which stay where they are.

    Each row starts at the weighted mean of its neighbours and descends from there. Weights, epochs and the stream of
    random rows are the row's own, so the batch does not matter: the result is, row by row, what umap-learn's
    `transform` does with one row at a time, within the spread of its seeds.
    """
    weights = memberships(distances)
    start = np.einsum("mk,mke->me", weights, layout.embedding[indices].astype(np.float64))
    places = np.ascontiguousarray(start / weights.sum(1, keepdims=True), np.float32)
    weights /= weights.max(1, keepdims=True)  # the strongest edge acts in every epoch
    rows, columns = np.nonzero(weights >= 1 / EPOCHS)
    edges = _Edges(
        rows.astype(np.int32), indices[rows, columns].astype(np.int32), 1 / weights[rows, columns].astype(np.float64)
    )
    _descend(places, layout.embedding, edges, EPOCHS, stream(seed, "layout"), rate=RATE, a=layout.a, b=layout.b)
    return places
