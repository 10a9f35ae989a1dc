"""Tabs: what is in one is made when it is first needed, and works as if it had always been there."""

from __future__ import annotations

from pathlib import Path

import pytest
from bokeh.document import Document
from bokeh.models import Model

from dashboards.explorer import opening
from dashboards.explorer.desk import Desk
from dashboards.explorer.making import Studio
from dashboards.explorer.parts import PARTS
from dashboards.explorer.resources import load
from dashboards.explorer.states.looks import TABS
from tests.dashboards.driving import press, report, settle, text
from tests.dashboards.measuring import measure

LATER = [tab for tab in TABS if tab != "select"]
INSIDE = {
    "gaps": ["gaps", "report"],
    "generate": ["aiming", "generating", "result", "trajectory"],
    "made": ["history"],
    "compare": ["metrics", "classes", "votes"],
}
"""What is in a tab, from top to bottom."""


@pytest.fixture
def studio(fresh_root: Path) -> Studio:
    measure(fresh_root)
    return Studio(load(fresh_root))


def arrive(studio: Studio, **query: str) -> Desk:
    return Desk(studio, Document(), "thumb/", opening.first(studio, query), PARTS)


def settled(desk: Desk) -> None:
    settle(desk.document, lambda: not desk.line._waiting and not desk.document.session_callbacks)


def inside(desk: Desk, tab: str) -> list[Model]:
    return desk.document.get_model_by_name(f"tab {tab}").children


def names(desk: Desk, tab: str) -> list[str | None]:
    return [model.name for model in inside(desk, tab)]


def test_a_tab_never_opened_has_no_models(studio: Studio) -> None:
    desk = arrive(studio)
    for tab in LATER:
        assert inside(desk, tab) == []
        assert not any(desk.document.get_model_by_name(name) for name in INSIDE[tab])
        assert all(part.tab != tab for part in desk.parts)


@pytest.mark.parametrize("tab", LATER)
def test_a_tab_that_is_opened_is_drawn_and_the_others_wait(studio: Studio, tab: str) -> None:
    desk = arrive(studio)
    report(desk.document, f"tab {tab}")
    assert names(desk, tab) == INSIDE[tab]
    settled(desk)
    shown = {
        "gaps": ("missing", "Region 1"),
        "generate": ("aim", "Click a point of the map"),
        "made": ("history", "What you generate is kept here"),
        "compare": ("classes", "By class"),
    }
    assert shown[tab][1] in text(desk.document, shown[tab][0])
    assert not any(inside(desk, other) for other in LATER if other != tab)


@pytest.mark.parametrize("tab", LATER)
def test_an_address_can_open_a_tab_first(studio: Studio, tab: str) -> None:
    desk = arrive(studio, tab=tab)
    assert names(desk, tab) == INSIDE[tab]
    assert desk.document.template_variables["tab"] == tab


def test_a_tab_is_made_once(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "tab generate")
    before = list(inside(desk, "generate"))
    report(desk.document, "tab select", "click real/5", "tab generate")
    assert all(old is new for old, new in zip(before, inside(desk, "generate"), strict=True))
    assert [type(part) for part in desk.parts if part.tab == "generate"] == [p for p in PARTS if p.tab == "generate"]


def test_generating_by_key_opens_the_tab_that_shows_what_came_of_it(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "click real/5", "click real/6", "generate")
    settled(desk)
    (made,) = studio.made
    assert (desk.state.look.tab, desk.state.shown) == ("generate", made)
    assert made in text(desk.document, "result")
    report(desk.document, "undo")
    assert made not in text(desk.document, "result")
    report(desk.document, "redo", "tab made")
    assert made in text(desk.document, "history")


def test_a_key_that_cannot_generate_yet_opens_the_tab_that_says_why(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "generate")
    settled(desk)
    assert desk.state.look.tab == "generate"
    assert desk.document.get_model_by_name("generate").disabled
    assert not studio.made


def test_a_region_can_be_opened_on_the_map_before_its_tab(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "gap 1")
    assert desk.state.gap == 1
    assert desk.state.look.frame is not None
    report(desk.document, "tab gaps")
    assert "Region 2" in text(desk.document, "region")


def test_what_nothing_hears_is_refused_whether_or_not_tabs_were_opened(studio: Studio) -> None:
    desk = arrive(studio)
    for _ in range(2):
        report(desk.document, "nonsense 1")
        assert "which nothing here hears" in text(desk.document, "alert")
        report(desk.document, "close")
    report(desk.document, "click real/5")
    assert desk.state.picks.selected == "real/5"


def test_what_a_tab_draws_on_the_map_leaves_with_it(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "click real/5", "click real/6")
    assert desk.document.get_model_by_name("marks wish") is None
    report(desk.document, "tab generate")
    marks = desk.document.get_model_by_name("marks wish").data_source
    assert len(marks.data["x"]) == 1
    report(desk.document, "tab select")
    assert len(marks.data["x"]) == 0


def test_a_widget_of_a_late_tab_is_heard(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "click real/5", "tab generate")
    desk.document.get_model_by_name("variations").value = 2
    press(desk.document, "generate")
    settled(desk)
    assert len(studio.made) == 2


def test_what_only_tells_the_browser_has_no_place_in_the_page(studio: Studio) -> None:
    desk = arrive(studio)
    told = [model for part in desk.parts for model in part.told]
    assert {model.name for model in told} >= {"page", "page group", "file", "class rows", "class marks", "scene frame"}
    assert not set(told) & set(desk.document.roots)
    assert all(desk.document.get_model_by_name(model.name) is model for model in told)


@pytest.mark.parametrize(("message", "most"), [("tab generate", 1), ("second map", 2)])
def test_many_new_models_are_found_in_few_passes_over_all(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, message: str, most: int
) -> None:
    desk, passes = arrive(studio), []
    settled(desk)
    models, found = desk.document.models, desk.document.models.recompute
    before = len(models)
    monkeypatch.setattr(models, "recompute", lambda: passes.append(found()))
    if message == "second map":
        desk.document.get_model_by_name("beside").value = "other"
    else:
        report(desk.document, message)
    assert len(models) - before > 40
    assert 1 <= len(passes) <= most
