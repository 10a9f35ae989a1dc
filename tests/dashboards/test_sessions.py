"""One visitor's session: nothing that a browser sends breaks it, nothing of it reaches another, nothing stays of it."""

from __future__ import annotations

import csv
import gc
import io
import logging
import shutil
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bokeh.application import Application
from bokeh.application.handlers import DirectoryHandler
from bokeh.document import Document
from bokeh.models import Div, Model

from dashboards.explorer import opening, taking, worker
from dashboards.explorer.desk import Desk
from dashboards.explorer.making import Studio
from dashboards.explorer.parts import PARTS
from dashboards.explorer.resources import load
from dashboards.explorer.states.looks import TABS
from tests.dashboards import hostile
from tests.dashboards.driving import APP, opened, press, report, settle, text
from tests.dashboards.measuring import measure

SETTINGS = ("value", "value_throttled", "active")
"""Properties of widgets that the page hears."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What fails here is meant to, and would be written down a thousand times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def studio(fresh_root: Path) -> Studio:
    hostile.rename_classes(fresh_root)
    measure(fresh_root)
    return Studio(load(fresh_root))


def arrive(studio: Studio) -> Desk:
    return Desk(studio, Document(), "thumb/", opening.first(studio), PARTS)


def arrive_everywhere(studio: Studio) -> Desk:
    """Every tab was opened, so that all there is hears what comes."""
    desk = arrive(studio)
    report(desk.document, *(f"tab {name}" for name in reversed(TABS)))
    assert not desk._later
    return desk


def settled(desk: Desk) -> None:
    settle(desk.document, lambda: not desk.line._waiting and not desk.document.session_callbacks)


def sound(desk: Desk) -> None:
    """A visitor can still do what one does."""
    report(desk.document, "clear", "click real/5", "click real/6")
    settled(desk)
    assert desk.state.picks.selected == "real/5"
    assert desk.state.picks.manual == ("real/6",)
    assert "real/5" in text(desk.document, "selected")


def markup(desk: Desk) -> list[str]:
    """Tags and handlers in panels that are not ours."""
    return [wrong for div in desk.document.select({"type": Div}) for wrong in hostile.Tags(div.text).wrong]


def test_a_thousand_reports_that_mean_no_good_break_nothing(studio: Studio) -> None:
    desk = arrive_everywhere(studio)
    report(desk.document, "click real/5", "click real/6")
    values = [*hostile.PATHS, *hostile.VALUES]
    kinds = [kind for kind in desk._events if kind not in ("generate", "towards")]  # these have no rest
    sent = [f"{kind} {value}" for kind in kinds for value in np.random.default_rng(0).permutation(values)[:40].tolist()]
    assert len(sent) > 1000
    before = set(studio.project.root.rglob("*"))
    for message in sent:
        desk.hear(f"1 {message}")
    for message in (*hostile.PATHS, *hostile.VALUES):
        desk.hear(message)
    settled(desk)
    assert markup(desk) == []
    assert set(studio.project.root.rglob("*")) - before == set()
    sound(desk)


def test_whatever_widgets_are_set_to_breaks_nothing(studio: Studio) -> None:
    desk = arrive_everywhere(studio)
    tried = 0
    for widget in sorted(desk.document.select({"type": Model}), key=lambda model: model.id):
        for name in SETTINGS:
            if name in widget.properties() and widget.name not in (None, "bridge", "file", "page"):
                tried += sum(set_to(widget, name, value) for value in hostile.WIDGETS)
    settled(desk)
    assert tried > 100
    assert markup(desk) == []
    sound(desk)


def set_to(widget: Model, name: str, value: object) -> bool:
    """As Bokeh does when a browser says so; whether it lets it."""
    try:
        widget.set_from_json(name, value)
    except ValueError:
        return False
    return True


def test_names_of_classes_are_text_wherever_they_stand(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "click real/5", "click real/6", "click real/9", "tabled real/5", "tabled real/9", "gap 0")
    report(desk.document, 'region replace {"box": [-1e6, -1e6, 1e6, 1e6]}', "tab generate")
    settled(desk)
    desk.become(desk.state)
    for look in ("class", "coverage"):
        desk.document.get_model_by_name("colour").value = look
        settled(desk)
    shown = "".join(div.text for div in desk.document.select({"type": Div}))
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert markup(desk) == []


def test_tables_quote_what_would_break_a_line_or_be_computed(studio: Studio) -> None:
    labels = studio.project.real.labels
    ids = [f"real/{np.flatnonzero(labels == label)[0]}" for label in (0, 8, 9)]
    content = taking.file(taking.table(studio, "default", "student", ids), "csv").decode()
    names = [line["class_name"] for line in csv.DictReader(io.StringIO(content, newline=""))]
    assert names == [f"{hostile.TAG}0", "'=1+1,\"\n", "</script><script>alert(1)</script>"]


def test_a_state_that_cannot_be_drawn_is_left_again(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "click real/5")
    before = desk.past
    desk.document.get_model_by_name("generator").value = "nobody"
    assert desk.past == before
    assert "That did not work" in text(desk.document, "alert")
    assert desk.document.get_model_by_name("generator").value == "student"
    sound(desk)


def test_a_callback_that_fails_is_said_and_the_rest_lives_on(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = arrive(studio)
    report(desk.document, "click real/5")
    with monkeypatch.context() as patch:
        patch.setattr(Studio, "nearest", lambda *_arguments: 1 / 0)
        press(desk.document, "find")
        settled(desk)
    assert "division by zero" in text(desk.document, "alert")
    press(desk.document, "find")
    settled(desk)
    assert len(desk.state.picks.found) == 5
    sound(desk)


def test_two_visitors_share_what_was_made_and_nothing_else(studio: Studio) -> None:
    one, other = arrive(studio), arrive(studio)
    report(one.document, "click real/5", "theme dark", "tab compare")
    report(other.document, "click real/7")
    assert one.state.picks.selected == "real/5"
    assert other.state.picks.selected == "real/7"
    assert (one.state.look.theme, other.state.look.theme) == ("dark", "light")
    report(one.document, "undo")
    assert other.state.picks.selected == "real/7"


def test_what_a_visitor_who_left_was_waiting_for_leaves_the_queue_at_once(studio: Studio) -> None:
    gone, stays, held, ran = arrive(studio), arrive(studio), threading.Event(), []
    running = threading.Event()
    stays.ask(lambda: (running.set(), held.wait(30)), lambda _done: None, model=True)
    assert running.wait(10)
    for number in range(3):
        gone.ask(lambda n=number: ran.append(n), lambda _done: None, model=True)
    assert worker._models.ahead(stays.line) == 1
    gone.close(None)
    assert worker._models.ahead(stays.line) == 0
    held.set()
    settled(stays)
    assert ran == []


def test_nothing_stays_in_memory_of_a_visitor_who_left(studio: Studio) -> None:
    desk = arrive(studio)
    report(desk.document, "click real/5", "find", "tabled real/5", "gap 0", 'region replace {"box": [0, 0, 9, 9]}')
    settled(desk)
    desk.ask(lambda: 1, lambda _done: None, model=True)
    settled(desk)
    kept = [weakref.ref(desk), weakref.ref(desk.document)]
    desk.close(None)
    desk.document.clear()
    settled_by_another(studio)
    del desk
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def settled_by_another(studio: Studio) -> None:
    """Threads let go of their last job when they have ended it."""
    desk = arrive(studio)
    for model in (True, False, False, False):
        desk.ask(lambda: 1, lambda _done: None, model=model)
    settled(desk)
    desk.close(None)


@pytest.mark.parametrize("missing", ["data", "params.yaml"])
def test_an_empty_project_says_what_to_run(fresh_root: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    (fresh_root / missing).rename(fresh_root / "elsewhere")
    page = opened(fresh_root, monkeypatch)
    assert [root.name for root in page.roots] == ["empty"]
    assert str(fresh_root) not in page.template_variables["message"] or missing == "params.yaml"
    assert "missing" in page.template_variables["message"]


def test_without_a_checkpoint_maps_and_images_still_work(fresh_root: Path) -> None:
    shutil.rmtree(fresh_root / "data/checkpoints")
    shutil.rmtree(fresh_root / "data/maps/default/reducer")
    desk = arrive(Studio(load(fresh_root)))
    report(desk.document, "click real/5", "find")
    settled(desk)
    assert text(desk.document, "neighbours").count("<img") == 5
    report(desk.document, "tab generate")
    assert desk.document.get_model_by_name("generate").disabled
    assert "checkpoint of the generator is missing" in text(desk.document, "status")


def test_a_damaged_checkpoint_is_said_and_once_mended_it_serves(fresh_root: Path) -> None:
    path = fresh_root / "data/checkpoints/student.safetensors"
    whole = path.read_bytes()
    path.unlink()  # it is shared
    path.write_bytes(whole[:1000])
    desk = arrive(Studio(load(fresh_root)))
    report(desk.document, "tab generate", "click real/5", "click real/6", "generate")
    settled(desk)
    assert "cannot be read" in text(desk.document, "alert")
    path.write_bytes(whole)
    report(desk.document, "generate")
    settled(desk)
    assert len(desk.studio.made) == 1


def test_the_app_opens_as_it_is_served(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODESCOPE_ROOT", str(project_root))
    handler = DirectoryHandler(filename=str(APP))
    page = Application(handler).create_document()
    assert not handler.failed, handler.error_detail
    assert {"maps", "selected", "tab generate", "tab gaps", "alert", "bridge"} <= {root.name for root in page.roots}
    chooser = page.get_model_by_name("generator")
    assert (chooser.value, chooser.options) == ("student", ["teacher", "other", "student"])
