"""What a lasso or box holds: reports of the page, the samples inside, and how a catch goes with the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from modescope.atlas import Cloud

from ... import atlases
from ...resources import Project, Side
from .turning import turned

MOST = 20_000
"""Samples of a group that are kept by name; of more, so many evenly among them."""
CORNERS = 4000
MODES = ("replace", "append", "intersect", "subtract")
Members = Mapping[str, Bool[np.ndarray, " N"]]
"""Name of a side => its samples that are in a group."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """A polygon on a map, which is turned by `turn` (yaw, pitch) where it has three dimensions."""

    polygon: Float64[np.ndarray, "V 2"]
    turn: tuple[float, float] = (0.0, 0.0)


def parsed(text: str) -> tuple[str, Region]:
    """`<mode> {"box": [left, bottom, right, top] | "polygon": [[x, y], ...], "turn": [0, 0]}`."""
    mode, _, rest = text.partition(" ")
    try:
        told = json.loads(rest)
        corners = told["polygon"] if "box" not in told else _corners(*told["box"])
        polygon = np.array(corners, np.float64).reshape(-1, 2)
        yaw, pitch = (float(angle) for angle in told.get("turn", (0, 0)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the page reported a region that nobody can draw ({error}); load the page again") from error
    if mode not in MODES or not np.isfinite([*polygon.ravel(), yaw, pitch]).all() or len(polygon) > CORNERS:
        raise ValueError(
            f"the page reported a region of {len(polygon)} corners and mode {mode[:20]!r}; it has at most {CORNERS} finite "
            f"corners and one mode of {', '.join(MODES)}"
        )
    return mode, Region(polygon=polygon, turn=(yaw, pitch))


def _corners(left: float, bottom: float, right: float, top: float) -> list[tuple[float, float]]:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def caught(project: Project, view: str, side: Side, region: Region, keep: np.ndarray | None) -> Bool[np.ndarray, " N"]:
    """Which samples of a side lie in a region, of those shown."""
    inside = np.zeros(len(side), bool)
    if any(region.turn):
        middle = atlases.centre(project, view)
        seen = Cloud.of(turned(side.points[view], side.depths[view], middle, *region.turn))
    else:
        seen = atlases.cloud(project, view, side.name)
    inside[seen.inside(region.polygon, keep)] = True
    return inside


def combined(before: Members, now: Members, mode: str) -> dict[str, np.ndarray]:
    """Members after a catch, as `states.picks.combine` has it for ids."""
    if mode == "replace":
        return dict(now)
    none = {name: np.zeros(len(each), bool) for name, each in (*before.items(), *now.items())}
    pairs = {name: (before.get(name, empty), now.get(name, empty)) for name, empty in none.items()}
    if mode == "append":
        return {name: old | new for name, (old, new) in pairs.items()}
    return {name: old & (new if mode == "intersect" else ~new) for name, (old, new) in pairs.items()}


def named(sides: Mapping[str, Side], members: Members) -> tuple[str, ...]:
    """Ids of the members; of more than `MOST`, evenly chosen ones of each side."""
    total = sum(int(inside.sum()) for inside in members.values())
    ids: list[str] = []
    for name, inside in members.items():
        rows = np.flatnonzero(inside)
        if total > MOST:
            rows = rows[np.linspace(0, len(rows) - 1, len(rows) * MOST // total).astype(np.int64)]
        ids += sides[name].ids_of(rows)
    return tuple(ids)


def members_of(sides: Mapping[str, Side], ids: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Which samples of each side have one of these ids."""
    found = {}
    for name, side in sides.items():
        rows = side.rows_of(ids)
        found[name] = np.zeros(len(side), bool)
        found[name][rows[rows >= 0]] = True
    return found
