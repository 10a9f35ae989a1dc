"""Generate: what can be asked for, what is shown of it, and that nothing is lost on the way."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bokeh.application import Application
from bokeh.application.handlers import DirectoryHandler
from bokeh.document import Document
from driving import APP, opened, press, report, settle, text

from dashboards.explorer import tasks, wishes
from dashboards.explorer.making import Studio
from dashboards.explorer.resources import load
from dashboards.explorer.results import held_words, number, numbers, steered
from dashboards.explorer.states import State
from dashboards.explorer.states.dials import Dials
from dashboards.explorer.states.looks import Look
from dashboards.explorer.states.picks import Picks
from modescope.making import Picked, Point, Progress, Row

PICKED = ("tab generate", "click real/5", "click real/9", "click fake/student/12")


@pytest.fixture
def page(fresh_root: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    return opened(fresh_root, monkeypatch)


@pytest.fixture
def studio(fresh_root: Path) -> Studio:
    return Studio(load(fresh_root))


def desk_of(page: Document) -> Any:
    """The session behind a page. The app is a package of its own, beside the one that is imported here."""
    return next(iter(page.session_destroyed_callbacks)).__self__


def studio_of(page: Document) -> Studio:
    return desk_of(page).studio


def image(page: Document, sample_id: str) -> Any:
    """What the route of the thumbnails gives."""
    return sys.modules[type(studio_of(page)).__module__].thumbnail(sample_id)


def busy(page: Document) -> bool:
    return "<progress" in text(page, "status") + text(page, "result")


def generate(page: Document) -> None:
    press(page, "generate")
    assert busy(page)
    settle(page, lambda: not busy(page))


def dial(page: Document, **values: object) -> None:
    for name, value in values.items():
        page.get_model_by_name(name).value = value


def made(page: Document) -> list[str]:
    """Ids in the strip, or the one on display."""
    ids = re.findall(r'data-event="show (made/\w+)"', text(page, "result"))
    return ids or re.findall(r'src="thumb/(made/\w+)"', text(page, "result"))


def test_the_panel_says_what_is_missing_before_anything_is_picked(page: Document) -> None:
    report(page, "tab generate")
    assert "Click a point of the map" in text(page, "aim")
    assert "Choose where to aim first" in text(page, "status")
    assert page.get_model_by_name("generate").disabled
    for start, words in (("group", "lasso"), ("between", "other end"), ("point", "empty spot"), ("gap", "tab Gaps")):
        dial(page, start=start)
        assert words in text(page, "aim")
        assert page.get_model_by_name("generate").disabled
    dial(page, start="free", condition="class", label="class 3")
    assert not page.get_model_by_name("generate").disabled


def test_the_result_stands_beside_the_same_seed_without_a_mask_and_the_mean(page: Document) -> None:
    report(page, *PICKED)
    generate(page)
    (name,) = made(page)
    shown = text(page, "result")
    assert [f"{name}{end}" in shown for end in ("", "/free", "/mean")] == [True] * 3
    assert "map units from its aim" in shown
    assert "of the distance without a mask" in shown
    assert "class 5; seed 0; one-step; held: encoder_bottleneck" in shown
    assert page.get_model_by_name("seed").value == 1


def test_several_variations_are_a_strip_and_each_can_be_shown(page: Document) -> None:
    report(page, *PICKED)
    dial(page, variations=3)
    generate(page)
    ids = made(page)
    assert len(set(ids)) == 3
    assert page.get_model_by_name("seed").value == 3
    report(page, f"show {ids[2]}")
    assert f"<code>{ids[2]}</code>" in text(page, "result")
    assert made(page) == ids


def test_a_row_goes_from_one_end_to_the_other(page: Document) -> None:
    report(page, *PICKED)
    dial(page, start="between", row=4)
    report(page, "far fake/student/12")
    assert "4 images" in text(page, "status")
    generate(page)
    kept = [studio_of(page).made[name].recipe.aim for name in made(page)]
    assert kept[0].ids == ("real/5",)
    assert kept[-1].ids == ("fake/student/12",)
    assert kept[1].weights == pytest.approx((2 / 3, 1 / 3))


def test_an_empty_spot_is_aimed_at_only_where_that_is_chosen(page: Document) -> None:
    report(page, "tab generate", "spot 0.5 0.25")
    assert "Click a point of the map" in text(page, "aim")
    dial(page, start="point")
    report(page, "spot 900 900")
    settle(page, lambda: "looking" not in text(page, "aim"))
    assert text(page, "aim").count("<img") == 5
    assert "off the data" in text(page, "aim")
    generate(page)
    assert "Its aim lies off the data" in text(page, "result")
    (name,) = made(page)
    aim = studio_of(page).made[name].recipe.aim
    assert (aim.place, aim.inverse) == ((900.0, 900.0), "neighbours")
    report(page, "aim 0.5 0.25")  # dragged
    settle(page, lambda: "(0.50, 0.25)" in text(page, "aim") and "looking" not in text(page, "aim"))


def test_without_a_mask_only_the_image_is_shown(page: Document) -> None:
    report(page, "tab generate")
    dial(page, start="free", condition="class", label="class 3")
    generate(page)
    shown = text(page, "result")
    assert shown.count("<figure>") == 1
    assert "class 3; seed 0; one-step; nothing held" in shown
    assert "nothing was aimed at" in shown


def test_a_dragged_aim_and_pressed_buttons_weight_the_neighbours(page: Document) -> None:
    report(page, *PICKED)
    assert re.findall(r"<b>(\d+%)</b>", text(page, "aim")) == ["50%", "50%"]
    report(page, "weigh real/9 up")
    assert re.findall(r"<b>(\d+%)</b>", text(page, "aim")) == ["60%", "40%"]
    x, y = studio_of(page).place("default", "fake/student/12") or ()
    report(page, f"aim {x} {y}")
    settle(page, lambda: "<b>100%</b>" in text(page, "aim"))
    assert re.findall(r"<b>(\d+%)</b>", text(page, "aim")) == ["0%", "100%"]
    generate(page)
    (name,) = made(page)
    assert studio_of(page).made[name].recipe.aim.weights == pytest.approx((0, 1))
    report(page, "level")
    assert re.findall(r"<b>(\d+%)</b>", text(page, "aim")) == ["50%", "50%"]


def test_a_made_image_can_be_selected_and_aimed_at_again(page: Document) -> None:
    report(page, *PICKED)
    generate(page)
    (first,) = made(page)
    report(page, f"choose {first}")
    assert not page.get_model_by_name("alert").visible
    assert first in text(page, "aim")
    generate(page)
    (second,) = made(page)
    recipes = [studio_of(page).made[name].recipe for name in (first, second)]
    assert recipes[0].aim.ids == recipes[1].aim.ids
    assert recipes[1].holds[0].samples == recipes[0].holds[0].samples


def test_every_layer_that_was_recorded_can_be_held_alone(page: Document) -> None:
    report(page, *PICKED)
    hold = page.get_model_by_name("hold")
    assert hold.options[:3] == ["bottleneck", "bottleneck + midblock", "every encoder layer"]
    dial(page, hold="only encoder_block_1")
    generate(page)
    assert "held: encoder_block_1" in text(page, "result")


def test_a_sampler_of_several_steps_has_a_trajectory(page: Document) -> None:
    report(page, *PICKED)
    dial(page, sampler="few-step")
    page.get_model_by_name("steps").value = 3
    dial(page, during="all")
    generate(page)
    (name,) = made(page)
    assert "few-step, 3 steps" in text(page, "result")
    report(page, f"path {name}")
    settle(page, lambda: "data-step" in text(page, "trajectory"))
    assert text(page, "trajectory").count("data-step=") == 3
    assert image(page, f"{name}/step/2") is not None
    assert (image(page, f"{name}/step/2") == image(page, name)).all()
    for wrong in (f"{name}/step/3", f"{name}/step/-1", f"{name}/step/x", "made/x/step/0"):
        assert image(page, wrong) is None
    assert len(page.get_model_by_name("marks path").data_source.data["x"]) == 3
    report(page, "path close")
    assert "data-step" not in text(page, "trajectory")


def test_a_generated_sample_has_a_trajectory_too(page: Document) -> None:
    dial(page, generator="teacher")
    report(page, "tab generate", "click fake/teacher/7", "path fake/teacher/7")
    settle(page, lambda: "data-step" in text(page, "trajectory"))
    assert text(page, "trajectory").count("data-step=") == 2
    report(page, "path ../../etc/passwd")
    assert "which is no sample on this map" in text(page, "alert")


def test_made_again_every_byte_is_equal(page: Document) -> None:
    report(page, *PICKED)
    generate(page)
    report(page, f"replay {made(page)[0]}")
    settle(page, lambda: "Made again" in text(page, "result"))
    assert "every byte is equal" in text(page, "result")


@pytest.mark.parametrize(
    "message", ["spot x y", "spot 1", "spot nan 1", "aim 1e99 0", "weigh nobody up", "far nobody", "show x"]
)
def test_what_the_browser_should_not_send_is_a_message_in_the_page(page: Document, message: str) -> None:
    report(page, "tab generate")
    dial(page, start="point")
    report(page, message)
    assert "the page named" in text(page, "alert")


@pytest.fixture
def model_busy(page: Document) -> Iterator[threading.Event]:
    """Somebody else's job stands in front of the model until this is set."""
    held = threading.Event()
    others = type(desk_of(page).line)(lambda _later: None)
    others.submit(lambda: held.wait(30), lambda _done: None, lambda _error: None)
    yield held
    held.set()


def test_one_who_waits_hears_of_his_place_and_can_leave_the_queue(page: Document, model_busy: threading.Event) -> None:
    report(page, *PICKED)
    press(page, "generate")
    assert "Waits for its turn" in text(page, "status")
    report(page, "cancel")
    assert "Ready" in text(page, "status")
    assert not page.get_model_by_name("generate").disabled
    model_busy.set()
    generate(page)
    assert len(studio_of(page).made) == 1  # what was cancelled was not made when its turn came


def test_cancelling_keeps_what_is_made_already(studio: Studio) -> None:
    seen: list[Progress] = []
    wish = Picked(ids=("real/1", "real/2"))
    state = State(
        look=Look(view="default", generator="student"),
        dials=Dials(variations=5),
        picks=Picks(selected="real/1", manual=("real/2",)),
    )
    asked = wishes.wish_of(studio, state, ("encoder_bottleneck",))
    assert wish.ids[1:] == asked.target.ids  # type: ignore[union-attr]
    batch = studio.make(asked, seen.append, lambda: len(studio.made) == 2)
    assert batch.cancelled
    assert [kept.id for kept in batch.kept] == list(studio.made)
    assert len(studio.made) == 2
    assert 0 < seen[-1].share < 1


def test_what_runs_when_the_page_is_closed_is_kept_and_there_in_the_next_session(
    fresh_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODESCOPE_ROOT", str(fresh_root))
    app = Application(DirectoryHandler(filename=str(APP)))
    page, again = app.create_document(), app.create_document()
    report(page, *PICKED)
    began, left, studio = threading.Event(), threading.Event(), studio_of(page)
    make = studio.make

    def slow(*arguments: Any) -> Any:
        began.set()
        assert left.wait(30)
        return make(*arguments)

    monkeypatch.setattr(studio, "make", slow)
    press(page, "generate")
    assert began.wait(30)
    for callback in page.session_destroyed_callbacks:
        callback(None)
    left.set()
    settle(again, lambda: bool(studio.made))
    report(again, "tab made")
    assert text(again, "history").count("<img") == 1


def test_words_of_a_task_tell_pace_and_time_left() -> None:
    progress = Progress(image=2, images=8, step=0, steps=4)
    assert tasks.pace(progress, 1.0) == "2 of 8 images, 2.0 per second, 3 s left"
    assert tasks.pace(replace(progress, image=1, step=4), 8.0) == "2 of 8 images, 4.0 s each, 24 s left"
    assert tasks.pace(replace(progress, image=0), 9.0) == "0 of 8 images"


def test_words_for_what_the_mask_did() -> None:
    assert steered(0.71) == "0.71 of the distance without a mask: the mask steered it"
    assert steered(0.9).endswith("the mask steered it a little")
    assert steered(1.0).endswith("the mask changed nothing of that")
    assert steered(1.2).endswith("it landed farther away than without")


def test_words_for_layers_quote_what_was_measured_for_such_aims(studio: Studio) -> None:
    import pandas as pd

    columns = ["aims", "source", "held", "layers", "control"]
    lines = [
        ("real", None, "(a neighbour itself)", None, 0.4),
        ("real", "nearest", "bottleneck", "encoder_bottleneck", 0.8),
        ("generated", "recorded", "bottleneck", "encoder_bottleneck", 0.7),
    ]
    table = pd.DataFrame(lines, columns=columns)
    assert "0.80 of that without a mask; of a neighbour itself 0.40" in held_words(("encoder_bottleneck",), table, True)
    assert "0.70 of that without a mask." in held_words(("encoder_bottleneck",), table, False)
    assert "Measured" not in held_words(("midblock",), studio.project.controls("student"), True)
    assert "once it is loaded" in held_words((), table, True)


def test_numbers_from_widgets_and_from_the_browser() -> None:
    assert [number(value, 1, 5) for value in (None, float("nan"), 0, 3, 9)] == [1, 1, 1, 3, 5]
    assert numbers("1 -2.5", 2) == (1.0, -2.5)
    with pytest.raises(ValueError, match="2 numbers are expected"):
        numbers("1 2 3", 2)


STATE = State(
    look=Look(view="default", generator="student"),
    dials=Dials(),
    picks=Picks(selected="real/5", found=("real/1", "real/2"), group=("real/3", "real/4", "real/3")[:2]),
)


def test_wishes_say_what_the_dials_say(studio: Studio) -> None:
    def wish(**changes: object) -> wishes.Wish:
        return wishes.wish_of(studio, replace(STATE, dials=replace(STATE.dials, **changes)), ("midblock",))  # type: ignore[arg-type]

    assert wish().target == Picked(ids=("real/1", "real/2"), weights=(0.5, 0.5))
    assert (wish().condition, wish().label) == ("class", 5)
    assert wish(start="group").target == Picked(ids=("real/3", "real/4"), weights=(0.5, 0.5))
    assert wish(start="point", point=(1.0, 2.0)).target == Point(at=(1.0, 2.0))
    ends = wish(start="between", other="real/2", row=3).target
    assert isinstance(ends, Row)
    assert (ends.first.ids, ends.last.ids, ends.shares) == (("real/5",), ("real/2",), (0, 0.5, 1))  # type: ignore[union-attr]
    assert (wish(start="free").target, wish(start="free").source) == (None, None)
    assert wish(source="nothing", begin="inverted").source is None
    assert wish(variations=3, seed=4).seeds == (4, 5, 6)
    assert wish(sampler="heun", steps=6, during="half").held_steps == (0, 1, 2)
    assert wish(condition="class", label=7).label == 7
    with pytest.raises(ValueError, match="no class is chosen"):
        wish(condition="class")
    with pytest.raises(ValueError, match="there are no neighbours to take classes from"):
        wish(start="free", condition="neighbours")
    with pytest.raises(ValueError, match="80 images at once are too many"):
        wish(start="between", row=16, variations=5)


def test_without_a_selected_sample_the_class_is_that_of_the_aims_samples(studio: Studio) -> None:
    state = replace(STATE, picks=replace(STATE.picks, selected=None, found=()), dials=Dials(start="group"))
    assert wishes.wish_of(studio, state, ("midblock",)).condition == "neighbours"
    with pytest.raises(ValueError, match="select a sample, or choose a class"):
        wishes.wish_of(studio, replace(state, dials=Dials(start="free")), ("midblock",))


def test_a_group_too_large_to_aim_at_says_so(studio: Studio) -> None:
    many = tuple(f"real/{i}" for i in range(wishes.MOST_AIMED + 1))
    state = replace(STATE, picks=replace(STATE.picks, group=many), dials=Dials(start="group"))
    assert "catch at most 4,096" in (wishes.missing(state) or "")
