"""One session's document, without a browser: what the widgets and panels say as events come in."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bokeh.application import Application
from bokeh.application.handlers import DirectoryHandler
from bokeh.document import Document
from bokeh.events import ButtonClick

from modescope import files

APP = Path(__file__).parents[2] / "dashboards" / "explorer"


def opened(root: Path, patch: pytest.MonkeyPatch) -> Document:
    patch.setenv("MODESCOPE_ROOT", str(root))
    handler = DirectoryHandler(filename=str(APP))
    document = Application(handler).create_document()
    assert not handler.failed, handler.error_detail
    return document


@pytest.fixture
def page(fresh_root: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    return opened(fresh_root, monkeypatch)


def report(page: Document, *messages: str) -> None:
    """What the browser reports: clicks on ids, keys, buttons in panels."""
    for number, message in enumerate(messages):
        page.get_model_by_name("bridge").value = f"{time.monotonic_ns()}{number} {message}"


def press(page: Document, name: str) -> None:
    button = page.get_model_by_name(name)
    button._trigger_event(ButtonClick(button))


def settle(page: Document, until: Callable[[], bool]) -> None:
    """Run what the queue hands to the session's loop, until something holds."""
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        for waiting in list(page.session_callbacks):
            page.remove_next_tick_callback(waiting)
            waiting.callback()
        time.sleep(0.01)


def text(page: Document, name: str) -> str:
    return page.get_model_by_name(name).text


def generate(page: Document) -> None:
    before = page.get_model_by_name("seed").value
    press(page, "generate")
    settle(page, lambda: page.get_model_by_name("seed").value == before + 1)


def test_the_page_opens_on_the_last_generator_that_can_make_something(page: Document) -> None:
    names = {root.name for root in page.roots}
    assert names == {"map", "controls", "selected", "neighbours", "result", "history", "alert", "bridge"}
    chooser = page.get_model_by_name("generator")
    assert (chooser.value, chooser.options) == ("student", ["teacher", "other", "student"])
    assert "Click a point" in text(page, "status")
    assert page.get_model_by_name("generate").disabled
    assert "generated 60" in text(page, "legend")


def test_clicks_select_then_pick_and_the_cross_clears(page: Document) -> None:
    report(page, "click real/5", "click fake/student/1", "click real/2", "click real/2")
    assert "real/5" in text(page, "selected")
    assert "class 5" in text(page, "selected")
    assert text(page, "neighbours").count("<img") == 1
    assert not page.get_model_by_name("generate").disabled
    report(page, "drop fake/student/1")
    assert "Add neighbours" in text(page, "status")
    report(page, "clear")
    assert "Nothing yet" in text(page, "selected")


def test_the_button_finds_as_many_neighbours_as_the_slider_says(page: Document) -> None:
    report(page, "click real/5")
    page.get_model_by_name("k").value = 7
    press(page, "find")
    settle(page, lambda: text(page, "neighbours").count("<img") == 7)
    assert text(page, "neighbours").count("thin") == 7
    page.get_model_by_name("show").active = [0]
    page.get_model_by_name("space").active = 1
    settle(page, lambda: text(page, "neighbours").count("thumb/real/") == 7)
    assert "fake/" not in text(page, "neighbours")


def test_a_generated_image_is_shown_and_is_there_after_a_reload(
    page: Document, fresh_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(page, "click real/5", "click real/6", "click fake/student/3")
    generate(page)
    (record,) = (fresh_root / "data/made/student").glob("*.json")
    made = files.read_json(record)
    assert made["recipe"]["condition"] == [[5, 1.0]]
    assert made["recipe"]["aim"]["ids"] == ["real/6", "fake/student/3"]
    for ending in ("", "/free", "/mean"):
        assert f"thumb/{made['id']}{ending}" in text(page, "result")
    star, aim = (page.get_model_by_name(f"marks {name}") for name in ("made", "aims"))
    assert [star.data_source.data[c][0] for c in "xy"] == pytest.approx(made["landed"], rel=1e-5)
    assert [aim.data_source.data[c][0] for c in "xy"] == pytest.approx(made["recipe"]["aim"]["place"], rel=1e-5)

    again = opened(fresh_root, monkeypatch)
    assert made["id"] in text(again, "history")
    assert again.get_model_by_name("seed").value == 1
    report(again, f"show {made['id']}")
    assert made["id"] in text(again, "result")


def test_the_teacher_shows_its_samples_and_says_why_it_cannot_generate(page: Document) -> None:
    report(page, "click real/5", "click fake/student/1", "click real/2")
    page.get_model_by_name("generator").value = "teacher"
    assert page.get_model_by_name("generate").disabled
    assert "teacher takes 2 steps" in text(page, "status")
    assert "Choose other or student" in text(page, "status")
    assert text(page, "neighbours").count("<img") == 1
    report(page, "click fake/teacher/7")
    assert text(page, "neighbours").count("<img") == 2


def test_without_a_checkpoint_maps_and_images_still_work(fresh_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(fresh_root / "data/checkpoints")
    shutil.rmtree(fresh_root / "data/maps/default/reducer")
    page = opened(fresh_root, monkeypatch)
    page.get_model_by_name("generator").value = "student"
    report(page, "click real/5")
    press(page, "find")
    settle(page, lambda: text(page, "neighbours").count("<img") == 5)
    assert page.get_model_by_name("generate").disabled
    assert "checkpoint of the generator is missing" in text(page, "status")


def test_words_say_what_is_held(page: Document) -> None:
    page.get_model_by_name("hold").value = "bottleneck + midblock"
    assert "only through the skip connection" in text(page, "held")
    page.get_model_by_name("hold").value = "all encoder layers"
    assert "seeds hardly differ" in text(page, "held")


@pytest.mark.parametrize(
    "message", ["click ../../etc/passwd", "click real/99", "click fake/teacher/1", "dance", "", "x"]
)
def test_a_report_that_names_nothing_here_is_said_and_does_no_harm(page: Document, message: str) -> None:
    report(page, "click real/5", message)
    assert page.get_model_by_name("alert").visible
    assert "load the page again" in text(page, "alert")
    assert "real/5" in text(page, "selected")
    report(page, "click real/6", "close")
    assert text(page, "neighbours").count("<img") == 1
    assert not page.get_model_by_name("alert").visible


def test_messages_are_text_and_never_markup(page: Document) -> None:
    report(page, "click <script>alert(1)</script>")
    assert "<script>" not in text(page, "alert")


def test_a_job_that_fails_is_said_and_the_page_lives_on(page: Document, fresh_root: Path) -> None:
    checkpoint = fresh_root / "data/checkpoints/student.safetensors"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:1000])
    report(page, "click real/5", "click real/6")
    press(page, "generate")
    settle(page, lambda: page.get_model_by_name("alert").visible)
    assert "cannot be read" in text(page, "alert")
    checkpoint.write_bytes(whole)
    generate(page)
    assert "made/" in text(page, "result")


@pytest.mark.parametrize("missing", ["data", "params.yaml"])
def test_an_empty_project_says_what_to_run(fresh_root: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    moved = fresh_root / missing
    moved.rename(fresh_root / "elsewhere")
    page = opened(fresh_root, monkeypatch)
    assert [root.name for root in page.roots] == ["empty"]
    assert str(fresh_root) not in page.template_variables["message"] or missing == "params.yaml"
    assert "missing" in page.template_variables["message"]
