"""The served explorer and a headless Chromium that looks at it: for benchmarks, and for tests in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
"""Of a browser without a GPU, which rasters and composes on the processor. (`--use-angle=swiftshader` imitates a GPU instead:
all of the page goes through it, and a hover card takes three times as long.)
"""
IDLE = "window.Bokeh?.documents[0]?.is_idle"
PLACE = """([name, index]) => {
    const plot = Bokeh.documents[0].get_model_by_name("map"), view = Bokeh.index.find_one(plot);
    const data = Bokeh.documents[0].get_model_by_name(name).data_source.data;
    const corner = view.canvas_view.el.getBoundingClientRect();
    return [corner.x + view.frame.x_scale.compute(data.x[index]), corner.y + view.frame.y_scale.compute(data.y[index])];
}"""
"""Where a point of a renderer is in the window."""
SHOWN = """before => {
    const deep = root => [...root.querySelectorAll("figure img"),
        ...[...root.querySelectorAll("*")].flatMap(node => node.shadowRoot ? deep(node.shadowRoot) : [])];
    const made = deep(document).find(image => /thumb\\/made/.test(image.src) && image.checkVisibility());
    return made && made.src !== before && made.complete && made.naturalWidth && made.src;
}"""
"""The made image on display, once it is there and another than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    address: str
    process: int


@contextmanager
def serving(root: Path, *options: str, **environment: str) -> Iterator[Server]:
    """The documented command over a project, on a free port unless `options` name one."""
    port = () if "--port" in options else ("--port", "0")
    command = [sys.executable, "-m", "bokeh", "serve", "dashboards/explorer", *port, *options]
    surroundings = {**os.environ, "MODESCOPE_ROOT": str(root), **environment}
    with subprocess.Popen(command, cwd=REPOSITORY, env=surroundings, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"http://localhost:\d+/explorer", line):
                break
        else:
            raise RuntimeError(f"the server ended before it served anything: {''.join(said)}")
        drain = threading.Thread(target=server.stderr.read, daemon=True)  # a full pipe would stop the server
        drain.start()
        try:
            yield Server(address=found.group(), process=server.pid)
        finally:
            server.kill()
            drain.join()


@contextmanager
def served(root: Path) -> Iterator[str]:
    with serving(root) as server:
        yield server.address


@contextmanager
def borrowed(root: Path) -> Iterator[Path]:
    """The project by links, so that what is generated here is not kept."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "data").mkdir()
        for name in ("params.yaml", "metrics"):
            (folder / name).symlink_to(root / name)
        for part in (root / "data").iterdir():
            if part.name not in ("made", "votes"):
                (folder / "data" / part.name).symlink_to(part)
        yield folder
