"""Does the inversion error tell what a generator makes from what it cannot make?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from modescope import seeds


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
