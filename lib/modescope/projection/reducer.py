"""The fitted map as one value: fit, place, bring back, grow, save, load."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from modescope import components, layout
from modescope.components import Components, Joined, RowMatrix
from modescope.layout import Layout, nearest
from modescope.projection import saving
from modescope.projection.growth import Drift, drift
from modescope.projection.inverses import QUICK, Inverse, RoundTrip, mixed
from modescope.projection.places import Places
from modescope.projection.settings import Settings, check_layers, check_network

log = logging.getLogger("modescope.projection")

SAME = 1e-5  # rows nearer than this share of their length are the same row
DRIFTED = 0.01  # below this p new rows are said to have drifted


@dataclass(frozen=True, kw_only=True)
class Reducer:
    """A fitted map. `scores` (N, P) are its rows standardised and rotated; `embedding` (N, E) their places.

    `parts`: what the rows are, name => number of rows, in order (see `rows`). `columns`: layer => shape of its part of a
    row, in order, and `network`: hash of the feature network, where they were given. `evidence`: errors of inverses,
    where they were measured (see `projection.judged`).
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
        standardise: bool = True,
        columns: Mapping[str, tuple[int, ...]] | None = None,
        network: str | None = None,
    ) -> Reducer:
        """Fit a map on N rows of D features (float16 or float32; a memory map or rows on disk will do: read in blocks).

        Several matrices by name are fitted on as one, and never held together; `rows` tells them apart afterwards.
        `pca` None: UMAP on the standardised features themselves. `metric`: "euclidean" or "cosine", between scores.
        `standardise` False: for features that are principal components already.
        `n_neighbors` counts the row itself, as in umap-learn. The same seed gives the same map.

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
            seed=seed,
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

    def whose(self, row: int) -> tuple[str, int]:
        """The part in which a row of the map stands, and its number there."""
        for part in self.parts:
            span = self.rows(part)
            if span.start <= row < span.stop:
                return part, row - span.start
        raise ValueError(
            f"row is {row}, the parts of this map hold {sum(self.parts.values())}; give a row of one of them"
        )

    def check_source(self, columns: Mapping[str, tuple[int, ...]], network: str | None = None) -> None:
        """Raise a ValueError where features of these layers or of this network do not belong on this map."""
        check_layers(self.columns, columns)
        check_network(self.network, network)

    def located(self, part: str, features: RowMatrix) -> tuple[Float[np.ndarray, "M P"], Float[np.ndarray, "M E"]]:
        """Scores and places of the features of a part: as they were fitted if the map holds the part, else projected
        and transformed.
        """
        if part not in self.parts:
            scores = self._projected(features)
            return scores, self._placed(scores)
        if len(features) != self.parts[part]:
            raise ValueError(
                f"part {part!r} has {len(features)} rows, the map was fitted on {self.parts[part]} of it; "
                "fit the map again (`dvc repro`)"
            )
        return self.scores[self.rows(part)], self.embedding[self.rows(part)]

    def transform(self, features: RowMatrix) -> Float[np.ndarray, "M E"]:
        """Map coordinates of rows, float32. A row's place depends on that row alone, not on the others in the batch.

        A training row comes back at its own place. Others are placed by UMAP's optimiser (see `layout.place`).

        Raises ValueError for another number of columns and for NaN or infinite rows (naming them).
        """
        return self._placed(self._projected(features))

    def _projected(self, features: RowMatrix) -> Float[np.ndarray, "M P"]:
        if len(features.shape) != 2 or features.shape[1] != self.components.width:
            raise ValueError(
                f"features has shape {features.shape}, this map was fitted on {self.components.width} columns; "
                "give (M, D) features of the same view"
            )
        return self.components.project(features)

    def _placed(self, scores: Float[np.ndarray, "M P"]) -> Float[np.ndarray, "M E"]:
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
            return self.components.rebuild(mixed(self.scores, indices, weights))
        self.check_own(features)
        return mixed(features, indices, weights)

    @property
    def inverse(self) -> Inverse:
        """The quick inverse that errs least in features by the evidence; "neighbours" without evidence.

        For held-out digits and for a curved surface in 2,000 dimensions that was "neighbours"; what it brings back
        lands, mapped again, at least twice as near as what umap-learn's own inverse brings.
        """
        known = [method for method in QUICK if method in self.evidence]
        return min(known, key=lambda method: self.evidence[method].features, default="neighbours")

    def grow(self, features: RowMatrix, part: str = "added") -> tuple[Reducer, Drift]:
        """The map with new rows at its end, placed by `transform`, and whether they have drifted from those before.

        No row that was on the map moves. Where the test of drift falls below p = 0.01 the log has a warning: places of
        rows unlike any fitted one say little. Raises ValueError as `transform` does, and for a part that is there.
        """
        if part in self.parts:
            raise ValueError(f"part {part!r} is on this map already; give the new rows another name")
        scores = self._projected(features)
        places = self._placed(scores)
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
        others = nearest(scores, self.scores, self.settings.n_neighbors - 1, metric=self.settings.metric)[1]
        sigmas, rhos = layout.widths(np.pad(others, ((0, 0), (1, 0))))  # a row is its own nearest
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
        record = {
            "settings": asdict(self.settings),
            "curve": {"a": self.layout.a, "b": self.layout.b},
            "versions": self.versions,
            "parts": dict(self.parts),
            "columns": {name: list(shape) for name, shape in self.columns.items()},
            "network": self.network,
            "evidence": {method: asdict(found) for method, found in self.evidence.items()},
        }
        arranged = {name: getattr(self.layout, name) for name in ("embedding", "sigmas", "rhos")}
        saving.write(Path(folder), {**self.components.arrays(), **arranged, "scores": self.scores}, record)

    @classmethod
    def load(cls, folder: Path | str) -> Reducer:
        """Read what `save` wrote. Nothing is executed, and neither umap-learn nor the training data is needed.

        A map of other library versions loads, with a warning in the log: rows may then be placed elsewhere within
        UMAP's spread. Raises DamagedFileError for missing or damaged files, ValueError for another format.
        """
        record, arrays = saving.read(Path(folder), {"settings", "curve"})
        return cls(
            settings=Settings(**record["settings"]),
            components=Components.of(arrays),
            scores=arrays["scores"],
            layout=Layout(
                embedding=arrays["embedding"], sigmas=arrays["sigmas"], rhos=arrays["rhos"], **record["curve"]
            ),
            versions=record["versions"],
            parts=record.get("parts", {}),
            columns={name: tuple(shape) for name, shape in record.get("columns", {}).items()},
            network=record.get("network"),
            evidence={method: RoundTrip(**found) for method, found in record.get("evidence", {}).items()},
        )

    def check_own(self, features: RowMatrix) -> None:
        """Raise a ValueError for features of another shape than those that the map was fitted on."""
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
