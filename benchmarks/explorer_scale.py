"""How the explorer's map holds up: 100,000 points, and ImageNet's 1,281,167 with 50,000 generated beside them.

    python -m benchmarks.explorer_scale [--folder FOLDER] [--sizes 100000 1281167]

Makes a synthetic project of each size (see `benchmarks.synthetic`; FOLDER keeps them, 2 GB), serves it, and measures in a
headless Chromium without a GPU. Server and browser share the cores.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bokeh.client import pull_session
from playwright.sync_api import Page, sync_playwright

from benchmarks import synthetic
from benchmarks.serving import CHROMIUM, FLAGS, IDLE, serving

GENERATED = 50_000
SESSIONS = 10
MODEL = "name => Bokeh.documents[0].get_model_by_name(name)"
DRAWN = f"""() => {{
    const model = {MODEL}, plot = Bokeh.index.find_one(model("map"));
    const raster = model("raster real"), real = model("points real").data_source.data.x.length;
    return plot && Bokeh.documents[0].is_idle && real > 0 && (!raster.visible || raster.data_source.data.image[0].length > 1);
}}"""
FRAMES = f"""async ([steps, zoom]) => {{
    const plot = ({MODEL})("map"), view = Bokeh.index.find_one(plot), {{ x_range: x, y_range: y }} = plot;
    let painted = 0;
    const paint = view._actual_paint ?? view.actual_paint, name = view._actual_paint ? "_actual_paint" : "actual_paint";
    view[name] = function (...rest) {{ painted++; return paint.apply(this, rest); }};
    const start = performance.now();
    for (let i = 0; i < steps; i++) {{
        const before = painted, way = i % 20 < 10 ? 0.01 : -0.01;
        const step = (x.end - x.start) * way, top = (y.end - y.start) * way;
        x.setv({{ start: x.start + step, end: x.end + (zoom ? -step : step) }});
        if (zoom) y.setv({{ start: y.start + top, end: y.end - top }});
        while (painted === before) await new Promise(requestAnimationFrame);
    }}
    view[name] = paint;
    return steps / ((performance.now() - start) / 1000);
}}"""
CHANGED = f"""([name, act]) => new Promise((done) => {{
    const {{ data_source: source }} = ({MODEL})(name), before = source.data, start = performance.now();
    const look = () => source.data === before ? requestAnimationFrame(look) : done((performance.now() - start) / 1000);
    Function("model", act)({MODEL});
    look();
}})"""
"""Seconds from an action until the data of a renderer are others."""
NEAR = f"""([x, y]) => new Promise((done) => {{
    const told = ({MODEL})("scene near"), before = told.value, start = performance.now();
    explorer.send("near", JSON.stringify([1, 1, x, y, 5]));
    const look = () => told.value === before ? setTimeout(look, 1) : done((performance.now() - start) / 1000);
    look();
}})"""
LASSO = """explorer.send("region", `replace ${JSON.stringify({ polygon: Array.from({ length: 400 }, (_, i) =>
    [SIZE * (1 + 0.2 * Math.sin(i / 9)) * Math.cos(i * Math.PI / 200), SIZE * Math.sin(i * Math.PI / 200)]) })}`)"""
PAN = """const plot = model("map"), by = (plot.x_range.end - plot.x_range.start) * STEP;
    plot.x_range.setv({ start: plot.x_range.start + by, end: plot.x_range.end + by });"""


def memory(process: int) -> float:
    """Gigabytes that a process holds: now and at most."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1e6


def line(what: str, values: list[float], wanted: str, unit: str = "s") -> None:
    print(
        f"{what:<44}{statistics.median(values):8.2f} {unit:<4} (all {min(values):.2f} to {max(values):.2f})   wanted {wanted}"
    )


def first_picture(page: Page, address: str) -> float:
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_function(IDLE)
    page.wait_for_function(DRAWN)
    return time.perf_counter() - start


def neighbours(page: Page) -> float:
    """From the button to the rings."""
    page.evaluate('explorer.send("click", "real/77")')
    page.wait_for_function(f"({MODEL})('marks selected').data_source.data.x.length")
    page.wait_for_timeout(300)
    return page.evaluate(CHANGED, ["marks found", 'explorer.send("find")'])


def measure(page: Page, address: str, large: bool, repeat: Callable[[Callable[[], float]], list[float]]) -> None:
    line("first picture", repeat(lambda: first_picture(page, address)), "3")
    page.wait_for_timeout(1500)
    for what, zoom in (("pan", False), ("zoom", True)):
        frames = repeat(lambda zoom=zoom: page.evaluate(FRAMES, [20, zoom]))  # type: ignore[misc]
        line(f"{what}, frames per second", frames, "20", "")
    seen = "raster real" if page.evaluate(f"({MODEL})('raster real').visible") else "points real"
    sizes = iter((3, 9, 5, 12, 4, 10))

    def drawn() -> float:
        page.wait_for_timeout(1500)  # all that follows the lasso before, its images in the panel too, is there
        return page.evaluate(CHANGED, [seen, LASSO.replace("SIZE", str(next(sizes)))])

    lasso = repeat(drawn)
    line("lasso, until the others are grey", lasso, "0.3")
    page.evaluate('explorer.send("clear")')
    page.wait_for_timeout(1500)
    if large:
        steps = iter((0.1, -0.1, 0.1, -0.1, 0.1, -0.1))
        refresh = repeat(lambda: page.evaluate(CHANGED, [seen, PAN.replace("STEP", str(next(steps)))]))
        line("refresh after a pan (0.09 s of it quiet)", refresh, "0.3")
    spots = iter(((0, 0), (5, 5), (-9, 3), (14, -2), (1, 20), (0, 7)))
    line("nearest under the cursor", repeat(lambda: page.evaluate(NEAR, list(next(spots)))), "0.1")
    line("nearest neighbours on the map", [neighbours(page)], "0.2")


def crowd(address: str, process: int) -> None:
    """Memory of the server with ten sessions."""
    alone = memory(process)
    sessions = [pull_session(url=address) for _ in range(SESSIONS)]
    print(f"{'server memory, one session':<44}{alone:8.2f} GB")
    print(f"{f'server memory, {SESSIONS} sessions':<44}{memory(process):8.2f} GB   wanted 1.5")
    for session in sessions:
        session.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_281_167])
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for size in arguments.sizes:
            root = (arguments.folder or Path(temporary)) / str(size)
            if not (root / "data/maps").is_dir():
                synthetic.write(root, size, GENERATED)
            with serving(root) as server:
                print(
                    f"\n{size:,} real, {GENERATED:,} generated; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
                )
                with sync_playwright() as play:  # ended before `crowd`: both want an event loop of their own
                    browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                    page = browser.new_page(viewport={"width": 1280, "height": 800})
                    measure(page, server.address, size > 200_000, lambda act: [act() for _ in range(arguments.times)])
                    browser.close()
                crowd(server.address, server.process)


if __name__ == "__main__":
    main()
