"""Have new rows drifted from those that a map was fitted on?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from modescope.layout import nearest
from modescope.seeds import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far `rows` new rows lie from the fitted ones, against how far `held_out` fitted rows lie from the others.

    `distance`, `usual`: medians of the distance to the nearest fitted row, in the space that the map was made of.
    `p`: of the Mann-Whitney test that new rows are no farther; small values speak for drift.
    """

    rows: int
    held_out: int
    distance: float
    usual: float
    p: float


def drift(
    fitted: Float[np.ndarray, "N P"],
    new: Float[np.ndarray, "M P"],
    *,
    metric: str = "euclidean",
    rows: int = 1000,
    seed: int = 0,
) -> Drift:
    """Compare nearest distances of (up to `rows`) new rows with those of as many fitted rows to the others.

    Mann & Whitney 1947, "On a test of whether one of two random variables is stochastically larger than the other",
    one-sided. It sees new rows where none were fitted. It sees neither other proportions of the same kinds of rows, nor
    what lies outside the leading components.
    """
    from scipy.stats import mannwhitneyu  # takes most of a second to import

    if not len(new) or len(fitted) < 2:
        raise ValueError(f"there are {len(new)} new rows and {len(fitted)} fitted ones; drift needs 1 and 2 at least")
    draw = stream(seed, "drift")
    some = np.arange(len(fitted)) if len(fitted) <= rows else np.sort(draw.choice(len(fitted), rows, replace=False))
    tried = new if len(new) <= rows else new[np.sort(draw.choice(len(new), rows, replace=False))]
    # Two nearest: a row's own copy (or a duplicate of it, at the same distance) is the first.
    usual = nearest(fitted[some], fitted, 2, metric=metric)[1][:, 1]
    distances = nearest(tried, fitted, 1, metric=metric)[1][:, 0]
    return Drift(
        rows=len(tried),
        held_out=len(some),
        distance=float(np.median(distances)),
        usual=float(np.median(usual)),
        p=float(mannwhitneyu(distances, usual, alternative="greater", method="asymptotic").pvalue),
    )
