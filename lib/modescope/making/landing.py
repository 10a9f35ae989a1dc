"""Where new images stand on the map of a view, and how far from their aim: captured and transformed like any other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from modescope.making.made import id_of
from modescope.making.opened import Opened
from modescope.making.recipes import Aim, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """Standardised features, places on the map and distances to the aim in features, an image a row.

    All None for a view of sampling passes, which an image alone does not have; distances also without an aim.
    """

    features: Float[np.ndarray, "N D"] | None = None
    places: Float[np.ndarray, "N E"] | None = None
    distances: Float[np.ndarray, " N"] | None = None


def landing(opened: Opened, recipe: Recipe, pixels: UInt8[np.ndarray, "N C H W"]) -> Landing:
    """Images of one recipe, all seen under the same noise and class."""
    if opened.params.view(recipe.aim.view).protocol == "sampling":
        return Landing()
    return seen(opened, recipe.aim, pixels, id_of(recipe), seen_as(opened, recipe))


def seen(opened: Opened, aim: Aim, pixels: UInt8[np.ndarray, "N C H W"], name: str, label: int) -> Landing:
    """Images under the capture noise of one id and one class; each by itself, so that no place depends on the others."""
    alone = [opened.captured(aim.view, [name], image[None], np.array([label])) for image in pixels]
    features, places = (np.concatenate(column) for column in zip(*alone, strict=True))
    if not aim.ids:
        return Landing(features=features, places=places)
    target = np.average(opened.features(aim.view, aim.ids), axis=0, weights=aim.weights)
    return Landing(features=features, places=places, distances=np.linalg.norm(features - target, axis=1))


def seen_as(opened: Opened, recipe: Recipe) -> int:
    """The class under which a view looks at an image: the one asked for; where none is asked for above the others, that of
    most of the aim's samples, by weight.
    """
    if not opened.network(recipe.aim.view).num_classes:
        return 0
    shares = sorted((share for _, share in recipe.condition), reverse=True)
    if recipe.label is not None and (len(shares) == 1 or shares[0] > shares[1]):
        return recipe.label
    if not recipe.aim.ids:
        raise ValueError(
            f"view {recipe.aim.view!r} looks at an image under its class, and this one has neither a class nor samples that "
            "it is aimed at; ask for a class, or pick neighbours"
        )
    weights = np.bincount(opened.labels(recipe.aim.ids), weights=recipe.aim.weights)
    return int(weights.round(9).argmax())


def extrapolated(opened: Opened, aim: Aim) -> bool | None:
    """Whether the point that an aim was found at lies off the data; None for an aim at samples."""
    return None if aim.inverse is None else extrapolates(opened, aim.view, aim.place)


def extrapolates(opened: Opened, view: str, point: tuple[float, ...]) -> bool:
    """Whether a point of the map lies outside of its hull, or farther from every real sample than they from each other."""
    return bool(opened.reducer(view).extrapolates(np.array([point], np.float64))[0])
