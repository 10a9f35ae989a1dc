"""Do generated samples land among real ones of their class, and which classes get fewer than their share?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from modescope.metrics.comparison import Comparison
from modescope.metrics.discovery import benjamini_yekutieli
from modescope.metrics.manifolds import check_labels, paired
from modescope.neighbours import Features

_ROWS = 4096


def class_agreement(
    comparison: Comparison,
    real_labels: Shaped[np.ndarray, " N"],
    fake_labels: Shaped[np.ndarray, " M"],
    *,
    k: int | None = None,
) -> pd.DataFrame:
    """A row per class: class_id, real, fake, agreement, real_agreement.

    Agreement is the share of the k nearest real samples that carry the label a sample was generated for, on average
    over the class; `real_agreement` is the same for its real samples among the others: what a perfect generator scores.
    k is the number of neighbours at hand unless given. Missing (nan) without samples.
    """
    check_labels(real_labels, comparison.real, "real_labels")
    check_labels(fake_labels, comparison.fake, "fake_labels")
    most = comparison.fake_to_real.rows.shape[1]
    k = most if k is None else k
    if not 1 <= k <= most:
        raise ValueError(f"k = {k}: the comparison holds {most} real neighbours of a fake sample; take 1 to {most}")
    sides = (real_labels, comparison.among_real.rows), (fake_labels, comparison.fake_to_real.rows)
    own, across = ((real_labels[rows[:, :k]] == labels[:, None]).mean(axis=1) for labels, rows in sides)
    return _by_class(real_labels, fake_labels, real_agreement=own, agreement=across)


def centroid_ranks(
    real: Features, fake: Features, real_labels: Shaped[np.ndarray, " N"], fake_labels: Shaped[np.ndarray, " M"]
) -> pd.DataFrame:
    """A row per class: class_id, real, fake, first, real_first, rank, real_rank.

    The rank of a sample's own class among the distances to all real class centroids: 1 when its own is the nearest.
    `first` is the share of samples of rank 1, `rank` the mean. A real sample is left out of its own class's centroid.
    Missing (nan) without samples, or where the class has no real sample to make a centroid.
    """
    x, y = paired(real, fake)
    check_labels(real_labels, len(x), "real_labels")
    check_labels(fake_labels, len(y), "fake_labels")
    classes, codes = np.unique(real_labels, return_inverse=True)
    counts = np.bincount(codes)
    sums = torch.zeros((len(classes), x.shape[1]), dtype=torch.float64, device=x.device)
    for a in range(0, len(x), _ROWS):
        sums.index_add_(0, torch.from_numpy(codes[a : a + _ROWS]).to(x.device), x[a : a + _ROWS].double())
    centroids = sums / torch.from_numpy(counts).to(x.device)[:, None]
    own = _ranks(x, centroids, codes, np.where(counts > 1, counts / np.maximum(counts - 1, 1), np.nan)[codes])
    place = np.minimum(np.searchsorted(classes, fake_labels), len(classes) - 1)
    across = _ranks(y, centroids, place, np.where(classes[place] == fake_labels, 1.0, np.nan))
    firsts = {"real_first": _first(own), "first": _first(across)}
    return _by_class(real_labels, fake_labels, **firsts, real_rank=own, rank=across)


def _first(ranks: Float64[np.ndarray, " R"]) -> Float64[np.ndarray, " R"]:
    return np.where(np.isnan(ranks), np.nan, ranks == 1)


def _ranks(
    points: Tensor,
    centroids: Float64[Tensor, "C D"],
    own: Int64[np.ndarray, " R"],
    stretch: Float64[np.ndarray, " R"],
) -> Float64[np.ndarray, " R"]:
    """Rank of the own centroid, its distance stretched by n / (n - 1): that leaves a sample out of its own mean."""
    ranks = np.full(len(points), np.nan)
    for a in range(0, len(points), _ROWS):
        apart = torch.cdist(points[a : a + _ROWS].double(), centroids, compute_mode="donot_use_mm_for_euclid_dist")
        mine = apart.gather(1, torch.from_numpy(own[a : a + _ROWS, None]).to(points.device)).squeeze(1).cpu().numpy()
        nearer = (apart.cpu().numpy() < (mine * stretch[a : a + _ROWS])[:, None]).sum(axis=1)
        # An own centroid that was stretched past its unstretched place has counted itself.
        nearer -= mine < mine * stretch[a : a + _ROWS]
        ranks[a : a + _ROWS] = np.where(np.isnan(stretch[a : a + _ROWS]), np.nan, nearer + 1)
    return ranks


def underrepresented(comparison: Comparison, real_labels: Shaped[np.ndarray, " N"]) -> pd.DataFrame:
    """A row per real class, the least represented first: class_id, real, expected, found, ratio, p_value, q_value.

    A generated sample is found in the class of its nearest real one; `expected` comes from where the other real samples
    put each real one. `p_value` is Fisher's for that few or fewer, `q_value` Benjamini and Yekutieli's over the
    classes. The ratio of a class where no real sample lands is missing (nan).
    """
    check_labels(real_labels, comparison.real, "real_labels")
    n, m = comparison.real, comparison.fake
    classes, codes = np.unique(real_labels, return_inverse=True)
    landed, found = (
        np.bincount(codes[near.rows[:, 0]], minlength=len(classes))
        for near in (comparison.among_real, comparison.fake_to_real)
    )
    from scipy.stats import hypergeom  # slow to import, and not all need it

    p_values = hypergeom.cdf(found, n + m, landed + found, m)
    expected = landed * m / n
    table = pd.DataFrame(
        {
            "class_id": classes,
            "real": np.bincount(codes),
            "expected": expected,
            "found": found,
            "ratio": np.where(landed > 0, found / np.where(landed > 0, expected, 1), np.nan),
            "p_value": p_values,
            "q_value": benjamini_yekutieli(p_values),
        }
    )
    return table.sort_values(["ratio", "p_value", "class_id"], ignore_index=True)


def _by_class(
    real_labels: Shaped[np.ndarray, " N"], fake_labels: Shaped[np.ndarray, " M"], **scores: np.ndarray
) -> pd.DataFrame:
    """Means per class: of names that start with `real_` over real samples, of others over fake ones."""
    classes = np.union1d(real_labels, fake_labels)
    counts = {
        name: pd.Series(labels).value_counts().reindex(classes, fill_value=0).to_numpy(np.int64)
        for name, labels in (("real", real_labels), ("fake", fake_labels))
    }
    means = {
        name: pd.Series(values).groupby(real_labels if name.startswith("real_") else fake_labels).mean()
        for name, values in scores.items()
    }
    columns = {name: mean.reindex(classes).to_numpy() for name, mean in means.items()}
    return pd.DataFrame({"class_id": classes, **counts, **columns})
