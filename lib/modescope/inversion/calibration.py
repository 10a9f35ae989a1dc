"""What inversion errors say: what a generator makes, and whether they tell it from what the generator cannot make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from modescope import seeds

KINDS = ("own", "shuffled", "negative", "noise")
"""Images inverted beside the real ones: new samples of the generator, whose error is what the search misses, and
`other_images`."""


def other_images(pixels: UInt8[np.ndarray, "N C H W"], root: int) -> dict[str, UInt8[np.ndarray, "N C H W"]]:
    """Images that a generator of `pixels` should not be able to make: for the calibration of inversion errors.

    `shuffled`: the places of the pixels exchanged, the same way in every image; `negative`; `noise`: uniform.
    """
    rng = seeds.stream(root, "other-images")
    n, c, h, w = pixels.shape
    places = rng.permutation(h * w)
    return {
        "shuffled": pixels.reshape(n, c, h * w)[..., places].reshape(pixels.shape),
        "negative": 255 - pixels,
        "noise": rng.integers(0, 256, pixels.shape, dtype=np.uint8),
    }


def separation(own: Float[np.ndarray, " N"], other: Float[np.ndarray, " M"]) -> float:
    """Probability that an own image has the smaller error than another's: 1 where errors tell them apart, 0.5 by chance."""
    order = np.sort(other)
    below, above = np.searchsorted(order, own, side="left"), np.searchsorted(order, own, side="right")
    return float(1 - (below + above).mean() / (2 * len(order)))


def summary(errors: Mapping[str, Float[np.ndarray, " N"]], enough: float) -> dict[str, dict[str, Any]]:
    """Of each kind of images, `real` among them: how many, the share `made` (error at most `enough`), quantiles of the error.

    `separation`: of every other kind, from the real ones.
    """
    told = {}
    for kind, error in errors.items():
        median, high, highest = np.quantile(error, [0.5, 0.9, 0.99]).tolist()
        told[kind] = {
            "images": len(error),
            "made": float((error <= enough).mean()),
            "median": median,
            "quantile90": high,
            "quantile99": highest,
        }
        if kind != "real":
            told[kind]["separation"] = separation(errors["real"], error)
    return told


def told_lines(told: Mapping[str, Mapping[str, Any]], enough: float) -> list[str]:
    """A `summary` in words, a line per kind."""
    lines = []
    for kind, of in told.items():
        apart = f"; told from real ones in {of['separation']:.1%} of pairs" if "separation" in of else ""
        lines.append(
            f"{kind}: error <= {enough:g} for {of['made']:.1%} of {of['images']:,} images, median {of['median']:.4f}, 90% "
            f"{of['quantile90']:.4f}, 99% {of['quantile99']:.4f}{apart}"
        )
    return lines


def hardest(table: pd.DataFrame, enough: float, most: int = 200) -> pd.DataFrame:
    """Of a table with `sample_id, class_id, class_name, error`: the images that cannot be made, worst first, with their rank.

    Images with an error of at most `enough` are left out: their search ended there, so they have no order.
    """
    hard = table[table["error"] > enough].sort_values("error", ascending=False, kind="stable").head(most)
    return hard.assign(rank=np.arange(1, len(hard) + 1))[["rank", "sample_id", "class_id", "class_name", "error"]]


def by_class(table: pd.DataFrame, enough: float, class_names: Sequence[str]) -> pd.DataFrame:
    """Per class that has images, the hardest first: images, the share `made`, the median and the largest error."""
    groups = table.assign(made=table["error"] <= enough).groupby("class_id", as_index=False)
    found = groups.agg(
        images=("error", "size"), made=("made", "mean"), median=("error", "median"), largest=("error", "max")
    )
    found.insert(1, "class_name", [class_names[c] for c in found["class_id"]])
    return found.sort_values(["made", "largest"], ascending=[True, False], kind="stable").reset_index(drop=True)
