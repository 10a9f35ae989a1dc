"""The left column: what is chosen, the key of marks and colours, the list of classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dashboards.explorer import states
from dashboards.explorer.parts import choosing, keys, legend
from dashboards.explorer.parts.choosing import Choosing
from dashboards.explorer.parts.legend import Legend
from dashboards.explorer.resources import Project
from dashboards.explorer.states import picks
from tests.dashboards.measuring import Session, measure, project_of, state


@pytest.fixture
def project(fresh_root: Path) -> Project:
    return project_of(fresh_root)


@pytest.fixture
def session(fresh_root: Path) -> Session:
    measure(fresh_root)
    return Session(fresh_root, state(), Choosing, Legend)


def told(session: Session, name: str) -> dict:
    return json.loads(session[f"class {name}"].value)  # type: ignore[attr-defined]


# Choosing


def test_widgets_change_the_state_and_follow_it(session: Session) -> None:
    desk = session.desk
    session["beside"].value = "other"  # type: ignore[attr-defined]
    session["show"].active = [0]  # type: ignore[attr-defined]
    session["colour"].value = "coverage"  # type: ignore[attr-defined]
    session["palette"].value = "Okabe-Ito"  # type: ignore[attr-defined]
    session["overlays"].active = [3, 0]  # type: ignore[attr-defined]
    look = desk.state.look
    assert (look.versus, look.kinds, look.colour, look.palette) == ("other", ("real",), "coverage", "Okabe-Ito")
    assert look.overlays == ("names", "gaps")
    session["generator"].value = "other"  # type: ignore[attr-defined]
    assert desk.state.look.versus is None
    assert session["beside"].value == ""  # type: ignore[attr-defined]
    assert session["colour"].value == "class"  # type: ignore[attr-defined]
    desk.undo()
    assert (session["generator"].value, session["beside"].value) == ("student", "other")  # type: ignore[attr-defined]
    assert session["colour"].value == "coverage"  # type: ignore[attr-defined]


def test_a_generator_never_stands_beside_itself(session: Session) -> None:
    assert [value for value, _ in session["beside"].options] == ["", "teacher", "other"]  # type: ignore[attr-defined]


def test_the_hint_names_absent_generators_and_what_was_not_measured(project: Project) -> None:
    words = choosing.hint(project, state().look)
    assert "<b>absent</b> is not here: " in words
    assert "Nothing was measured" not in words
    assert "Nothing was measured of other" in choosing.hint(project, state(generator="other").look)
    hostile = replace(project, absent={"<i>": "<script>"})
    assert "<script>" not in choosing.hint(hostile, state().look)
    assert "&lt;script&gt;" in choosing.hint(hostile, state().look)


# Keys


def test_kinds_are_told_apart_by_marker_and_only_those_shown_are_in_the_key(project: Project) -> None:
    both = keys.text(project, state())
    assert "●</i>real <b>60</b>" in both
    assert "△</i>generated <b>60</b>" in both
    assert "generated <b>" not in keys.text(project, state(kinds=("real",)))


def test_coverage_is_told_in_words_and_counts(project: Project) -> None:
    words = keys.text(project, state(colour="coverage"))
    assert "real, not covered <b>8</b>" in words
    assert "generated, off the real ones <b>4</b>" in words


def test_a_colour_bar_has_round_ticks_in_their_places(project: Project) -> None:
    words = keys.text(project, state(colour="density ratio"))
    assert "<span style='left:50.0%'>1</span>" in words
    assert "<span style='left:0.0%'>1/2</span>" in words
    assert "too few</span><span>too many" in words
    assert "linear-gradient" in words
    distance = keys.text(project, state(colour="distance"))
    assert ">40</span>" in distance
    assert ">100</span>" in distance


@pytest.mark.parametrize(
    ("value", "words"), [(0.0625, "1/16"), (0.5, "1/2"), (1, "1"), (0.3, "0.3"), (20, "20"), (0, "0")]
)
def test_ticks_below_one_are_shares_where_they_are(value: float, words: str) -> None:
    assert keys._short(value) == words


def test_what_is_drawn_over_the_points_has_its_words(project: Project) -> None:
    words = keys.text(project, state(overlays=("contours", "difference", "gaps")))
    for part in ("50, 80, 95 %", "too few generated", "missing region <b>1</b>", "can be reached <b>1</b>"):
        assert part in words
    assert "drawn over it" not in keys.text(project, state(overlays=()))


# Classes


def test_classes_come_with_their_colours_and_totals(project: Project) -> None:
    message = json.loads(legend.rows(project, state().look))
    assert message["columns"] == ["generated", "real"]
    assert [row[0] for row in message["rows"]] == list(range(10))
    counts = np.array([row[3:] for row in message["rows"]])
    assert counts.sum(0).tolist() == [60, 60]
    assert all(row[2].startswith("#") for row in message["rows"])
    assert message["sign"] == "▲"
    assert json.loads(legend.rows(project, state(kinds=("real",)).look))["sign"] == "●"
    beside = json.loads(legend.rows(project, state(versus="other", colour="generator").look))
    assert beside["columns"] == ["student", "real", "other"]
    assert {row[2] for row in beside["rows"]} == {None}


def test_a_thousand_classes_are_a_short_message(project: Project) -> None:
    labels = np.arange(1000, dtype=np.int32)
    names = tuple(f"{i} a class with a name of some length" for i in range(1000))
    sides = {name: replace(side, labels=labels) for name, side in project.generators.items()}
    many = replace(project, classes=names, real=replace(project.real, labels=labels), generators=sides)
    message = legend.rows(many, state(versus="other").look)
    assert len(json.loads(message)["rows"]) == 1000
    assert len(message) < 100_000


def test_a_click_shows_a_class_alone_and_shift_adds_and_takes(session: Session) -> None:
    assert session.told("solo 3").desk.state.look.solo == (3,)
    assert session.told("solo-add 1").desk.state.look.solo == (1, 3)
    assert told(session, "marks")["solo"] == [1, 3]
    assert session.told("solo-add 3").desk.state.look.solo == (1,)
    assert session.told("solo 1").desk.state.look.solo == ()
    assert session.told("solo 2", "solo-all").desk.state.look.solo == ()
    session.desk.undo()
    assert session.desk.state.look.solo == (2,)


@pytest.mark.parametrize("message", ["solo 10", "solo -1", "solo x", "solo", "zoom ²", "solo-add 99999999999999999999"])
def test_a_class_that_is_none_is_refused_and_nothing_changes(session: Session, message: str) -> None:
    before = session.desk.state
    session.told(message)
    assert session.desk.state == before
    assert "has no image here" in session.desk.notice.text


def test_zooming_to_a_class_frames_its_samples_and_is_no_step_of_undo(session: Session) -> None:
    frame = session.told("zoom 3").desk.state.look.frame
    assert frame is not None
    left, right, bottom, top = frame
    project = session.desk.project
    points = np.concatenate(
        [side.points["default"][side.labels == 3] for side in (project.real, project.generators["student"])]
    )
    inside = (points >= [left, bottom]).all(1) & (points <= [right, top]).all(1)
    assert inside.mean() >= 1 - 4 * legend.EDGE - 2 / len(points)
    assert session.desk.past.before == ()


def test_counts_of_the_group_are_by_class_and_column(session: Session) -> None:
    group = ("real/0", "real/10", "real/1", "fake/student/5")
    labels = [session.desk.project.label(name) for name in group]
    before = session.desk.state
    session.become(states.replace(before, picks=picks.replace(before.picks, group=group)))
    counts = told(session, "marks")["counts"]
    assert sum(real for _, real in counts.values()) == 3
    assert counts[str(labels[3])][0] == 1
    assert counts["0"][1] == 2
    session.become(before)
    assert told(session, "marks")["counts"] == {}
