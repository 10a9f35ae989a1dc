"""Standardise and PCA, against scikit-learn where the data fits in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from modescope import components


def rows(n: int, width: int, *, decay: float = 0.5, rank: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, rank)) * np.arange(1, rank + 1) ** -decay @ rng.standard_normal((rank, width))
    return (signal + 0.3 * rng.standard_normal((n, width)) + 5).astype(np.float32)


def test_two_columns_by_hand() -> None:
    # Deviations 1 and 2 about means 2 and 0; the two standardised columns are equal: one axis (1, 1) / sqrt 2.
    features = np.array([[1, -2], [3, 2], [1, -2], [3, 2]], np.float32)
    fitted = components.fit(features, 1)
    np.testing.assert_allclose(fitted.mean, [2, 0])
    np.testing.assert_allclose(fitted.inverse_scale, [1, 0.5])
    np.testing.assert_allclose(fitted.axes, [[2**-0.5, 2**-0.5]], rtol=1e-6)
    np.testing.assert_allclose(fitted.variance, [2 * 4 / 3], rtol=1e-6)
    np.testing.assert_allclose(fitted.project(features)[:, 0], np.sqrt(2) * np.array([-1, 1, -1, 1]), rtol=1e-6)


@pytest.mark.parametrize(("n", "width"), [(300, 40), (60, 700), (400, 250)], ids=["tall", "wide", "krylov"])
def test_axes_agree_with_scikit_learn(n: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "NARROW", 60)  # beyond it, and beyond eight blocks, the Krylov method takes over
    features = rows(n, width)
    fitted = components.fit(features, 12, tolerance=1e-7)
    exact = PCA(12, svd_solver="full").fit(StandardScaler().fit_transform(features.astype(np.float64)))
    np.testing.assert_allclose(fitted.variance, exact.explained_variance_, rtol=1e-5)
    assert np.linalg.svd(fitted.axes @ exact.components_.T, compute_uv=False).min() > 1 - 1e-6
    scores = exact.transform(StandardScaler().fit_transform(features.astype(np.float64)))
    signs = np.sign((fitted.axes * exact.components_).sum(1))
    np.testing.assert_allclose(fitted.project(features) * signs, scores, atol=2e-2)


def test_krylov_captures_the_best_variance_within_the_stated_share_on_a_slow_spectrum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(components, "NARROW", 60)
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((400, 350)))[0] for _ in range(2))
    features = ((left * np.arange(1, 351) ** -0.4) @ right[:350].T[:350]).astype(np.float32)
    fitted = components.fit(features, 20)
    exact = PCA(20, svd_solver="full").fit(StandardScaler().fit_transform(features.astype(np.float64)))
    assert exact.explained_variance_.sum() * (1 - 2e-3) < fitted.variance.sum()
    assert fitted.variance.sum() <= exact.explained_variance_.sum() * (1 + 1e-5)
    np.testing.assert_allclose(fitted.axes @ fitted.axes.T, np.eye(20), atol=1e-4)


def test_krylov_stops_at_the_rank_of_the_data() -> None:
    rng = np.random.default_rng(2)
    features = (rng.standard_normal((1100, 5)) @ rng.standard_normal((5, 1060))).astype(np.float32)
    fitted = components.fit(features, 8)
    assert fitted.variance.sum() == pytest.approx(1060 * 1100 / 1099, rel=1e-4)
    assert np.isfinite(fitted.axes).all()
    assert fitted.variance[5:].max() < 1e-3


def test_a_read_only_float16_map_gives_what_its_values_give(tmp_path: Path) -> None:
    features = rows(90, 50).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    fitted, expected = components.fit(mapped, 5), components.fit(features.astype(np.float32), 5)
    np.testing.assert_array_equal(fitted.axes, expected.axes)
    np.testing.assert_array_equal(fitted.project(mapped), expected.project(features.astype(np.float32)))


@pytest.mark.parametrize("blocks", [1, 7, 90])
def test_the_result_does_not_depend_on_the_block_size(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = rows(90, 50)
    expected = components.fit(features, 5)
    monkeypatch.setattr(components, "BLOCK_VALUES", 50 * blocks)
    fitted = components.fit(features, 5)
    np.testing.assert_allclose(fitted.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(fitted.inverse_scale, expected.inverse_scale, rtol=1e-5)
    np.testing.assert_allclose(fitted.axes, expected.axes, atol=1e-4)


@pytest.mark.parametrize("n", [None, 3])
def test_constant_columns_become_zero_even_where_later_rows_differ(n: int | None) -> None:
    features = rows(80, 6)
    features[:, 1], features[:, 4] = 0.1, 0.0
    fitted = components.fit(features, n)
    assert fitted.inverse_scale[[1, 4]].tolist() == [0, 0]
    later = features.copy()
    later[:, [1, 4]] = 7
    np.testing.assert_array_equal(fitted.project(later), fitted.project(features))
    assert np.isfinite(fitted.project(later)).all()
    np.testing.assert_allclose(fitted.rebuild(fitted.project(features))[:, [1, 4]], features[:, [1, 4]], rtol=1e-6)


def test_a_large_mean_does_not_cancel_the_deviation() -> None:
    features = (1000 + rows(500, 5, rank=5) / 10).astype(np.float32)
    fitted = components.fit(features, None)
    np.testing.assert_allclose(1 / fitted.inverse_scale, features.astype(np.float64).std(0), rtol=1e-5)


def test_scores_have_the_stated_variance_and_no_mean() -> None:
    features = rows(400, 30)
    fitted = components.fit(features, 10)
    scores = fitted.project(features)
    assert scores.dtype == np.float32
    assert scores.flags.c_contiguous
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scores.var(0, ddof=1), fitted.variance, rtol=1e-4)


def test_a_row_projects_the_same_alone_and_in_a_batch() -> None:
    features = rows(200, 300)
    fitted = components.fit(features, 10)
    alone = np.concatenate([fitted.project(features[i : i + 1]) for i in range(200)])
    np.testing.assert_array_equal(alone, fitted.project(features))


def test_all_axes_rebuild_the_features() -> None:
    features = rows(100, 12)
    fitted = components.fit(features, 12)
    np.testing.assert_allclose(fitted.rebuild(fitted.project(features)), features, atol=1e-4)
    plain = components.fit(features, None)
    np.testing.assert_allclose(plain.rebuild(plain.project(features)), features, atol=1e-4)


def test_rows_that_are_not_finite_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "BLOCK_VALUES", 40)
    features = rows(50, 8)
    fitted = components.fit(features, 3)
    features[17, 2], features[33, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="NaN or infinite values in row 17"):
        components.fit(features, 3)
    monkeypatch.undo()  # rows are named block by block
    with pytest.raises(ValueError, match="row 17, 33;"):
        fitted.project(features)


@pytest.mark.parametrize("n", [0, 9, 50])
def test_a_number_of_axes_that_the_data_cannot_have_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"pca is {n}, but 50 rows of 8 columns have at most 8 components"):
        components.fit(rows(50, 8), n)
