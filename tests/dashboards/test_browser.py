"""The explorer as it is served: images by id, and one whole walk in a real browser."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modescope import files, store

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
PLACE = """([name, index]) => {
    const plot = Bokeh.documents[0].get_model_by_name("map"), view = Bokeh.index.find_one(plot);
    const data = Bokeh.documents[0].get_model_by_name(name).data_source.data;
    const corner = view.canvas_view.el.getBoundingClientRect();
    return [corner.x + view.frame.x_scale.compute(data.x[index]), corner.y + view.frame.y_scale.compute(data.y[index])];
}"""


@pytest.fixture(scope="module")
def root(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(project_root, tmp_path_factory.mktemp("served") / "project"))


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    """The documented command, on a free port; the address is in what it says."""
    command = [sys.executable, "-m", "bokeh", "serve", "dashboards/explorer", "--port", "0"]
    environment = {**os.environ, "MODESCOPE_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"http://localhost:\d+/explorer", line):
                break
        else:
            pytest.fail("".join(said))
        drain = threading.Thread(target=server.stderr.read, daemon=True)  # a full pipe would stop the server
        drain.start()
        yield found.group()
        server.terminate()
        drain.join()


def fetch(address: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(("sample_id", "folder"), [("real/5", "real"), ("fake/student/7", "fake/student")])
def test_an_image_comes_by_its_id_and_may_be_kept(address: str, root: Path, sample_id: str, folder: str) -> None:
    status, content, headers = fetch(f"{address}/thumb/{sample_id}?v=1")
    assert status == 200
    assert "max-age" in headers["Cache-Control"]
    assert headers["Content-Type"] == "image/png"
    np.testing.assert_array_equal(
        pixels(content), store.open_stored_images(root / "data" / folder).select([sample_id]).pixels[0, 0]
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "real/99",
        "real/-1",
        "real/05",
        "fake/nobody/1",
        "made/0000",
        "made/../../params.yaml",
        "../../params.yaml",
        "..%2f..%2fparams.yaml",
        "%2fetc%2fpasswd",
        "real/5%00",
        "%ff%fe",
        "real/5%0a",
        "a" * 4000,
    ],
)
def test_an_id_that_nobody_has_is_not_found(address: str, hostile: str) -> None:
    status, content, _ = fetch(f"{address}/thumb/{hostile}")
    assert status == 404
    assert b"Traceback" not in content


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_visitor_selects_picks_generates_and_finds_it_again(address: str, root: Path, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1280, "height": 800}
        )
        page, troubles = context.pages[0], []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: troubles.append(request.url) if "localhost" not in request.url else None)
        panels = page.locator("section.side").last

        def arrive() -> None:
            page.goto(address)
            page.wait_for_function("window.Bokeh?.documents[0]?.is_idle")
            expect(panels).to_contain_text("Made with student")

        def click(name: str, index: int) -> None:
            x, y = page.evaluate(PLACE, [name, index])
            page.mouse.move(x, y)
            expect(page.locator("#card")).to_be_visible()
            page.mouse.click(x, y)

        def chosen(what: str) -> int:
            return page.evaluate(f"Bokeh.documents[0].get_model_by_name('marks {what}').data_source.data.x.length")

        arrive()
        x, y = page.evaluate(PLACE, ["points real", 4])
        page.mouse.move(x, y)
        card = page.locator("#card")
        expect(card).to_be_visible()
        expect(card).to_contain_text(re.compile(r"class \d.*(real|fake/student)/\d+"))
        page.wait_for_function("document.querySelector('#card img').naturalWidth === 8")
        assert (card.locator("img").bounding_box() or {})["width"] >= 96
        ring = page.locator("#ring").bounding_box() or {}
        assert np.hypot(ring["x"] + ring["width"] / 2 - x, ring["y"] + ring["height"] / 2 - y) < 13

        click("points real", 4)
        expect(panels).to_contain_text("class")
        expect(page.get_by_role("button", name="Generate", exact=True)).to_be_disabled()
        page.get_by_role("button", name="Find nearest").click()
        page.wait_for_function("Bokeh.documents[0].get_model_by_name('marks found').data_source.data.x.length === 5")
        panels.locator("button[data-event^=drop]").first.click()
        page.wait_for_function("Bokeh.documents[0].get_model_by_name('marks found').data_source.data.x.length === 4")
        picked = {*panels.locator("button[data-event^=drop]").evaluate_all("all => all.map(b => b.dataset.event)")}
        far = next(i for i in range(30, 60) if f"drop fake/student/{i}" not in picked)
        click("points generated", far)
        page.wait_for_function("Bokeh.documents[0].get_model_by_name('marks manual').data_source.data.x.length === 1")

        page.get_by_role("button", name="Generate", exact=True).click()
        expect(panels.locator("figure")).to_have_count(3, timeout=60_000)
        (made,) = (root / "data/made/student").glob("*.json")
        record = files.read_json(made)
        _, arrays = store.read_made(made.parent, record["id"])
        assert len(record["recipe"]["aim"]["ids"]) == 5
        assert arrays["image"].std() > 5
        assert (arrays["image"] != arrays["free"]).any()
        for figure, what in enumerate(("image", "free", "mean")):
            source = panels.locator("figure img").nth(figure).evaluate("image => image.src")
            np.testing.assert_array_equal(pixels(fetch(source)[1]), arrays[what][0])
        shown = panels.locator("figure img").first
        assert shown.evaluate("image => image.complete && image.naturalWidth") == 8
        enlarged = pixels(shown.screenshot())[..., :3].mean(-1)
        assert enlarged.std() > 5
        assert chosen("made") == chosen("aims") == 1

        before = panels.locator("figure img").first.get_attribute("src")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(panels.locator("figure img").first).not_to_have_attribute("src", str(before))
        page.keyboard.press("Escape")
        expect(panels).to_contain_text("Nothing yet")
        assert chosen("selected") == chosen("found") == chosen("manual") == 0

        arrive()
        expect(panels.locator("button[data-event^=show]")).to_have_count(2)
        assert chosen("made") == 2
        panels.locator("button[data-event^=show]").last.click()
        expect(panels).to_contain_text(record["id"])
        context.close()
    assert troubles == []
