"""Standardise and PCA, against scikit-learn where the data fits in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from modescope import components, files


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


class Parts:
    """Rows spread over several arrays, read by slices or indices: what a store hands out."""

    def __init__(self, features: np.ndarray, size: int) -> None:
        self.parts = [features[i : i + size] for i in range(0, len(features), size)]
        self.size, self.shape, self.longest = size, features.shape, 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows
        self.longest = max(self.longest, len(chosen))
        return np.stack([self.parts[i // self.size][i % self.size] for i in chosen])


@pytest.mark.parametrize(("n", "width"), [(300, 40), (60, 700), (400, 250)], ids=["tall", "wide", "krylov"])
def test_rows_over_several_files_give_what_one_array_gives(n: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "NARROW", 60)
    monkeypatch.setattr(components, "BLOCK_VALUES", 25 * width)
    features = rows(n, width).astype(np.float16)
    parts = Parts(features, 17)
    fitted, expected = components.fit(parts, 6), components.fit(features, 6)
    np.testing.assert_array_equal(fitted.axes, expected.axes)
    np.testing.assert_array_equal(fitted.project(parts), expected.project(features))
    assert parts.longest <= 25  # memory holds a block, never all rows


def test_centring_alone_keeps_the_deviations() -> None:
    features = rows(300, 12) * np.arange(1, 13, dtype=np.float32)
    features[:, 4] = 3
    fitted = components.fit(features, 5, standardise=False)
    exact = PCA(5, svd_solver="full").fit(features.astype(np.float64))
    np.testing.assert_allclose(fitted.variance, exact.explained_variance_, rtol=1e-5)
    assert np.linalg.svd(fitted.axes @ exact.components_.T, compute_uv=False).min() > 1 - 1e-6
    assert fitted.inverse_scale.tolist() == [1.0] * 4 + [0.0] + [1.0] * 7
    np.testing.assert_allclose(fitted.mean, features.mean(0, dtype=np.float64), rtol=1e-6)


def test_scores_of_scores_are_the_scores_unless_they_are_standardised_again() -> None:
    scores = components.fit(features := rows(200, 30), 8).project(features)
    again = components.fit(scores, 8, standardise=False).project(scores)
    np.testing.assert_allclose(np.abs(again), np.abs(scores), atol=1e-3)
    whitened = components.fit(scores, 8).variance
    np.testing.assert_allclose(whitened, whitened[0], rtol=1e-3)


def test_a_saved_basis_comes_back_with_its_layers_in_order(tmp_path: Path) -> None:
    features = rows(50, 8)
    fitted = components.fit(features, 3)
    components.save(tmp_path / "basis.safetensors", fitted, {"midblock@2": 6, "a@0.4": 2})
    loaded, widths = components.load(tmp_path / "basis.safetensors")
    assert list(widths.items()) == [("midblock@2", 6), ("a@0.4", 2)]
    np.testing.assert_array_equal(loaded.project(features), fitted.project(features))
    np.testing.assert_array_equal(loaded.variance, fitted.variance)
    plain = components.fit(features, None)
    components.save(tmp_path / "plain.safetensors", plain, {"all": 8})
    assert components.load(tmp_path / "plain.safetensors")[0].axes is None


def test_what_is_no_basis_of_these_layers_is_refused(tmp_path: Path) -> None:
    fitted = components.fit(rows(50, 8), 3)
    path = tmp_path / "basis.safetensors"
    with pytest.raises(ValueError, match="widths sum to 7, the basis has 8 columns"):
        components.save(path, fitted, {"midblock": 7})
    with pytest.raises(files.DamagedFileError, match=r"basis.safetensors is missing"):
        components.load(path)
    files.write_tensors(path, {"mean": fitted.mean}, {"format": "7"})
    with pytest.raises(ValueError, match="has format '7', this modescope reads bases of format 1"):
        components.load(path)
    files.write_tensors(path, {"mean": fitted.mean}, {"format": "1", "widths": "{}"})
    with pytest.raises(files.DamagedFileError, match="lacks mean or inverse_scale"):
        components.load(path)


def test_features_that_are_no_rows_of_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features has shape \(8,\); give rows of columns"):
        components.fit(np.zeros(8, np.float32), None)


def test_joined_matrices_read_as_one_by_slices_and_by_lists_of_rows() -> None:
    features = rows(40, 5)
    joined = components.Joined({"a": features[:7], "b": Parts(features[7:30], 6), "c": features[30:]})
    assert joined.shape == (40, 5)
    np.testing.assert_array_equal(joined[3:35], features[3:35])
    chosen = np.array([39, 0, 12, 6, 12, 7])
    np.testing.assert_array_equal(joined[chosen], features[chosen])
    np.testing.assert_array_equal(components.fit(joined, 3).axes, components.fit(features, 3).axes)


@pytest.mark.parametrize("parts", [{}, {"a": np.zeros((3, 4)), "b": np.zeros((3, 5))}])
def test_matrices_of_other_columns_do_not_join(parts: dict) -> None:
    with pytest.raises(ValueError, match="give one part or more, of the same columns"):
        components.Joined(parts)
