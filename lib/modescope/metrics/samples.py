"""Scores of every single sample, as columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modescope.metrics.comparison import Comparison
from modescope.metrics.manifolds import Memberships
from modescope.metrics.missing import Gap


def real_columns(comparison: Comparison, gaps: Sequence[Gap] = (), *, k: int | None = None) -> dict[str, np.ndarray]:
    """A value for every real sample, in the order of the input.

    covered, recalled (bool); radius (to the k-th nearest other real one); nearest_fake (distance) and nearest_fake_row;
    density_ratio (generated samples in the smallest ball that `gaps` tests, over those expected under equal laws: 1 on
    average); gap (number in `gaps`, -1 outside). k is the first of the comparison unless given.
    """
    members = _members(comparison, k)
    gap = np.full(comparison.real, -1, np.int64)
    for number, found in enumerate(gaps):
        gap[found.rows] = number
    expected = comparison.fake * comparison.scales[0] / comparison.real
    return {
        "covered": members.covered,
        "recalled": members.recalled,
        "radius": members.real_radii,
        "nearest_fake": comparison.real_to_fake.distances[:, 0],
        "nearest_fake_row": comparison.real_to_fake.rows[:, 0],
        "density_ratio": comparison.found[0] / expected,
        "gap": gap,
    }


def fake_columns(comparison: Comparison, *, k: int | None = None) -> dict[str, np.ndarray]:
    """A value for every generated sample, in the order of the input.

    precise (bool: in the real manifold); real_balls (balls of real samples around it); nearest_real (distance) and
    nearest_real_row; radius (to the k-th nearest other generated one); realism (see `Comparison`).
    """
    members = _members(comparison, k)
    return {
        "precise": members.precise,
        "real_balls": members.real_balls,
        "nearest_real": comparison.fake_to_real.distances[:, 0],
        "nearest_real_row": comparison.fake_to_real.rows[:, 0],
        "radius": members.fake_radii,
        "realism": comparison.realism,
    }


def _members(comparison: Comparison, k: int | None) -> Memberships:
    first = next(iter(comparison.members)) if k is None else k
    if first not in comparison.members:
        raise ValueError(f"k = {k} was not compared; take one of {sorted(comparison.members)} or compare again with it")
    return comparison.members[first]
