"""The index of a map's points: boxes, lassos, nearest places and the order of drawing, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path

from modescope.atlas import Box, Cloud
from modescope.atlas import clouds as indexing
from modescope.atlas.ranking import morton, order


def clustered(n: int = 4000, *, seed: int = 0) -> np.ndarray:
    """Clumps of very different size, with a few points far from all."""
    rng = np.random.default_rng(seed)
    middles, widths = rng.normal(0, 5, (12, 2)), rng.uniform(0.02, 1, 12)
    which = rng.integers(0, 12, n)
    points = middles[which] + rng.normal(0, 1, (n, 2)) * widths[which, None]
    points[:5] = rng.uniform(-40, 40, (5, 2))
    return points.astype(np.float32)


def boxes(count: int, *, seed: int = 1) -> list[Box]:
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.normal(0, 6, (count, 2, 2)), 1)
    return [Box(left=low[0], bottom=low[1], right=high[0], top=high[1]) for low, high in ends]


def in_box(points: np.ndarray, box: Box) -> np.ndarray:
    x, y = points.T.astype(np.float64)
    return (x >= box.left) & (x <= box.right) & (y >= box.bottom) & (y <= box.top)


KEEPS = {
    "all": np.ones(4000, bool),
    "half": np.random.default_rng(2).random(4000) < 0.5,
    "few": np.arange(4000) % 700 == 3,
    "none": np.zeros(4000, bool),
}


def test_box_by_hand_is_closed() -> None:
    cloud = Cloud.of(np.array([[0, 0], [1, 1], [2, 0], [1, 0.5]], np.float32))
    assert sorted(cloud.within(Box(left=0, bottom=0, right=1, top=1))) == [0, 1, 3]
    assert sorted(cloud.within(Box(left=0.5, bottom=-9, right=9, top=0.5))) == [2, 3]


def test_a_bound_that_float32_cannot_hold_is_not_rounded() -> None:
    place = np.float32(0.1)
    cloud = Cloud.of(np.array([[place, 0], [9, 9]], np.float32))
    below, above = np.nextafter(float(place), 0), np.nextafter(float(place), 1)
    assert len(cloud.within(Box(left=above, bottom=-1, right=1, top=1))) == 0
    assert len(cloud.within(Box(left=-1, bottom=-1, right=below, top=1))) == 0
    assert list(cloud.within(Box(left=below, bottom=-1, right=above, top=1))) == [0]


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
def test_boxes_agree_with_comparing_every_point(keep: np.ndarray) -> None:
    points = clustered()
    cloud = Cloud.of(points)
    for box in [*boxes(40), Box.around(points), Box(left=90, bottom=90, right=91, top=91)]:
        assert np.array_equal(np.sort(cloud.within(box, keep)), np.flatnonzero(in_box(points, box) & keep))
        rows, x, y = cloud.seen(box, keep)
        assert np.array_equal(points[rows], np.stack([x, y], 1))


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
@pytest.mark.parametrize("k", [1, 7, 5000])
def test_nearest_agree_with_measuring_every_point(k: int, keep: np.ndarray) -> None:
    points = clustered()
    cloud = Cloud.of(points)
    rng = np.random.default_rng(3)
    for place in [*rng.normal(0, 6, (15, 2)), *points[:3], (500, -300)]:
        far = np.hypot(*(points.astype(np.float64) - place).T)
        candidates = np.flatnonzero(keep)
        expected = candidates[np.lexsort((candidates, far[candidates]))][:k]
        rows, distances = cloud.nearest(place, k, keep)
        assert np.array_equal(rows, expected)
        np.testing.assert_allclose(distances, far[expected], rtol=1e-12)


def test_equally_near_points_come_by_row() -> None:
    cloud = Cloud.of(np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [5, 5]], np.float32))
    assert list(cloud.nearest((0, 0), 3)[0]) == [0, 1, 2]


def polygons() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ragged = (4 + rng.normal(0, 0.6, 100))[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return {
        "ragged": ragged,
        "clockwise": ragged[::-1],
        "closed": np.concatenate([ragged, ragged[:1]]),
        "around all": ragged * 100,
        "elsewhere": ragged + 300,
        "partly beside": ragged * 6 + 20,
        "thin": np.array([[-20, -20], [20, 20.5], [20, 20]]),
        "flat edges": np.array([[-3, -3], [3, -3], [3, 0], [0, 0], [0, 3], [-3, 3]], float),
        "tiny": ragged * 1e-3,
    }


@pytest.mark.parametrize("name", polygons())
@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
def test_lassos_agree_with_matplotlib(name: str, keep: np.ndarray) -> None:
    points, polygon = clustered(), polygons()[name]
    expected = Path(polygon).contains_points(points.astype(np.float64)) & keep
    assert np.array_equal(np.sort(Cloud.of(points).inside(polygon, keep)), np.flatnonzero(expected))


def test_a_lasso_that_crosses_itself_holds_what_it_goes_around_once() -> None:
    twice = np.concatenate(
        [[[-2, -2], [2, -2], [2, 2], [-2, 2], [-2, -2]], [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]]
    )
    cloud = Cloud.of(np.array([[0, 0], [1.5, 0.2], [3, 3]], np.float32))
    assert list(cloud.inside(twice)) == [1]


def test_scribbles_agree_with_counting_crossings_of_every_edge() -> None:
    points = clustered(1500)
    rng = np.random.default_rng(5)
    for _ in range(10):
        corners = rng.normal(0, 6, (60, 2))
        odd = np.zeros(len(points), bool)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
            meets = (y0 <= points[:, 1]) != (y1 <= points[:, 1])
            odd ^= meets & (x0 + (points[:, 1] - y0) / (y1 - y0) * (x1 - x0) < points[:, 0])
        assert np.array_equal(np.sort(Cloud.of(points).inside(corners)), np.flatnonzero(odd))


@pytest.mark.parametrize("corners", [[], [[0, 0]], [[0, 0], [1, 1]], [[0, 0], [1, 0], [2, 0]], [[1, 1]] * 5])
def test_a_lasso_without_area_holds_nothing(corners: list) -> None:
    assert len(Cloud.of(clustered(100)).inside(np.array(corners, float).reshape(-1, 2))) == 0


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
def test_markers_are_the_first_by_rank_of_those_in_the_box(keep: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "FIRST", 64)
    points = clustered()
    cloud = Cloud.of(points)
    for box in boxes(20):
        expected = cloud.by_rank[(keep & in_box(points, box))[cloud.by_rank]].tolist()
        for most in (0, 1, 50, 4000):
            assert list(cloud.markers(box, most, keep)) == expected[:most]


def test_the_rank_names_each_point_once_and_follows_the_seed() -> None:
    points = clustered()
    one, same, other = (Cloud.of(points, seed=seed).by_rank for seed in (0, 0, 1))
    assert np.array_equal(np.sort(one), np.arange(len(points)))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_each_beginning_of_the_rank_covers_all_squares_of_a_grid() -> None:
    points = clustered()
    code, by_rank = morton(points), Cloud.of(points).by_rank
    for level in range(8):
        squares = code >> (2 * (16 - level))
        needed = len(np.unique(squares))
        assert len(np.unique(squares[by_rank[:needed]])) == needed


def test_outliers_come_early() -> None:
    places = np.argsort(Cloud.of(clustered()).by_rank)
    assert places[:5].max() < 200  # a random order would leave one of the five beyond that with a chance of 1 - 0.05^5


def test_markers_spread_out_where_points_crowd() -> None:
    rng = np.random.default_rng(6)
    points = np.concatenate([rng.normal(0, 0.05, (20000, 2)), rng.uniform(-1, 1, (500, 2))]).astype(np.float32)
    cloud = Cloud.of(points)
    drawn = cloud.markers(Box(left=-1, bottom=-1, right=1, top=1), 400)
    crowded = (np.abs(points[drawn]) < 0.15).all(1).mean()
    assert crowded < 0.15  # 98% of the points lie there, on 2% of the map


def test_morton_code_by_hand() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    assert list(morton(corners)) == [0, 0x55555555, 0xAAAAAAAA, 0xFFFFFFFF]


def test_packed_order_is_a_stable_sort() -> None:
    keys = np.random.default_rng(7).integers(0, 50, 1000).astype(np.uint32)
    assert np.array_equal(order(keys), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_no_and_one_and_equal_points_are_maps_too(dtype: type) -> None:
    everywhere = Box(left=-9, bottom=-9, right=9, top=9)
    square = np.array([[-8, -8], [8, -8], [8, 8], [-8, 8]], float)
    for points in (np.empty((0, 2)), np.array([[1.0, 2.0]]), np.ones((50, 2))):
        cloud, rows = Cloud.of(points.astype(dtype)), list(range(len(points)))
        assert len(cloud) == len(points)
        assert sorted(cloud.within(everywhere)) == rows
        assert sorted(cloud.inside(square)) == rows
        assert sorted(cloud.markers(everywhere, 99)) == rows
        assert list(cloud.nearest((3, 4), 99)[0]) == rows


def test_points_on_a_line_are_a_map_too() -> None:
    points = np.stack([np.full(30, 2.0), np.arange(30)], 1).astype(np.float32)
    cloud = Cloud.of(points)
    assert sorted(cloud.within(Box(left=1, bottom=3, right=2, top=6))) == [3, 4, 5, 6]
    assert list(cloud.nearest((0, 7.2), 2)[0]) == [7, 8]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_places_that_are_no_numbers_are_refused(bad: float) -> None:
    points = clustered(10)
    points[7, 1] = bad
    with pytest.raises(ValueError, match="point 7 is .*a map has finite places only"):
        Cloud.of(points)


@pytest.mark.parametrize(
    "points", [np.zeros((3, 3)), np.zeros(4), np.zeros((3, 2), int)], ids=["3-D", "flat", "integers"]
)
def test_points_of_another_form_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"points are .*give floats \(N, 2\)"):
        Cloud.of(points)


@pytest.mark.parametrize("keep", [np.ones(3, bool), np.ones(100, np.int8)], ids=["short", "numbers"])
def test_a_filter_of_another_form_is_refused(keep: np.ndarray) -> None:
    cloud, box = Cloud.of(clustered(100)), Box(left=0, bottom=0, right=1, top=1)
    for ask in (
        lambda: cloud.within(box, keep),
        lambda: cloud.markers(box, 5, keep),
        lambda: cloud.nearest((0, 0), 5, keep),
        lambda: cloud.inside(np.eye(3)[:, :2], keep),
    ):
        with pytest.raises(ValueError, match="keep is .*give one bool per point"):
            ask()


def test_nearest_to_nowhere_and_broken_lassos_are_refused() -> None:
    cloud = Cloud.of(clustered(100))
    with pytest.raises(ValueError, match="give a finite place and k of at least 1"):
        cloud.nearest((np.nan, 0))
    with pytest.raises(ValueError, match="give a finite place and k of at least 1"):
        cloud.nearest((0, 0), 0)
    for polygon in (np.array([[0, 0], [1, np.nan], [1, 1]]), np.zeros((4, 3))):
        with pytest.raises(ValueError, match=r"the polygon has shape .*finite corners \(V, 2\)"):
            cloud.inside(polygon)


def test_an_index_that_sessions_share_cannot_be_changed() -> None:
    points = clustered(50)
    cloud = Cloud.of(points)
    rows, x, _ = cloud.seen(cloud.box)
    for array in (cloud.points, cloud.by_rank, rows, x):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    points[0] = 5  # the caller's own array stays the caller's


def test_an_index_costs_about_forty_bytes_a_point() -> None:
    cloud = Cloud.of(clustered())
    assert cloud.nbytes < 45 * len(cloud)
