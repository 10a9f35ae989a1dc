"""All scores of one generator, each beside its interval and beside what real samples score in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from modescope.metrics.breakdown import half_vs_half, intervals, per_class, per_class_spread
from modescope.metrics.comparison import Comparison
from modescope.metrics.copying import copies
from modescope.metrics.coverage import distribution_shift, mode_coverage
from modescope.metrics.distances import frechet_bias, frechet_distance, kernel_estimate
from modescope.metrics.expectations import expected_coverage
from modescope.metrics.manifolds import prdc
from modescope.metrics.missing import Gap
from modescope.metrics.probing import ProbeScores, fit_probe, probe_scores
from modescope.metrics.slices import sliced_wasserstein


def summarise(
    compared: Comparison,
    found: Sequence[Gap],
    x: Float32[np.ndarray, "N D"],
    y: Float32[np.ndarray, "M D"],
    *,
    k: int,
    seed: int,
) -> dict[str, Any]:
    """Scores of generated `y` against real `x`: numbers and nested dictionaries, ready for JSON.

    `equal_laws`: what each would be were both laws the same (closed forms); `real_half_against_half`: what one half of
    the real samples scores against the other, at half the number.
    """
    members, n, m = compared.members[k], len(x), len(y)
    half = half_vs_half(x, lambda real, fake: prdc(real, fake, k), seed=seed)
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
            "distribution_shift": shift.null,
            "copies": copied.level,
        },
        "real_half_against_half": {"n": n // 2, **asdict(half)},
    }


def judge(
    x: Float32[np.ndarray, "N P"],
    y: Float32[np.ndarray, "M P"],
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


def class_table(
    compared: Comparison,
    x: Float32[np.ndarray, "N D"],
    y: Float32[np.ndarray, "M D"],
    real_labels: Int64[np.ndarray, " N"],
    fake_labels: Int64[np.ndarray, " M"],
    class_names: Sequence[str],
    *,
    k: int,
    judged: ProbeScores | None = None,
) -> pd.DataFrame:
    """One line per class: scores with their numbers, spread and shift, and the judge's fidelity (`judged`)."""
    table = per_class(compared.members[k], real_labels, fake_labels)
    spread = per_class_spread(x, y, real_labels, fake_labels).drop(columns=["real", "fake"])
    table = table.merge(spread, on="class_id", how="left")
    if judged is not None:
        table["fidelity"] = table["class_id"].map(judged.fidelity_by_class)
        table["fidelity_real"] = table["class_id"].map(judged.accuracy_by_class)
    table.insert(1, "class_name", [class_names[c] for c in table["class_id"]])
    return table


def gap_table(found: Sequence[Gap], real_ids: Sequence[str], class_names: Sequence[str]) -> pd.DataFrame:
    """One line per gap, largest missing mass first; `rank` is the number that its samples have in the table of samples."""
    rows = [
        {
            "rank": rank,
            "centre": real_ids[gap.centre],
            "real": gap.real,
            "expected": gap.expected,
            "found": gap.found,
            "missing": gap.missing,
            "q_value": gap.q_value,
            "classes": "; ".join(f"{class_names[int(label)]}: {count}" for label, count in gap.classes.items()),
        }
        for rank, gap in enumerate(found)
    ]
    return pd.DataFrame(rows, columns=["rank", "centre", "real", "expected", "found", "missing", "q_value", "classes"])
