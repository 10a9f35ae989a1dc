"""From targets to aims: which samples, with which weights, and where their centre is on the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from modescope import conditioning, masking
from modescope.making.opened import Opened
from modescope.making.recipes import Aim
from modescope.making.wishes import Picked, Point, Row, Target, between


def aims_of(opened: Opened, view: str, target: Target | None) -> tuple[Aim, ...]:
    """One aim, of a `Row` one for every share. Without a target: an aim at no sample."""
    if isinstance(target, Row):
        (first,), (last,) = (aims_of(opened, view, end) for end in (target.first, target.last))
        return tuple(between(first, last, share) for share in target.shares)
    if isinstance(target, Point):
        return (aim_of_point(opened, view, target),)
    if target is None:
        network = opened.network(view).checkpoint_hash
        return (Aim(view=view, network=network, map=opened.map_hash(view), ids=(), weights=(), place=()),)
    return (aim_at(opened, view, target),)


def aim_at(opened: Opened, view: str, target: Picked) -> Aim:
    """The weighted mean of samples."""
    if target.weights is None:
        ids, weights = masking.shares(target.ids)
    else:
        ids, weights = target.ids, normalised(target.weights)
    return _aim(opened, view, ids, weights)


def aim_of_point(opened: Opened, view: str, target: Point) -> Aim:
    """The samples, of those that the map was fitted on, that an inverse finds at a point (`neighbours`: the k nearest;
    `barycentric`: the corners of the triangle around it) and their weights.
    """
    reducer, where = opened.reducer(view), np.array([target.at], np.float64)
    if target.inverse == "barycentric":
        rows, weights = reducer.corners(where)
    else:
        rows, weights = reducer.neighbours(where, target.k)
    shares: dict[str, float] = {}
    for row, weight in zip(rows[0].tolist(), weights[0].tolist(), strict=True):
        name = opened.on_map(view, row)
        shares[name] = shares.get(name, 0.0) + weight
    shares = {name: weight for name, weight in shares.items() if weight > 0}
    aim = _aim(opened, view, tuple(shares), normalised(tuple(shares.values())))
    return replace(aim, place=tuple(float(x) for x in target.at), inverse=target.inverse)


def weighted(opened: Opened, view: str, ids: Sequence[str], at: Sequence[float]) -> Picked:
    """Samples weighted by their nearness on the map to a point among them (inverse squares of the distances)."""
    distances = np.linalg.norm(opened.places(view, ids) - np.asarray(at, float), axis=1)[None]
    shares = conditioning.inverse_square(distances.shape, distances)[0]
    return Picked(ids=tuple(ids), weights=tuple(shares.tolist()))


def _aim(opened: Opened, view: str, ids: tuple[str, ...], weights: tuple[float, ...]) -> Aim:
    place = np.average(opened.places(view, ids), axis=0, weights=weights)
    return Aim(
        view=view,
        network=opened.network(view).checkpoint_hash,
        map=opened.map_hash(view),
        ids=ids,
        weights=weights,
        place=tuple(place.tolist()),
    )


def normalised(weights: Sequence[float]) -> tuple[float, ...]:
    w = np.asarray(weights, float)
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError(f"weights are {w.tolist()}; give each sample 0 or more, one of them above 0")
    return tuple((w / w.sum()).tolist())
