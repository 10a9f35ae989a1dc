"""How long a visitor waits: first picture, hover card, neighbours, filter, generation; alone, and with others.

    python -m benchmarks.explorer [--visits 5] [--generations 8] [--sessions 10 --seconds 120 --pause 2] [--root .]

Runs on the maps of a project and leaves nothing behind in it. Server and browser share the cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.serving import CHROMIUM, FLAGS, IDLE, PLACE, Server, borrowed, serving

MARKS = "Bokeh.documents[0].get_model_by_name('marks {}').data_source.data"
DRAWN = f"{IDLE} && Bokeh.documents[0].get_model_by_name('points real').data_source.data.x.length"
UNTIL = """([act, seen]) => new Promise((done) => {
    const look = Function(`return ${seen}`), before = look(), start = performance.now();
    Function(act)();
    const wait = () => (look() === before ? requestAnimationFrame(wait) : done((performance.now() - start) / 1000));
    wait();
})"""
"""Seconds from an action until what is seen is another object than before."""
SLOW = 60_000


def timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def line(what: str, seconds: list[float], limit: float) -> None:
    if seconds:
        middle, most = statistics.median(seconds), max(seconds)
        print(f"{what:<34}{middle:8.3f} s  (longest {most:.3f} of {len(seconds)})   wanted {limit:g} s", flush=True)


def visit(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_function(DRAWN)


def hover(page: Page) -> None:
    """From the pointer's first move to a card whose image is there."""
    page.mouse.move(*page.evaluate(PLACE, ["points real", 20]))
    page.wait_for_function(
        "!document.getElementById('card').hidden && document.querySelector('#card img').naturalWidth"
    )


def until(page: Page, act: str, seen: str) -> float:
    return page.evaluate(UNTIL, [act, seen])


def neighbours(page: Page, number: int) -> float:
    """A sample is selected, then from the key to the rings of its neighbours."""
    until(page, f"explorer.send('select', 'real/{number}')", MARKS.format("selected"))
    return until(page, "explorer.send('find')", MARKS.format("found"))


def filtered(page: Page) -> float:
    """One class alone, until the points are others; then all again."""
    row = "document.querySelector('#classes .row').dataset.class"
    points = "Bokeh.documents[0].get_model_by_name('points real').data_source.data"
    found = until(page, f"explorer.send('solo', {row})", points)
    until(page, "explorer.send('solo-all')", points)
    return found


def generate(page: Page) -> float:
    """From the key to the star on the map."""
    return until(page, "explorer.send('generate')", MARKS.format("made"))


@contextmanager
def browsing() -> Iterator[Any]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def new_page(browser: Any) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(SLOW)
    return page


def alone(address: str, visits: int, generations: int) -> None:
    with browsing() as browser:
        ready, card = [], []
        for number in range(visits):
            page = new_page(browser)
            page.wait_for_timeout(1500)  # the browser's own start is over
            ready.append(timed(lambda page=page: visit(page, address)))  # type: ignore[misc]
            page.wait_for_timeout(500)
            card.append(timed(lambda page=page: hover(page)))  # type: ignore[misc]
            if number < visits - 1:
                page.context.close()
        points = page.evaluate("Bokeh.documents[0].get_model_by_name('points real').data_source.data.x.length")
        print(f"{points} real points drawn, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        line("first picture, first visit", ready[:1], 2)
        line("first picture, later visits", ready[1:], 2)
        line("hover card (125 ms of it wanted)", card, 0.3)
        line("click to neighbours", [neighbours(page, 20 + i) for i in range(generations)], 0.15)
        line("filter by class", [filtered(page) for _ in range(generations)], 0.15)
        page.evaluate("explorer.send('tab', 'generate')")
        line("first generation, loading", [generate(page)], 60)
        line("masked generation to its star", [generate(page) for _ in range(generations)], 1)


CROWD = """([number, step, seconds, pause]) => {
    const model = (name) => Bokeh.documents[0].get_model_by_name(name), selects = [], made = [], errors = [];
    const end = performance.now() + 1000 * seconds;
    const changed = async (act, look) => {
        const before = look(), start = performance.now();
        act();
        while (look() === before || !look()) {
            if (performance.now() - start > 60000) throw new Error("nothing came for a minute");
            await new Promise((next) => setTimeout(next, 10)); // ten pages that look all the time would leave no core
        }
        return performance.now() - start;
    };
    const source = (what) => model(`marks ${what}`).data_source, selected = source("selected"), found = source("found");
    const alert = model("alert"), shown = () => new URLSearchParams(location.search).get("shown");
    const rest = (share = 1) => new Promise((next) => setTimeout(next, 1000 * pause * share));
    const work = async () => {
        await rest((5 * number) / step); // they did not all come at once
        explorer.send("tab", "generate");
        await rest();
        for (let i = number; performance.now() < end; i += step) {
            selects.push(await changed(() => explorer.send("select", `real/${i % 50}`), () => selected.data) / 1000);
            await rest();
            await changed(() => explorer.send("find"), () => found.data);
            await rest();
            await changed(() => explorer.send("generate"), shown);
            await rest();
            made.push(shown());
            if (alert.visible) throw new Error(alert.text);
        }
    };
    window.worked = work().catch((error) => errors.push(`${error}`)).then(() => ({ selects, made, errors }));
}"""
"""A visitor who selects, finds and has made, and looks at each for a while. The script's own looking takes next to nothing:
models are found once.
"""


def crowd(server: Server, root: Path, sessions: int, seconds: float, pause: float) -> None:
    """Many at once: every result arrives and is kept, and nobody waits long for a selection."""
    with browsing() as browser:
        pages = [new_page(browser) for _ in range(sessions)]
        for page in pages:
            visit(page, server.address)
        neighbours(pages[0], 49)
        pages[0].evaluate("explorer.send('tab', 'generate')")
        generate(pages[0])  # loads the generator
        for number, page in enumerate(pages):
            page.evaluate(CROWD, [number, sessions, seconds, pause])
        told = [page.evaluate("window.worked") for page in pages]
    selects = np.concatenate([each["selects"] for each in told])
    made = [name for each in told for name in each["made"]]
    errors = [error for each in told for error in each["errors"]]
    kept = {path.stem for path in root.glob("data/made/*/*.json")}
    lost = [name for name in made if name.removeprefix("made/") not in kept]
    print(
        f"{sessions} sessions for {seconds:g} s, {pause:g} s after each act: {len(selects)} selections and generations"
    )
    print(f"{'selection, 95th percentile':<34}{np.quantile(selects, 0.95):8.3f} s   wanted 0.4 s")
    print(f"{'selection, median':<34}{np.median(selects):8.3f} s  (longest {selects.max():.3f})")
    print(f"errors {len(errors)} {errors[:3]}, lost results {len(lost)}   wanted none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--sessions", type=int, default=0, help="then, so many visitors at once")
    parser.add_argument("--seconds", type=float, default=120, help="how long they stay")
    parser.add_argument(
        "--pause", type=float, default=2, help="seconds that a visitor looks at what came; 0: a load test"
    )
    parser.add_argument("--root", type=Path, default=Path())
    arguments = parser.parse_args()
    with borrowed(arguments.root.resolve()) as root, serving(root) as server:
        alone(server.address, arguments.visits, arguments.generations)
        if arguments.sessions:
            crowd(server, root, arguments.sessions, arguments.seconds, arguments.pause)


if __name__ == "__main__":
    main()
