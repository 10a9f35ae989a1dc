"""The ImageNet-64 profile from end to end without ImageNet: made-up shards, random weights of the published network.

    python -m benchmarks.rehearsal [--small] [--keep FOLDER]

A copy of this checkout, with profiles/imagenet64.yaml as its params.yaml, goes through `dvc repro` in a temporary folder;
then the explorer is opened on it in a headless Chromium. Of the profile only paths, the machine and the numbers of images
and of components are changed. `--small` takes a small network in place of the 296M one, and a JPEG tree as a second source.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks import standins
from benchmarks.standins import TENCH, Drawn
from modescope import classes, datasets, files, params, runtime, store, tracking
from modescope.edm import IMAGENET64

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "profiles" / "imagenet64.yaml"
CODE = [
    *("stages", "lib/modescope", "dashboards", "data/checkpoints", "data/.gitignore"),
    *("dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"),
]
SMALL = {**IMAGENET64, "model_channels": 32, "attn_resolutions": (8,)}
"""A network with the layers of the published one, a sixth as wide."""
VIEW, FAKES = "default", ("teacher", "dmd2")


class RehearsalError(Exception):
    """Something is not as the profile promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is shared by all projects of a rehearsal: a folder with the data, and how many images are taken of it."""

    folder: Path
    drawn: Drawn
    real: int
    fake: int
    threads: int

    @property
    def sources(self) -> dict[str, dict[str, str | None]]:
        """The section `real` of the parameters, as far as it says where the images are."""
        packed, tree = str(self.folder / "npz"), str(self.folder / "jpeg")
        return {"packed": {"npz_dir": packed}, "tree": {"npz_dir": None, "imagenet_dir": tree}}


@dataclass(slots=True)
class Report:
    """What was found to be so, and the seconds that each step took."""

    checks: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def holds(self, condition: bool | np.bool_, what: str) -> None:
        if not condition:
            raise RehearsalError(f"not so: {what}")
        self.checks.append(what)

    def __str__(self) -> str:
        times = [f"  {name:<32}{seconds:7.1f} s" for name, seconds in self.seconds.items()]
        return "\n".join(["Checked:", *(f"  {check}" for check in self.checks), "Time:", *times])


def set_up(folder: Path, config: dict[str, Any], *, real: int, fake: int, threads: int) -> Stage:
    """Images in both forms and the weights of both generators, under one set of values: two names of one file."""
    drawn = standins.draw(2 * real)
    standins.write_packed(folder / "npz", drawn, standins.draw(20, seed=1))
    standins.write_tree(folder / "jpeg", drawn)
    for name in FAKES:
        (folder / "weights" / name).mkdir(parents=True)
    path = folder / "weights/dmd2/pytorch_model.bin"
    torch.save(standins.random_weights(config), path)
    (folder / "weights/teacher/edm.bin").hardlink_to(path)
    return Stage(folder=folder, drawn=drawn, real=real, fake=fake, threads=threads)


def changed(raw: dict[str, Any], stage: Stage, source: str) -> dict[str, Any]:
    """The profile for this machine and a handful of images; everything that is not named here stays as it is."""
    raw["runtime"] |= {"device": "cpu", "threads": stage.threads}
    raw["real"] |= {**stage.sources[source], "num_samples": stage.real}
    raw["generate"] |= {
        "num_samples": stage.fake,
        "batch_size": min(10, stage.fake),
    }  # batches are always computed whole
    raw["capture"] |= {"batch_size": min(10, stage.fake)}
    raw["capture"]["basis"]["components"] = min(32, stage.real - 1)
    raw["reducer"]["pca"] = 16
    teacher, dmd2 = (raw["generators"][name] for name in FAKES)
    teacher |= {"checkpoint": str(stage.folder / "weights/teacher/edm.bin"), "steps": 2}
    dmd2["checkpoint"] = str(stage.folder / "weights/dmd2/pytorch_model.bin")
    raw["views"][VIEW]["network"] = teacher["checkpoint"]
    return raw


def make_project(root: Path, stage: Stage, source: str) -> None:
    """The code of this checkout and the changed profile, as a repository of its own."""
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    raw = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    files.write_text(root / "params.yaml", yaml.safe_dump(changed(raw, stage, source), sort_keys=False))
    params.load(root / "params.yaml")
    subprocess.run(["git", "init", "--quiet", root], check=True)


def repro(root: Path) -> Iterator[str]:
    """`dvc repro` with the copied code => the name of each stage as it begins. Nothing is left outside `root`."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(root / "lib"),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root / ".dvc/site"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command, said = [sys.executable, "-m", "dvc", "repro"], []
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=root, env=environment, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if found := re.match(r"Running stage '(.+)':", line):
                yield found[1]
    if process.returncode:
        raise RehearsalError(f"dvc repro ended with {process.returncode}:\n{''.join(said[-40:])}")


def run_pipeline(root: Path, report: Report) -> list[str]:
    """Every stage, timed from its announcement to that of the next."""
    names: list[str] = []
    running, start = "dvc, before the first stage", time.perf_counter()
    for name in itertools.chain(repro(root), [""]):
        now = time.perf_counter()
        report.seconds[running] = now - start
        names, running, start = [*names, name], name, now
    return names[:-1]


def check_real(root: Path, stage: Stage, source: str, report: Report) -> None:
    """Every real image has the class that it was drawn for, and in shards the very pixels."""
    real = datasets.open_set(root / "data/real")
    report.holds(
        len(real) == stage.real, f"{source}: {len(real)} real images were chosen out of {len(stage.drawn.index)}"
    )
    counts = np.unique(real.labels, return_counts=True)[1]
    report.holds(counts.min() == counts.max(), f"{source}: {len(counts)} classes, {counts[0]} images each")
    named = {classes.by_index(label).synset: label for label in real.labels.tolist()}
    report.holds(
        [named[synset] for synset in real.table["synset_id"]] == real.labels.tolist(),
        f"{source}: synsets fit the classes",
    )
    tench = real.table["class_name"] == "tench"
    pixels = real.read(np.arange(len(real)))
    if source == "packed":
        drawn = np.array([int(name.removeprefix("real/")) for name in real.ids])
        report.holds(np.array_equal(pixels, stage.drawn.pixels[drawn]), "packed: pixels are those of the shards")
        report.holds(np.array_equal(real.labels, stage.drawn.index[drawn]), "packed: labels are translated one by one")
        labels = set(stage.drawn.npz_labels[drawn[tench]].tolist())
        report.holds(labels == {TENCH}, f"packed: npz label {TENCH} is class 0, tench")
    report.holds(set(real.labels[tench].tolist()) == {0}, f"{source}: tench is class 0")
    middle = pixels[tench.to_numpy(), :, 24:40, 24:40].astype(int).mean((0, 2, 3))
    report.holds(middle[0] > 1.5 * middle[1:].max(), f"{source}: images of tench show the red disc of the class")


def check_results(root: Path, stage: Stage, report: Report) -> None:
    """Images, activations, map and scores are there, in the form that the profile asks for."""
    real = store.open_activations(root / f"data/activations/{VIEW}/real")
    width = min(32, stage.real - 1)
    kept = (real.layers, real.matrix.shape) == (("pca",), (stage.real, width + 1))
    report.holds(kept, f"{width} components are kept, and what they leave out")
    report.holds(real.matrix.dtype == np.float16, "they are float16")
    for name in FAKES:
        fake = store.open_stored_images(root / f"data/fake/{name}")
        images = fake.read(np.arange(len(fake))).astype(int)
        report.holds(images.shape == (stage.fake, 3, 64, 64), f"{name}: {stage.fake} images of 64x64")
        report.holds(
            images.std(0).mean() > 5 and images.std((2, 3)).min() > 5, f"{name}: images differ and are not flat"
        )
        report.holds(set(fake.manifest["arrays"]) == {"images"}, f"{name}: no mask values are stored")
        points = store.read_map(root / f"data/maps/{VIEW}/{name}.parquet", fake.ids)
        report.holds(np.isfinite(points).all(), f"{name}: every image has a place on the map")
        scores = files.read_json(root / f"metrics/{VIEW}/{name}.json")
        report.holds(0 <= scores["coverage"] <= 1 and scores["protocol"] == "noised", f"{name}: scores are there")
    rows = files.read_table(root / f"metrics/{VIEW}.csv")["generator"].tolist()
    report.holds(rows == [*FAKES, "equal laws"], "both are compared")


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def look(root: Path, pictures: Path, report: Report) -> None:
    """Hover a real tench in the explorer, then generate from its neighbours; the card and the page are photographed."""
    from playwright.sync_api import sync_playwright

    from benchmarks.serving import FLAGS, IDLE, PLACE, SHOWN, served

    pictures.mkdir(parents=True, exist_ok=True)
    real = datasets.open_set(root / "data/real")
    row = int(np.flatnonzero(real.labels == 0)[0])
    with (
        contextlib.chdir(root),
        served(root) as address,
        sync_playwright() as play,
        tempfile.TemporaryDirectory() as own,
    ):
        browser = play.chromium.launch_persistent_context(
            own, executable_path=chromium(), args=FLAGS, viewport={"width": 1280, "height": 800}
        )
        page = browser.pages[0]
        page.goto(address)
        page.wait_for_function(IDLE)
        place = page.evaluate(PLACE, ["points real", row])
        page.mouse.move(*place)
        card = page.locator("#card")
        card.wait_for()
        page.wait_for_function("document.querySelector('#card img').naturalWidth === 64")
        words, box = card.inner_text(), card.bounding_box() or {}
        page.screenshot(path=pictures / "card.png", clip=_around(box))
        said = " ".join(words.split())
        report.holds(
            said.startswith("0: tench real image") and real.ids[row] in said, f"explorer: the card says {said!r}"
        )
        shown = card.locator("img").evaluate("image => [image.width, getComputedStyle(image).imageRendering]")
        report.holds(
            shown[0] >= 128 and shown[1] != "pixelated", f"explorer: its 64x64 image is {shown[0]} wide and smooth"
        )
        page.mouse.click(*place)
        page.keyboard.press("n")
        page.wait_for_function("Bokeh.documents[0].get_model_by_name('marks found').data_source.data.x.length")
        page.get_by_role("tab", name="Generate").click()
        page.get_by_role("button", name="Generate", exact=True).click()
        page.wait_for_function(SHOWN, arg=None, timeout=180_000)
        page.wait_for_function(IDLE)
        page.screenshot(path=pictures / "page.png")
        report.holds(
            len(store.list_made(root / "data/made/dmd2")) == 1, "explorer: an image was made with a recomputed mask"
        )
        browser.close()


def _around(box: Any, margin: int = 40) -> Any:
    left, top = max(0, box["x"] - margin), max(0, box["y"] - margin)
    return {"x": left, "y": top, "width": box["width"] + 2 * margin, "height": box["height"] + 2 * margin}


def rehearse(stage: Stage, source: str, pictures: Path) -> Report:
    """One source of real images from its files to the explorer."""
    report, root = Report(), stage.folder / f"project-{source}"
    make_project(root, stage, source)
    run_pipeline(root, report)
    check_real(root, stage, source, report)
    check_results(root, stage, report)
    report.holds(len(tracking.tracked(root)) == len(FAKES), f"MLflow has {len(FAKES)} finished runs")
    again = list(repro(root))
    report.holds(again == ["track"], "a second dvc repro repeats nothing but track")
    if chromium() is None:
        report.checks.append("explorer: NOT CHECKED, there is no Chromium on the PATH")
        return report
    start = time.perf_counter()
    look(root, pictures, report)
    report.seconds["explorer"] = time.perf_counter() - start
    report.checks.append(f"explorer: screenshots are {pictures / 'card.png'} and page.png beside it")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small network, and a JPEG tree as a second source")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where the whole rehearsal is to stay (a new folder)"
    )
    arguments = parser.parse_args()
    pictures = Path(tempfile.mkdtemp(prefix="modescope-rehearsal-"))
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network = SMALL if arguments.small else IMAGENET64
        stage = set_up(folder.resolve(), network, real=40, fake=20, threads=runtime.cores())
        print(f"images and weights made in {time.perf_counter() - start:.1f} s", flush=True)
        for source in stage.sources if arguments.small else ("packed",):
            print(f"\n{source}\n{rehearse(stage, source, pictures / source)}", flush=True)
    print(f"\nThe profile holds: {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    try:
        main()
    except RehearsalError as error:
        sys.exit(f"rehearsal: {error}")
