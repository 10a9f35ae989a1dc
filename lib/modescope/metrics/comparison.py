"""Everything that is asked of the distances between two sets, from one pass over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from modescope.metrics.expectations import gap_scales
from modescope.metrics.manifolds import Manifolds, Memberships, paired, wider
from modescope.neighbours import Features, Journal, Nearest, visit_both


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The K nearest samples of each of R, nearest first: distances, and rows of the set they are from."""

    distances: Float64[np.ndarray, "R K"]
    rows: Int64[np.ndarray, "R K"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What N real and M fake samples are to each other; rows are in the order of the input.

    `found[s, i]` is the number of fake samples no farther from real sample i than its `scales[s]`-th nearest other real
    one. `realism` is the largest ratio of a real radius to the distance from that real sample, over the real half with
    the smaller radii (Kynkaanniemi et al. 2019, equation 3; k is the first of `members`): above 1 inside the manifold.
    """

    members: Mapping[int, Memberships]
    among_real: Neighbours  # of each real sample, other real ones
    real_to_fake: Neighbours  # of each real sample, fake ones
    fake_to_real: Neighbours  # of each fake sample, real ones
    realism: Float64[np.ndarray, " M"]
    scales: tuple[int, ...]
    found: Int64[np.ndarray, "S N"]

    @property
    def real(self) -> int:
        return len(self.real_to_fake.rows)

    @property
    def fake(self) -> int:
        return len(self.fake_to_real.rows)


def compare(
    real: Features,
    fake: Features,
    ks: Sequence[int] = (5,),
    *,
    scales: Sequence[int] | None = None,
    real_nearest: Nearest | None = None,
    chunk: int | None = None,
    journal: Journal | None = None,
) -> Comparison:
    """Memberships at several k, the nearest samples across the sets, and the counts that `gaps` tests, in one pass.

    `scales` are the numbers of real neighbours that set the balls for `gaps`; without them `gap_scales` chooses.
    `real_nearest` is as in `sweep`, of at least max(*ks, *scales) neighbours. `chunk` bounds the memory (see
    `neighbours.nearest`), `journal` reports progress and keeps finished passes (see `neighbours.Journal`); neither changes
    a result. Errors as `sweep`, and for a scale without its neighbours.
    """
    x, y = paired(real, fake)
    n, m = len(x), len(y)
    chosen = tuple(gap_scales(n, m) if scales is None else scales)
    if not chosen or not 1 <= min(chosen) <= max(chosen) < n:
        raise ValueError(f"scales = {list(chosen)} with {n} real samples: give at least one, each from 1 to {n - 1}")
    both = Manifolds.of(x, y, ks, depth=max(chosen), real_nearest=real_nearest, chunk=chunk, journal=journal)
    around_real, around_fake = both.reach()
    local = wider(both.near_x.squared[:, torch.tensor(chosen) - 1].T)
    radii = both.radii_x[0]
    seen = visit_both(
        x,
        y,
        torch.cat([around_real, local]),
        around_fake,
        k=min(ks[0], n, m),
        weights=torch.where(radii <= radii.median(), radii, 0.0),
        chunk=chunk,
        ready=both.ready,
        journal=journal,
    )
    return Comparison(
        members=both.memberships(seen.around_a, seen.around_b),
        among_real=_neighbours(both.near_x),
        real_to_fake=_neighbours(seen.of_a),
        fake_to_real=_neighbours(seen.of_b),
        realism=_numpy(seen.depths.sqrt()),
        scales=chosen,
        found=_numpy(seen.around_a.inside[-len(chosen) :]),
    )


def _neighbours(near: Nearest) -> Neighbours:
    return Neighbours(distances=_numpy(near.squared.sqrt()), rows=_numpy(near.indices))


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
