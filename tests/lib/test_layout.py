"""Neighbours, memberships and places, against brute force and umap-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from modescope import layout


@pytest.mark.parametrize("queries", [3, 200], ids=["few", "many"])
def test_nearest_rows_are_those_of_brute_force(queries: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 7)).astype(np.float32)
    asked = rng.standard_normal((queries, 7)).astype(np.float32)
    indices, distances = layout.nearest(asked, rows, 5)
    exact = np.sqrt(((asked[:, None].astype(np.float64) - rows) ** 2).sum(2))
    np.testing.assert_array_equal(indices, exact.argsort(1)[:, :5])
    np.testing.assert_array_equal(distances, np.sort(exact, 1)[:, :5].astype(np.float32))


def test_equal_distances_come_in_the_order_of_rows() -> None:
    rows = np.array([[1.0], [-1.0], [3.0], [1.0]], np.float32)
    indices, distances = layout.nearest(np.zeros((1, 1), np.float32), rows, 4)
    assert indices.tolist() == [[0, 1, 3, 2]]
    assert distances.tolist() == [[1, 1, 1, 3]]


def test_rows_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).standard_normal((100, 4)).astype(np.float32)
    expected = layout.nearest(rows[:9], rows, 6)
    monkeypatch.setattr(layout, "BLOCK_VALUES", 28)
    np.testing.assert_array_equal(layout.nearest(rows[:9], rows, 6)[0], expected[0])


def test_cosine_neighbours_ignore_length() -> None:
    rows = np.array([[1, 0], [0, 5], [-2, 0]], np.float32)
    indices, distances = layout.nearest(np.array([[100, 1]], np.float32), rows, 3, metric="cosine")
    assert indices.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(distances[0], 1 - np.array([100, 1, -100]) / np.hypot(100, 1), rtol=1e-5)


def test_memberships_of_farther_neighbours_sum_to_log2_k_and_do_not_know_units() -> None:
    distances = np.sort(np.random.default_rng(0).uniform(1, 3, (20, 8)), 1).astype(np.float32)
    weights = layout.memberships(distances)
    np.testing.assert_allclose(weights[:, 1:].sum(1), 3.0, rtol=1e-6)
    np.testing.assert_allclose(layout.memberships(8 * distances), weights, rtol=1e-5)
    assert (np.diff(weights, axis=1) <= 0).all()


def test_memberships_of_equal_distances_by_hand() -> None:
    # K = 4: three farther neighbours at distance 2 share log2 4 = 2, so each has 2/3; the nearest, at 1, its root.
    weights = layout.memberships(np.array([[1, 2, 2, 2]], np.float32))
    np.testing.assert_allclose(weights, [[np.sqrt(2 / 3), 2 / 3, 2 / 3, 2 / 3]], rtol=1e-6)


def test_duplicates_do_not_divide_by_zero() -> None:
    weights = layout.memberships(np.zeros((1, 5), np.float32))
    np.testing.assert_array_equal(weights, np.ones((1, 5)))


def test_places_agree_with_transform_of_umap_learn_within_its_own_spread() -> None:
    values = load_digits().data.astype(np.float32)
    rows, new = values[:600], values[600:640]
    within, across = cdist(rows, rows), cdist(new, rows)  # given, for umap-learn takes long to compile its own
    models = [
        layout._learn().UMAP(n_neighbors=10, metric="precomputed", random_state=0, transform_seed=seed, n_jobs=1)
        for seed in (1, 2)
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Transforming new data with precomputed metric", UserWarning)
        warnings.filterwarnings("ignore", "using precomputed metric", UserWarning)
        for model in models:
            model.fit(within)
        # One row at a time: in a batch, umap-learn's weights depend on the other rows.
        one, two = (np.concatenate([model.transform(row[None]) for row in across]) for model in models)
    fitted = layout.Layout(
        embedding=models[0].embedding_,
        sigmas=models[0]._sigmas,
        rhos=models[0]._rhos,
        a=float(models[0]._a),
        b=float(models[0]._b),
    )
    ours = layout.place(fitted, *layout.nearest(new, rows, 10), seed=0)
    spread = np.median(np.linalg.norm(one - two, axis=1))
    assert spread > 0
    assert np.median(np.linalg.norm(ours - one, axis=1)) < 1.5 * spread
    assert np.median(np.linalg.norm(ours - two, axis=1)) < 1.5 * spread


def test_superposing_undoes_a_turn_and_a_shift_but_no_scale() -> None:
    rng = np.random.default_rng(0)
    places = rng.standard_normal((30, 2))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    np.testing.assert_allclose(layout.superposed(places, places @ turn + 7), places, atol=1e-12)
    doubled = layout.superposed(places, 2 * places @ turn)
    assert doubled.var(0).sum() == pytest.approx(4 * places.var(0).sum())


def test_a_pull_takes_the_share_of_the_way_to_the_maps_beside() -> None:
    maps = [np.full((1, 2), value, np.float32) for value in (0, 2, 10)]
    assert [place[0, 0] for place in layout._pulled(maps, 0.5)] == [1, 3.5, 6]
    assert [place[0, 0] for place in layout._pulled(maps, 0.0)] == [0, 2, 10]


def test_widths_of_new_rows_are_those_that_umap_learn_gives_rows_of_its_own() -> None:
    distances = np.array([[1, 2, 2, 2]], np.float32)
    sigmas, rhos = layout.widths(distances)
    assert rhos.tolist() == [1]
    # Among itself, 1, 2, 2: one member at rho, so that the two farther share log2 4 - 1 = 1: exp(-1 / sigma) = 1/2.
    assert sigmas[0] == pytest.approx(1 / np.log(2), rel=1e-3)
