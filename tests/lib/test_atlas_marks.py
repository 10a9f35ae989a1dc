"""Outlines, class names, scales and which images are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path

from modescope.atlas import Box, Cloud, Scale, label_places, outlines, thumbnails

UNIT = Box(left=0, bottom=0, right=1, top=1)


def inside(polygons: list, points: np.ndarray) -> np.ndarray:
    """Whether points lie in one of the polygons and in none of its holes."""
    found = np.zeros(len(points), bool)
    for outer, *holes in polygons:
        within = Path(outer).contains_points(points)
        for hole in holes:
            within &= ~Path(hole).contains_points(points)
        found |= within
    return found


def area(ring: np.ndarray) -> float:
    x, y = ring.astype(np.float64).T
    return abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2


def clump(middle: tuple[float, float], n: int = 50, seed: int = 0) -> np.ndarray:
    return (middle + np.random.default_rng(seed).normal(0, 0.3, (n, 2))).astype(np.float32)


def test_one_sample_gets_a_circle() -> None:
    ((ring,),) = outlines(np.array([[3.0, -2]]), pad=0.5)
    np.testing.assert_allclose(np.hypot(*(ring - (3, -2)).T), 0.5, rtol=0.03)
    assert np.array_equal(ring[0], ring[-1])


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_every_sample_is_inside_with_its_padding(count: int) -> None:
    points = clump((0, 0), count)
    polygons = outlines(points, pad=0.1)
    angle = np.linspace(0, 2 * np.pi, 16)
    rim = points[:, None] + 0.08 * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert inside(polygons, rim.reshape(-1, 2)).all()


def test_clumps_far_apart_have_an_outline_each_the_largest_first() -> None:
    polygons = outlines(np.concatenate([clump((10, 10), 20), clump((0, 0), 60)]), pad=0.2)
    assert len(polygons) == 2
    assert np.abs(polygons[0][0].mean(0)).max() < 1
    assert sum(area(rings[0]) for rings in polygons) < 15
    assert not inside(polygons, np.array([[5.0, 5], [0, 10], [10, 0]])).any()


def test_two_samples_across_the_map_are_not_joined() -> None:
    assert len(outlines(np.array([[0.0, 0], [9, 9]]), pad=0.1)) == 2
    assert len(outlines(np.array([[0.0, 0], [0.2, 0]]), pad=0.1)) == 1
    assert len(outlines(np.array([[0.0, 0], [1, 0]]), pad=0.1, reach=0.4)) == 2
    assert len(outlines(np.array([[0.0, 0], [1, 0]]), pad=0.1, reach=3)) == 1


def test_an_outline_follows_a_bow_and_leaves_its_hollow_out() -> None:
    angle = np.linspace(0, 1.5 * np.pi, 60)
    bow = 4 * np.stack([np.cos(angle), np.sin(angle)], 1)
    polygons = outlines(bow, pad=0.3)
    assert len(polygons) == 1
    assert not inside(polygons, np.array([[0.0, 0], [2, -2], [1, 1]])).any()
    assert area(polygons[0][0]) < 1.2 * (1.5 * np.pi * 4 * 0.6 + np.pi * 0.3**2)


def test_a_ring_of_samples_has_a_hole() -> None:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ((outer, hole),) = outlines(4 * np.stack([np.cos(angle), np.sin(angle)], 1), pad=0.3)
    assert area(outer) == pytest.approx(np.pi * 4.3**2, rel=0.03)
    assert area(hole) == pytest.approx(np.pi * 3.7**2, rel=0.03)


def test_a_filled_square_is_outlined_by_its_sides() -> None:
    square = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), -1).reshape(-1, 2)
    ((ring,),) = outlines(square, pad=0.5)
    assert area(ring) == pytest.approx(6 * 5, rel=0.04)


def test_a_padding_too_fine_to_draw_still_leaves_no_sample_out() -> None:
    chain = np.stack([np.linspace(0, 100, 300), np.zeros(300)], 1)
    assert inside(outlines(chain, pad=1e-3, reach=1.0), chain).all()


def test_nothing_has_no_outline_and_equal_samples_have_one() -> None:
    assert outlines(np.empty((0, 2)), pad=1.0) == []
    assert len(outlines(np.ones((9, 2)), pad=1.0)) == 1


def test_outlines_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match="give map units, pad above 0 and reach of at least 0"):
        outlines(np.zeros((3, 2)), pad=0.0)
    with pytest.raises(ValueError, match="give map units, pad above 0 and reach of at least 0"):
        outlines(np.zeros((3, 2)), pad=1.0, reach=-1.0)
    with pytest.raises(ValueError, match="points to outline are not all finite"):
        outlines(np.array([[np.nan, 0]]), pad=1.0)


def town() -> tuple[Cloud, np.ndarray, list[str]]:
    """Three classes: large at (0.2, 0.2), half as large at (0.8, 0.8), and a few samples at the upper edge."""
    rng = np.random.default_rng(0)
    middles, sizes = ((0.2, 0.2), (0.8, 0.8), (0.5, 0.999)), (2000, 1000, 100)
    points = np.concatenate([rng.normal(m, 0.02, (n, 2)) for m, n in zip(middles, sizes, strict=True)])
    return Cloud.of(points), np.repeat([0, 1, 2], sizes), ["cat", "tiger", "lynx"]


def boxes_of(found: object, names: list[str], letter: tuple[float, float]) -> np.ndarray:
    half = np.array([[len(names[name]) * letter[0] / 2, letter[1] / 2] for name in found.classes]).reshape(-1, 2)
    middle = np.stack([found.x, found.y], 1)
    return np.concatenate([middle - half, middle + half], 1)


def test_names_stand_where_their_classes_are_dense_the_largest_first() -> None:
    cloud, labels, names = town()
    found = label_places(cloud, labels, names, UNIT, letter=(0.01, 0.02))
    assert found.classes.tolist() == [0, 1, 2]
    assert found.counts.tolist()[:2] == [2000, 1000]
    np.testing.assert_allclose(found.x, [0.2, 0.8, 0.5], atol=0.02)
    np.testing.assert_allclose(found.y, [0.2, 0.8, 0.98], atol=0.02)


def test_names_lie_within_the_box_and_not_on_each_other() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 60, 5000)
    cloud = Cloud.of(rng.random((60, 2))[labels] + rng.normal(0, 0.05, (5000, 2)))
    names, letter = [f"class {i}" for i in range(60)], (0.015, 0.03)
    found = label_places(cloud, labels, names, UNIT, letter=letter, spots=3)
    low_x, low_y, high_x, high_y = boxes_of(found, names, letter).T
    assert len(found.classes) > 15
    assert min(low_x.min(), low_y.min()) > -1e-6
    assert max(high_x.max(), high_y.max()) < 1 + 1e-6
    over = (low_x[:, None] < high_x - 1e-6) & (high_x[:, None] > low_x + 1e-6)
    over &= (low_y[:, None] < high_y - 1e-6) & (high_y[:, None] > low_y + 1e-6)
    assert np.array_equal(over, np.eye(len(found.classes), dtype=bool))


def test_a_class_in_two_places_is_named_at_both_if_asked() -> None:
    rng = np.random.default_rng(2)
    cloud = Cloud.of(np.concatenate([rng.normal(0.2, 0.02, (500, 2)), rng.normal(0.8, 0.02, (400, 2))]))
    labels = np.zeros(900, int)
    assert [label_places(cloud, labels, ["cat"], UNIT, letter=(0.01, 0.02), spots=n).x.size for n in (1, 2, 5)] == [
        1,
        2,
        2,
    ]


def test_names_obey_the_filter_the_limit_and_the_room() -> None:
    cloud, labels, names = town()
    letter = (0.01, 0.02)
    assert label_places(cloud, labels, names, UNIT, letter=letter, keep=labels == 1).classes.tolist() == [1]
    assert label_places(cloud, labels, names, UNIT, letter=letter, most=1).classes.tolist() == [0]
    assert label_places(cloud, labels, names, UNIT, letter=letter, most=0).classes.tolist() == []
    assert label_places(cloud, labels, names, UNIT, letter=(0.3, 0.02)).classes.tolist() == [0]  # "cat" alone fits
    away = Box(left=5, bottom=5, right=6, top=6)
    assert label_places(cloud, labels, names, away, letter=letter).x.size == 0


def test_a_class_of_which_next_to_nothing_is_in_view_is_not_named() -> None:
    labels = np.repeat([0, 1], (1000, 3))
    cloud = Cloud.of(np.random.default_rng(3).random((1003, 2)))
    assert label_places(cloud, labels, ["cat", "tiger"], UNIT, letter=(0.01, 0.02)).classes.tolist() == [0]


def test_every_so_manieth_sample_names_the_same_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    from modescope.atlas import naming

    monkeypatch.setattr(naming, "ENOUGH", 300)
    cloud, labels, names = town()
    found = label_places(cloud, labels, names, UNIT, letter=(0.01, 0.02))
    assert found.classes.tolist()[:2] == [0, 1]
    np.testing.assert_allclose(found.counts[:2], [2000, 1000], rtol=0.1)


def test_names_that_do_not_fit_the_labels_are_refused() -> None:
    cloud, labels, names = town()
    with pytest.raises(ValueError, match="labels has 5 rows; give one per point of the cloud, 3100"):
        label_places(cloud, labels[:5], names, UNIT, letter=(1, 1))
    with pytest.raises(ValueError, match="labels reach 2, but 2 classes have names"):
        label_places(cloud, labels, names[:2], UNIT, letter=(1, 1))
    with pytest.raises(ValueError, match="give the width and height of a character in map units, above 0"):
        label_places(cloud, labels, names, UNIT, letter=(0, 1))


def test_scales_by_hand() -> None:
    linear = Scale.of(np.array([0.0, 5, 10, np.nan]), tails=0)
    assert linear == Scale(kind="linear", low=0, high=10)
    np.testing.assert_array_equal(linear.unit(np.array([5, 12, -1, np.nan])), np.array([0.5, 1, 0, np.nan], np.float32))
    np.testing.assert_allclose(
        Scale.of(np.array([0.1, 10.0]), "log", 0).unit(np.array([0.1, 1, 10, 0])), [0, 0.5, 1, 0]
    )
    ratio = Scale.of(np.array([0.5, 1, 4.0, 0]), "ratio", 0)
    assert (ratio.low, ratio.high) == (0.25, 4)
    np.testing.assert_allclose(ratio.unit(np.array([0, 0.25, 0.5, 1, 2, 4, 99])), [0, 0, 0.25, 0.5, 0.75, 1, 1])


def test_a_few_extreme_values_do_not_flatten_the_rest() -> None:
    values = np.random.default_rng(0).random(1000)
    values[:5] = 1e6
    scale = Scale.of(values)
    assert scale.high < 1.0001
    assert scale.unit(values).max() == 1


@pytest.mark.parametrize("kind", ["linear", "log", "ratio"])
@pytest.mark.parametrize("values", [[], [np.nan], [0.0, 0], [3.0, 3], [1.0], [1, 2], [True, False]], ids=str)
def test_every_column_gets_a_scale(kind: str, values: list) -> None:
    column = np.array(values)
    scale = Scale.of(column, kind)
    places = scale.unit(column)
    assert np.array_equal(np.isnan(places), np.isnan(column.astype(float)))
    assert ((places >= 0) & (places <= 1))[~np.isnan(places)].all()
    assert len(scale.ticks()[0]) >= 2


@pytest.mark.parametrize(
    ("scale", "values"),
    [
        (Scale(kind="linear", low=0, high=10), [0, 2, 4, 6, 8, 10]),
        (Scale(kind="linear", low=-0.13, high=0.31), [-0.1, 0, 0.1, 0.2, 0.3]),
        (Scale(kind="linear", low=980, high=1020), [980, 990, 1000, 1010, 1020]),
        (Scale(kind="log", low=0.5, high=20), [0.5, 1, 2, 5, 10, 20]),
        (Scale(kind="log", low=0.1, high=100), [0.1, 1, 10, 100]),
        (Scale(kind="log", low=1e-9, high=1e9), [1e-8, 1e-4, 1, 1e4, 1e8]),
        (Scale(kind="log", low=3.1, high=4.4), [3.25, 3.5, 3.75, 4.0, 4.25]),
        (Scale(kind="ratio", low=0.25, high=4), [0.25, 0.5, 1, 2, 4]),
        (Scale(kind="ratio", low=1 / 20, high=20), [1 / 16, 1 / 4, 1, 4, 16]),
    ],
    ids=str,
)
def test_ticks_are_round_and_few(scale: Scale, values: list) -> None:
    found, places = scale.ticks(6)
    np.testing.assert_allclose(found, values, atol=1e-12)
    np.testing.assert_allclose(places, scale.unit(np.array(values)), atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "log", "ratio"])
def test_ticks_lie_in_the_range_and_number_from_two_to_the_most(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        low = 10 ** rng.uniform(-6, 6)
        high = max(low, 1 / low) if kind == "ratio" else low * (1 + 10 ** rng.uniform(-3, 5))
        scale = Scale(kind=kind, low=1 / high if kind == "ratio" else low, high=high)
        for most in (3, 5, 9):
            values, _ = scale.ticks(most)
            assert 1 < len(values) <= most
            assert scale.low * (1 - 1e-9) <= values.min() <= values.max() <= scale.high * (1 + 1e-9)
            assert (np.diff(values) > 0).all()


def test_scales_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="kind 'loud' is unknown; choose from linear, log, ratio"):
        Scale(kind="loud", low=0, high=1)
    with pytest.raises(ValueError, match="a scale from 1.0 to 1.0 has no length"):
        Scale(kind="linear", low=1.0, high=1.0)
    with pytest.raises(ValueError, match="a log scale starts at 0.0; it needs values above 0"):
        Scale(kind="log", low=0.0, high=1.0)
    with pytest.raises(ValueError, match="values reach down to -1; a ratio scale has none below 0"):
        Scale.of(np.array([-1.0, 2]), "ratio")
    with pytest.raises(ValueError, match="tails is 0.5; give the share left out at each end"):
        Scale.of(np.array([1.0, 2]), tails=0.5)
    with pytest.raises(ValueError, match="2 ticks do not make a scale; ask for at least 3"):
        Scale(kind="linear", low=0, high=1).ticks(2)


def test_images_drawn_agree_with_taking_them_one_by_one() -> None:
    rng = np.random.default_rng(2)
    points, rows, (width, height) = rng.random((500, 2)), rng.permutation(500)[:400], (0.08, 0.05)
    expected: list[int] = []
    for row in rows:
        apart = np.abs(points[expected] - points[row]) >= (width, height)
        if apart.any(1).all():
            expected.append(int(row))
    assert thumbnails(points, rows, (width, height)).tolist() == expected
    assert thumbnails(points, rows, (width, height), most=7).tolist() == expected[:7]


def test_no_image_is_drawn_where_there_is_no_sample() -> None:
    assert len(thumbnails(np.empty((0, 2)), np.empty(0, int), (1, 1))) == 0
    with pytest.raises(ValueError, match="have no size; give width and height above 0"):
        thumbnails(np.zeros((1, 2)), np.zeros(1, int), (0, 1))
