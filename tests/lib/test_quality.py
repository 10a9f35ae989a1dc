"""Measures of a map, against scikit-learn and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as reference

from modescope import quality


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(0).standard_normal((120, 6))
    return features, features[:, :2] + 0.1 * np.random.default_rng(1).standard_normal((120, 2))


def test_a_copy_is_perfect(pair: tuple[np.ndarray, np.ndarray]) -> None:
    features, _ = pair
    for measure in (quality.trustworthiness, quality.continuity, quality.preservation):
        assert measure(features, 3 * features - 1, k=7) == 1.0


@pytest.mark.parametrize("k", [1, 5, 40])
def test_trustworthiness_and_continuity_agree_with_scikit_learn(pair: tuple[np.ndarray, np.ndarray], k: int) -> None:
    features, places = pair
    assert quality.trustworthiness(features, places, k=k) == pytest.approx(reference(features, places, n_neighbors=k))
    assert quality.continuity(features, places, k=k) == pytest.approx(reference(places, features, n_neighbors=k))


def test_blocks_do_not_change_the_result(pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = quality.trustworthiness(*pair, k=5)
    monkeypatch.setattr(quality, "BLOCK_VALUES", 7 * 120)
    assert quality.trustworthiness(*pair, k=5) == expected


def test_preservation_counts_common_neighbours_by_hand() -> None:
    # On the line 0 1 2 10 11 12 the two nearest stay within the threes; on the map row 2 and row 3 changed places.
    features = np.array([0.0, 1, 2, 10, 11, 12])[:, None]
    places = np.array([0.0, 1, 10, 2, 11, 12])[:, None]
    # common: rows 0 and 1 keep one of two; row 2 has {11, 12} now, none in common; the same on the other side.
    assert quality.preservation(features, places, k=2) == pytest.approx((1 + 1 + 0 + 0 + 1 + 1) / 12)


def test_many_duplicates_are_no_neighbours_of_themselves() -> None:
    features = np.zeros((30, 2))
    assert 0.0 <= quality.preservation(features, features, k=3) <= 1.0
    assert quality.trustworthiness(features, features, k=3) == 1.0


def test_bad_sizes_are_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    features, places = pair
    with pytest.raises(ValueError, match="k is 60, with 120 rows it must be from 1 to below half"):
        quality.continuity(features, places, k=60)


def test_a_part_of_the_rows_asked_among_all_estimates_the_whole() -> None:
    rng = np.random.default_rng(2)
    features = rng.standard_normal((900, 5))
    places = features[:, :2] + 0.3 * rng.standard_normal((900, 2))
    part = quality.measure(features, places, k=10, rows=300, stability_rows=0)
    assert (part.rows, part.of, part.stability) == (300, 900, None)
    assert part.trustworthiness == pytest.approx(reference(features, places, n_neighbors=10), abs=0.02)
    assert part.continuity == pytest.approx(reference(places, features, n_neighbors=10), abs=0.02)
    assert part.preservation == pytest.approx(quality.preservation(features, places, k=10), abs=0.02)
    whole = quality.measure(features, places, k=10, stability_rows=0)
    assert whole.trustworthiness == quality.trustworthiness(features, places, k=10)


def test_few_rows_lower_k() -> None:
    rows = np.arange(9.0)[:, None]
    found = quality.measure(rows, rows)
    assert (found.k, found.trustworthiness, found.stability_rows) == (4, 1.0, 9)
    assert 0 <= found.stability <= 1


def test_maps_of_clear_clusters_agree_over_seeds_more_than_maps_of_noise() -> None:
    rng = np.random.default_rng(0)
    clusters = (40 * np.eye(2)[np.arange(90) % 2] + rng.standard_normal((90, 2))).astype(np.float32)
    noise = rng.standard_normal((90, 20)).astype(np.float32)
    clear, vague = (quality.stability(rows, n_neighbors=10, seeds=(0, 1)) for rows in (clusters, noise))
    assert 0 <= vague < clear <= 1
    assert quality.stability(noise, n_neighbors=10, seeds=(1, 1)) == pytest.approx(1)


def test_separation_by_hand() -> None:
    # On the line the kinds are apart: the nearest other row is always of the own kind. On the map they alternate: never.
    one, other = np.array([[0.0], [1], [2]]), np.array([[10.0], [11], [12]])
    mixed = quality.separation(one, other, np.array([[0.0], [10], [20]]), np.array([[1.0], [11], [21]]), k=1)
    assert (mixed.rows, mixed.features, mixed.map, mixed.kept) == (3, 1.0, 0.0, 0.0)
    assert quality.separation(one, other, one, other, k=1).kept == 1.0


def test_kinds_of_one_law_are_not_apart_and_nothing_can_be_kept() -> None:
    one, other = np.random.default_rng(3).standard_normal((2, 400, 3))
    found = quality.separation(one, other, one[:, :2], other[:, :2], rows=400)
    assert found.features < 0.05
    same = np.zeros((5, 2))
    assert quality.separation(same[:, :1], same[:, :1] + 0.0, same, same, k=2).rows == 5


def test_a_map_of_directions_is_judged_by_directions() -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((120, 5))
    lengths = rng.uniform(0.01, 100, (120, 1))  # which a map by cosine knows nothing of
    places = rows[:, :2]
    for measure in (quality.trustworthiness, quality.continuity, quality.preservation):
        assert measure(lengths * rows, places, k=5, metric="cosine") == pytest.approx(
            measure(rows, places, k=5, metric="cosine")
        )
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = reference(np.maximum(1 - unit @ unit.T, 0), places, n_neighbors=5, metric="precomputed")
    assert quality.trustworthiness(lengths * rows, places, k=5, metric="cosine") == pytest.approx(expected)
    found = quality.measure(lengths * rows, places, k=5, stability_rows=0, metric="cosine")
    assert found.trustworthiness == pytest.approx(expected)
    apart = quality.separation(rows + 4, 0.01 * (rows - 4), places, places, metric="cosine")
    assert apart.features > 0.9


def test_a_metric_by_which_maps_are_not_made_is_refused() -> None:
    rows = np.zeros((20, 2))
    with pytest.raises(ValueError, match="metric 'haversine' is unknown; use 'euclidean' or 'cosine'"):
        quality.measure(rows, rows, metric="haversine")
