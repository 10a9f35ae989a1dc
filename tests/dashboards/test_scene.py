"""The map: what it draws of small and large sides, what it answers the page, groups, turns, ids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bokeh.document import Document
from driving import opened, report, settle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dashboards.explorer import atlases, colours, resources, sides
from dashboards.explorer.making import Studio
from dashboards.explorer.parts.scene import detail, hovering, painting, regions
from dashboards.explorer.parts.scene.newest import Newest
from dashboards.explorer.parts.scene.turning import turned
from dashboards.explorer.resources import Project, Side
from dashboards.explorer.states import State, picks
from dashboards.explorer.states.dials import Dials
from dashboards.explorer.states.looks import Look
from modescope import files
from modescope.atlas import Box, Frame

SMALL = detail.Budget(raw=10, few=12, sample=7)
"""Sixty points are many for it."""


@pytest.fixture(scope="module")
def project(project_root: Path) -> Project:
    return resources.load(project_root)


@pytest.fixture
def page(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    return opened(project_root, monkeypatch)


def state(**look: object) -> State:
    chosen: dict = {"view": "default", "generator": "student", **look}
    return State(look=Look(**chosen), dials=Dials())


def frame(project: Project) -> Frame:
    return Frame.fitting(atlases.whole(project, "default"), 64)


def shown(page: Document, name: str) -> dict:
    return page.get_model_by_name(name).data_source.data


def told(page: Document, what: str) -> dict:
    return json.loads(page.get_model_by_name(f"scene {what}").value)


def look_at(page: Document, *box: float, moved: int = 1) -> None:
    report(page, f"view {json.dumps([*box, 600, 500, 0, moved])}")


# Ids as numbers


def test_a_side_finds_rows_by_id_and_knows_no_other_ids(project: Project) -> None:
    side = project.real
    wanted = [side.id(7), "real/999999", "real/007", "fake/student/3", side.id(0), "", "real/", "real/-1"]
    np.testing.assert_array_equal(side.rows_of(wanted), [7, -1, -1, -1, 0, -1, -1, -1])
    assert [side.row_of(name) for name in wanted] == [7, None, None, None, 0, None, None, None]


@given(numbers=st.lists(st.integers(0, 10**8), unique=True, min_size=1, max_size=30), data=st.data())
def test_rows_of_undoes_ids_of_in_any_order_of_numbers(
    project: Project, numbers: list[int], data: st.DataObject
) -> None:
    side = replace(project.real, numbers=np.array(numbers, np.int32), labels=np.zeros(len(numbers), np.int32))
    rows = np.array(data.draw(st.permutations(range(len(numbers)))))
    np.testing.assert_array_equal(side.rows_of(side.ids_of(rows)), rows)


def test_a_folder_with_other_ids_is_refused(project_root: Path) -> None:
    with pytest.raises(ValueError, match="ids here are fake/other/<number>"):
        sides.open_side(project_root / "data/fake/student", "student", "fake/other/", {})


def test_a_map_that_lacks_a_sample_is_refused(project_root: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(project_root / "data/maps/default/real.parquet").drop(index=3)
    files.write_table(tmp_path / "real.parquet", table)
    with pytest.raises(ValueError, match="holds no place of sample 'real/3'"):
        sides.open_side(project_root / "data/real", "real", "real/", {"default": tmp_path / "real.parquet"})


def test_places_follow_ids_and_not_the_order_of_the_file(project_root: Path, tmp_path: Path, project: Project) -> None:
    table = pd.read_parquet(project_root / "data/maps/default/real.parquet").iloc[::-1].assign(z=1.5)
    files.write_table(tmp_path / "real.parquet", table)
    side = sides.open_side(project_root / "data/real", "real", "real/", {"default": tmp_path / "real.parquet"})
    np.testing.assert_array_equal(side.points["default"], project.real.points["default"])
    np.testing.assert_array_equal(side.depths["default"], 1.5)
    assert side.place("default", 4)[2] == 1.5


# Level of detail


def test_small_sides_are_drawn_whole_and_large_ones_are_not(project: Project) -> None:
    real, fake = project.real, project.generators["student"]
    few = replace(fake, numbers=fake.numbers[:5])
    assert detail.raw([real, few], SMALL) == {"student"}
    assert detail.raw([real, fake], detail.PLAIN) == {"real", "student"}


def test_a_whole_side_is_one_marker_for_each_sample(project: Project) -> None:
    drawn = detail.picture(project, state(), project.real, None, SMALL)
    np.testing.assert_array_equal(drawn.rows, np.arange(len(project.real)))
    np.testing.assert_array_equal(drawn.colours, colours.of_points(project, state(), project.real))
    assert drawn.complete
    assert drawn.image is None


def test_a_crowd_is_an_image_with_a_sample_of_markers_and_a_few_are_markers_alone(project: Project) -> None:
    side, everything = project.generators["student"], frame(project)
    crowd = detail.picture(project, state(), side, everything, SMALL)
    assert not crowd.complete
    assert len(crowd.rows) == SMALL.sample
    assert crowd.image is not None
    assert crowd.image.shape == (everything.height, everything.width)
    x, y = side.points["default"][0].tolist()
    close = Frame.fitting(Box(left=x - 1e-3, right=x + 1e-3, bottom=y - 1e-3, top=y + 1e-3), 64)
    few = detail.picture(project, state(), side, close, SMALL)
    inside = atlases.cloud(project, "default", "student").within(close.box)
    assert 0 in few.rows
    assert few.complete
    assert set(few.rows.tolist()) == set(inside.tolist())


def test_solo_leaves_out_other_classes_as_markers_and_in_the_image(project: Project) -> None:
    side, alone = project.generators["student"], state(solo=(3,))
    assert set(side.labels[detail.picture(project, alone, side, None, SMALL).rows].tolist()) == {3}
    tight = detail.Budget(raw=1, few=1, sample=100)
    assert set(side.labels[detail.picture(project, alone, side, frame(project), tight).rows].tolist()) == {3}


def test_what_is_not_in_the_group_stays_behind_it(project: Project) -> None:
    side, members = project.generators["student"], np.arange(60) < 20
    every = colours.of_points(project, state(), side)
    drawn = detail.picture(project, state(), side, None, SMALL, members)
    np.testing.assert_array_equal(drawn.colours[:20], every[:20])
    assert len(set(drawn.colours[20:].tolist())) == 1
    assert drawn.colours[20] & 0xFF == detail.OUTSIDE


def test_sessions_that_look_at_the_same_share_one_picture(project: Project) -> None:
    one, two = state(tab="select"), state(tab="made", frame=(0.0, 1.0, 0.0, 1.0))
    pictures = [detail.picture(project, each, project.real, frame(project), SMALL) for each in (one, two)]
    assert pictures[0] is pictures[1]


def test_images_on_the_map_do_not_cover_each_other_and_need_room(project: Project) -> None:
    every = (project.real, project.generators["student"])
    box = atlases.whole(project, "default")
    size = box.width / 6
    chosen = detail.thumbnails(project, state(), every, box, (size, size))
    places = np.array([side.points["default"][row] for side, row in zip(chosen.sides, chosen.rows, strict=True)])
    apart = np.abs(places[:, None] - places[None]).max(2) + np.eye(len(places)) * size
    assert len(places) > 1
    assert (apart >= size * 0.999).all()


@pytest.mark.parametrize(("width", "height"), [(900, 300), (300, 900)])
def test_a_window_has_square_units_and_holds_its_box(width: int, height: int) -> None:
    box = Box(left=1, right=5, bottom=-1, top=2)
    fitted = painting.Window(box=box, width=width, height=height).fitted().box
    assert fitted.width / width == pytest.approx(fitted.height / height)
    assert fitted.left <= box.left
    assert fitted.right >= box.right
    assert fitted.bottom <= box.bottom
    assert fitted.top >= box.top


def test_of_jobs_that_wait_only_the_newest_runs() -> None:
    class Hands:
        def __init__(self) -> None:
            self.given: list = []

        def ask(self, job: object, done: object) -> None:
            self.given.append((job, done))

        def work(self) -> None:
            job, done = self.given.pop(0)
            done(job())

    hands, seen = Hands(), []
    newest = Newest(hands)  # type: ignore[arg-type]
    for number in range(4):
        newest.ask(lambda number=number: number, seen.append)
    while hands.given:
        hands.work()
    assert seen == [0, 3]
    newest.ask(lambda: 1 // 0, seen.append)
    newest.ask(lambda: 5, seen.append)
    with pytest.raises(ZeroDivisionError):
        hands.work()
    hands.work()
    assert seen == [0, 3, 5]


# Groups


MASKS = arrays.arrays(bool, 8)


@given(before=MASKS, now=MASKS, mode=st.sampled_from(regions.MODES))
def test_a_catch_goes_with_the_one_before_as_ids_do(before: np.ndarray, now: np.ndarray, mode: str) -> None:
    after = regions.combined({"real": before}, {"real": now}, mode)["real"]
    ids = [[str(i) for i in np.flatnonzero(mask)] for mask in (before, now)]
    assert set(picks.combine(*ids, mode)) == {str(i) for i in np.flatnonzero(after)}


def test_a_huge_group_names_some_evenly_and_keeps_its_members(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "MOST", 12)
    every = {"real": project.real, "student": project.generators["student"]}
    members = {"real": np.ones(60, bool), "student": np.arange(60) < 30}
    ids = regions.named(every, members)
    assert len(ids) == 12
    assert len(set(ids)) == 12
    assert [name.startswith("real/") for name in ids] == [True] * 8 + [False] * 4
    assert ids[0] == "real/0"
    assert ids[7] == "real/59"


@pytest.mark.parametrize(
    "text",
    [
        "replace",
        "replace nothing",
        "explode [1]",
        'explode {"box": [0, 0, 1, 1]}',
        'replace {"polygon": [[0, 0], [1]]}',
        'replace {"box": [0, 0, 1, NaN]}',
        'replace {"box": [0, 0, 1]}',
        'replace {"polygon": ' + json.dumps([[0, 0]] * 5000) + "}",
        "replace " + "[" * 30_000,
    ],
)
def test_a_region_that_nobody_can_draw_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the page reported a region"):
        regions.parsed(text)


def test_a_lasso_groups_what_is_in_it_and_the_rest_turns_grey(page: Document, project: Project) -> None:
    points = project.real.points["default"]
    x, y = np.median(points, 0).tolist()
    report(page, f"region replace {json.dumps({'box': [-1e3, -1e3, x, 1e3]})}")
    grey = lambda: int((shown(page, "points real")["colour"] & 0xFF == detail.OUTSIDE).sum())  # noqa: E731
    settle(page, lambda: grey() > 0)
    assert grey() == (points[:, 0] > np.float32(x)).sum()
    report(page, f"region intersect {json.dumps({'polygon': [[-1e3, -1e3], [1e3, -1e3], [1e3, y], [-1e3, y]]})}")
    wanted = int(((points > np.float32([x, y])).any(1)).sum())
    settle(page, lambda: grey() == wanted)
    report(page, "clear")
    assert grey() == 0


# What the page asks


def test_the_point_under_the_cursor_is_the_nearest_of_what_is_shown(page: Document, project: Project) -> None:
    side = project.generators["student"]
    x, y = side.points["default"][5].tolist()
    report(page, f"near {json.dumps([7, 1, x, y, 0.5])}")
    answer = told(page, "near")
    assert answer["number"] == 7
    places = np.concatenate([project.real.points["default"], side.points["default"]])
    nearest = np.hypot(*(places - [x, y]).T).min()
    assert np.hypot(answer["hit"]["x"] - x, answer["hit"]["y"] - y) == pytest.approx(nearest, abs=1e-5)
    report(page, f"near {json.dumps([8, 1, 1e4, 1e4, 0.5])}")
    assert told(page, "near") | {"count": 0} == {"count": 0, "number": 8, "hit": None}


def test_facts_of_a_sample_come_from_what_was_measured(project: Project, tmp_path: Path) -> None:
    assert hovering.facts(project, "default", "student", project.real, 3) == []
    table = pd.DataFrame({"sample_id": project.real.ids, "nearest_fake": 2.5, "covered": True, "density_ratio": 0.5})
    here = replace(project, root=tmp_path)
    files.write_table(tmp_path / "data/scores/default/student.parquet", table)
    told_of = hovering.facts(here, "default", "student", project.real, 3)
    assert told_of == ["nearest generated at 2.5", "covered", "density ratio 0.50"]


@pytest.mark.parametrize("rest", ["", "[1, 2]", "[1, 1, null, 0, 1]", "[1, 1, NaN, 0, 1]", '"x"', "[" * 20_000])
def test_a_report_that_is_no_list_of_numbers_is_refused(rest: str) -> None:
    with pytest.raises(ValueError, match="load the page again"):
        hovering.numbers(rest, 5)


def test_a_tap_far_from_every_marker_picks_nothing_and_a_near_one_its_point(page: Document, project: Project) -> None:
    x, y = project.real.points["default"][9].tolist()
    report(page, "pick [1, 10000, 10000, 0.1]")
    assert len(shown(page, "marks selected")["x"]) == 0
    report(page, f"pick {json.dumps([1, x, y, 1e-6])}")
    np.testing.assert_allclose([shown(page, "marks selected")[axis][0] for axis in "xy"], [x, y], rtol=1e-6)


# What is in view


def test_what_the_visitor_looks_at_is_kept_and_is_not_told_back(page: Document) -> None:
    before = told(page, "frame")
    look_at(page, 0.0, 4.0, -1.0, 2.0)
    assert told(page, "frame") == before
    report(page, "whole")
    assert told(page, "frame")["count"] > before["count"]
    assert told(page, "frame")["box"] == before["box"]


def test_a_window_of_no_size_is_refused_and_the_page_lives_on(page: Document) -> None:
    report(page, "view [0, 1, 0, 1, 0, 0, 1, 1]")
    assert "load the page again" in page.get_model_by_name("alert").text
    report(page, "click real/7")
    assert len(shown(page, "marks selected")["x"]) == 1


# Two maps


def test_the_second_map_shows_the_other_generator_and_the_same_picks(page: Document, project: Project) -> None:
    assert page.get_model_by_name("map2") is None
    beside = page.get_model_by_name("beside")
    beside.value = "other"
    first, second = (page.get_model_by_name(name) for name in ("map", "map2"))
    assert (first.x_range, first.y_range) == (second.x_range, second.y_range)
    other = project.generators["other"].points["default"]
    np.testing.assert_array_equal(shown(page, "points generated 2")["x"], other[:, 0])
    report(page, "click fake/other/4")
    marks = [page.get_model_by_name(name).data_source for name in ("marks selected", "marks selected 2")]
    assert marks[0] is marks[1]
    np.testing.assert_array_equal(marks[0].data["x"], other[4:5, 0])
    beside.value = ""
    assert page.get_model_by_name("map2") is None


# Three dimensions


def test_a_turn_keeps_distances_and_the_centre_and_half_a_turn_mirrors() -> None:
    rng = np.random.default_rng(0)
    points, depths = rng.normal(size=(20, 2)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    np.testing.assert_array_equal(turned(points, depths, (0, 0, 0), 0, 0), points)
    np.testing.assert_allclose(
        turned(points, depths, (1, 0, 0), np.pi, 0), np.stack([2 - points[:, 0], points[:, 1]], 1), atol=1e-5
    )
    side_on = turned(points, depths, (0, 0, 0), np.pi / 2, 0)
    np.testing.assert_allclose(side_on[:, 0], depths, atol=1e-6)
    from_above = turned(points, depths, (0, 0, 0), 0, np.pi / 2)
    np.testing.assert_allclose(from_above[:, 1], -depths, atol=1e-6)


def solid(root: Path) -> None:
    for path in (root / "data/maps/default").glob("*.parquet"):
        table = pd.read_parquet(path)
        files.write_table(path, table.assign(z=np.arange(len(table), dtype=np.float32)))


def test_a_map_of_three_dimensions_has_depths_and_a_turned_lasso(
    fresh_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solid(fresh_root)
    page = opened(fresh_root, monkeypatch)
    np.testing.assert_array_equal(shown(page, "points real")["z"], np.arange(60))
    centre = page.get_model_by_name("map").tags[0]["centre"]
    report(page, "click real/7")
    np.testing.assert_array_equal(shown(page, "marks selected")["z"], [7])
    report(page, f"region replace {json.dumps({'box': [centre[0], -1e3, 1e3, 1e3], 'turn': [np.pi / 2, 0]})}")
    colour = lambda: shown(page, "points real")["colour"] & 0xFF  # noqa: E731
    settle(page, lambda: bool((colour() == detail.OUTSIDE).any()))
    np.testing.assert_array_equal(colour() == detail.OUTSIDE, np.arange(60) < centre[2])


def sides_of(project: Project) -> list[Side]:
    return [project.real, project.generators["student"]]


def test_nearest_on_the_map_is_that_of_all_distances(project: Project) -> None:
    found = Studio(project).nearest("default", "real/7", sides_of(project), 6, "map")
    places = np.concatenate([side.points["default"] for side in sides_of(project)])
    far = np.hypot(*(places - project.real.points["default"][7]).T)
    names = [*project.real.ids, *project.generators["student"].ids]
    distance = dict(zip(names, far.tolist(), strict=True))
    assert "real/7" not in found
    np.testing.assert_allclose([distance[name] for name in found], np.sort(far)[1:7], rtol=1e-6)
