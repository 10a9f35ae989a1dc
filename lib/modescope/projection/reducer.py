"""The fitted map as one value: fit, place, bring back, grow, save, load."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from modescope import components, layout
from modescope.components import Components, Joined, RowMatrix
from modescope.layout import Layout, nearest
from modescope.projection import saving
from modescope.projection.growth import Drift, drift
from modescope.projection.places import Places
from modescope.seeds import stream

log = logging.getLogger("modescope.projection")

Inverse = Literal["neighbours", "barycentric", "umap"]
QUICK: tuple[Inverse, ...] = ("neighbours", "barycentric")  # a few ms; umap-learn's own takes seconds

SAME = 1e-5  # rows nearer than this share of their length are the same row
DRIFTED = 0.01  # below this p new rows are said to have drifted


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
    """A fitted map. `scores` (N, P) are its rows standardised and rotated; `embedding` (N, E) their places.

    `parts`: what the rows are, name => number of rows, in order (see `rows`). `columns`: layer => shape of its part of a
    row, in order, and `network`: hash of the feature network, where they were given. `evidence`: errors of inverses,
    where they were measured (see `judged`).
    """

    settings: Settings
    components: Components
    scores: Float[np.ndarray, "N P"]
    layout: Layout
    versions: dict[str, str] = field(default_factory=saving.here)
    parts: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    network: str | None = None
    evidence: Mapping[Inverse, RoundTrip] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width = sum(int(np.prod(shape)) for shape in self.columns.values())
        if self.columns and width != self.components.width:
            raise ValueError(
                f"columns names layers of {width} values in all, a row has {self.components.width}; "
                "give every layer with its own shape"
            )
        if self.parts and sum(self.parts.values()) != len(self.scores):
            raise ValueError(
                f"parts has {sum(self.parts.values())} rows, the map has {len(self.scores)}; name them all"
            )

    @classmethod
    def fit(
        cls,
        features: RowMatrix | Mapping[str, RowMatrix],
        *,
        pca: int | None = 50,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        n_components: int = 2,
        seed: int = 0,
        metric: str = "euclidean",
        repeatable: bool = True,
        standardise: bool = True,
        columns: Mapping[str, tuple[int, ...]] | None = None,
        network: str | None = None,
    ) -> Reducer:
        """Fit a map on N rows of D features (float16 or float32; a memory map or rows on disk will do: read in blocks).

        Several matrices by name are fitted on as one, and never held together; `rows` tells them apart afterwards.
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
        named: Mapping[str, RowMatrix] = features if isinstance(features, Mapping) else {"fitted": features}
        matrix = Joined(named) if isinstance(features, Mapping) else features
        basis, scores = scored(matrix, settings, standardise)
        found = nearest(scores, scores, n_neighbors, metric=metric)
        arranged = layout.arrange(
            scores,
            *found,
            min_dist=min_dist,
            n_components=n_components,
            seed=seed if repeatable else None,
            metric=metric,
        )
        return cls(
            settings=settings,
            components=basis,
            scores=scores,
            layout=arranged,
            parts={name: len(part) for name, part in named.items()},
            columns=columns or {},
            network=network,
        )

    @property
    def embedding(self) -> Float[np.ndarray, "N E"]:
        """Map coordinates of the training rows, float32."""
        return self.layout.embedding

    def rows(self, part: str) -> slice:
        """Where the rows of a part stand in `scores` and `embedding`."""
        if part not in self.parts:
            raise ValueError(f"part {part!r} is not in this map; it holds {', '.join(self.parts) or 'no named parts'}")
        names = list(self.parts)
        start = sum(self.parts[name] for name in names[: names.index(part)])
        return slice(start, start + self.parts[part])

    def check_source(self, columns: Mapping[str, tuple[int, ...]], network: str | None = None) -> None:
        """Raise a ValueError where features of these layers or of this network do not belong on this map."""
        ours, theirs = ({name: tuple(shape) for name, shape in layers.items()} for layers in (self.columns, columns))
        if ours and (ours != theirs or list(ours) != list(theirs)):
            raise ValueError(
                f"the features are of layers {_listed(theirs)}, this map was fitted on {_listed(ours)}; "
                "capture the same layers, or fit the map again (`dvc repro`)"
            )
        if self.network and network and self.network != network:
            raise ValueError(
                f"the features come from network {network[:12]}, this map was fitted on those of {self.network[:12]}; "
                "capture with the same network, or fit the map again (`dvc repro`)"
            )

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
        return self._places.nearest(points, k)

    def corners(self, points: Float[np.ndarray, "M E"]) -> tuple[Int[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
        """The training rows at the corners of the triangle (or tetrahedron) that holds each point, and its barycentric
        weights. Outside the convex hull: the nearest training row has all the weight.
        """
        return self._places.corners(points)

    def extrapolates(self, points: Float[np.ndarray, "M E"], *, quantile: float = 0.99) -> Bool[np.ndarray, " M"]:
        """Whether a map point lies off the data: outside the convex hull of the map, or farther from every training row
        than the given quantile of the distances of training rows to their own nearest.
        """
        return self._places.extrapolates(points, quantile)

    def inverse_transform(
        self,
        points: Float[np.ndarray, "M E"],
        method: Inverse | None = None,
        *,
        k: int = 15,
        features: Float[np.ndarray, "N D"] | None = None,
    ) -> Float[np.ndarray, "M D"]:
        """Features (float32) that belong at map points. Ask `extrapolates` which of them lie off the data.

        "neighbours": the weighted mean of the `k` training rows nearest on the map. "barycentric": the mean of the
        corners of the map triangle around the point. "umap": umap-learn's own inverse, much slower. None:
        what `inverse` says.

        The first two mix training rows. With `features`, the array that the map was fitted on, they mix its rows at
        full width; without, they mix scores, and what PCA left out of each row is missing.
        """
        method = self.inverse if method is None else method
        if method == "umap":
            self._places.check(points)
            settings = self.settings
            scores = layout.umap_inverse(self.layout, self.scores, points, metric=settings.metric, seed=settings.seed)
            return self.components.rebuild(scores)
        if method not in get_args(Inverse):
            raise ValueError(f"method {method!r} is unknown; use one of {', '.join(map(repr, get_args(Inverse)))}")
        indices, weights = self.corners(points) if method == "barycentric" else self.neighbours(points, k)
        if features is None:
            return self.components.rebuild(_mixed(self.scores, indices, weights))
        self._check_own(features)
        return _mixed(features, indices, weights)

    @property
    def inverse(self) -> Inverse:
        """The quick inverse that errs least in features by the evidence; "neighbours" without evidence.

        For held-out digits and for a curved surface in 2,000 dimensions that was "neighbours"; what it brings back
        lands, mapped again, at least twice as near as what umap-learn's own inverse brings.
        """
        known = [method for method in QUICK if method in self.evidence]
        return min(known, key=lambda method: self.evidence[method].features, default="neighbours")

    def round_trip(self, features: Float[np.ndarray, "M D"], method: Inverse | None = None) -> RoundTrip:
        """How much rows change on the way to the map and back: best asked with rows that the map was not fitted on."""
        points = self.transform(features)
        returned = self.inverse_transform(points, method, k=min(15, len(self.scores)))
        size = np.linalg.norm(features - self.components.mean, axis=1)
        spread = np.sqrt(self.embedding.var(0).sum())
        return RoundTrip(
            features=float(np.mean(np.linalg.norm(returned - features, axis=1) / np.where(size > 0, size, 1))),
            place=float(np.mean(np.linalg.norm(self.transform(returned) - points, axis=1)) / spread),
        )

    def judged(
        self, features: RowMatrix | Mapping[str, RowMatrix], *, rows: int = 200, methods: Iterable[Inverse] = QUICK
    ) -> Reducer:
        """The same map with the evidence for its inverses: round trips of `rows` seeded rows of the `features` that it
        was fitted on, each time without those rows on the map.

        The layout still felt them, so errors are a little low. "umap" among `methods` takes seconds to minutes.
        """
        matrix = Joined(features) if isinstance(features, Mapping) else features
        self._check_own(matrix)
        count = min(rows, len(self.scores) - self.settings.n_neighbors - 1)
        if count < 1:
            raise ValueError(
                f"the map has {len(self.scores)} rows and {self.settings.n_neighbors} neighbours; none can be left out: "
                "add samples or lower n_neighbors"
            )
        chosen = np.sort(stream(self.settings.seed, "judged").choice(len(self.scores), count, replace=False))
        others, values = self._without(chosen), np.asarray(matrix[chosen], np.float32)
        return replace(self, evidence={method: others.round_trip(values, method) for method in methods})

    def _without(self, rows: np.ndarray) -> Reducer:
        kept = np.setdiff1d(np.arange(len(self.scores)), rows)
        arranged = replace(
            self.layout,
            embedding=self.embedding[kept],
            sigmas=self.layout.sigmas[kept],
            rhos=self.layout.rhos[kept],
        )
        return replace(self, scores=self.scores[kept], layout=arranged, parts={}, evidence={})

    def grow(self, features: RowMatrix, part: str = "added") -> tuple[Reducer, Drift]:
        """The map with new rows at its end, placed by `transform`, and whether they have drifted from those before.

        No row that was on the map moves. Where the test of drift falls below p = 0.01 the log has a warning: places of
        rows unlike any fitted one say little. Raises ValueError as `transform` does, and for a part that is there.
        """
        if part in self.parts:
            raise ValueError(f"part {part!r} is on this map already; give the new rows another name")
        places = self.transform(features)
        scores = self.components.project(features)
        seen = drift(self.scores, scores, metric=self.settings.metric, seed=self.settings.seed)
        if seen.p < DRIFTED:
            log.warning(
                "%d new rows have drifted: their nearest fitted row is %.3g away, usual is %.3g (p = %.2g); fit the map "
                "again with them",
                len(scores),
                seen.distance,
                seen.usual,
                seen.p,
            )
        distances = nearest(scores, self.scores, self.settings.n_neighbors, metric=self.settings.metric)[1]
        sigmas, rhos = layout.widths(distances)
        arranged = replace(
            self.layout,
            embedding=np.concatenate([self.embedding, places]),
            sigmas=np.concatenate([self.layout.sigmas, sigmas]),
            rhos=np.concatenate([self.layout.rhos, rhos]),
        )
        before = self.parts or {"fitted": len(self.scores)}
        parts = {**before, part: len(scores)}
        return replace(self, scores=np.concatenate([self.scores, scores]), layout=arranged, parts=parts), seen

    def save(self, folder: Path | str) -> None:
        """Write `reducer.safetensors`, then `reducer.json`, which names its checksum."""
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
        record = {
            "settings": asdict(self.settings),
            "curve": {"a": self.layout.a, "b": self.layout.b},
            "versions": self.versions,
            "parts": dict(self.parts),
            "columns": {name: list(shape) for name, shape in self.columns.items()},
            "network": self.network,
            "evidence": {method: asdict(errors) for method, errors in self.evidence.items()},
        }
        saving.write(Path(folder), arrays, record)

    @classmethod
    def load(cls, folder: Path | str) -> Reducer:
        """Read what `save` wrote. Nothing is executed, and neither umap-learn nor the training data is needed.

        A map of other library versions loads, with a warning in the log: rows may then be placed elsewhere within
        UMAP's spread. Raises DamagedFileError for missing or damaged files, ValueError for another format.
        """
        record, arrays = saving.read(Path(folder), {"settings", "curve"})
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
            parts=record.get("parts", {}),
            columns={name: tuple(shape) for name, shape in record.get("columns", {}).items()},
            network=record.get("network"),
            evidence={method: RoundTrip(**errors) for method, errors in record.get("evidence", {}).items()},
        )

    def _check_own(self, features: RowMatrix) -> None:
        if tuple(features.shape) != (len(self.scores), self.components.width):
            raise ValueError(
                f"features has shape {features.shape}, this map was fitted on {len(self.scores)} rows of "
                f"{self.components.width} columns; give the array that the map was fitted on"
            )

    @cached_property
    def _places(self) -> Places:
        return Places(self.embedding)


def scored(features: RowMatrix, settings: Settings, standardise: bool) -> tuple[Components, Float[np.ndarray, "N P"]]:
    """Standardise and rotate, fitted and applied. Raises ValueError for no more rows than neighbours."""
    if len(features.shape) != 2 or len(features) <= settings.n_neighbors:
        raise ValueError(
            f"features has shape {features.shape}, n_neighbors is {settings.n_neighbors}; "
            "a map needs (N, D) features with more rows than neighbours: add samples or lower n_neighbors"
        )
    basis = components.fit(features, settings.pca, standardise=standardise)
    return basis, basis.project(features)


def _listed(layers: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in layers.items())


def _mixed(rows: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means of rows, one after the other: a memory map is read only where it is needed."""
    mixed = np.empty((len(indices), rows.shape[1]), np.float32)
    for i, (chosen, shares) in enumerate(zip(indices, weights, strict=True)):
        mixed[i] = shares @ rows[chosen].astype(np.float64)
    return mixed
