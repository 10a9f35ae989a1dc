"""How close a generated sample is to the real distribution: fidelity, coverage, distances, and what each is worth."""

from modescope.metrics.breakdown import Interval, half_vs_half, intervals, per_class, per_class_spread
from modescope.metrics.calibration import Difference, HeldOut, difference, held_out
from modescope.metrics.channels import Bins, ChannelStatistics, channel_shifts, channel_statistics, choose_bins
from modescope.metrics.classwise import ClassScores, class_scores
from modescope.metrics.comparison import Comparison, Neighbours, compare
from modescope.metrics.copying import Copies, copies, copies_against
from modescope.metrics.cost import Estimate, estimate, pairs
from modescope.metrics.coverage import ModeCoverage, Shift, distribution_shift, mode_coverage
from modescope.metrics.distances import (
    KernelDistance,
    frechet_bias,
    frechet_distance,
    frechet_extrapolated,
    kernel_distance,
    kernel_estimate,
)
from modescope.metrics.expectations import expected_clipped_coverage, expected_coverage, gap_scales, too_few_p
from modescope.metrics.fidelity import centroid_ranks, class_agreement, underrepresented
from modescope.metrics.manifolds import (
    Clipped,
    Memberships,
    Prdc,
    PrecisionRecall,
    improved_precision_recall,
    memberships,
    prdc,
    sweep,
)
from modescope.metrics.missing import Gap, LocalTest, gaps, local_test
from modescope.metrics.moments import Gaussian, Moments, frechet_of_gaussians, frechet_to_reference, read_reference
from modescope.metrics.probing import Probe, ProbeScores, fit_probe, inception_score, probe_scores
from modescope.metrics.reference import kept_neighbours, read_neighbours, write_neighbours
from modescope.metrics.samples import fake_columns, real_columns
from modescope.metrics.slices import SlicedWasserstein, sliced_wasserstein
from modescope.metrics.summary import SHOWN, calibration, judge, judgement, summarise
from modescope.metrics.tables import class_intervals, class_table, curve_table, fidelity_table, gap_table

__all__ = [
    "SHOWN",
    "Bins",
    "ChannelStatistics",
    "ClassScores",
    "Clipped",
    "Comparison",
    "Copies",
    "Difference",
    "Estimate",
    "Gap",
    "Gaussian",
    "HeldOut",
    "Interval",
    "KernelDistance",
    "LocalTest",
    "Memberships",
    "ModeCoverage",
    "Moments",
    "Neighbours",
    "Prdc",
    "PrecisionRecall",
    "Probe",
    "ProbeScores",
    "Shift",
    "SlicedWasserstein",
    "calibration",
    "centroid_ranks",
    "channel_shifts",
    "channel_statistics",
    "choose_bins",
    "class_agreement",
    "class_intervals",
    "class_scores",
    "class_table",
    "compare",
    "copies",
    "copies_against",
    "curve_table",
    "difference",
    "distribution_shift",
    "estimate",
    "expected_clipped_coverage",
    "expected_coverage",
    "fake_columns",
    "fidelity_table",
    "fit_probe",
    "frechet_bias",
    "frechet_distance",
    "frechet_extrapolated",
    "frechet_of_gaussians",
    "frechet_to_reference",
    "gap_scales",
    "gap_table",
    "gaps",
    "half_vs_half",
    "held_out",
    "improved_precision_recall",
    "inception_score",
    "intervals",
    "judge",
    "judgement",
    "kept_neighbours",
    "kernel_distance",
    "kernel_estimate",
    "local_test",
    "memberships",
    "mode_coverage",
    "pairs",
    "per_class",
    "per_class_spread",
    "prdc",
    "probe_scores",
    "read_neighbours",
    "read_reference",
    "real_columns",
    "sliced_wasserstein",
    "summarise",
    "sweep",
    "too_few_p",
    "underrepresented",
    "write_neighbours",
]
