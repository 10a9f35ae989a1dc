"""Pictures: what they show by number, at few and at many classes, small and large images, and without anything to show."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from modescope import figures


def clusters(count, seed=0, classes=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    turn = 2 * np.pi * labels / classes
    points = 10 * np.stack([np.cos(turn), np.sin(turn)], axis=1) + rng.normal(size=(count, 2))
    return points.astype(np.float32), labels.astype(np.int64)


def shades(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(figures.png(figure))).convert("RGB"))


def images(count, side=8, channels=1, shade=200):
    return np.full((count, channels, side, side), shade, np.uint8)


def class_table(classes):
    rng = np.random.default_rng(1)
    coverage = rng.uniform(0.2, 0.9, classes)
    table = pd.DataFrame(
        {"class_id": range(classes), "class_name": [f"a rather long name {i}" for i in range(classes)]}
    )
    for score, values in (("coverage", coverage), ("recall", coverage / 2)):
        table = table.assign(**{score: values, f"{score}_low": values - 0.1, f"{score}_high": values + 0.1})
    return table.assign(real=50)


def test_a_picture_has_the_same_bytes_on_every_run():
    points, labels = clusters(200)
    one, two = (figures.png(figures.map_figure(points, {"g": (points, labels)}, list("abcde"))) for _ in range(2))
    assert one == two


def test_few_classes_are_named_and_many_get_a_scale():
    few, few_labels = clusters(300)
    many, many_labels = clusters(300, classes=40)
    named = figures.map_figure(few, {"g": (few, few_labels)}, list("abcde"))
    assert [text.get_text() for text in named.legends[0].get_texts()] == ["real", *"abcde"]
    scaled = figures.map_figure(many, {"g": (many, many_labels)}, [f"class {i}" for i in range(40)])
    assert not scaled.legends
    marks = [text.get_text() for text in scaled.axes[-1].get_yticklabels()]
    assert marks[0] == "class 0"
    assert marks[-1] == "class 39"


def test_two_classes_of_a_thousand_have_colours_and_names_of_their_own():
    points, labels = clusters(200, classes=2)
    drawn = figures.map_figure(points, {"g": (points, labels * 900)}, [f"class {i}" for i in range(1000)])
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["real", "class 0", "class 900"]


def test_crowded_maps_are_drawn_as_pixels_where_the_points_lie():
    points, labels = clusters(40_000, classes=2)
    drawn = figures.map_figure(points, {"g": (points[labels == 0], labels[labels == 0])}, ["a", "b"])
    (axes,) = drawn.axes
    (pixels,) = (image.get_array() for image in axes.get_images())
    left, right, bottom, top = axes.get_images()[0].get_extent()
    assert not axes.collections
    for centre, covered in (((10, 0), True), ((-10, 0), False)):
        column = int((centre[0] - left) / (right - left) * pixels.shape[1])
        row = int((centre[1] - bottom) / (top - bottom) * pixels.shape[0])
        around = pixels[row - 20 : row + 20, column - 20 : column + 20].reshape(-1, 3)
        coloured = np.ptp(around, axis=1) > 0.05
        assert coloured.any() == covered
        assert (around < 0.99).any()  # where nothing was generated, the real samples are seen in grey


def test_densities_share_a_grid_and_a_hole_shows_in_the_ratio():
    real, labels = clusters(4000, classes=2)
    one, two, least = figures.smoothed(real, real[labels == 0])
    assert one.sum() == pytest.approx(1, abs=0.01)
    assert two.sum() == pytest.approx(1, abs=0.01)
    ratio = np.log2((two + least) / (one + least))
    left, right = ratio[: len(ratio) // 2], ratio[len(ratio) // 2 :]  # the first axis is x; class 1 lies on the left
    assert left.min() < -2
    assert left.max() < 0.1
    assert right.max() == pytest.approx(1, abs=0.3)  # all of the generated mass where half of the real one is
    assert (
        figures.density_figure("g", real, real[labels == 0]).axes[2].get_title("left").startswith("generated over real")
    )


def test_a_few_samples_claim_nothing_of_the_density_between_them():
    real, fake = np.array([[0, 0], [1, 1]], np.float32), np.array([[0, 1], [1, 0]], np.float32)
    one, two, least = figures.smoothed(real, fake)
    assert np.abs(np.log2((two + least) / (one + least))).max() < 0.6  # of one sample against none: log2(3 / 2)


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (1000, 40)])
def test_classes_are_ordered_from_the_worst_and_cut_at_forty(classes, shown):
    table = class_table(classes)
    drawn = figures.coverage_figure(table, "g", expected=0.97)
    bars = [bar.get_width() for bar in drawn.axes[0].patches]
    assert len(bars) == shown
    assert bars == sorted(table["coverage"])[:shown]
    assert ("worst covered of 1000" in drawn.texts[0].get_text()) == (classes > 40)
    assert shades(drawn).shape[0] < 1200


def test_a_class_without_real_samples_has_no_bar():
    table = class_table(3)
    table.loc[1, ["coverage", "coverage_low", "coverage_high"]] = np.nan
    assert len(figures.coverage_figure(table, "g", expected=0.97).axes[0].patches) == 2


def test_the_curve_shows_coverage_beside_what_equal_laws_score():
    table = pd.DataFrame({"k": [1, 5], "precision": [0.5, 0.9], "recall": [0.4, 0.8], "coverage": [0.3, 0.7]})
    left, right = figures.curve_figure("g", table.assign(expected_coverage=[0.5, 0.97])).axes
    assert [line.get_label() for line in left.lines] == ["precision", "recall"]
    assert [list(line.get_ydata()) for line in right.lines] == [[0.3, 0.7], [0.5, 0.97]]


def test_what_was_reached_is_drawn_with_frames_and_ticks_under_each_way():
    ways = {"free": (images(3), np.zeros(3, bool), False), "mask": (images(3), np.array([1, 0, 0], bool), True)}
    drawn = figures.reach_figure("g", [("1: zeros", images(2), ways), ("2: ones", images(1), ways)], tiles=4)
    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.texts] == ["real, of the region", *ways, "1: zeros", "✓", "2: ones", "✓"]
    canvas = np.asarray(axes.images[0].get_array())
    orange = (canvas == (230, 159, 0)).all(axis=2)
    assert orange.sum() == 2 * (10 * 10 - 8 * 8)  # one image of each line
    assert orange[:, : canvas.shape[1] * 2 // 3].sum() == 0  # of the mask alone


def test_a_picture_of_nothing_to_reach_says_so():
    assert "none was aimed at" in figures.reach_figure("g", []).texts[1].get_text()


def test_a_sheet_puts_strips_side_by_side_and_lines_below_each_other():
    sheet = figures.sheet([[images(2), images(1)], [images(0), images(3)]], 3)
    assert sheet.shape == (8 + 2 + 8, 2 * (3 * 9 - 1) + 4)
    assert (sheet[:8, 9:17] == 200).all()
    assert (sheet[:8, 18:30] == 255).all()  # the first strip holds two images of three, then comes the gap
    assert (sheet[10:, :30] == 255).all()
    assert figures.sheet([[images(1, 64, 3)]], 2).shape == (64, 136, 3)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (64, 3)])
def test_lines_of_images_have_their_words_and_their_size_at_any_resolution(side, channels):
    lines = [(f"class {i}", [images(n, side, channels) for n in (8, 3, 0)]) for i in range(3)]
    drawn = figures.worst_figure("g", lines)
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts[3:] == ["class 0", "class 1", "class 2"]
    assert shades(drawn).shape[1] == pytest.approx(1440, abs=100)


def test_nothing_to_show_is_said():
    assert "no region" in figures.gaps_figure("g", []).texts[1].get_text()
    assert "every real image is covered" in figures.worst_figure("g", []).texts[1].get_text()
    assert "constant" in figures.channels_figure("g", []).texts[1].get_text()


def test_histograms_of_channels_are_shares_with_the_open_bins_at_the_ends():
    real, fake = np.array([2, 4, 4, 0]), np.array([0, 0, 50, 50])
    axes = figures.channels_figure("g", [("layer 3: +1.00", 6.0, real, fake)]).axes[0]
    assert [stairs.get_data().values.tolist() for stairs in axes.patches] == [pytest.approx([0.6, 0.4]), [0.0, 1.0]]
    assert axes.patches[0].get_data().edges.tolist() == [-6, 0, 6]
