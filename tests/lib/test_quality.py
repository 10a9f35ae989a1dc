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
