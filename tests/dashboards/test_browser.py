"""The explorer as it is served, in a real browser: one whole walk, two visitors at once, a server that comes back."""

from __future__ import annotations

import io
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving import CHROMIUM, FLAGS, IDLE, PLACE, Server, serving
from modescope import files, store
from tests.dashboards import hostile
from tests.dashboards.measuring import FIRST, measure

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
MARKS = "([what, count]) => Bokeh.documents[0].get_model_by_name('marks ' + what).data_source.data.x.length === count"
SOCKETS = """window.sockets = [], window.WebSocket = class extends WebSocket {
    constructor(...rest) { super(...rest); sockets.push(this); }
}"""
PATIENT = 60_000
"""Milliseconds that a busy machine may take for what is quick elsewhere."""


class House:
    """A project of which everything was measured, its server, and a browser. The server can be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stack = ExitStack()
        self.server = self._start()

    def _start(self, *options: str) -> Server:
        return self.stack.enter_context(serving(self.root, *options, OMP_NUM_THREADS="1"))

    def kill(self) -> None:
        os.kill(self.server.process, signal.SIGKILL)

    def again(self) -> None:
        """On the same port."""
        self.server = self._start("--port", str(urlsplit(self.server.address).port))


@pytest.fixture(scope="module")
def house(borrow: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = borrow(tmp_path_factory.mktemp("served") / "project")
    measure(root)
    hostile.rename_classes(root)  # an image of nowhere in the page, or a word of it run, is a trouble
    house = House(root)
    with house.stack:
        yield house


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENT)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(house: House, browser: Any) -> Iterator[Callable[..., Visitor]]:
    """Opens pages, each of a visitor of its own; in the end, none of them may have met an error or asked elsewhere."""
    visitors: list[Visitor] = []

    def opened(query: str = "") -> Visitor:
        visitors.append(Visitor(browser, f"{house.server.address}{query}"))
        return visitors[-1]

    yield opened
    for each in visitors:
        each.page.context.close()
    assert [each.troubles for each in visitors] == [[]] * len(visitors)


class Visitor:
    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        self.page.set_default_timeout(PATIENT)
        self.page.add_init_script(SOCKETS)
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda asked: self._asked(asked.url))
        self.arrive(address)

    def _asked(self, address: str) -> None:
        place = urlsplit(address)
        if place.scheme not in ("data", "blob") and (place.hostname != "localhost" or place.path.endswith("/x")):
            self.troubles.append(address)

    def arrive(self, address: str) -> None:
        self.page.goto(address)
        self.ready()

    def reload(self) -> None:
        self.page.reload()
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_function(
            f"{IDLE} && Bokeh.documents[0].get_model_by_name('points real').data_source.data.x.length"
        )

    def place(self, name: str, index: int) -> list[float]:
        """Where a point is, once the map stands still."""
        before: list[float] = []
        while (now := self.page.evaluate(PLACE, [name, index])) != before:
            before = now
            self.page.wait_for_timeout(150)
        return now

    def click(self, name: str, index: int) -> None:
        """A click on a point, when the card under the cursor says that it is there."""
        x, y = self.place(name, index)
        self.page.mouse.move(x, y)
        self.page.locator("#card").wait_for()
        self.page.mouse.click(x, y)

    def marked(self, what: str, count: int) -> None:
        self.page.wait_for_function(MARKS, arg=[what, count])

    def tab(self, name: str) -> Any:
        self.page.get_by_role("tab", name=name).click()
        shown = self.page.locator(f".tab[data-tab={name.lower()}]")
        shown.wait_for()
        return shown

    def said(self, words: str) -> None:
        """Until something in the right column says so."""
        self.page.locator("section.side").last.get_by_text(words).locator("visible=true").first.wait_for()

    def address(self, *parts: str) -> None:
        """Until the page's address has these parts."""
        self.page.wait_for_function("parts => parts.every(part => location.search.includes(part))", arg=list(parts))


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def fetched(address: str) -> np.ndarray:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return pixels(answer.read())


def test_a_visitor_selects_picks_generates_and_finds_it_again(visitor: Callable[..., Visitor], house: House) -> None:
    one = visitor("?overlays=")
    page = one.page
    x, y = one.place("points real", 4)
    page.mouse.move(x, y)
    page.locator("#card").wait_for()
    page.wait_for_function("document.querySelector('#card img').naturalWidth === 8")
    name = page.locator("#card code").inner_text()
    kind, _, number = name.rpartition("/")
    assert kind in ("real", "fake/student")
    assert 0 <= int(number) < 60
    assert page.locator("#card img").bounding_box()["width"] >= 96
    ring = page.locator("#ring").bounding_box()
    assert np.hypot(ring["x"] + ring["width"] / 2 - x, ring["y"] + ring["height"] / 2 - y) < 14

    page.mouse.click(x, y)
    one.marked("selected", 1)
    one.said(name)
    page.get_by_role("button", name="Find nearest").click()
    one.marked("found", 5)
    crosses = page.locator(".tab[data-tab=select] button[data-event^='drop ']")
    crosses.first.click()
    one.marked("found", 4)
    picked = {
        name,
        *(event.removeprefix("drop ") for event in crosses.evaluate_all("all => all.map(b => b.dataset.event)")),
    }
    free = next(i for i in range(59, 0, -1) if alone(one, i) and f"fake/student/{i}" not in picked)
    one.click("points generated", free)
    one.marked("manual", 1)
    one.address(f"selected={name}", "found=", f"manual=fake/student/{free}")

    shown = one.tab("Generate")
    page.get_by_role("button", name="Generate", exact=True).click()
    figures = shown.locator("figure img")
    page.wait_for_function("() => Bokeh.documents[0].get_model_by_name('marks made').data_source.data.x.length === 1")
    figures.nth(2).wait_for()
    assert figures.count() == 3
    (record,) = (house.root / "data/made/student").glob("*.json")
    made = files.read_json(record)
    _, arrays = store.read_made(record.parent, made["id"])
    assert len(made["recipe"]["aim"]["ids"]) == 5
    assert (arrays["image"] != arrays["free"]).any()
    for figure, what in enumerate(("image", "free", "mean")):
        source = figures.nth(figure).evaluate("image => image.src")
        np.testing.assert_array_equal(fetched(source), arrays[what][0])
    page.wait_for_function("image => image.complete && image.naturalWidth === 8", arg=figures.first.element_handle())
    assert pixels(figures.first.screenshot())[..., :3].mean(-1).std() > 5
    one.marked("aims", 1)
    one.address("shown=made/", "tab=generate")

    one.reload()
    for what, count in (("selected", 1), ("found", 4), ("manual", 1), ("made", 1), ("aims", 1)):
        one.marked(what, count)
    history = one.tab("Made")
    history.locator("button[data-event^='show ']").click()
    one.said(made["id"])


def alone(one: Visitor, index: int) -> bool:
    """Whether no other point is under a generated one, and the map shows it."""
    return one.page.evaluate(
        """index => {
            const page = Bokeh.documents[0], plot = page.get_model_by_name("map"), per = explorer.map.unit(plot);
            const { x, y } = page.get_model_by_name("points generated").data_source.data;
            if (!explorer.map.inside(plot, explorer.map.place(plot, x[index], y[index]))) return false;
            return ["points real", "points generated", "marks made"].every((name) => {
                const other = page.get_model_by_name(name).data_source.data;
                return other.x.every((_, i) => (name === "points generated" && i === index)
                    || Math.hypot(other.x[i] - x[index], other.y[i] - y[index]) > 2 * per);
            });
        }""",
        index,
    )


def test_keys_find_draw_undo_and_explain(visitor: Callable[..., Visitor]) -> None:
    one = visitor("?overlays=")
    page = one.page
    page.evaluate("explorer.send('click', 'real/5')")
    one.marked("selected", 1)
    page.keyboard.press("n")
    one.marked("found", 5)
    page.keyboard.press("Control+z")
    one.marked("found", 0)
    page.keyboard.press("Control+Shift+z")
    one.marked("found", 5)
    page.keyboard.press("d")
    page.wait_for_function("document.documentElement.classList.contains('dark')")
    one.address("theme=dark")
    page.keyboard.press("?")
    page.locator("#help").wait_for()
    page.keyboard.press("n")  # of the card, not of the page
    page.keyboard.press("Escape")
    page.locator("#help").wait_for(state="hidden")
    one.marked("selected", 1)
    page.keyboard.press("e")
    page.wait_for_function("""Bokeh.documents[0].get_model_by_name("map").toolbar.tools
        .find(tool => tool.type === "LassoSelectTool").active""")
    page.keyboard.press("Escape")
    one.marked("selected", 0)
    page.keyboard.press("2")
    one.address("tab=gaps")


def test_the_map_is_saved_as_it_is_seen(visitor: Callable[..., Visitor]) -> None:
    one = visitor("?overlays=names&selected=real/5&versus=other")
    one.marked("selected", 1)
    one.page.wait_for_function("Bokeh.documents[0].get_model_by_name('names').data_source.data.x.length")
    with one.page.expect_download() as file:
        one.page.keyboard.press("s")
    assert file.value.suggested_filename == "modescope-default-student.svg"
    picture = ElementTree.parse(file.value.path()).getroot()
    space = "{http://www.w3.org/2000/svg}"
    first, second = picture.findall(f"{space}svg")
    assert float(first.get("width", 0)) == float(second.get("x", 0)) > 100
    for each in (first, second):  # markers of two sides, and what is picked
        assert len(each.findall(f".//{space}path[@d]")) > 2 * 60
    words = [node.text for node in picture.iter(f"{space}text")]
    assert {"student", "other", "real", f"{hostile.TAG}3"} <= set(words)


def test_nothing_is_painted_beyond_the_frame_of_the_map(visitor: Callable[..., Visitor]) -> None:
    """The strip of the tools has the same pixels with outlines that go beyond the frame, and without."""
    strips = []
    for overlays in ("", "contours,gaps"):
        one = visitor(f"?overlays={overlays}")
        left, right, bottom, top, _, _ = frame_of(one)
        x, y, part = (left + right) / 2, (bottom + top) / 2, (right - left) / 4  # ends in the midst of the clouds
        one.arrive(f"{one.page.url}&frame={x - part},{x},{y - part / 2},{y + part / 2}")
        one.page.wait_for_function(f"({LINES} > 0) === {str(bool(overlays)).lower()}")
        one.place("points real", 0)
        one.page.wait_for_timeout(300)
        strips.append(pixels(one.page.screenshot(clip={"x": 903, "y": 50, "width": 33, "height": 740})))
    np.testing.assert_array_equal(*strips)


LINES = "Bokeh.documents[0].get_model_by_name('contours real').data_source.data.xs.length"


def test_a_missing_region_is_opened_from_the_list_and_the_map_goes_there(visitor: Callable[..., Visitor]) -> None:
    one = visitor()
    listed = one.tab("Gaps")
    listed.locator("[data-event='gap 0']").first.click()
    one.address("gap=0", "frame=")
    for index in FIRST:
        listed.locator(f"[data-id='real/{index}']").locator("visible=true").first.wait_for()


def test_an_address_brings_back_what_two_visitors_see_each_for_himself(visitor: Callable[..., Visitor]) -> None:
    first = visitor("?view=default&generator=other&selected=real/7&found=real/8,real/9&k=9&colour=coverage&tab=made")
    second = visitor("?generator=student&selected=real/3")
    first.marked("found", 2)
    first.address("generator=other", "selected=real/7", "found=real/8,real/9", "k=9", "tab=made")
    second.marked("selected", 1)
    second.said("real/3")
    second.page.keyboard.press("Escape")
    second.marked("selected", 0)
    first.page.evaluate("explorer.send('drop', 'real/8')")
    first.marked("found", 1)
    first.marked("selected", 1)
    second.marked("selected", 0)
    first.arrive(first.page.url)
    first.marked("found", 1)


def test_a_short_drop_of_the_connection_loses_nothing(visitor: Callable[..., Visitor]) -> None:
    one = visitor("?selected=real/5")
    one.page.evaluate("explorer.send('click', 'real/6')")
    one.address("manual=real/6")
    one.page.evaluate("for (const each of sockets) each.close()")
    one.page.wait_for_function("window.sockets?.length === 1 && sockets[0].readyState === WebSocket.OPEN")
    one.ready()
    one.marked("manual", 1)
    one.page.keyboard.press("Control+z")  # the session is the same one
    one.marked("manual", 0)
    one.marked("selected", 1)
    assert "session" not in one.page.url


def test_a_server_that_was_killed_and_started_again_brings_the_page_back(
    visitor: Callable[..., Visitor], house: House
) -> None:
    one = visitor("?selected=real/5&tab=generate")
    one.page.evaluate("explorer.send('click', 'real/6')")
    one.address("manual=real/6")
    house.kill()
    one.page.locator("#lost").wait_for()
    house.again()
    one.page.locator("#lost").wait_for(state="hidden")
    one.ready()
    one.marked("selected", 1)
    one.marked("manual", 1)
    one.page.evaluate("explorer.send('click', 'real/7')")
    one.marked("manual", 2)


def test_a_second_map_comes_and_goes_and_the_first_shows_the_same_as_before(visitor: Callable[..., Visitor]) -> None:
    one = visitor()
    before = frame_of(one)
    choose = "name => { Bokeh.documents[0].get_model_by_name('beside').value = name }"
    one.page.evaluate(choose, "other")
    one.page.wait_for_function("explorer.map.plots().length === 2")
    for _ in range(2):
        left, right, bottom, top, width, height = frame_of(one)
        assert width < 0.7 * before[4]
        assert (right - left) / width == pytest.approx((top - bottom) / height, rel=1e-3)
        assert cut(one) == 0
        one.page.wait_for_timeout(300)
    one.page.evaluate(choose, "")
    one.page.wait_for_function("explorer.map.plots().length === 1")
    one.page.wait_for_function("width => explorer.map.plots()[0].inner_width === width", arg=before[4])
    one.page.wait_for_function("height => explorer.map.plots()[0].inner_height === height", arg=before[5])
    assert frame_of(one) == pytest.approx(before, rel=1e-6)
    assert "frame=" not in one.page.url


def frame_of(one: Visitor) -> list[float]:
    """What the first map shows and in how many pixels, once it stands still."""
    one.place("points real", 0)
    return one.page.evaluate("""() => {
        const { x_range, y_range, inner_width, inner_height } = explorer.map.plots()[0];
        return [x_range.start, x_range.end, y_range.start, y_range.end, inner_width, inner_height];
    }""")


def cut(one: Visitor) -> int:
    """Points that are not in view of their map."""
    return one.page.evaluate("""() => explorer.map.plots().map((plot) => plot.renderers
        .filter((each) => each.name.startsWith("points")).map(({ data_source: { data } }) =>
            Array.from(data.x).filter((x, i) => !explorer.map.inside(plot, explorer.map.place(plot, x, data.y[i]))).length)
        ).flat().reduce((sum, each) => sum + each)""")


BOX = """region replace {"box": [-1e6, -1e6, 1e6, 1e6]}"""


def test_steps_and_the_group_come_back_when_the_page_is_loaded_anew_and_when_the_server_was_lost(
    visitor: Callable[..., Visitor], house: House
) -> None:
    one = visitor("?selected=real/5")
    one.page.evaluate("explorer.send('click', 'real/6')")
    one.marked("manual", 1)
    one.page.evaluate("told => explorer.send(told)", BOX)
    one.said("60 real")
    for again in (one.reload, lambda: fall(one, house)):
        again()
        one.said("60 real")
        one.page.wait_for_function("!document.getElementById('undo').disabled")
        one.page.keyboard.press("Control+z")
        one.page.wait_for_function("!Bokeh.documents[0].get_model_by_name('page group').value")
        one.marked("manual", 1)
        one.page.keyboard.press("Control+z")
        one.marked("manual", 0)
        one.marked("selected", 1)
        again()
        one.page.wait_for_function("!document.getElementById('redo').disabled")
        one.page.keyboard.press("Control+Shift+z")
        one.marked("manual", 1)
        one.page.keyboard.press("Control+Shift+z")
        one.said("60 real")
    one.arrive(f"{house.server.address}?selected=real/7")  # another address, another story
    one.marked("selected", 1)
    assert one.page.locator("#undo").is_disabled()


def fall(one: Visitor, house: House) -> None:
    house.kill()
    one.page.locator("#lost").wait_for()
    house.again()
    one.page.locator("#lost").wait_for(state="hidden")
    one.ready()
