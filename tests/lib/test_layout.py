"""Neighbours, memberships and places, against brute force and umap-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from modescope import layout
from modescope.layout import arranging, descent, graph, search


@pytest.mark.parametrize("many", [search.MANY, 10], ids=["products", "scikit-learn"])
def test_nearest_rows_are_those_of_brute_force(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MANY", many)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 7)).astype(np.float32)
    asked = rng.standard_normal((200, 7)).astype(np.float32)
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
    monkeypatch.setattr(search, "BLOCK_VALUES", 28)
    np.testing.assert_array_equal(layout.nearest(rows[:9], rows, 6)[0], expected[0])


def test_cosine_neighbours_ignore_length() -> None:
    rows = np.array([[1, 0], [0, 5], [-2, 0]], np.float32)
    indices, distances = layout.nearest(np.array([[100, 1]], np.float32), rows, 3, metric="cosine")
    assert indices.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(distances[0], 1 - np.array([100, 1, -100]) / np.hypot(100, 1), rtol=1e-5)


def test_a_row_of_zeros_is_at_right_angles_to_all_others_and_at_no_angle_to_its_like() -> None:
    rows = np.array([[1, 0], [0, 0], [-1, 0]], np.float32)
    indices, distances = layout.nearest(np.zeros((1, 2), np.float32), rows, 3, metric="cosine")
    assert indices.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(distances, [[0, 1, 1]], rtol=1e-6)
    np.testing.assert_allclose(layout.nearest(rows[:1], rows, 3, metric="cosine")[1], [[0, 1, 2]], atol=1e-6)


def test_a_metric_without_exact_neighbours_is_refused() -> None:
    with pytest.raises(ValueError, match="metric 'haversine' is unknown; use 'euclidean' or 'cosine'"):
        layout.nearest(np.zeros((1, 2), np.float32), np.zeros((2, 2), np.float32), 1, metric="haversine")


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
    umap = learn()
    models = [
        umap.UMAP(n_neighbors=10, metric="precomputed", random_state=0, transform_seed=seed, n_jobs=1)
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


def learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        import umap.layouts
    return umap


def digits(rows: int) -> np.ndarray:
    values = load_digits().data.astype(np.float32)
    return values[np.random.default_rng(0).permutation(len(values))[:rows]]


def test_the_graph_and_the_curve_are_those_of_umap_learn() -> None:
    umap_ = learn().umap_
    rows = digits(200)
    rows[5] = rows[4]  # a duplicate
    indices, distances = layout.nearest(rows, rows, 10)
    sigmas, rhos = layout.widths(distances)
    found = graph.similarities(indices, distances, sigmas, rhos).toarray()
    expected, expected_sigmas, expected_rhos, _ = umap_.fuzzy_simplicial_set(
        rows, 10, None, "precomputed", knn_indices=indices.astype(np.int32), knn_dists=distances, return_dists=False
    )
    np.testing.assert_allclose(rhos, expected_rhos)
    np.testing.assert_allclose(sigmas, expected_sigmas, rtol=1e-4)
    np.testing.assert_allclose(found, expected.toarray(), atol=1e-4)
    np.testing.assert_allclose(graph.curve(0.1), umap_.find_ab_params(1.0, 0.1), rtol=1e-3)


@pytest.mark.parametrize(("axes", "both"), [(2, True), (3, True), (2, False)])
def test_the_descent_is_that_of_umap_learn_edge_by_edge_and_draw_by_draw(axes: int, both: bool) -> None:
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 10, (60, axes)).astype(np.float32)
    anchors = rng.uniform(0, 10, (80, axes)).astype(np.float32)
    edges = np.argwhere(rng.random((60, 60)) < 0.1).astype(np.int32)
    every = rng.uniform(1, 4, len(edges))
    start = np.array([123456789, 362436069, 521288629])
    states = start + places[:, :1].astype(np.float64).view(np.int64)  # as umap-learn does, whose draws cut them
    ours, theirs = places.copy(), places.copy()
    learn().layouts.optimize_layout_euclidean(
        theirs,
        theirs if both else anchors,
        *edges.T,
        8,
        60 if both else 80,
        every.copy(),
        1.5,
        0.9,
        start,
        initial_alpha=0.5,
        move_other=both,
    )
    descent.descend(ours, ours if both else anchors, *edges.T, every, states, 8, 0.5, 1.5, 0.9, both)
    assert np.abs(theirs - places).max() > 0.5
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_draws_are_those_of_the_published_generator() -> None:
    # taus88 as three linear feedback registers of 31, 29 and 28 bits, bit by bit, from its definition.
    def bits(seed: int, k: int, q: int, steps: int) -> list[int]:
        register = [(seed >> (31 - i)) & 1 for i in range(32)][:k]
        while len(register) < steps:
            register.append(register[-k] ^ register[-k + q])
        return register

    seeds, parts = (12345, 67890, 424242), ((31, 13, 12), (29, 2, 4), (28, 3, 17))
    state = np.array(seeds)
    expected = 0
    for seed, (k, q, s) in zip(seeds, parts, strict=True):
        register = bits(seed, k, q, 32 + s)
        expected ^= int("".join(map(str, register[s : s + 32])), 2)
    assert descent.draw(state) % 2**32 == expected


def test_a_map_starts_from_the_principal_components_and_says_the_same_on_every_run() -> None:
    rows = digits(150)
    start = arranging._start(rows, 3, np.random.default_rng(0))
    assert start.shape == (150, 3)
    centred = rows - rows.mean(0)
    axes = np.linalg.svd(centred)[2]
    for axis in range(3):
        assert abs(np.corrcoef(start[:, axis], centred @ axes[axis])[0, 1]) > 0.999
    assert np.ptp(start, axis=0).max() == pytest.approx(10, abs=0.01)
    assert np.ptp(arranging._start(np.zeros((5, 1), np.float32), 2, np.random.default_rng(0))) < 0.01


def test_superposing_undoes_a_turn_and_a_shift_but_no_scale() -> None:
    rng = np.random.default_rng(0)
    places = rng.standard_normal((30, 2))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    np.testing.assert_allclose(layout.superposed(places, places @ turn + 7), places, atol=1e-12)
    doubled = layout.superposed(places, 2 * places @ turn)
    assert doubled.var(0).sum() == pytest.approx(4 * places.var(0).sum())


def test_a_pull_takes_the_share_of_the_way_to_the_maps_beside() -> None:
    maps = [np.full((1, 2), value, np.float32) for value in (0, 2, 10)]
    assert [place[0, 0] for place in arranging._pulled(maps, 0.5)] == [1, 3.5, 6]
    assert [place[0, 0] for place in arranging._pulled(maps, 0.0)] == [0, 2, 10]


def test_widths_by_hand() -> None:
    # rho 1; the two farther ones at 2 share log2 4 - 1 = 1: exp(-1 / sigma) = 1/2. Duplicates alone have no width.
    sigmas, rhos = layout.widths(np.array([[0, 1, 2, 2], [0, 0, 0, 0]], np.float32))
    assert rhos.tolist() == [1, 0]
    assert sigmas[0] == pytest.approx(1 / np.log(2), rel=1e-6)
    assert 0 < sigmas[1] < 1e-15
