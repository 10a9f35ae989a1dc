"""What the colour of a point says, and where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.explorer import colours, palettes
from dashboards.explorer.evidence import evidence
from dashboards.explorer.resources import Project
from dashboards.explorer.states.looks import COLOURS
from modescope import files
from tests.dashboards.measuring import FIRST, SECOND, project_of, scores, state


@pytest.fixture
def project(fresh_root: Path) -> Project:
    return project_of(fresh_root)


def number(colour: str, alpha: int) -> int:
    return int(colour[1:], 16) << 8 | alpha


# Palettes


def test_ten_classes_have_the_colour_blind_safe_ones_and_a_thousand_differ() -> None:
    assert palettes.classes("Tol", 10) == list(palettes.PALETTE)
    many = palettes.classes("Tol", 1000)
    assert len(set(many)) == 1000
    assert many[:10] == list(palettes.PALETTE)
    assert len(palettes.classes("rainbow", 1000)) == 1000


def test_each_further_colour_is_the_farthest_from_all_before_it() -> None:
    chosen = palettes.lab(palettes.rgb(palettes.spread(palettes.PALETTE, 40)))
    nearest = [np.linalg.norm(chosen[i] - chosen[:i], axis=1).min() for i in range(11, 40)]
    assert (np.diff(nearest) <= 1e-9).all()


def test_grey_white_and_black_are_where_oklab_has_them() -> None:
    places = palettes.lab(palettes.rgb(["#ffffff", "#000000", "#ff0000"]))
    np.testing.assert_allclose(places, [[1, 0, 0], [0, 0, 0], [0.628, 0.2249, 0.1258]], atol=1e-3)


def test_on_a_dark_page_every_colour_keeps_its_hue_and_is_lighter() -> None:
    plain, lit = (palettes.lab(palettes.rgb(each)) for each in (palettes.PALETTE, palettes.lit(palettes.PALETTE)))
    assert (lit[:, 0] > plain[:, 0]).all()
    hues = [np.arctan2(each[:, 2], each[:, 1]) for each in (plain, lit)]
    assert np.abs(np.angle(np.exp(1j * (hues[0] - hues[1])))).max() < 0.35


def test_the_colours_of_a_measure_stand_off_the_page_they_are_on() -> None:
    for dark in (False, True):
        light = palettes.lab(palettes.sequential("Tol", dark=dark))[:, 0]
        assert (np.diff(light) > -0.01).all()
        assert (light.min() > 0.3) if dark else (light.max() < 0.9)
        middle = palettes.diverging(dark=dark)[[127, 128]].mean(0)
        np.testing.assert_allclose(
            middle, palettes.rgb([palettes.THEMES["dark" if dark else "light"]["faint"]])[0], atol=2
        )


def test_a_palette_from_a_file_serves_in_turn_and_is_offered_only_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(palettes.VARIABLE, raising=False)
    assert "file" not in palettes.offered()
    assert palettes.classes("file", 3) == palettes.classes("Tol", 3)
    (tmp_path / "mine.txt").write_text("#FF0000\n\n#00ff00\n")
    monkeypatch.setenv(palettes.VARIABLE, str(tmp_path / "mine.txt"))
    assert "file" in palettes.offered()
    assert palettes.classes("file", 3) == ["#ff0000", "#00ff00", "#ff0000"]


@pytest.mark.parametrize(
    ("content", "words"), [("red\n", "has a line 'red'"), ("#12345g", "has a line"), ("", "is empty")]
)
def test_a_palette_that_is_none_says_so(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "mine.txt").write_text(content)
    with pytest.raises(ValueError, match=f"'mine.txt' {words}"):
        palettes.read(tmp_path / "mine.txt")
    with pytest.raises(ValueError, match="cannot be read"):
        palettes.read(tmp_path / "nowhere.txt")


# What colours say


def test_numbers_of_colours_are_red_green_blue_alpha() -> None:
    assert colours.packing(palettes.rgb(["#010203"]), np.array([4], np.uint8)).tolist() == [0x01020304]


def test_by_class_generated_samples_are_coloured_and_real_ones_wait_in_grey(project: Project) -> None:
    seen, side = state(), project.generators["student"]
    chosen = colours.class_colours(project, seen.look)
    assert colours.of_points(project, seen, side).tolist() == [number(chosen[c], colours.MIDDLE) for c in side.labels]
    assert set(colours.of_points(project, seen, project.real).tolist()) == {number(colours.REAL, colours.WEAK)}
    alone = colours.of_points(project, state(kinds=("real",)), project.real)
    assert alone.tolist() == [number(chosen[c], colours.MIDDLE) for c in project.real.labels]


def test_classes_without_images_take_no_colour_from_the_others(project: Project) -> None:
    many = replace(project, classes=(*project.classes, *(f"class of nobody {i}" for i in range(990))))
    chosen = colours.class_colours(many, state().look)
    assert chosen[:10] == colours.class_colours(project, state().look)
    assert set(chosen[10:]) == {colours.REAL}
    assert len(colours.present(many)) == 10


def test_of_more_classes_than_can_be_told_apart_the_largest_are_coloured(project: Project) -> None:
    labels = np.arange(60, dtype=np.int32) % 20
    labels[:15] = 19
    many = replace(
        project,
        classes=tuple(map(str, range(20))),
        real=replace(project.real, labels=labels),
        generators={name: replace(side, labels=labels) for name, side in project.generators.items()},
    )
    look = state(colour="top classes").look
    assert "top classes" not in colours.modes(project, look)
    assert colours.mode(many, look) == "top classes"
    chosen = colours.class_colours(many, look)
    grey = palettes.THEMES["light"]["faint"]
    assert sum(colour != grey for colour in chosen) == colours.TOP
    assert chosen[19] == palettes.PALETTE[0]


def test_uncovered_and_imprecise_samples_stand_out(project: Project) -> None:
    seen, theme = state(colour="coverage"), palettes.THEMES["light"]
    real = colours.of_points(project, seen, project.real)
    strong = np.flatnonzero(real == number(theme["few"], colours.STRONG))
    assert strong.tolist() == sorted(FIRST + SECOND)
    assert set(np.delete(real, strong).tolist()) == {number(theme["real"], colours.WEAK)}
    fake = colours.of_points(project, seen, project.generators["student"])
    assert np.flatnonzero(fake == number(theme["many"], colours.STRONG)).tolist() == [0, 1, 2, 3]


def test_a_ratio_of_one_has_the_middle_colour_and_none_at_all_the_lowest(project: Project) -> None:
    palette, labels, values = colours.for_raster(project, state(colour="density ratio"), project.real)
    assert labels is None
    assert values is not None
    assert values[2] == 0.5
    assert values[FIRST].tolist() == [0] * len(FIRST)
    assert values[3] == 1
    assert palette.shape == (256, 3)
    _, labels, values = colours.for_raster(project, state(colour="density ratio"), project.generators["student"])
    assert labels is None
    assert values is None


def test_what_cannot_be_made_stands_out_by_its_error(project: Project) -> None:
    packed, theme = colours.of_points(project, state(colour="inversion error"), project.real), palettes.THEMES["light"]
    assert packed[5] == number(theme["real"], colours.WEAK)  # its error is what counts as made
    assert packed[9] & 255 == colours.STRONG
    assert set(np.delete(packed, [5, 9]).tolist()) == {number(theme["faint"], colours.FAR)}
    scale = colours.scale_of(project, state(colour="inversion error").look)
    assert scale is not None
    assert (scale.low, scale.high) == (0.01, pytest.approx(0.3))


def test_what_was_not_measured_is_not_offered_and_gives_way_to_the_class(project: Project) -> None:
    assert set(colours.modes(project, state().look)) == set(COLOURS) - {"top classes", "superclass"}
    look = state(generator="other", colour="coverage").look
    assert colours.modes(project, look) == ("class", "generator")
    assert colours.mode(project, look) == "class"


def test_two_generators_side_by_side_share_a_scale(project: Project) -> None:
    table = scores()
    table["sample_id"] = table["sample_id"].str.replace("student", "other")
    table["nearest_fake"] *= 10
    files.write_table(project.root / "data/scores/default/other.parquet", table)
    alone = colours.scale_of(project, state(colour="distance").look)
    ways = [("student", "other"), ("other", "student")]
    both = [colours.scale_of(project, state(colour="distance", generator=a, versus=b).look) for a, b in ways]
    assert both[0] == both[1] != alone


def test_each_generator_has_a_colour_of_its_own(project: Project) -> None:
    seen = state(colour="generator", versus="other")
    packed = {name: colours.of_points(project, seen, project.generators[name])[0] for name in ("student", "other")}
    assert packed["student"] != packed["other"]


def test_only_the_classes_shown_alone_are_kept(project: Project) -> None:
    assert colours.kept(state(), project.real) is None
    keep = colours.kept(state(solo=(3, 4)), project.real)
    assert keep is not None
    assert set(project.real.labels[keep].tolist()) == {3, 4}


@given(st.lists(st.one_of(st.floats(0, 1, width=32), st.just(float("nan"))), min_size=1, max_size=40))
def test_every_value_has_a_colour_of_the_palette_and_no_value_the_rest(values: list[float]) -> None:
    palette = np.arange(15, dtype=np.uint8).reshape(5, 3)
    column = np.array(values, np.float32)
    paint = colours.Paint(
        palette=palette, alpha=np.full(5, 9, np.uint8), values=column, rest=np.array([200, 200, 200], np.uint8)
    )
    packed = paint.points(len(column))
    known = ~np.isnan(column)
    assert set(packed[~known].tolist()) <= {0xC8C8C800 | colours.WEAK}
    places = np.array([colours.packing(palette, np.full(5, 9, np.uint8)).tolist().index(c) for c in packed[known]])
    assert (np.abs(places / 4 - column[known]) <= 0.125 + 1e-6).all()


# Where they come from


def test_scores_are_joined_by_id(project: Project) -> None:
    measured, table = evidence(project, "default", "student"), scores().set_index("sample_id")
    for name, dtype in (("covered", bool), ("nearest_fake", np.float32), ("gap", np.float32)):
        column = measured.column(project.real, name)
        assert column is not None
        assert column.dtype == dtype
        ids = project.real.ids_of(np.arange(len(project.real)))
        assert column.tolist() == table.loc[list(ids), name].astype(dtype).tolist()
    assert measured.column(project.generators["student"], "covered") is None
    assert measured.column(project.real, "nothing") is None


def test_a_truth_that_some_samples_lack_is_none_and_a_number_is_missing_there(project: Project) -> None:
    table = scores()
    files.write_table(project.root / "data/scores/default/student.parquet", table[table["sample_id"] != "real/7"])
    measured = evidence(project, "default", "student")
    assert measured.column(project.real, "covered") is None
    column = measured.column(project.real, "nearest_fake")
    assert column is not None
    assert np.flatnonzero(np.isnan(column)).tolist() == [7]


def test_regions_have_their_members_and_verdicts(project: Project) -> None:
    first, second = evidence(project, "default", "student").gaps
    assert first.ids == ("real/20", "real/0", "real/10", "real/30", "real/40")
    assert (first.reached, second.reached) == (False, True)
    assert (second.rank, second.ways, second.classes) == (1, {"mask": 0.5}, (("1", 3),))


def test_files_that_change_are_read_anew_and_others_are_not(project: Project) -> None:
    before = evidence(project, "default", "student")
    assert len(before.gaps) == 2
    assert evidence(project, "default", "student") is before
    gaps = files.read_table(project.root / "metrics/default/student.gaps.csv")
    files.write_table(project.root / "metrics/default/student.gaps.csv", pd.DataFrame(gaps[:1]))
    assert len(evidence(project, "default", "student").gaps) == 1


def test_where_nothing_was_measured_everything_is_absent_and_nothing_fails(project: Project) -> None:
    measured = evidence(project, "default", "other")
    assert (measured.gaps, measured.summary, measured.classes, measured.reach) == ((), {}, None, None)
    assert measured.column(project.real, "covered") is None
