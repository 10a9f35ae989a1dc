"""Moments in shards, Frechet distance to a published reference, sliced Wasserstein distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from modescope import files, metrics


def _normal(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width))


# Moments


def test_moments_are_mean_and_covariance() -> None:
    x = _normal(0, 5000, 4) * (1, 2, 3, 4) + 7
    got = metrics.Moments.of(x.astype(np.float32))
    np.testing.assert_allclose(got.mean, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(got.gaussian.covariance, np.cov(x.T), rtol=1e-5, atol=1e-5)


def test_shards_merge_in_any_order_to_the_moments_of_all() -> None:
    x = _normal(0, 300, 5) + 1000
    parts = [metrics.Moments.of(part) for part in np.split(x, [1, 50, 220])]
    whole = metrics.Moments.of(x)
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        merged = parts[order[0]]
        for index in order[1:]:
            merged = merged.merge(parts[index])
        assert merged.count == 300
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)
        np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-7)


def test_moments_that_do_not_fit_are_refused() -> None:
    one = metrics.Moments.of(_normal(0, 1, 3))
    with pytest.raises(ValueError, match="moments of 3 and of 4 dimensions cannot be merged"):
        one.merge(metrics.Moments.of(_normal(0, 5, 4)))
    with pytest.raises(ValueError, match="a covariance needs at least 2 samples; there is 1"):
        _ = one.gaussian
    with pytest.raises(ValueError, match="fake has NaN.*row 1"):
        metrics.Moments.of(np.array([[0.0], [np.nan]]), "fake")


# Frechet distance to a reference


@pytest.mark.parametrize(("n", "m"), [(400, 300), (30, 300), (400, 25), (20, 30)])
def test_frechet_from_moments_equals_that_from_samples_also_below_the_dimension(n: int, m: int) -> None:
    x, y = _normal(0, n, 64), _normal(1, m, 64) * np.linspace(0.5, 3, 64) + 0.3
    got = metrics.frechet_of_gaussians(metrics.Moments.of(x).gaussian, metrics.Moments.of(y).gaussian)
    assert got == pytest.approx(metrics.frechet_distance(x, y), rel=1e-8)


def test_frechet_of_equal_singular_covariances_is_zero() -> None:
    gaussian = metrics.Moments.of(_normal(0, 20, 200)).gaussian
    assert metrics.frechet_of_gaussians(gaussian, gaussian) == pytest.approx(0, abs=1e-9)


def test_a_published_reference_gives_the_closed_form(tmp_path: Path) -> None:
    scale = np.array([1.0, 4.0, 9.0])
    np.savez(tmp_path / "reference.npz", mu=np.array([1.0, 2, 3], np.float32), sigma=np.diag(scale))
    reference = metrics.read_reference(tmp_path / "reference.npz")
    x = _normal(0, 500, 3)
    x = np.linalg.qr(x - x.mean(axis=0))[0] * 499**0.5  # mean 0, covariance the identity
    expected = 14 + np.square(scale**0.5 - 1).sum()
    assert metrics.frechet_to_reference(x, reference) == pytest.approx(expected, rel=1e-10)
    halves = metrics.Moments.of(x[:100]).merge(metrics.Moments.of(x[100:]))
    assert metrics.frechet_to_reference(halves, reference) == pytest.approx(expected, rel=1e-10)
    with pytest.raises(ValueError, match="real has 3 dimensions and fake has 2; both must come from the same network"):
        metrics.frechet_to_reference(x[:, :2], reference)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(2)}, "has no array 'sigma' .it holds mu.*holds `mu` and `sigma`"),
        ({"mu": np.zeros(2), "sigma": np.eye(3)}, r"holds mu \(2,\) and sigma \(3, 3\)"),
        ({"mu": np.array([0, np.nan]), "sigma": np.eye(2)}, "holds NaN or infinity"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.1, 1]])}, "is not symmetric"),
        ({"mu": np.array([None]), "sigma": np.eye(1)}, "holds Python objects, which are never loaded"),
    ],
)
def test_a_reference_that_is_none_is_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        metrics.read_reference(tmp_path / "r.npz")


def test_a_damaged_or_absent_reference_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.npz").write_bytes(b"PK\x03\x04 and no more")
    for name in ("r.npz", "none.npz"):
        with pytest.raises(files.DamagedFileError, match=f"{name} cannot be read.*download the reference again"):
            metrics.read_reference(tmp_path / name)


# Sliced Wasserstein distance


def test_on_one_axis_it_is_the_ordered_difference() -> None:
    x, y = np.array([[3.0], [0.0], [1.0]]), np.array([[2.0], [5.0], [0.0]])
    got = metrics.sliced_wasserstein(x, y, seed=0, lines=2)  # 0 1 3 against 0 2 5
    assert got.value == pytest.approx((5 / 3) ** 0.5)
    assert got.standard_error == pytest.approx(0, abs=1e-12)
    assert metrics.sliced_wasserstein(x, x, seed=0).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(6, 4), (30, 7), (5, 50)])
def test_different_numbers_of_samples_share_mass_exactly(n: int, m: int) -> None:
    x, y = _normal(0, n, 1), _normal(1, m, 1)
    every = np.lcm(n, m)
    apart = np.sort(np.repeat(x[:, 0], every // n)) - np.sort(np.repeat(y[:, 0], every // m))
    got = metrics.sliced_wasserstein(x, y, seed=3, lines=2).value
    assert got == pytest.approx(np.square(apart).mean() ** 0.5)
    assert got >= wasserstein_distance(x[:, 0], y[:, 0])


def test_a_mean_shift_gives_its_length_over_the_root_of_the_dimension_within_the_error() -> None:
    x = _normal(0, 200, 12)
    shift = np.arange(12.0)
    got = metrics.sliced_wasserstein(x, x + shift, seed=1, lines=400)
    assert abs(got.value - np.linalg.norm(shift) / 12**0.5) < 4 * got.standard_error
    again = metrics.sliced_wasserstein(x, x + shift, seed=1, lines=400)
    assert got == again
    assert metrics.sliced_wasserstein(x, x + shift, seed=2, lines=400) != got


def test_the_standard_error_is_how_much_the_value_varies_over_seeds() -> None:
    x, y = _normal(0, 100, 6), _normal(1, 80, 6) * (1, 1, 1, 2, 3, 4)
    runs = [metrics.sliced_wasserstein(x, y, seed=s, lines=40) for s in range(40)]
    assert np.mean([run.standard_error for run in runs]) == pytest.approx(np.std([r.value for r in runs]), rel=0.35)


def test_one_line_has_no_error() -> None:
    x = _normal(0, 9, 2)
    with pytest.raises(ValueError, match="lines = 1: a standard error needs at least 2 lines"):
        metrics.sliced_wasserstein(x, x, seed=0, lines=1)
