"""The geometry of a map: which fitted places lie near a point, which triangle holds it, and whether it is off the data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Places:
    """Places (N, E) of rows on a map, and questions about points among them."""

    embedding: Float[np.ndarray, "N E"]

    def nearest(
        self, points: Float[np.ndarray, "M E"], k: int
    ) -> tuple[Int[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
        """The k nearest rows, nearest first, and their weights: inverse map distances (Shepard 1968) that sum to 1."""
        self.check(points)
        if not 1 <= k <= len(self.embedding):
            raise ValueError(f"k is {k}, the map has {len(self.embedding)} rows; give a number from 1 to that")
        distances, indices = self._tree.query(points.astype(np.float64), k=np.arange(1, k + 1))
        nearness = 1 / np.maximum(distances, 1e-9)
        return indices.astype(np.int64), nearness / nearness.sum(1, keepdims=True)

    def corners(self, points: Float[np.ndarray, "M E"]) -> tuple[Int[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
        """The corners of the triangle (or tetrahedron) that holds each point, and its barycentric weights. Outside the
        convex hull: the nearest row has all the weight.
        """
        self.check(points)
        where = points.astype(np.float64)
        found = self._triangles.find_simplex(where)
        frames = self._triangles.transform[found]
        first = np.einsum("mij,mj->mi", frames[:, :-1], where - frames[:, -1])
        weights = np.concatenate([first, 1 - first.sum(1, keepdims=True)], axis=1)
        indices = self._triangles.simplices[found].astype(np.int64)
        lost = (found < 0) | ~np.isfinite(weights).all(1)  # outside, or in a triangle without area
        indices[lost] = self._tree.query(where[lost])[1][:, None]
        weights[lost] = 1 / weights.shape[1]
        return indices, weights

    def extrapolates(self, points: Float[np.ndarray, "M E"], quantile: float) -> Bool[np.ndarray, " M"]:
        """Outside the convex hull, or farther from every row than that quantile of the rows' own nearest distances."""
        self.check(points)
        if not 0.0 < quantile <= 1.0:
            raise ValueError(f"quantile is {quantile}; give a share above 0 and up to 1")
        where = points.astype(np.float64)
        usual = np.quantile(self._tree.query(self.embedding, k=[2])[0], quantile)
        return (self._triangles.find_simplex(where) < 0) | (self._tree.query(where)[0] > usual)

    def check(self, points: np.ndarray) -> None:
        if points.ndim != 2 or points.shape[1] != self.embedding.shape[1] or not np.isfinite(points).all():
            raise ValueError(
                f"points has shape {points.shape}; give finite map coordinates (M, {self.embedding.shape[1]})"
            )

    @cached_property
    def _tree(self) -> scipy.spatial.cKDTree:
        return scipy.spatial.cKDTree(self.embedding.astype(np.float64))

    @cached_property
    def _triangles(self) -> scipy.spatial.Delaunay:
        return scipy.spatial.Delaunay(self.embedding.astype(np.float64))
