"""How long a visitor waits: page ready, first hover card, generation. The served explorer in a headless Chromium.

    python benchmarks/explorer.py [--visits 5] [--generations 8]

Runs in the repository root on the maps that are there, and leaves nothing behind. Server and browser share the cores.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
IDLE = "window.Bokeh?.documents[0]?.is_idle"
PLACE = """([name, index]) => {
    const plot = Bokeh.documents[0].get_model_by_name("map"), view = Bokeh.index.find_one(plot);
    const data = Bokeh.documents[0].get_model_by_name(name).data_source.data;
    const corner = view.canvas_view.el.getBoundingClientRect();
    return [corner.x + view.frame.x_scale.compute(data.x[index]), corner.y + view.frame.y_scale.compute(data.y[index])];
}"""
SHOWN = """before => {
    const made = [...document.querySelectorAll("section.side *")].flatMap(node =>
        node.shadowRoot ? [...node.shadowRoot.querySelectorAll("figure img")] : [])[0];
    return made && made.src !== before && made.complete && made.naturalWidth && made.src;
}"""


@contextmanager
def borrowed(root: Path) -> Iterator[Path]:
    """The project by links, so that what is generated here is not kept."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "data").mkdir()
        for name in ("params.yaml", "metrics"):
            (folder / name).symlink_to(root / name)
        for part in (root / "data").iterdir():
            if part.name != "made":
                (folder / "data" / part.name).symlink_to(part)
        yield folder


@contextmanager
def served(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "bokeh", "serve", "dashboards/explorer", "--port", "0"]
    environment = {**os.environ, "MODESCOPE_ROOT": str(root)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = next(m.group() for line in server.stderr if (m := re.search(r"http://localhost:\d+/explorer", line)))
        drain = threading.Thread(target=server.stderr.read, daemon=True)
        drain.start()
        try:
            yield address
        finally:
            server.terminate()
            drain.join()


def timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def line(what: str, seconds: list[float], limit: float) -> str:
    middle = statistics.median(seconds)
    return f"{what:<28}{middle:7.2f} s  (longest {max(seconds):.2f} of {len(seconds)})   wanted {limit:g} s"


def visit(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_function(IDLE)


def hover(page: Any) -> None:
    """From the pointer's first move to a card whose image is there."""
    page.mouse.move(*page.evaluate(PLACE, ["points real", 20]))
    page.wait_for_function(
        "!document.getElementById('card').hidden && document.querySelector('#card img').naturalWidth"
    )


def generate(page: Any) -> None:
    before = page.evaluate(SHOWN, None)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_function(SHOWN, arg=before)


def measure(address: str, visits: int, generations: int) -> None:
    with sync_playwright() as play, tempfile.TemporaryDirectory() as profile:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        size: Any = {"width": 1280, "height": 800}
        browser = play.chromium.launch_persistent_context(profile, executable_path=chromium, args=FLAGS, viewport=size)
        ready, card = [], []
        for _ in range(visits):
            page = browser.new_page()
            ready.append(timed(lambda page=page: visit(page, address)))  # type: ignore[misc]
            card.append(timed(lambda page=page: hover(page)))  # type: ignore[misc]
            points = page.evaluate("Bokeh.documents[0].get_model_by_name('points real').data_source.data.x.length")
            if len(ready) < visits:
                page.close()
        page.mouse.click(*page.evaluate(PLACE, ["points real", 20]))
        page.get_by_role("button", name="Find nearest").click()
        page.wait_for_function("Bokeh.documents[0].get_model_by_name('marks found').data_source.data.x.length")
        first = timed(lambda: generate(page))
        after = [timed(lambda: generate(page)) for _ in range(generations)]
        browser.close()
    print(f"{points} real points, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(line("page ready, first visit", ready[:1], 3))
    print(line("page ready, later visits", ready[1:], 3))
    print(line("first hover card", card, 0.3))
    print(f"{'first generation, loading':<28}{first:7.2f} s")
    print(line("generation after it", after, 1.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--root", type=Path, default=Path())
    arguments = parser.parse_args()
    with borrowed(arguments.root.resolve()) as root, served(root) as address:
        measure(address, arguments.visits, arguments.generations)


if __name__ == "__main__":
    main()
