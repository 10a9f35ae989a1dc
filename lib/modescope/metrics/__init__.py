"""How close a generated sample is to the real distribution: fidelity, coverage, distances, and what each is worth."""

from modescope.metrics.breakdown import Interval, half_vs_half, intervals, per_class, per_class_spread
from modescope.metrics.distances import (
    KernelDistance,
    frechet_bias,
    frechet_distance,
    frechet_extrapolated,
    kernel_distance,
    kernel_estimate,
)
from modescope.metrics.manifolds import (
    Clipped,
    Memberships,
    Prdc,
    PrecisionRecall,
    expected_clipped_coverage,
    expected_coverage,
    improved_precision_recall,
    memberships,
    prdc,
    sweep,
)

__all__ = [
    "Clipped",
    "Interval",
    "KernelDistance",
    "Memberships",
    "Prdc",
    "PrecisionRecall",
    "expected_clipped_coverage",
    "expected_coverage",
    "frechet_bias",
    "frechet_distance",
    "frechet_extrapolated",
    "half_vs_half",
    "improved_precision_recall",
    "intervals",
    "kernel_distance",
    "kernel_estimate",
    "memberships",
    "per_class",
    "per_class_spread",
    "prdc",
    "sweep",
]
