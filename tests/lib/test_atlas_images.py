"""The map as an image: pixels, colours, densities, contours and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from modescope.atlas import (
    DIFFERENCE,
    Box,
    Cloud,
    Densities,
    Frame,
    bandwidth,
    contours,
    count,
    densities,
    density,
    difference,
    difference_image,
    mass_levels,
    raster,
    rgb,
    rgba,
)
from modescope.atlas.densities import FINE, fine_width, plain_width
from modescope.atlas.rasters import enlarged, loneliness, opacity

UNIT = Box(left=0, bottom=0, right=1, top=1)
RED_BLUE = rgb(["#ff0000", "#0000ff"])


def bytes_of(image: np.ndarray) -> np.ndarray:
    """R, G, B, A of each pixel."""
    return np.stack([(image >> shift) & 255 for shift in (0, 8, 16, 24)], -1)


def scattered(n: int = 3000, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 0.3, (n, 2)).astype(np.float32)


def four() -> tuple[Cloud, Frame]:
    """Two points in the lower left pixel of 2 by 2, one in the upper right, one outside."""
    points = np.array([[0.1, 0.1], [0.2, 0.3], [1.0, 1.0], [1.5, 0.5]], np.float32)
    return Cloud.of(points), Frame(box=UNIT, width=2, height=2)


def test_a_box_around_points_by_hand() -> None:
    one, two = np.array([[0.0, 0], [10, 2]]), np.array([[-10.0, 1]])
    assert Box.around(one, two, pad=0.1) == Box(left=-12, bottom=-2, right=12, top=4)
    assert Box(left=0, bottom=0, right=10, top=2).enlarged(0.5) == Box(left=-5, bottom=-1, right=15, top=3)


@pytest.mark.parametrize(
    "points", [np.empty((0, 2)), np.array([[3.0, -4]]), np.zeros((5, 2)), np.array([[1.0, 0], [1, 9]])]
)
@pytest.mark.parametrize("pad", [0, 0.05])
def test_a_box_around_points_is_never_without_size(points: np.ndarray, pad: float) -> None:
    box = Box.around(points, pad=pad)
    assert all(box.left <= x <= box.right and box.bottom <= y <= box.top for x, y in points)


@pytest.mark.parametrize("sides", [(0, 0, 0, 1), (1, 0, 0, 1), (0, 0, np.inf, 1), (0, np.nan, 1, 1)])
def test_a_box_without_size_is_refused(sides: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="is no rectangle; give finite left < right and bottom < top"):
        Box(**dict(zip(("left", "bottom", "right", "top"), sides, strict=True)))


def test_a_fitting_frame_has_square_pixels() -> None:
    frame = Frame.fitting(Box(left=0, bottom=0, right=8, top=2), 100)
    assert (frame.width, frame.height, frame.step) == (100, 25, (0.08, 0.08))
    with pytest.raises(ValueError, match="a frame of 0 by 3 pixels shows nothing"):
        Frame(box=UNIT, width=0, height=3)


def test_counts_by_hand_start_at_the_lower_left() -> None:
    cloud, frame = four()
    assert count(cloud, frame).tolist() == [[2, 0], [0, 1]]
    assert count(cloud, frame, np.array([True, False, False, True])).tolist() == [[1, 0], [0, 0]]


def test_counts_agree_with_a_histogram() -> None:
    points = scattered()
    frame = Frame(box=Box(left=0.1, bottom=-0.2, right=0.9, top=1), width=37, height=23)
    expected = np.histogram2d(*points.T, bins=(37, 23), range=((0.1, 0.9), (-0.2, 1)))[0].T
    assert np.array_equal(count(Cloud.of(points), frame), expected)


def test_pixels_hold_red_in_the_lowest_byte_and_alpha_in_the_highest() -> None:
    assert rgba(rgb(["#112233"]), np.array([1.0])).tolist() == [0xFF332211]
    cloud, frame = four()
    image = raster(cloud, frame, palette=rgb(["#112233"]), spread=0)
    assert image.dtype == np.uint32
    assert bytes_of(image)[..., :3].tolist() == [[[0x11, 0x22, 0x33], [0] * 3], [[0] * 3, [0x11, 0x22, 0x33]]]


@pytest.mark.parametrize("colour", ["112233", "#12", "#gg0000", "red", ""])
def test_colours_that_are_not_hexadecimal_are_refused(colour: str) -> None:
    with pytest.raises(ValueError, match="is no hex colour; write it as '#rrggbb'"):
        rgb(["#000000", colour])


def test_a_pixel_mixes_the_colours_of_its_samples() -> None:
    cloud, frame = four()
    image = raster(cloud, frame, palette=RED_BLUE, labels=np.array([0, 1, 1, 0]), spread=0)
    mixed = round((255**2 / 2) ** 0.5 - 0.5)
    assert bytes_of(image)[0, 0, :3].tolist() == [mixed, 0, mixed]
    assert bytes_of(image)[1, 1, :3].tolist() == [0, 0, 255]


def test_a_pixel_takes_the_mean_value_and_leaves_out_what_is_unknown() -> None:
    cloud, frame = four()
    palette = np.repeat(np.arange(100, dtype=np.uint8)[:, None], 3, 1)
    image = raster(cloud, frame, palette=palette, values=np.array([0.2, 0.61, 1, 0]), spread=0)
    assert bytes_of(image)[0, 0, 0] == 40
    assert bytes_of(image)[1, 1, 0] == 99
    image = raster(cloud, frame, palette=palette, values=np.array([np.nan, 0.615, np.nan, 0]), spread=0)
    assert bytes_of(image)[0, 0, 0] == 61
    assert image[1, 1] == 0


@pytest.mark.parametrize("intensity", ["log", "equal", "linear"])
def test_only_pixels_with_samples_are_painted_and_more_samples_are_more_opaque(intensity: str) -> None:
    points, keep = scattered(), np.random.default_rng(1).random(3000) < 0.7
    cloud, frame = Cloud.of(points), Frame(box=UNIT, width=30, height=20)
    counts = count(cloud, frame, keep)
    image = raster(cloud, frame, palette=RED_BLUE[:1], keep=keep, intensity=intensity, spread=0)
    assert np.array_equal(image > 0, counts > 0)
    alpha = bytes_of(image)[..., 3]
    order = np.argsort(counts[counts > 0], kind="stable")
    assert (np.diff(alpha[counts > 0][order].astype(int)) >= 0).all()
    assert alpha.max() == 255


def test_opacity_by_hand() -> None:
    counts = np.array([1] * 4 + [10] * 4 + [100] * 4)
    assert opacity(counts, "log", 0.2)[::4].tolist() == pytest.approx([0.2, 0.6, 1])
    assert opacity(counts, "equal", 0.2)[::4].tolist() == pytest.approx([0.2, 0.6, 1])
    assert opacity(counts, "linear", 0.2)[::4].tolist() == pytest.approx([0.2, 0.2 + 0.8 * 9 / 99, 1])
    assert opacity(np.array([1, 1, 1]), "log", 0.2).tolist() == [
        1,
        1,
        1,
    ]  # alone everywhere: nothing to be fainter than
    assert len(opacity(np.empty(0, int))) == 0


def test_a_pixel_spreads_to_a_disc_and_the_more_opaque_one_wins() -> None:
    image = np.zeros((7, 7), np.uint32)
    image[3, 3], image[0, 0] = 0x80000001, 0xFF000002
    one = enlarged(image, 1)
    assert np.array_equal(one[2:5, 2:5] > 0, np.ones((3, 3)))
    assert np.count_nonzero(one == 0x80000001) == 9
    assert np.count_nonzero(one == 0xFF000002) == 4
    assert np.count_nonzero(enlarged(image, 2) == 0x80000001) == 21 - 2  # (0, 0) takes two of them
    assert np.array_equal(enlarged(image, 0), image)
    assert enlarged(image[:1, :1], 2).tolist() == [[0xFF000002]]


def test_lonely_pixels_are_enlarged_and_crowded_ones_are_not() -> None:
    lonely = np.zeros((40, 40), bool)
    lonely[::8, ::8] = True
    near = np.zeros((40, 40), bool)
    near[::3, ::3] = True
    assert [loneliness(each) for each in (lonely, near, np.ones((9, 9), bool), np.zeros((9, 9), bool))] == [2, 1, 0, 0]


def test_a_raster_of_nothing_is_empty() -> None:
    frame = Frame(box=UNIT, width=5, height=4)
    empty = Cloud.of(np.empty((0, 2), np.float32))
    for how in ({}, {"labels": np.empty(0, int)}, {"values": np.empty(0)}):
        assert not raster(empty, frame, palette=RED_BLUE, **how).any()
    assert not raster(Cloud.of(scattered()), frame, palette=RED_BLUE, keep=np.zeros(3000, bool)).any()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"labels": np.zeros(4, int), "values": np.zeros(4)}, "labels and values are both given"),
        ({"labels": np.zeros(3, int)}, "labels has 3 rows; give one per point of the cloud, 4"),
        ({"values": np.zeros(3)}, "values has 3 rows; give one per point of the cloud, 4"),
        ({"labels": np.array([0, 1, 2, 0])}, "labels reach from 0 to 2; the palette has 2 colours"),
        ({"intensity": "loud"}, "intensity 'loud' is unknown; choose from log, equal, linear"),
        ({"palette": RED_BLUE[:0]}, "the palette is empty"),
    ],
)
def test_a_raster_that_cannot_be_meant_is_refused(how: dict, message: str) -> None:
    cloud, frame = four()
    with pytest.raises(ValueError, match=message):
        raster(cloud, frame, **{"palette": RED_BLUE, **how})


def test_density_agrees_with_the_sum_of_all_kernels() -> None:
    points, width = scattered(400), 0.08
    frame = Frame(box=Box(left=0, bottom=0.1, right=1, top=0.9), width=50, height=40)
    at = np.stack(np.meshgrid(*frame.centres), -1).reshape(-1, 1, 2)
    exact = norm.pdf(at - points, scale=width).prod(2).mean(1).reshape(40, 50)
    np.testing.assert_allclose(density(Cloud.of(points), frame, width=width), exact, atol=0.03 * exact.max())


def test_density_of_a_part_is_that_part_of_the_whole() -> None:
    cloud = Cloud.of(scattered())
    whole = density(cloud, Frame(box=Box(left=-1, bottom=-1, right=2, top=2), width=90, height=90), width=0.1)
    part = density(cloud, Frame(box=UNIT, width=30, height=30), width=0.1)
    np.testing.assert_allclose(part, whole[30:60, 30:60], rtol=1e-4)
    assert whole.sum() * (3 / 90) ** 2 == pytest.approx(1, abs=1e-3)


def test_density_counts_what_is_kept_alone() -> None:
    points, keep = scattered(), np.arange(3000) % 3 == 0
    frame = Frame(box=UNIT, width=20, height=20)
    apart = density(Cloud.of(points[keep]), frame, width=0.1)
    np.testing.assert_allclose(density(Cloud.of(points), frame, width=0.1, keep=keep), apart, rtol=1e-5)
    assert not density(Cloud.of(points), frame, width=0.1, keep=np.zeros(3000, bool)).any()


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan])
def test_a_kernel_without_width_is_refused(width: float) -> None:
    cloud, frame = four()
    with pytest.raises(ValueError, match="give the kernel's standard deviation in map units, above 0"):
        density(cloud, frame, width=width)


def test_cross_validation_agrees_with_leaving_each_sample_out() -> None:
    points = scattered(150, seed=3).astype(np.float64)
    frame = Frame.fitting(Box.around(points))
    apart = np.hypot(*(points[:, None] - points).transpose(2, 0, 1))

    def risk(width: float) -> float:
        def kernel(distance: np.ndarray, scale: float) -> np.ndarray:
            return np.exp(-((distance / scale) ** 2) / 2) / (2 * np.pi * scale**2)

        pairs = kernel(apart, width)
        n = len(points)
        return kernel(apart, width * 2**0.5).mean() - 2 * (pairs.sum() - np.trace(pairs)) / (n * (n - 1))

    found = fine_width(Cloud.of(points), frame)
    tried = np.geomspace(0.2, 5, 60) * found
    best = tried[np.argmin([risk(width) for width in tried])]
    assert found == pytest.approx(best, rel=0.12)  # the steps between widths tried are a tenth


def test_one_bell_gets_the_width_that_is_known_to_be_best() -> None:
    points = np.random.default_rng(4).normal(0, 2, (20000, 2)).astype(np.float32)
    cloud, frame = Cloud.of(points), Frame.fitting(Box.around(points))
    assert plain_width(cloud, frame) == pytest.approx(2 * 20000 ** (-1 / 6), rel=0.02)
    assert bandwidth(cloud, frame) == pytest.approx(2 * 20000 ** (-1 / 6), rel=0.2)


def test_many_clusters_are_not_blurred_into_each_other() -> None:
    rng = np.random.default_rng(5)
    points = np.concatenate([middle + rng.normal(0, 0.2, (100, 2)) for middle in rng.uniform(-20, 20, (60, 2))])
    cloud, frame = Cloud.of(points), Frame.fitting(Box.around(points))
    assert fine_width(cloud, frame) < 0.25
    assert bandwidth(cloud, frame) < plain_width(cloud, frame) / 2


@pytest.mark.parametrize("points", [np.empty((0, 2)), np.zeros((1, 2)), np.zeros((9, 2))], ids=["none", "one", "equal"])
def test_too_few_samples_for_a_width_still_get_one(points: np.ndarray) -> None:
    width = bandwidth(Cloud.of(points), Frame.fitting(UNIT.enlarged(1)))
    assert 3 / FINE * 0.99 <= width <= 0.3001


def test_contours_of_a_bell_are_circles_that_hold_the_share() -> None:
    axis = np.linspace(-5, 5, 201)
    bell = norm.pdf(axis)[:, None] * norm.pdf(axis)
    frame = Frame(box=Box(left=-5.025, bottom=-5.025, right=5.025, top=5.025), width=201, height=201)
    levels = mass_levels(bell, (0.5, 0.95))
    for lines, share in zip(contours(bell, frame, levels), (0.5, 0.95), strict=True):
        assert len(lines) == 1
        assert np.array_equal(lines[0][0], lines[0][-1])
        np.testing.assert_allclose(np.hypot(*lines[0].T), np.sqrt(-2 * np.log(1 - share)), rtol=0.01)


def test_mass_levels_by_hand() -> None:
    heights = np.array([[5.0, 1], [3, 1]])
    assert mass_levels(heights, (0.5, 0.6, 0.8, 0.9)) == (5, 3, 3, 1)
    assert mass_levels(np.zeros((3, 3))) == (0, 0, 0)
    with pytest.raises(ValueError, match="a contour holds a share between 0 and 1"):
        mass_levels(heights, (0.5, 1.0))


def test_nothing_has_no_contours() -> None:
    frame = Frame(box=UNIT, width=8, height=8)
    assert contours(np.zeros((8, 8)), frame, (0.0, 0.5)) == [[], []]
    assert contours(np.ones((1, 1)), Frame(box=UNIT, width=1, height=1), (0.5,)) == [[]]


def test_what_the_generator_lacks_is_orange_and_what_it_overdoes_purple() -> None:
    rng = np.random.default_rng(6)
    left, right = (rng.normal((x, 0.5), 0.05, (2000, 2)) for x in (0.25, 0.75))
    real, fake = np.concatenate([left, right]), np.concatenate([left[:1500], right, right[:500] + 0.01])
    both = densities(Cloud.of(real), Cloud.of(fake), Frame(box=UNIT, width=40, height=40))
    assert both.sizes == (4000, 4000)
    for dark in (False, True):
        image = difference_image(both, dark=dark)
        few, many = (colour.tolist() for colour in rgb(DIFFERENCE[dark]))
        assert bytes_of(image)[20, 10, :3].tolist() == few
        assert bytes_of(image)[20, 30, :3].tolist() == many
        assert image[2, 2] == 0


def test_two_halves_of_one_distribution_do_not_differ() -> None:
    frame, painted = Frame(box=UNIT, width=20, height=20), []
    for seed in range(12):
        points = scattered(2000, seed=seed)
        both = densities(Cloud.of(points[::2]), Cloud.of(points[1::2]), frame, width=0.05)
        painted.append(np.count_nonzero(difference_image(both)) / 400)
    assert 0.005 < np.mean(painted) < 0.06  # two standard errors on both sides: 4.6%


def test_errors_of_a_difference_are_those_of_repeated_draws() -> None:
    frame, width = Frame(box=UNIT, width=10, height=10), 0.1
    aways, errors = [], []
    for seed in range(60):
        away, sure = difference(
            densities(
                Cloud.of(scattered(4000, seed=seed)), Cloud.of(scattered(1000, seed=seed + 99)), frame, width=width
            )
        )
        aways.append(away)
        errors.append(away / sure)
    spread = np.std(aways, axis=0)[3:7, 3:7].mean()
    assert spread == pytest.approx(np.mean(errors, axis=0)[3:7, 3:7].mean(), rel=0.2)


def test_one_sample_far_from_all_is_no_finding() -> None:
    points = np.random.default_rng(7).normal(0.2, 0.05, (5000, 2))
    fake = np.concatenate([points[:200], [[0.9, 0.9]]])
    both = densities(Cloud.of(points), Cloud.of(fake), Frame(box=UNIT, width=40, height=40), width=0.03)
    assert not difference_image(both)[30:, 30:].any()


def test_the_side_with_fewer_samples_sets_the_width() -> None:
    many, few = Cloud.of(scattered(4000)), Cloud.of(scattered(200, seed=1))
    frame = Frame(box=UNIT, width=10, height=10)
    for sides in ((many, few), (few, many)):
        assert densities(*sides, frame).width == bandwidth(few, frame)


def test_a_difference_needs_both_sides() -> None:
    zero = np.zeros((2, 2), np.float32)
    empty = Densities(frame=Frame(box=UNIT, width=2, height=2), width=1.0, real=zero, fake=zero, sizes=(5, 0))
    with pytest.raises(ValueError, match="5 real and 0 generated samples are kept; a difference needs both"):
        difference(empty)
