"""Which samples get their image drawn on the map."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

FACTOR = 64  # candidates looked at for each image wanted


def thumbnails(
    points: Float[np.ndarray, "N 2"], rows: Integer[np.ndarray, " n"], size: tuple[float, float], most: int = 200
) -> Integer[np.ndarray, " m"]:
    """The first of `rows`, then each next one whose image, `size` map units about its place, covers none before.

    Rows come in the order of preference, as `Cloud.markers` gives them; of very many the first are looked at.
    """
    if min(size) <= 0:
        raise ValueError(f"images of {size} map units have no size; give width and height above 0")
    rows = rows[: FACTOR * most]
    x, y = points[rows, 0].astype(np.float64), points[rows, 1].astype(np.float64)
    left = np.arange(len(rows))
    chosen: list[int] = []
    while len(left) and len(chosen) < most:
        first = int(left[0])
        chosen.append(first)
        left = left[(np.abs(x[left] - x[first]) >= size[0]) | (np.abs(y[left] - y[first]) >= size[1])]
    return rows[np.array(chosen, np.intp)]
