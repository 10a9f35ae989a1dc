"""Scores as tables: per class, per gap, over k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64, Shaped
from scipy.special import ndtri

from modescope.metrics.breakdown import per_class, per_class_spread
from modescope.metrics.comparison import Comparison
from modescope.metrics.coverage import ModeCoverage
from modescope.metrics.expectations import expected_coverage
from modescope.metrics.fidelity import centroid_ranks, class_agreement, underrepresented
from modescope.metrics.manifolds import Memberships
from modescope.metrics.missing import Gap
from modescope.metrics.probing import ProbeScores

LEVEL = 0.95


def curve_table(compared: Comparison) -> pd.DataFrame:
    """A line per k of the comparison, rising: k, precision, recall, density, coverage, expected_coverage."""
    lines = []
    for k in sorted(compared.members):
        scores = compared.members[k].prdc()
        lines.append(
            {
                "k": k,
                "precision": scores.precision,
                "recall": scores.recall,
                "density": scores.density,
                "coverage": scores.coverage,
                "expected_coverage": expected_coverage(compared.real, compared.fake, k),
            }
        )
    return pd.DataFrame(lines)


def class_table(
    compared: Comparison,
    x: Float[np.ndarray, "N D"],
    y: Float[np.ndarray, "M D"],
    real_labels: Int64[np.ndarray, " N"],
    fake_labels: Int64[np.ndarray, " M"],
    class_names: Sequence[str],
    *,
    k: int,
    found: Sequence[Gap] = (),
    modes: ModeCoverage | None = None,
    judged: ProbeScores | None = None,
) -> pd.DataFrame:
    """One line per class that occurs: scores with intervals, spread and shift, the judge's fidelity (`judged`).

    `mode_coverage` is the share of the class's real samples that `modes` counts as covered; `missing_mass` its part of
    the mass of the gaps `found`, a gap's mass divided as its real samples are. What a class has no samples for is
    missing (nan), not 0.
    """
    table = per_class(compared.members[k], real_labels, fake_labels)
    table = table.merge(class_intervals(compared.members[k], real_labels, fake_labels), on="class_id")
    scores = [
        f"{score}{end}" for score in ("precision", "recall", "density", "coverage") for end in ("", "_low", "_high")
    ]
    table = table[["class_id", "real", "fake", *scores]]
    if modes is not None:
        table["mode_coverage"] = table["class_id"].map(pd.Series(modes.covered).groupby(real_labels).mean())
    missing = pd.Series(0.0, index=table["class_id"])
    for gap in found:
        for label, count in gap.classes.items():
            missing[label] += gap.missing * count / gap.real
    table["missing_mass"] = np.where(table["real"] > 0, missing.to_numpy(), np.nan)
    spread = per_class_spread(x, y, real_labels, fake_labels).drop(columns=["real", "fake"])
    table = table.merge(spread, on="class_id", how="left")
    if judged is not None:
        table["fidelity"] = table["class_id"].map(judged.fidelity_by_class)
        table["fidelity_real"] = table["class_id"].map(judged.accuracy_by_class)
    table.insert(1, "class_name", [class_names[c] for c in table["class_id"]])
    return table


def fidelity_table(
    compared: Comparison,
    x: Float[np.ndarray, "N D"],
    y: Float[np.ndarray, "M D"],
    real_labels: Int64[np.ndarray, " N"],
    fake_labels: Int64[np.ndarray, " M"],
) -> pd.DataFrame:
    """One line per class: do its generated samples land among its real ones? class_id; agreement and real_agreement;
    first and real_first (own centroid nearest); represented (found over expected) with represented_q.

    Only for features of a network that is not told the class: those of one that is know it, whatever the image shows.
    """
    near = class_agreement(compared, real_labels, fake_labels)[["class_id", "agreement", "real_agreement"]]
    first = centroid_ranks(x, y, real_labels, fake_labels)[["class_id", "first", "real_first"]]
    landed = underrepresented(compared, real_labels)[["class_id", "ratio", "q_value"]]
    landed = landed.rename(columns={"ratio": "represented", "q_value": "represented_q"})
    return near.merge(first, on="class_id", how="left").merge(landed, on="class_id", how="left")


def class_intervals(
    members: Memberships, real_labels: Shaped[np.ndarray, " N"], fake_labels: Shaped[np.ndarray, " M"]
) -> pd.DataFrame:
    """95% limits of `per_class`: class_id and <score>_low, <score>_high; missing (nan) below 2 samples.

    Those of `intervals` for the class alone, of all classes in one go; of shares at least as wide as Wilson's (1927):
    a class of ten samples that are all covered is not covered for certain.
    """
    classes, codes = np.unique(np.concatenate([real_labels, fake_labels]), return_inverse=True)
    real, fake = codes[: len(real_labels)], codes[len(real_labels) :]
    n, m = len(real), len(fake)
    none = np.full(m, -1)
    sides = {
        "precision": (members.precise.astype(float), members.only_real_ball, fake, n),
        "recall": (members.recalled.astype(float), members.only_recalling, real, m),
        "density": (members.real_balls / members.k, none, fake, n),
        "coverage": (members.covered.astype(float), members.only_fake_in_reach, real, m),
    }
    table = pd.DataFrame({"class_id": classes})
    for name, (scored, only, of, others) in sides.items():
        low, high = _limits(scored, only, of, others, len(classes), share=name != "density")
        table[f"{name}_low"], table[f"{name}_high"] = low, high
    return table


def _limits(
    scored: Float64[np.ndarray, " R"],
    only: Int64[np.ndarray, " R"],
    codes: Int64[np.ndarray, " R"],
    others: int,
    classes: int,
    *,
    share: bool,
) -> tuple[Float64[np.ndarray, " K"], Float64[np.ndarray, " K"]]:
    """By class; `only` is the one of the `others` that alone scores a sample, -1 where there are several or none."""
    count = np.bincount(codes, minlength=classes)
    enough = count > 1
    size = np.where(enough, count, 2)
    mean = np.bincount(codes, scored, classes) / size
    own = (np.bincount(codes, scored**2, classes) / size - mean**2).clip(min=0) / (size - 1)
    held = only >= 0
    pairs, lost = np.unique(codes[held] * others + only[held], return_counts=True)
    sums, squares = (np.bincount(pairs // others, lost**power, classes) / others for power in (1, 2))
    error = ndtri((1 + LEVEL) / 2) * np.sqrt(own + (others - 1) * (squares - sums**2) / size**2)
    low, high = mean - error, mean + error
    if share:
        narrow = wilson(mean, size)
        low, high = np.minimum(low, narrow[0]), np.minimum(np.maximum(high, narrow[1]), 1)
    return np.where(enough, low.clip(min=0), np.nan), np.where(enough, high, np.nan)


def wilson(
    share: Float64[np.ndarray, " K"], count: Int64[np.ndarray, " K"]
) -> tuple[Float64[np.ndarray, " K"], Float64[np.ndarray, " K"]]:
    """Score interval of a share of `count` samples (Wilson 1927): never of width 0."""
    z = ndtri((1 + LEVEL) / 2)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


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
