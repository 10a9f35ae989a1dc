"""Weights over classes: by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modescope import conditioning


def test_rows_by_hand():
    np.testing.assert_array_equal(conditioning.one_class(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(conditioning.every_class(2, 4), np.full((2, 4), 0.25))
    np.testing.assert_array_equal(conditioning.no_class(1, 3), [[0, 0, 0]])
    np.testing.assert_array_equal(conditioning.blend({2: 3, 0: 1}, 2, 3), [[0.25, 0, 0.75]] * 2)


def test_neighbours_count_once_or_by_the_inverse_square_of_their_distance():
    labels = np.array([[0, 1, 1, 2]])
    np.testing.assert_array_equal(conditioning.of_neighbours(labels, 3), [[0.25, 0.5, 0.25]])
    by_distance = conditioning.of_neighbours(labels[:, :2], 3, np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(by_distance, [[0.8, 0.2, 0]])
    at_the_aim = conditioning.of_neighbours(labels, 3, np.array([[0.0, 0.0, 1.0, 1e-200]]))
    np.testing.assert_array_equal(at_the_aim, [[0.5, 0.5, 0]])
    tiny = conditioning.of_neighbours(labels[:, :2], 3, np.array([[1e-200, 1e-200]]))
    np.testing.assert_array_equal(tiny, [[0.5, 0.5, 0]])


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8), st.integers(0, 999))
def test_rows_of_neighbours_sum_to_one(n, k, classes, seed):
    rng = np.random.default_rng(seed)
    rows = conditioning.of_neighbours(
        rng.integers(0, classes, (n, k)), classes, rng.integers(0, 3, (n, k)).astype(float)
    )
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)


def test_what_is_no_blend_is_refused():
    with pytest.raises(ValueError, match=r"class label 3 is outside 0..2"):
        conditioning.blend({3: 1.0}, 1, 3)
    with pytest.raises(ValueError, match=r"class label -1 is outside 0..2"):
        conditioning.of_neighbours(np.array([[0, -1]]), 3)
    for wrong in ({}, {0: 0.0}, {0: -1.0, 1: 2.0}, {0: float("nan")}):
        with pytest.raises(ValueError, match="are no blend; give each class a share of 0 or more"):
            conditioning.blend(wrong, 1, 3)
    with pytest.raises(ValueError, match=r"labels have shape \(2,\); give the labels of K >= 1 neighbours"):
        conditioning.of_neighbours(np.array([0, 1]), 3)
    with pytest.raises(ValueError, match=r"distances have shape \(1, 1\); give one value >= 0 per neighbour, \(1, 2\)"):
        conditioning.of_neighbours(np.array([[0, 1]]), 3, np.array([[1.0]]))
