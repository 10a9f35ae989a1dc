"""What `evaluate` finds before it scores: both sides under one view, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modescope.metrics import Comparison, Gap, ProbeScores
from modescope.neighbours import Journal
from modescope.store import Activations

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The real and a generator's samples under one view: features in real standard deviations, points on the map, and what
    the comparison of both found. `journal` keeps what the search has found.
    """

    real: Activations
    fake: Activations
    features: Points
    points: Points
    classes: list[str]
    comparison: Comparison
    gaps: Sequence[Gap]
    judged: ProbeScores | None
    chunk: int
    journal: Journal
