"""Similarities between rows from the distances to their nearest ones: McInnes, Healy, Melville 2018, section 3.1."""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Float, Integer

BISECTIONS = 64
LEAST_WIDTH = 1e-3  # of a row's mean distance; umap-learn's MIN_K_DIST_SCALE


def curve(min_dist: float) -> tuple[float, float]:
    """`a`, `b` of 1 / (1 + a d^(2b)), the least-squares fit to 1 up to `min_dist` and exp(min_dist - d) beyond."""
    d = np.linspace(0, 3, 300)
    wanted = np.where(d < min_dist, 1.0, np.exp(min_dist - d))
    (a, b), _ = scipy.optimize.curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), d, wanted)
    return float(a), float(b)


def widths(distances: Float[np.ndarray, "N K"]) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """`sigmas` and `rhos` of rows from the distances to their K nearest ones, of which the first is the row itself.

    rho is the distance to the nearest row that is no duplicate; sigma is such that the similarities
    exp(-max(0, d - rho) / sigma) of the others sum to log2 K (algorithm 3 of the paper).
    """
    rhos = np.where(distances > 0, distances, np.inf).min(1)
    rhos = np.where(np.isfinite(rhos), rhos, 0.0)
    farther = np.maximum(distances[:, 1:].astype(np.float64) - rhos[:, None], 0.0)
    sigmas = _bandwidths(farther, distances)
    return sigmas.astype(np.float32), rhos.astype(np.float32)


def similarities(
    indices: Integer[np.ndarray, "N K"],
    distances: Float[np.ndarray, "N K"],
    sigmas: Float[np.ndarray, " N"],
    rhos: Float[np.ndarray, " N"],
) -> scipy.sparse.csr_array:
    """The symmetric graph (N, N): s + t - s t of the two directions' similarities s, t, the fuzzy union."""
    rows, k = indices.shape
    own = np.arange(rows)[:, None]
    values = np.exp(-np.maximum(distances - rhos[:, None], 0) / sigmas[:, None].astype(np.float64))
    values[indices == own] = 0
    one_way = scipy.sparse.csr_array((values.ravel(), (np.repeat(own, k), indices.ravel())), shape=(rows, rows))
    graph = scipy.sparse.csr_array(one_way + one_way.T - one_way * one_way.T)
    graph.eliminate_zeros()
    return graph


def memberships(distances: Float[np.ndarray, "M K"]) -> Float[np.ndarray, "M K"]:
    """How strongly each new row belongs to each of its K nearest fitted rows, in (0, 1].

    exp(-d / sigma) with sigma such that the K - 1 farther neighbours sum to log2 K, as umap-learn's `transform`
    weights them; but sigma is bounded below by the row's own mean distance, where umap-learn takes the batch's.
    """
    sigma = _bandwidths(distances[:, 1:].astype(np.float64), distances)
    return np.exp(-distances / sigma[:, None])


def _bandwidths(farther: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The sigma of each row at which exp(-farther / sigma) sums to log2 K, bounded below."""
    target = np.log2(distances.shape[1])
    low, high = np.zeros(len(distances)), np.full(len(distances), np.inf)
    sigma = np.ones(len(distances))
    for _ in range(BISECTIONS):
        wide = np.exp(-farther / sigma[:, None]).sum(1) > target
        high = np.where(wide, sigma, high)
        low = np.where(wide, low, sigma)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
    sigma = np.maximum(sigma, LEAST_WIDTH * distances.mean(1))
    return np.maximum(sigma, np.finfo(np.float32).tiny)
