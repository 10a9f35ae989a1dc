"""All scores of one generator, each beside its interval and beside what real samples score in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from modescope.metrics.breakdown import intervals
from modescope.metrics.calibration import HeldOut
from modescope.metrics.comparison import Comparison
from modescope.metrics.copying import copies
from modescope.metrics.coverage import ModeCoverage, distribution_shift, mode_coverage
from modescope.metrics.distances import frechet_bias, frechet_distance, kernel_estimate
from modescope.metrics.expectations import expected_coverage
from modescope.metrics.missing import Gap
from modescope.metrics.probing import ProbeScores, fit_probe, probe_scores
from modescope.metrics.slices import sliced_wasserstein

SHOWN = (
    "precision",
    "recall",
    "density",
    "coverage",
    "clipped_density",
    "clipped_coverage",
    "mode_coverage",
    "frechet",
    "kernel",
    "sliced_wasserstein",
    "distribution_shift",
    "copies",
    "gaps",
    "missing_mass",
    "class_fidelity",
)
"""The scores that a person is shown, in this order; the last one where a judge was asked (`judgement`)."""


def summarise(
    compared: Comparison,
    found: Sequence[Gap],
    x: Float[np.ndarray, "N D"],
    y: Float[np.ndarray, "M D"],
    *,
    k: int,
    seed: int,
    on_map: ModeCoverage | None = None,
) -> dict[str, Any]:
    """Scores of generated `y` against real `x`: numbers and nested dictionaries, ready for JSON.

    `equal_laws`: what each would be were both laws the same (closed forms). `on_map`: mode coverage of the same samples
    by their coordinates.
    """
    members, n, m = compared.members[k], len(x), len(y)
    kernel, sliced = kernel_estimate(x, y), sliced_wasserstein(x, y, seed=seed)
    modes, shift, copied = mode_coverage(compared), distribution_shift(x, y), copies(compared, k=k)
    return {
        **asdict(members.prdc()),
        "clipped_density": members.clipped().density,
        "clipped_coverage": members.clipped().coverage,
        "frechet": frechet_distance(x, y),
        "kernel": kernel.value,
        "kernel_standard_error": kernel.standard_error,
        "sliced_wasserstein": sliced.value,
        "sliced_wasserstein_standard_error": sliced.standard_error,
        "mode_coverage": modes.value,
        **({} if on_map is None else {"mode_coverage_map": on_map.value}),
        "distribution_shift": shift.value,
        "copies": copied.share,
        "gaps": len(found),
        "missing_mass": sum(gap.missing for gap in found),
        "interval95": {name: [i.low, i.high] for name, i in intervals(members).items()},
        "equal_laws": {
            "coverage": expected_coverage(n, m, k),
            "clipped_density": 1.0,
            "clipped_coverage": 1.0,
            "density": 1.0,
            "frechet": frechet_bias(x, n, m),
            "mode_coverage": modes.expected,
            **({} if on_map is None else {"mode_coverage_map": on_map.expected}),
            "distribution_shift": shift.null,
            "copies": copied.level,
        },
    }


def judge(
    x: Float[np.ndarray, "N P"],
    y: Float[np.ndarray, "M P"],
    real_labels: Int64[np.ndarray, " N"],
    fake_labels: Int64[np.ndarray, " M"],
    *,
    seed: int,
) -> ProbeScores | None:
    """What a classifier of the real samples says of the generated ones; None for one class, or a class too small.

    Give features that do not know the class. Those of a network that is told the class do, whatever the image shows.
    """
    _, counts = np.unique(real_labels, return_counts=True)
    if len(counts) < 2 or counts.min() < 4:
        return None
    return probe_scores(fit_probe(x, real_labels, seed=seed), x, y, real_labels, fake_labels)


def judgement(scores: ProbeScores | None) -> dict[str, float]:
    """A judge's scores for JSON, each beside what held-out real samples score."""
    if scores is None:
        return {}
    return {
        "class_fidelity": scores.fidelity,
        "class_fidelity_real": scores.accuracy,
        "inception_score": scores.inception_score,
        "inception_score_real": scores.real_inception_score,
    }


def calibration(held: HeldOut) -> dict[str, Any]:
    """What held-out real samples score beside as many generated ones, for JSON; errors are of the difference of both."""
    table = held.table().set_index("score")
    columns = {"generated": "value_at_equal_numbers", "real": "held_out", "difference_se": "difference_se"}
    scores = {name: table[column].to_dict() for name, column in columns.items()}
    return {"held_out": {"n": held.count, "reference": held.reference, **scores}}
