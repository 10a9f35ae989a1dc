"""Maps of three dimensions, seen from the front after a turn. The page's JavaScript (map.js) turns in the same way."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32


def turned(
    points: Float32[np.ndarray, "N 2"],
    depths: Float32[np.ndarray, " N"],
    centre: tuple[float, float, float],
    yaw: float,
    pitch: float,
) -> Float32[np.ndarray, "N 2"]:
    """x and y after turning by `yaw` about the vertical and `pitch` about the horizontal axis through a centre (radians)."""
    x, y, z = points[:, 0] - centre[0], points[:, 1] - centre[1], depths - centre[2]
    across, away = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    up = y * np.cos(pitch) - away * np.sin(pitch)
    return np.stack([across + centre[0], up + centre[1]], 1).astype(np.float32)
