"""A made image as a value, what is kept of it, and how many of several count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from modescope import store
from modescope.making.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An image, the one of the same seed with nothing held (`free`), and the mean of the images aimed at (None: no aim).

    held, computed: {layer: (C, H, W)}, what went on from the held layers and what they computed themselves (in the last
    step that they were held in). features, place: standardised, of the view, and on its map; `free_` those of `free`.
    distance: from the aim, in features; relative: the same over that of `free` (below 1: the hold steers towards the aim).
    All of these are None for a view of sampling passes, where only what was sampled freely has a place, the last two also
    without an aim. extrapolated: whether the point of the map that was aimed at lies off the data; None where samples were
    picked. found: noise that was searched for, {"<number of the hold>/noise": (N, C, H, W), "start": (1, C, H, W)}.
    """

    recipe: Recipe
    image: UInt8[np.ndarray, "C H W"]
    free: UInt8[np.ndarray, "C H W"]
    mean: UInt8[np.ndarray, "C H W"] | None
    held: Mapping[str, np.ndarray]
    computed: Mapping[str, np.ndarray]
    features: Float[np.ndarray, " D"] | None
    place: tuple[float, ...] | None
    distance: float | None
    relative: float | None
    free_features: Float[np.ndarray, " D"] | None = None
    free_place: tuple[float, ...] | None = None
    extrapolated: bool | None = None
    found: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return id_of(self.recipe)

    def record(self) -> dict[str, Any]:
        """What is kept beside the arrays."""
        return {
            "recipe": self.recipe.record(),
            "landed": self.place,
            "free_landed": self.free_place,
            "distance": self.distance,
            "relative": self.relative,
            "extrapolated": self.extrapolated,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        known = {"image": self.image, "free": self.free, "mean": self.mean, "features": self.features}
        return {
            **{name: value for name, value in known.items() if value is not None},
            **{f"held/{name}": value for name, value in self.held.items()},
            **{f"computed/{name}": value for name, value in self.computed.items()},
            **{f"found/{name}": value for name, value in self.found.items()},
        }


def id_of(recipe: Recipe) -> str:
    """The id of the image that a recipe makes."""
    return f"made/{store.config_hash(recipe.record())}"


def mean_image(images: Sequence[UInt8[np.ndarray, "C H W"]], weights: Sequence[float]) -> UInt8[np.ndarray, "C H W"]:
    """The weighted pixel mean, rounded: what a blend in image space would give, beside what the network makes."""
    return np.rint(np.average(np.stack(images), axis=0, weights=weights)).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Of so many images, how many count as inside of a region, and how many of those with nothing held (`free`) do."""

    images: int
    inside: int
    free: int


def tally(made: Sequence[Made], counts: Callable[[np.ndarray], np.ndarray]) -> Tally:
    """`counts`: features (N, D), standardised, of the view => which of them count (N,), by whatever rule."""
    both = [(one.features, one.free_features) for one in made]
    seen = [(mine, free) for mine, free in both if mine is not None and free is not None]
    if not seen or len(seen) < len(both):
        raise ValueError(
            f"of {len(both)} images {len(seen)} have features of their view; give at least one, and none of a view of "
            "sampling passes"
        )
    inside, free = (int(np.sum(counts(np.stack(side)))) for side in zip(*seen, strict=True))
    return Tally(images=len(seen), inside=inside, free=free)
