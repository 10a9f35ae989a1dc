"""The map: standardise, PCA, UMAP. Fitted once on real samples; then any row goes onto it, and any point comes back.

A fitted map is arrays and a few numbers. It is saved as such (never as a pickle, which would hold the training matrix
and break across library versions), and a loaded one gives the same coordinates, bit for bit on one machine.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import Delaunay, cKDTree

from modescope import components, layout
from modescope.components import Components, RowMatrix
from modescope.files import DamagedFileError, read_json, read_tensors, sha256, write_json, write_tensors
from modescope.layout import Layout, nearest

log = logging.getLogger(__name__)

Inverse = Literal["neighbours", "barycentric", "umap"]

FORMAT = 1
SAME = 1e-5  # rows nearer than this share of their length are the same row
LIBRARIES = ("numpy", "scikit-learn", "umap-learn", "numba")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a map was made. `repeatable` False lets UMAP use all threads, and its coordinates differ from run to run."""

    pca: int | None
    n_neighbors: int
    min_dist: float
    n_components: int
    seed: int
    metric: str
    repeatable: bool

    def __post_init__(self) -> None:
        if self.metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric {self.metric!r} is unknown; use 'euclidean' or 'cosine'")
        if self.n_neighbors < 2:
            raise ValueError(f"n_neighbors is {self.n_neighbors}; a neighbourhood has at least 2 rows: give 2 or more")
        if self.n_components not in (2, 3):
            raise ValueError(f"n_components is {self.n_components}; a map has two or three dimensions: give 2 or 3")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; give a whole number from 0 to 2^32 - 1")
        if not 0.0 <= self.min_dist <= 1.0:
            raise ValueError(f"min_dist is {self.min_dist}; give a map distance from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Mean errors of an inverse. `features`: distance to the true row, as a share of that row's distance from the mean;
    `place`: distance of the returned row's place to the point it was made for, in standard deviations of the map.
    """

    features: float
    place: float


@dataclass(frozen=True, kw_only=True)
class Reducer:
    """A fitted map. `scores` (N, P) are the training rows standardised and rotated; `embedding` (N, E) their places."""

    settings: Settings
    components: Components
    scores: Float[np.ndarray, "N P"]
    layout: Layout
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in LIBRARIES})

    @classmethod
    def fit(
        cls,
        features: RowMatrix,
        *,
        pca: int | None = 50,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        n_components: int = 2,
        seed: int = 0,
        metric: str = "euclidean",
        repeatable: bool = True,
        standardise: bool = True,
    ) -> Reducer:
        """Fit a map on N rows of D features (float16 or float32; a memory map or rows on disk will do: read in blocks).

        `pca` None: UMAP on the standardised features themselves. `metric`: "euclidean" or "cosine", between scores.
        `standardise` False: for features that are principal components already.
        `n_neighbors` counts the row itself, as in umap-learn.

        Raises ValueError for NaN or infinite rows (naming them), for no more rows than neighbours, and for settings
        outside their range.
        """
        settings = Settings(
            pca=pca,
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            n_components=n_components,
            seed=seed,
            metric=metric,
            repeatable=repeatable,
        )
        if len(features.shape) != 2 or len(features) <= n_neighbors:
            raise ValueError(
                f"features has shape {features.shape}, n_neighbors is {n_neighbors}; "
                "a map needs (N, D) features with more rows than neighbours: add samples or lower n_neighbors"
            )
        parts = components.fit(features, pca, standardise=standardise)
        scores = parts.project(features)
        indices, distances = nearest(scores, scores, n_neighbors, metric=metric)
        arranged = layout.arrange(
            scores,
            indices,
            distances,
            min_dist=min_dist,
            n_components=n_components,
            seed=seed if repeatable else None,
            metric=metric,
        )
        return cls(settings=settings, components=parts, scores=scores, layout=arranged)

    @property
    def embedding(self) -> Float[np.ndarray, "N E"]:
        """Map coordinates of the training rows, float32."""
        return self.layout.embedding

    def transform(self, features: RowMatrix) -> Float[np.ndarray, "M E"]:
        """Map coordinates of rows, float32. A row's place depends on that row alone, not on the others in the batch.

        A training row comes back at its own place. Others are placed by UMAP's optimiser (see `layout.place`).

        Raises ValueError for another number of columns and for NaN or infinite rows (naming them).
        """
        if len(features.shape) != 2 or features.shape[1] != self.components.width:
            raise ValueError(
                f"features has shape {features.shape}, this map was fitted on {self.components.width} columns; "
                "give (M, D) features of the same view"
            )
        scores = self.components.project(features)
        if not len(scores):
            return np.empty((0, self.settings.n_components), np.float32)
        indices, distances = nearest(scores, self.scores, self.settings.n_neighbors, metric=self.settings.metric)
        points = layout.place(self.layout, indices, distances, seed=self.settings.seed)
        closest = self.scores[indices[:, 0]]
        same = np.linalg.norm(scores - closest, axis=1) <= SAME * np.linalg.norm(closest, axis=1)
        points[same] = self.embedding[indices[same, 0]]
        return points

    def neighbours(
        self, points: Float[np.ndarray, "M E"], k: int = 15
    ) -> tuple[Int[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
        """The k training rows nearest to each map point, nearest first, and their weights, which sum to 1.

        A weight is the inverse of the map distance (Shepard 1968), so at a training row's own place that row has all of
        it. Inverse squares and UMAP's own curve gave larger errors on the way back.
        """
        self._check_points(points)
        if not 1 <= k <= len(self.scores):
            raise ValueError(f"k is {k}, the map has {len(self.scores)} rows; give a number from 1 to that")
        distances, indices = self._tree.query(points.astype(np.float64), k=np.arange(1, k + 1))
        nearness = 1 / np.maximum(distances, 1e-9)
        return indices.astype(np.int64), nearness / nearness.sum(1, keepdims=True)

    def corners(self, points: Float[np.ndarray, "M E"]) -> tuple[Int[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
        """The training rows at the corners of the triangle (or tetrahedron) that holds each point, and its barycentric
        weights. Outside the convex hull: the nearest training row has all the weight.
        """
        self._check_points(points)
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

    def extrapolates(self, points: Float[np.ndarray, "M E"], *, quantile: float = 0.99) -> Bool[np.ndarray, " M"]:
        """Whether a map point lies off the data: outside the convex hull of the map, or farther from every training row
        than the given quantile of the distances of training rows to their own nearest.
        """
        self._check_points(points)
        if not 0.0 < quantile <= 1.0:
            raise ValueError(f"quantile is {quantile}; give a share above 0 and up to 1")
        where = points.astype(np.float64)
        usual = np.quantile(self._tree.query(self.embedding, k=[2])[0], quantile)
        return (self._triangles.find_simplex(where) < 0) | (self._tree.query(where)[0] > usual)

    def inverse_transform(
        self,
        points: Float[np.ndarray, "M E"],
        method: Inverse = "neighbours",
        *,
        k: int = 15,
        features: Float[np.ndarray, "N D"] | None = None,
    ) -> Float[np.ndarray, "M D"]:
        """Features (float32) that belong at map points. Ask `extrapolates` which of them lie off the data.

        "neighbours": the weighted mean of the `k` training rows nearest on the map. "barycentric": the mean of the
        corners of the map triangle around the point. "umap": umap-learn's own inverse, much slower.

        "neighbours" is the default by evidence: for held-out rows, mapped and brought back (`round_trip`), it erred
        least in features, on digits and on a curved surface in 2,000 dimensions; and what it brings back lands, mapped
        again, at least twice as near as what umap-learn's own inverse brings.

        The first two mix training rows. With `features`, the array that the map was fitted on, they mix its rows at
        full width; without, they mix scores, and what PCA left out of each row is missing.
        """
        if method == "umap":
            self._check_points(points)
            settings = self.settings
            scores = layout.umap_inverse(self.layout, self.scores, points, metric=settings.metric, seed=settings.seed)
            return self.components.rebuild(scores)
        if method not in get_args(Inverse):
            raise ValueError(f"method {method!r} is unknown; use one of {', '.join(map(repr, get_args(Inverse)))}")
        indices, weights = self.corners(points) if method == "barycentric" else self.neighbours(points, k)
        if features is None:
            return self.components.rebuild(_mixed(self.scores, indices, weights))
        if features.shape != (len(self.scores), self.components.width):
            raise ValueError(
                f"features has shape {features.shape}, this map was fitted on {len(self.scores)} rows of "
                f"{self.components.width} columns; give the array that the map was fitted on, or None"
            )
        return _mixed(features, indices, weights)

    def round_trip(self, features: Float[np.ndarray, "M D"], method: Inverse = "neighbours") -> RoundTrip:
        """How much rows change on the way to the map and back: best asked with rows that the map was not fitted on."""
        points = self.transform(features)
        returned = self.inverse_transform(points, method)
        size = np.linalg.norm(features - self.components.mean, axis=1)
        spread = np.sqrt(self.embedding.var(0).sum())
        return RoundTrip(
            features=float(np.mean(np.linalg.norm(returned - features, axis=1) / np.where(size > 0, size, 1))),
            place=float(np.mean(np.linalg.norm(self.transform(returned) - points, axis=1)) / spread),
        )

    def save(self, folder: Path | str) -> None:
        """Write `reducer.safetensors`, then `reducer.json`, which names its checksum."""
        folder = Path(folder)
        arrays = {
            "mean": self.components.mean,
            "inverse_scale": self.components.inverse_scale,
            "scores": self.scores,
            "embedding": self.layout.embedding,
            "sigmas": self.layout.sigmas,
            "rhos": self.layout.rhos,
        }
        if self.components.axes is not None and self.components.variance is not None:
            arrays |= {"axes": self.components.axes, "variance": self.components.variance}
        write_tensors(folder / "reducer.safetensors", arrays)
        record = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "curve": {"a": self.layout.a, "b": self.layout.b},
            "versions": self.versions,
            "sha256": sha256(folder / "reducer.safetensors"),
        }
        write_json(folder / "reducer.json", record)

    @classmethod
    def load(cls, folder: Path | str) -> Reducer:
        """Read what `save` wrote. Nothing is executed, and neither umap-learn nor the training data is needed.

        A map of other library versions loads, with a warning in the log: rows may then be placed elsewhere within
        UMAP's spread. Raises DamagedFileError for missing or damaged files, ValueError for another format.
        """
        folder = Path(folder)
        record = read_json(folder / "reducer.json")
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            found = record.get("format") if isinstance(record, dict) else None
            raise ValueError(
                f"{folder / 'reducer.json'} has format {found!r}, this modescope reads format {FORMAT}; "
                "fit the map again with this version (`dvc repro`), or load it with the version that wrote it"
            )
        if missing := {"settings", "curve", "versions", "sha256"} - record.keys():
            raise DamagedFileError(
                f"{folder / 'reducer.json'} lacks {', '.join(map(repr, sorted(missing)))}; it is damaged. "
                "Delete the folder and run `dvc repro` (or `dvc checkout`) to make it again"
            )
        path = folder / "reducer.safetensors"
        arrays, _ = read_tensors(path)
        if sha256(path) != record["sha256"]:
            raise DamagedFileError(
                f"{path} does not have the checksum that reducer.json names; the two do not belong together. "
                "Delete the folder and run `dvc repro` (or `dvc checkout`) to make it again"
            )
        _compare(record["versions"])
        return cls(
            settings=Settings(**record["settings"]),
            components=Components(
                mean=arrays["mean"],
                inverse_scale=arrays["inverse_scale"],
                axes=arrays.get("axes"),
                variance=arrays.get("variance"),
            ),
            scores=arrays["scores"],
            layout=Layout(
                embedding=arrays["embedding"], sigmas=arrays["sigmas"], rhos=arrays["rhos"], **record["curve"]
            ),
            versions=record["versions"],
        )

    def _check_points(self, points: np.ndarray) -> None:
        if points.ndim != 2 or points.shape[1] != self.settings.n_components or not np.isfinite(points).all():
            raise ValueError(
                f"points has shape {points.shape}; give finite map coordinates (M, {self.settings.n_components})"
            )

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.embedding.astype(np.float64))

    @cached_property
    def _triangles(self) -> Delaunay:
        return Delaunay(self.embedding.astype(np.float64))


def _mixed(rows: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means of rows, one after the other: a memory map is read only where it is needed."""
    mixed = np.empty((len(indices), rows.shape[1]), np.float32)
    for i, (chosen, shares) in enumerate(zip(indices, weights, strict=True)):
        mixed[i] = shares @ rows[chosen].astype(np.float64)
    return mixed


def _compare(fitted: dict[str, str]) -> None:
    other = [f"{name} {was} (here {version(name)})" for name, was in fitted.items() if was != version(name)]
    if other:
        log.warning(
            "the map was fitted with %s: new rows may be placed slightly elsewhere; fit it again to be sure",
            ", ".join(other),
        )
