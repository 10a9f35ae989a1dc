"""Scores against the definitions, the reference package, closed forms and simulations."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from prdc import compute_prdc

from modescope import files, metrics
from modescope.metrics.__main__ import main
from modescope.neighbours import as_points, nearest


def _normal(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def _tuple(scores: metrics.Prdc) -> tuple[float, ...]:
    return scores.precision, scores.recall, scores.density, scores.coverage


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Precision, recall, density, coverage


def test_four_points_on_a_line_by_hand() -> None:
    real, fake = np.array([[0.0], [1.0], [3.0], [10.0]]), np.array([[0.5], [2.0], [20.0]])
    got = metrics.memberships(real, fake, 1)
    assert got.real_radii.tolist() == [1, 1, 2, 7]
    assert got.fake_radii.tolist() == [1.5, 1.5, 18]
    assert got.fakes_in_reach.tolist() == [1, 1, 1, 0]  # 2 is exactly 1 from the sample at 1, and so outside
    assert got.real_balls.tolist() == [2, 1, 0]
    assert got.recalling_balls.tolist() == [1, 2, 2, 1]
    assert got.only_fake_in_reach.tolist() == [0, 0, 1, -1]
    assert got.only_real_ball.tolist() == [-1, 2, -1]
    assert got.only_recalling.tolist() == [0, -1, -1, 2]
    assert _tuple(got.prdc()) == (2 / 3, 1, 1, 3 / 4)


def test_the_same_samples_score_one() -> None:
    x = _normal(0, 300, 16)
    assert _tuple(metrics.prdc(x, x)) == (1, 1, 1, 1)


def test_samples_far_away_score_zero() -> None:
    assert _tuple(metrics.prdc(_normal(0, 300, 16), _normal(1, 300, 16) + 100)) == (0, 0, 0, 0)


def _in_float64(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, ...]:
    x, y = real.astype(np.float64), fake.astype(np.float64)
    own, other, across = (np.square(a[:, None] - b).sum(axis=2) for a, b in ((x, x), (y, y), (x, y)))
    of_x, of_y = (np.sort(d, axis=1)[:, k] for d in (own, other))  # the nearest of all is the sample itself
    inside, around = across < of_x[:, None], across < of_y
    return inside.any(axis=0).mean(), around.any(axis=1).mean(), inside.sum() / (k * len(y)), inside.any(axis=1).mean()


@pytest.mark.parametrize("case", range(20))
def test_equal_to_float64_and_to_the_reference_package_within_two_memberships(case: int) -> None:
    rng = np.random.default_rng(case)
    (n, m), width, k = rng.integers(30, 400, 2), int(rng.integers(1, 100)), int(rng.integers(1, 8))
    real, fake = _normal(case, n, width), _normal(case + 100, m, width) * np.float32(rng.uniform(0.5, 1.5))
    theirs, ours = compute_prdc(real, fake, nearest_k=k), metrics.prdc(real, fake, k)
    assert _tuple(ours) == pytest.approx(
        _in_float64(real, fake, k), abs=1e-12
    )  # so what differs is the reference's rounding
    assert abs(ours.precision - theirs["precision"]) <= 2.01 / m
    assert abs(ours.recall - theirs["recall"]) <= 2.01 / n
    assert abs(ours.density - theirs["density"]) <= 2.01 / (k * m)
    assert abs(ours.coverage - theirs["coverage"]) <= 2.01 / n


def test_published_size_gives_the_verified_values() -> None:
    rng = np.random.default_rng(0)
    real, fake = (rng.standard_normal((5000, 256), np.float32) for _ in range(2))
    np.testing.assert_allclose(_tuple(metrics.prdc(real, fake)), (0.5762, 0.5728, 1.03468, 0.9754), atol=4.1e-4)


def test_swapping_the_sides_swaps_precision_and_recall() -> None:
    x, y = _normal(0, 200, 5), _normal(1, 150, 5) * 1.3
    forth, back = metrics.prdc(x, y), metrics.prdc(y, x)
    assert (forth.precision, forth.recall) == (back.recall, back.precision)


def test_one_sample_more_than_k_is_enough_and_k_samples_are_not() -> None:
    x = _normal(0, 6, 3)
    assert metrics.prdc(x, x, k=5).coverage == 1
    with pytest.raises(ValueError, match=r"k = \[5\] with 5 real samples.*use a k up to 4"):
        metrics.prdc(x[:5], x, k=5)
    with pytest.raises(ValueError, match=r"k = \[5\] with 5 fake samples"):
        metrics.prdc(x, x[:5], k=5)
    with pytest.raises(ValueError, match=r"k = \[0\]"):
        metrics.prdc(x, x, k=0)


@pytest.mark.parametrize("chunk", [64, 256, 500, 700])
def test_memberships_do_not_depend_on_chunk_or_threads(chunk: int, one_thread: None) -> None:
    x, y = _normal(0, 700, 64), _normal(1, 650, 64)
    parts = metrics.memberships(x, y, chunk=chunk)
    torch.set_num_threads(2)
    whole = metrics.memberships(x, y)
    for name in metrics.Memberships.__slots__:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_a_common_offset_changes_nothing() -> None:
    x, y = (np.round(_normal(seed, 400, 32) * 256) / 256 for seed in (0, 1))  # sums below are exact in float32
    plain = metrics.memberships(x, y)
    for offset in (10, 100, 1000):
        moved = metrics.memberships(x + np.float32(offset), y + np.float32(offset))
        for name in metrics.Memberships.__slots__:
            np.testing.assert_array_equal(getattr(moved, name), getattr(plain, name))


def test_one_long_axis_is_decided_as_in_float64() -> None:
    x, y = _normal(0, 500, 64), _normal(1, 500, 64)
    x[:, 0] *= 1000
    y[:, 0] *= 1000
    got = metrics.memberships(x, y)
    a, b = x.astype(float), y.astype(float)
    own, across = (np.stack([((row - a) ** 2).sum(axis=1) for row in rows]) for rows in (a, b))
    radii = np.sort(own, axis=1)[:, 5]  # the nearest is the sample itself
    np.testing.assert_array_equal(got.fakes_in_reach, (across < radii).sum(axis=0))
    np.testing.assert_array_equal(got.real_balls, (across < radii).sum(axis=1))


def test_tensors_and_arrays_agree() -> None:
    x, y = _normal(0, 100, 8), _normal(1, 100, 8)
    assert metrics.prdc(torch.from_numpy(x), torch.from_numpy(y)) == metrics.prdc(x, y)


def test_several_k_in_one_pass_equal_each_alone() -> None:
    x, y = _normal(0, 200, 8), _normal(1, 180, 8)
    together = metrics.sweep(x, y, (7, 1, 3), real_nearest=nearest(as_points(x, "x"), 9))
    for k, got in together.items():
        alone = metrics.memberships(x, y, k)
        for name in metrics.Memberships.__slots__:
            np.testing.assert_array_equal(getattr(got, name), getattr(alone, name))


def test_kept_neighbours_of_other_samples_are_refused() -> None:
    x = _normal(0, 30, 4)
    with pytest.raises(ValueError, match="real_nearest holds 2 neighbours of 30 samples; here 3 neighbours"):
        metrics.sweep(x, x, (3,), real_nearest=nearest(as_points(x, "x"), 2))


def test_sides_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"real has 3 dimensions and fake has 4.*same view"):
        metrics.prdc(np.zeros((9, 3)), np.zeros((9, 4)))
    with pytest.raises(ValueError, match=r"fake has NaN.*row 4"):
        metrics.prdc(np.zeros((9, 1)), np.where(np.arange(9) == 4, np.nan, 0.0)[:, None])


def test_improved_precision_and_recall_count_the_boundary() -> None:
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[-1.0], [5.0], [50.0]])
    assert metrics.prdc(real, fake, 1).precision == 0  # both are exactly a radius away
    got = metrics.improved_precision_recall(real, fake, 1)
    assert got.precision == 2 / 3
    x = np.arange(12.0)[:, None]
    assert metrics.improved_precision_recall(x, x).recall == 1


# What equal laws score


@pytest.mark.parametrize(
    ("n", "m", "k", "expected"),
    [
        (10000, 10000, 5, 0.968773),
        (1000, 1000, 5, 0.968984),
        (1000, 1000, 3, 0.875375),
        (1300, 50, 5, 0.172321),
        (2000, 500, 5, 0.672812),
        (10000, 50000, 3, 0.995373),
    ],
)
def test_expected_coverage_has_its_known_values(n: int, m: int, k: int, expected: float) -> None:
    assert metrics.expected_coverage(n, m, k) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("width", [1, 6])
def test_equal_laws_score_the_expected_coverage_and_density_one(width: int) -> None:
    runs = [metrics.memberships(_normal(s, 120, width), _normal(s + 1000, 80, width), 3) for s in range(30)]
    scores = np.array([_tuple(run.prdc()) for run in runs])
    reached = np.array([np.minimum(run.fakes_in_reach, 3).mean() / 3 for run in runs])
    targets = (1, metrics.expected_coverage(120, 80, 3), metrics.expected_clipped_coverage(120, 80, 3))
    for values, target in zip((scores[:, 2], scores[:, 3], reached), targets, strict=True):
        assert abs(values.mean() - target) < 4 * values.std() / 30**0.5


def test_expectations_refuse_impossible_counts() -> None:
    for expectation in (metrics.expected_coverage, metrics.expected_clipped_coverage):
        with pytest.raises(ValueError, match="need 1 <= k < n"):
            expectation(5, 10, 5)


def test_clipped_coverage_expectation_equals_plain_coverage_at_k_one() -> None:
    assert metrics.expected_clipped_coverage(50, 70, 1) == pytest.approx(metrics.expected_coverage(50, 70, 1))
    assert metrics.expected_clipped_coverage(50, 0, 4) == pytest.approx(0, abs=1e-12)
    values = [metrics.expected_clipped_coverage(40, m, 4) for m in range(60)]
    assert all(a < b for a, b in pairwise(values))


def test_coverage_falls_with_dropped_modes_and_precision_does_not() -> None:
    drops, rows = (0, 2, 5, 8, 9), []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        real = rng.standard_normal((1000, 8))
        real[:, 0] += 100 * np.repeat(np.arange(10), 100)
        for dropped in drops:
            fake = rng.standard_normal((1000, 8))
            fake[:, 0] += 100 * rng.integers(0, 10 - dropped, 1000)
            rows.append((dropped, *_tuple(metrics.prdc(real, fake))))
    means = (
        pd.DataFrame(rows, columns=["dropped", "precision", "recall", "density", "coverage"]).groupby("dropped").mean()
    )
    np.testing.assert_allclose(means["coverage"], (0.97107, 0.78727, 0.49814, 0.19998, 0.1), atol=0.01)
    assert np.ptp(means["precision"]) < 0.03


def test_one_real_outlier_lifts_precision_but_neither_coverage_nor_the_clipped_pair() -> None:
    real, fake = _normal(0, 1000, 64), _normal(1, 1000, 64) + 1
    outlier = real.copy()
    outlier[0] = 3
    before, after = (metrics.memberships(x, fake) for x in (real, outlier))
    assert before.prdc().precision < 0.05
    assert after.prdc().precision > 0.95
    assert after.prdc().density > before.prdc().density + 0.15
    assert after.prdc().coverage == pytest.approx(before.prdc().coverage, abs=0.005)
    assert after.clipped().density == pytest.approx(before.clipped().density, abs=0.01)
    assert after.clipped().coverage == pytest.approx(before.clipped().coverage, abs=0.01)


# Clipped density and coverage


def _brute_clipped(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    """Straight from the definitions; the inverse by trying every number of good samples."""
    own = np.linalg.norm(real[:, None] - real, axis=2)
    across = np.linalg.norm(real[:, None] - fake, axis=2)
    np.fill_diagonal(own, np.inf)
    radii = np.sort(own, axis=1)[:, k - 1]
    short = np.minimum(radii, np.median(radii))[:, None]
    scores = [np.minimum((d <= short).sum(axis=0) / k, 1).mean() for d in (across, own)]
    reached = np.minimum((across < radii[:, None]).sum(axis=1) / k, 1).mean()
    expected = [metrics.expected_clipped_coverage(len(real), m, k) for m in range(len(fake) + 1)]
    return min(scores[0] / scores[1], 1), float(np.interp(reached, expected, np.arange(len(fake) + 1))) / len(fake)


@pytest.mark.parametrize("scale", [0.3, 1, 1.4])
def test_clipped_scores_equal_their_definition(scale: float) -> None:
    real, fake = np.random.default_rng(0).standard_normal((2, 81, 3))
    got = metrics.memberships(real, fake * scale, 4).clipped()
    assert (got.density, got.coverage) == pytest.approx(_brute_clipped(real, fake * scale, 4))


def test_clipped_scores_fall_by_the_share_of_bad_samples() -> None:
    real = _normal(0, 2000, 8)
    for bad in (0.2, 0.5, 0.8):
        fake = _normal(1, 2000, 8)
        fake[: int(bad * 2000)] += 50
        got = metrics.memberships(real, fake).clipped()
        assert (got.density, got.coverage) == pytest.approx((1 - bad, 1 - bad), abs=0.04)


def test_a_closed_ball_of_radius_zero_holds_the_copies_of_its_centre() -> None:
    got = metrics.memberships(np.zeros((10, 2)), np.repeat([[0.0, 0], [1, 1]], 5, axis=0), 3)
    assert got.clipped_balls.tolist() == [10] * 5 + [0] * 5
    assert got.real_balls.tolist() == [0] * 10
    assert got.clipped().coverage == 0


# Classes and intervals


def test_classes_recombine_to_the_whole_and_empty_ones_are_missing() -> None:
    x, y = _normal(0, 90, 3), _normal(1, 70, 3)
    real_labels, fake_labels = np.arange(90) % 3, np.arange(70) % 2 + 2
    members = metrics.memberships(x, y)
    table = metrics.per_class(members, real_labels, fake_labels).set_index("class_id")
    assert table.index.tolist() == [0, 1, 2, 3]
    assert table["real"].tolist() == [30, 30, 30, 0]
    assert table["fake"].tolist() == [0, 0, 35, 35]
    assert table["coverage"].isna().tolist() == [False, False, False, True]
    assert table["density"].isna().tolist() == [True, True, False, False]
    whole = members.prdc()
    for name, weight in (("precision", "fake"), ("density", "fake"), ("recall", "real"), ("coverage", "real")):
        assert np.average(table[name].fillna(0), weights=table[weight]) == pytest.approx(getattr(whole, name))
    assert table.loc[1, "coverage"] == members.covered[real_labels == 1].mean()


def test_one_label_per_sample_is_needed() -> None:
    x = _normal(0, 20, 3)
    members = metrics.memberships(x, x)
    with pytest.raises(ValueError, match=r"fake_labels has shape \(19,\) for 20 samples"):
        metrics.per_class(members, np.zeros(20, int), np.zeros(19, int))
    with pytest.raises(ValueError, match=r"real_labels has shape \(19,\) for 20 samples"):
        metrics.per_class_spread(x, x, np.zeros(19, int), np.zeros(20, int))


def test_intervals_are_at_least_about_as_wide_as_the_scores_vary() -> None:
    runs = [metrics.intervals(metrics.memberships(_normal(s, 150, 6), _normal(s + 500, 150, 6))) for s in range(30)]
    for name in ("precision", "recall", "density", "coverage"):
        spread = np.std([run[name].value for run in runs], ddof=1)
        assert 0.75 < np.mean([run[name].standard_error for run in runs]) / spread < 2.2, name


def test_the_jackknife_over_scorers_equals_leaving_each_out() -> None:
    x, y = _normal(0, 60, 2), _normal(1, 40, 2)
    members = metrics.memberships(x, y, 2)
    inside = np.linalg.norm(x[:, None].astype(float) - y, axis=2) < members.real_radii[:, None]
    left = np.array([np.delete(inside, j, axis=1).any(axis=1).mean() for j in range(40)])
    expected = members.covered.var(ddof=1) / 60 + 39 / 40 * np.square(left - left.mean()).sum()
    assert metrics.intervals(members)["coverage"].standard_error == pytest.approx(expected**0.5)


def test_intervals_of_chosen_rows_and_of_none() -> None:
    x, y = _normal(0, 60, 2), _normal(1, 40, 2)
    members = metrics.memberships(x, y, 2)
    rows = np.arange(60) < 30
    got = metrics.intervals(members, real_rows=rows, fake_rows=np.zeros(40, bool))
    assert got["coverage"].value == members.covered[:30].mean()
    assert 0 <= got["coverage"].low <= got["coverage"].value <= got["coverage"].high <= 1
    assert np.isnan(got["precision"].value)
    with pytest.raises(ValueError, match=r"level = 95\.0;.*0\.95"):
        metrics.intervals(members, level=95.0)


def test_real_halves_calibrate_a_score() -> None:
    x = _normal(0, 401, 4)
    sizes = metrics.half_vs_half(x, lambda a, b: (len(a), len(b)), seed=1)
    assert sizes == (200, 200)
    scores = metrics.half_vs_half(x, metrics.prdc, seed=1)
    assert scores == metrics.half_vs_half(x, metrics.prdc, seed=1)
    assert scores.coverage == pytest.approx(metrics.expected_coverage(200, 200, 5), abs=0.06)
    with pytest.raises(ValueError, match="two halves need at least 2"):
        metrics.half_vs_half(x[:1], metrics.prdc, seed=1)


def test_collapse_within_a_class_shows_in_its_spread() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 500)
    real, fake = rng.standard_normal((2, 1500, 20))
    fake[labels == 1] *= 0.1
    fake[labels == 2] += 1
    fake_labels = labels.copy()
    fake_labels[-1] = 9
    table = metrics.per_class_spread(real, fake, labels, fake_labels).set_index("class_id")
    np.testing.assert_allclose(table["spread_ratio"], (1, 0.1, 1, np.nan), atol=0.03)
    np.testing.assert_allclose(table["centroid_shift"].iloc[2:], (1, np.nan), atol=0.03)
    assert table.loc[0, "centroid_shift"] == pytest.approx(table.loc[0, "shift_null"], rel=0.5)
    assert table["fake"].tolist() == [500, 500, 499, 1]


# Frechet distance


def _whitened(seed: int, n: int, width: int) -> np.ndarray:
    """Samples with mean 0 and covariance exactly the identity."""
    x = np.random.default_rng(seed).standard_normal((n, width))
    q, _ = np.linalg.qr(x - x.mean(axis=0))
    return q * (n - 1) ** 0.5


def test_frechet_of_equal_covariances_is_the_squared_mean_shift() -> None:
    x, shift = np.random.default_rng(0).standard_normal((500, 12)), np.arange(12.0)
    assert metrics.frechet_distance(x, x[::-1] + shift) == pytest.approx(shift @ shift, rel=1e-10)


def test_frechet_of_a_scaled_covariance() -> None:
    x = np.random.default_rng(0).standard_normal((400, 9)) * np.arange(1, 10)
    x -= x.mean(axis=0)
    assert metrics.frechet_distance(x, 0.3 * x) == pytest.approx(0.7**2 * np.cov(x.T).trace(), rel=1e-10)


def test_frechet_of_diagonal_covariances() -> None:
    a, b = np.linspace(0.5, 4, 7), np.linspace(9, 0.1, 7)
    got = metrics.frechet_distance(_whitened(0, 300, 7) * a**0.5, _whitened(1, 200, 7) * b**0.5)
    assert got == pytest.approx(np.square(a**0.5 - b**0.5).sum(), rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(30, 25), (30, 200), (200, 20)])
def test_frechet_with_fewer_samples_than_dimensions_is_the_nuclear_norm_form(n: int, m: int) -> None:
    x, y = np.random.default_rng(0).standard_normal((n, 64)), np.random.default_rng(1).standard_normal((m, 64)) * 2
    cx, cy = x - x.mean(axis=0), y - y.mean(axis=0)
    cross = np.linalg.norm(cx @ cy.T, "nuc") / ((n - 1) * (m - 1)) ** 0.5
    shift = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    expected = shift + np.square(cx).sum() / (n - 1) + np.square(cy).sum() / (m - 1) - 2 * cross
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_float32_far_from_the_origin_is_not_negative() -> None:
    x = _normal(0, 300, 40) + 1000
    assert 0 <= metrics.frechet_distance(x, x) < 1e-9


def test_frechet_bias_is_what_equal_laws_score() -> None:
    n, width = 400, 10
    values = [metrics.frechet_distance(_normal(s, n, width), _normal(s + 99, n, width)) for s in range(30)]
    identity = metrics.frechet_bias(_whitened(0, 100, width), n, n)
    assert identity == pytest.approx(2 * width / n + width * (width + 1) / (2 * (n - 1)), rel=1e-9)
    assert abs(np.mean(values) - identity) < 4 * np.std(values) / 30**0.5 + 0.02 * identity


def test_frechet_bias_with_unequal_eigenvalues_and_counts() -> None:
    scale = np.array([3, 1, 0.3], np.float32)
    values = [
        metrics.frechet_distance(_normal(s, 300, 3) * scale, _normal(s + 999, 150, 3) * scale) for s in range(150)
    ]
    expected = metrics.frechet_bias(_whitened(0, 100, 3) * scale, 300, 150)
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / 150**0.5


def test_extrapolation_removes_most_of_the_bias() -> None:
    real = _whitened(0, 2000, 16)
    runs = [(_normal(s, 300, 16)) for s in range(1, 9)]
    plain = np.mean([metrics.frechet_distance(real, fake) for fake in runs])
    endless = np.mean([metrics.frechet_extrapolated(real, fake, seed=0) for fake in runs])
    assert abs(endless) < plain / 3


def test_frechet_refuses_too_few_samples() -> None:
    x = _normal(0, 10, 3)
    with pytest.raises(ValueError, match="fake has 1 sample; a covariance needs at least 2"):
        metrics.frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match="n = 1, m = 5: a covariance"):
        metrics.frechet_bias(x, 1, 5)
    with pytest.raises(ValueError, match="points = 1 with 10 fake samples: a line"):
        metrics.frechet_extrapolated(x, x, seed=0, points=1)


# Kernel distance


def _brute_kernel(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    xx, yy = kernel(x, x), kernel(y, y)
    n, m = len(x), len(y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


def test_kernel_distance_and_its_error_equal_leaving_each_sample_out() -> None:
    x, y = np.random.default_rng(0).standard_normal((13, 4)), np.random.default_rng(1).standard_normal((9, 4)) + 0.5
    got = metrics.kernel_estimate(x, y, chunk=4)
    assert got.value == pytest.approx(_brute_kernel(x, y))
    left = np.array([_brute_kernel(np.delete(x, i, axis=0), y) for i in range(13)])
    right = np.array([_brute_kernel(x, np.delete(y, j, axis=0)) for j in range(9)])
    variance = sum((len(v) - 1) / len(v) * np.square(v - v.mean()).sum() for v in (left, right))
    assert got.standard_error == pytest.approx(variance**0.5)


def test_kernel_distance_of_a_mean_shift() -> None:
    width, length = 16, 1.0
    expected = (
        3 * length / width
        + 3 * length**2 / width**2
        + (length**3 + 6 * length**2 + 3 * length * width + 6 * length) / width**3
    )
    assert expected == pytest.approx(0.2141, abs=1e-4)
    real, fake = _normal(0, 2500, width), _normal(1, 2500, width)
    fake[:, 0] += 1
    got = metrics.kernel_estimate(real, fake)
    assert abs(got.value - expected) < 4 * got.standard_error
    assert got.standard_error < 0.03
    assert metrics.kernel_distance(real, fake) == got.value


def test_kernel_distance_of_equal_laws_is_zero_on_average_and_may_be_negative() -> None:
    runs = [metrics.kernel_estimate(_normal(s, 100, 8), _normal(s + 500, 100, 8)) for s in range(60)]
    values = np.array([run.value for run in runs])
    assert abs(values.mean()) < 4 * values.std() / 60**0.5
    assert (values < 0).any()
    assert 0.7 < np.mean([run.standard_error for run in runs]) / values.std() < 2


def test_kernel_distance_needs_three_samples_a_side() -> None:
    with pytest.raises(ValueError, match=r"5 real and 2 fake samples.*at least 3"):
        metrics.kernel_distance(_normal(0, 5, 2), _normal(0, 2, 2))


# Command line


def _saved(folder: Path, **arrays: np.ndarray) -> list[str]:
    for name, values in arrays.items():
        files.write_array(folder / f"{name}.npy", values)
    return [str(folder / f"{name}.npy") for name in arrays]


def test_the_command_prints_the_scores_and_their_nulls(tmp_path: Path) -> None:
    paths = _saved(tmp_path, real=_normal(0, 100, 4), fake=_normal(1, 90, 4))
    done = subprocess.run(
        [sys.executable, "-m", "modescope.metrics", *paths, "--k", "3"], capture_output=True, text=True, check=True
    )
    scores = metrics.prdc(_normal(0, 100, 4), _normal(1, 90, 4), 3)
    assert f"coverage          {scores.coverage:10.4f}" in done.stdout
    assert f"these counts: {metrics.expected_coverage(100, 90, 3):.4f}" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("fake", "k", "message"),
    [
        (
            np.where(np.arange(20) == 7, np.nan, 1.0)[:, None],
            "5",
            "fake.npy has NaN, infinity or a value beyond 1e150 in row 7",
        ),
        (np.ones((20, 2)), "5", "real has 1 dimensions and fake has 2"),
        (np.ones((20, 1)), "19", "k = 19 with 20 real samples.*at most 18"),
        (np.ones((6, 1)), "5", "k = 5 with 6 fake samples.*at most 4"),
        (np.ones(20), "5", r"fake.npy has shape \(20,\)"),
    ],
)
def test_bad_input_is_one_paragraph_and_exit_2(
    fake: np.ndarray, k: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = _saved(tmp_path, real=np.arange(20.0)[:, None], fake=fake)
    assert main([*paths, "--k", k]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err)


def test_files_that_are_no_feature_array_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "several.npz", a=np.ones((9, 2)))
    (tmp_path / "text.npy").write_text("not an array")
    good = _saved(tmp_path, real=np.ones((9, 2)))[0]
    for name, message in (("several.npz", "is not a .npy file"), ("text.npy", "damaged"), ("none.npy", "is missing")):
        assert main([good, str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert main([str(tmp_path / "several.npz"), good]) == 2
    assert "has no array 'mu'" in capsys.readouterr().err


def test_the_command_lists_gaps_and_says_when_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = _normal(0, 400, 2)
    x[:200] += 50
    whole, half = _saved(
        tmp_path, whole=_normal(1, 400, 2) + np.repeat([[50], [0]], 200, axis=0), half=_normal(2, 400, 2)
    )
    (real,) = _saved(tmp_path, real=x)
    assert main([real, whole]) == 0
    assert "No region of the real samples misses generated ones" in capsys.readouterr().out
    assert main([real, half]) == 0
    assert "1 region(s) of the real samples miss generated ones: 50.0% of all" in capsys.readouterr().out


def test_the_command_takes_a_published_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "reference.npz", mu=np.full(3, 2.0), sigma=np.eye(3))
    fake = _whitened(0, 50, 3)
    assert main([str(tmp_path / "reference.npz"), *_saved(tmp_path, fake=fake)]) == 0
    assert f"to reference.npz: {12:.4f}" in capsys.readouterr().out
