"""Mask values from picked samples, generation under a mask, and what a mask controls.

`values` obtains them, `combining` makes one mask of several, `holding` generates under it, `control` measures.
"""

from modescope.masking.combining import difference, interpolated, mean_mask, region, shares, step_masks
from modescope.masking.control import Control, Results, joined, measure_control, results_of, variance_shares
from modescope.masking.holding import Hold, Made, fresh_noise, generate, generate_steps, masked, variations
from modescope.masking.values import (
    SOURCES,
    Recorded,
    nearest_rows,
    nearest_values,
    recomputed,
    record,
    record_steps,
    scaled_values,
)
from modescope.records import Mask

__all__ = [
    "SOURCES",
    "Control",
    "Hold",
    "Made",
    "Mask",
    "Recorded",
    "Results",
    "difference",
    "fresh_noise",
    "generate",
    "generate_steps",
    "interpolated",
    "joined",
    "masked",
    "mean_mask",
    "measure_control",
    "nearest_rows",
    "nearest_values",
    "recomputed",
    "record",
    "record_steps",
    "region",
    "results_of",
    "scaled_values",
    "shares",
    "step_masks",
    "variance_shares",
    "variations",
]
