"""What is drawn over the points: contours, difference, missing regions, names."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.explorer import shapes, states
from dashboards.explorer.latest import Latest
from dashboards.explorer.parts.overlays import Overlays
from modescope.atlas import Box
from tests.dashboards.measuring import FIRST, Session, measure, project_of, state

ALL = ("names", "contours", "difference", "gaps")


@pytest.fixture
def session(fresh_root: Path) -> Session:
    measure(fresh_root)
    return Session(fresh_root, state(overlays=ALL), Overlays)


def drawn(session: Session, *names: str) -> list[bool]:
    return [len(next(iter(session.data(name).values()))) > 0 for name in names]


EVERY = ("difference", "contours real", "contours generated", "gaps missing", "gaps reached", "gap numbers", "names")


def test_each_overlay_is_drawn_where_it_is_on_and_gone_where_it_is_off(session: Session) -> None:
    assert all(drawn(session, *EVERY[1:]))
    assert session.data("difference")["dw"]
    session.become(states.looking(session.desk.state, overlays=()))
    assert not any(drawn(session, *EVERY))
    session.become(states.looking(session.desk.state, overlays=ALL))
    assert all(drawn(session, *EVERY[1:]))


def test_what_is_about_a_kind_that_is_hidden_is_not_drawn(session: Session) -> None:
    session.become(states.looking(session.desk.state, kinds=("generated",)))
    assert drawn(session, *EVERY) == [False, False, True, False, False, False, True]


def test_the_second_map_has_its_own_generator(session: Session) -> None:
    assert not any(drawn(session, *(f"{name} 2" for name in EVERY)))
    session.become(states.looking(session.desk.state, versus="other"))
    assert drawn(session, "contours generated 2", "gap numbers 2") == [True, False]
    assert not np.array_equal(
        session.data("contours generated 2")["xs"][0], session.data("contours generated")["xs"][0]
    )


def test_what_was_drawn_of_another_generator_is_gone_at_once(session: Session) -> None:
    session.desk.become(states.choose_generator(session.desk.state, "other"))
    assert not any(drawn(session, *EVERY))
    session.settled()
    assert drawn(session, "contours generated", "gap numbers") == [True, False]


def test_regions_are_numbered_from_one_and_carry_their_rank(session: Session) -> None:
    numbers = session.data("gap numbers")
    assert {*zip(numbers["text"], numbers["rank"], strict=True)} == {("1", 0), ("2", 1)}
    assert set(session.data("gaps missing")["rank"]) == {0}
    assert set(session.data("gaps reached")["rank"]) == {1}


def test_the_open_region_is_drawn_apart(session: Session) -> None:
    session.become(replace(session.desk.state, gap=0))
    assert set(session.data("gaps open")["rank"]) == {0}
    assert drawn(session, "gaps missing", "gaps reached") == [False, True]


def test_regions_without_a_class_shown_alone_are_not_drawn(session: Session) -> None:
    session.become(states.looking(session.desk.state, solo=(1,)))
    assert set(session.data("gap numbers")["rank"]) == {1}
    assert set(session.data("names")["text"]) == {"1"}


def test_outlines_hold_their_members(fresh_root: Path) -> None:
    project = project_of(fresh_root)
    first = shapes.outlines(project, "default", "student")[0]
    for place in project.real.points["default"][FIRST]:
        rings = [ring for polygon in first.polygons for ring in polygon]
        assert sum(crossings(ring, place) for ring in rings) % 2 == 1


def crossings(ring: np.ndarray, place: np.ndarray) -> int:
    """How often a ray to the right crosses a ring."""
    (x, y), (x1, y1) = ring.T.astype(float), np.roll(ring, -1, 0).T.astype(float)
    over = (y > place[1]) != (y1 > place[1])
    return int((over & (place[0] < (x1 - x) * (place[1] - y) / np.where(over, y1 - y, 1) + x)).sum())


def test_pointing_at_a_class_rings_its_samples_until_the_pointer_leaves(session: Session) -> None:
    project = session.desk.project
    count = sum(int((side.labels == 3).sum()) for side in (project.real, project.generators["student"]))
    assert len(session.told("highlight 3").data("marks class")["x"]) == count
    assert not len(session.told("highlight").data("marks class")["x"])
    assert not len(session.told("highlight 3", "highlight 999").data("marks class")["x"])


def test_a_map_of_three_dimensions_has_no_overlay(fresh_root: Path) -> None:
    project = project_of(fresh_root)
    assert shapes.flat(project, "default")
    deep = replace(project, real=replace(project.real, depths={"default": np.zeros(60, np.float32)}))
    assert not shapes.flat(deep, "default")


def test_densities_need_samples_of_both_kinds(fresh_root: Path) -> None:
    project = project_of(fresh_root)
    student = project.generators["student"]
    lonely = replace(student, labels=np.zeros(60, np.int32))
    one = replace(project, generators={**project.generators, "student": lonely})
    assert shapes.contours(one, "default", "student", (5,)) == {}
    assert shapes.difference(one, "default", "student", (5,), False) is None


def test_names_are_short_and_stand_where_they_are_in_view(fresh_root: Path) -> None:
    assert shapes.short("great white shark, white shark, man-eater") == "great white shark"
    assert shapes.short("x" * 60) == "x" * (shapes.LONGEST - 1) + "…"
    project = project_of(fresh_root)
    look = state(frame=(0.0, 4.0, 0.0, 4.0)).look
    box = shapes.view_box(project, look, (400, 200))
    names = shapes.names(project, look, (400, 200))
    assert ((names.x >= box.left) & (names.x <= box.right) & (names.y >= box.bottom) & (names.y <= box.top)).all()


def test_what_is_in_view_has_square_units_around_what_was_asked_for(fresh_root: Path) -> None:
    box = shapes.view_box(project_of(fresh_root), state(frame=(0.0, 4.0, 0.0, 4.0)).look, (400, 200))
    assert (box.left, box.right, box.bottom, box.top) == (-2, 6, 0, 4)


SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], np.float32)


@given(st.lists(st.lists(st.tuples(st.floats(0, 99), st.floats(0, 99)), min_size=1, max_size=4), max_size=6))
def test_each_region_in_view_has_a_number_and_further_ones_keep_their_distance(corners: list) -> None:
    regions = tuple(
        shapes.Outline(
            rank=rank,
            reached=None,
            polygons=tuple((SQUARE + np.array(corner, np.float32),) for corner in clumps),
            classes=frozenset(),
        )
        for rank, clumps in enumerate(corners)
    )
    box = Box(left=-20, bottom=-20, right=120, top=120)
    numbers = shapes.numbers(regions, box, (140, 140))
    assert {each.rank for each in numbers} == set(range(len(corners)))
    further = numbers[len(corners) :]
    for i, each in enumerate(further):
        others = numbers[: len(corners) + i]
        assert min(np.hypot(each.x - other.x, each.y - other.y) for other in others) >= shapes.ROOM * 0.999


def test_a_region_out_of_view_has_no_number() -> None:
    region = shapes.Outline(rank=0, reached=True, polygons=((SQUARE,), (SQUARE + 50,)), classes=frozenset())
    box = Box(left=40, bottom=40, right=60, top=60)
    ((number),) = shapes.numbers((region,), box, (1000, 1000))
    assert (number.x, number.y) in {(50, 51), (51, 51)}


def test_of_several_questions_only_the_last_is_answered() -> None:
    jobs: list = []
    desk = SimpleNamespace(ask=lambda job, done: jobs.append((job, done)))
    latest, seen = Latest(desk), []  # type: ignore[arg-type]
    for key in ("old", "new", "new"):
        latest.ask("map", key, lambda key=key: key, seen.append)  # type: ignore[misc]
    assert len(jobs) == 2
    for job, done in reversed(jobs):
        done(job())
    assert seen == ["new"]
    latest.forget("map")
    latest.ask("map", "new", lambda: "again", seen.append)
    latest.forget("map")
    for job, done in jobs[2:]:
        done(job())
    assert seen == ["new"]


def test_nothing_is_computed_on_the_event_loop(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    true = shapes.contours

    def watched(*asked: object) -> object:
        threads.append(threading.current_thread())
        return true(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(shapes, "contours", watched)
    session.become(states.looking(session.desk.state, solo=(0, 1, 2, 3, 4)))
    assert threads
    assert threading.main_thread() not in threads
