"""Colours as numbers: palettes as uint8 (P, 3), pixels as Bokeh's `image_rgba` takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped, UInt8, UInt32

DIFFERENCE = {False: ("#b35806", "#542788"), True: ("#fdb863", "#b2abd2")}
"""Too few generated and too many, on a light (False) and a dark page: ends of ColorBrewer's PuOr, colour-blind-safe."""


def rgb(colours: Sequence[str]) -> UInt8[np.ndarray, "P 3"]:
    """Palette of hex strings "#rrggbb", such as Bokeh's palettes."""
    rows = []
    for colour in colours:
        try:
            rows.append(list(bytes.fromhex(colour.removeprefix("#")[:6])))
        except ValueError:
            rows.append([])
        if len(rows[-1]) != 3 or not colour.startswith("#"):
            raise ValueError(f"colour {colour!r} is no hex colour; write it as '#rrggbb'")
    return np.array(rows, np.uint8).reshape(-1, 3)


def rgba(colours: Shaped[np.ndarray, "n 3"], alpha: Float[np.ndarray, " n"]) -> UInt32[np.ndarray, " n"]:
    """Pixels 0xAABBGGRR (bytes R, G, B, A in memory), not premultiplied; colours in 0..255, alpha in [0, 1]."""
    packed = (alpha * np.float32(255) + np.float32(0.5)).astype(np.uint32)
    for channel in (2, 1, 0):
        packed = (packed << 8) | colours[:, channel].astype(np.uint32)
    return packed
