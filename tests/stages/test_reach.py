"""The stage that aims at missing regions, on a tiny project whose gaps are written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from modescope import files, params, reaching, store
from modescope.making import Opened
from stages.reach import reach, ways_of
from tests.dashboards.conftest import project_root  # noqa: F401 - a fixture


@pytest.fixture
def here(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    root = tmp_path / "project"
    shutil.copytree(project_root, root, ignore=shutil.ignore_patterns("made"))
    raw = yaml.safe_load((root / "params.yaml").read_text())
    raw["inversion"] |= {"steps": 3}
    raw["reach"] |= {"images": 2, "ways": ["mask", "inversion"]}
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    monkeypatch.chdir(root)
    return root


def write_gaps(*centres: str) -> None:
    """Each centre is a region of itself and the sample after it."""
    ids = store.open_activations("data/activations/default/real").ids
    gap = np.full(len(ids), -1)
    for rank, centre in enumerate(centres):
        gap[ids.index(centre) : ids.index(centre) + 2] = rank
    scores = pd.DataFrame({"sample_id": ids, "gap": gap, "radius": np.ones(len(ids))})
    files.write_table(Path("data/scores/default/student.parquet"), scores)
    gaps = pd.DataFrame({"rank": range(len(centres)), "centre": list(centres), "classes": ["1: 2"] * len(centres)})
    files.write_table(Path("metrics/default/student.gaps.csv"), gaps)


def test_every_region_is_aimed_at_in_every_way_and_what_was_made_is_kept(here: Path) -> None:
    write_gaps("real/5", "real/20", "real/30")
    chosen = params.load()
    reach(chosen, "default", "student")
    table = files.read_table(Path("metrics/default/student.reach.csv"))
    assert tuple(table.columns) == reaching.COLUMNS
    assert table["way"].tolist() == ["free", "mask", "inversion"] * 3
    assert table["centre"].unique().tolist() == ["real/5", "real/20", "real/30"]
    assert (table["images"] == 2).all()
    found = files.read_json(Path("metrics/default/student.reach.json"))
    assert (found["regions"], found["aimed"], set(found["reached_by"])) == (3, 3, {"mask", "inversion"})
    kept = files.read_table(Path("data/reached/default/student/samples.parquet"))
    arrays, _ = files.read_tensors(Path("data/reached/default/student/images.safetensors"))
    assert len(kept) == len(arrays["images"]) == len(arrays["noise"]) == 3 * 3 * 2
    assert kept["sample_id"].is_unique
    assert Path("plots/default/student.reach.png").read_bytes()[:4] == b"\x89PNG"

    written = {path: path.read_bytes() for path in Path().glob("*/default/student.reach.*")}
    reach(chosen, "default", "student")
    assert len(written) == 3
    assert all(path.read_bytes() == content for path, content in written.items())


def test_without_gaps_the_table_is_empty_and_the_picture_says_so(here: Path) -> None:
    write_gaps()
    reach(params.load(), "default", "student")
    table = pd.read_csv("metrics/default/student.reach.csv")
    assert (len(table), tuple(table.columns)) == (0, reaching.COLUMNS)
    assert files.read_json(Path("metrics/default/student.reach.json"))["aimed"] == 0
    assert Path("plots/default/student.reach.png").stat().st_size > 1000


def test_a_multi_step_generator_is_refused(here: Path) -> None:
    with pytest.raises(ValueError, match="teacher is sampled by heun in 2 steps; .* leave it out of reach.generators"):
        reach(params.load(), "default", "teacher")


def test_a_view_without_slopes_is_aimed_at_without_guiding(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["reach"]["ways"] = ["guided", "mask"]
    raw["views"]["default"]["sigma"] = [0.4, 1.0]
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    ways = ways_of(Opened(here, params.load()), "default")
    assert ways == ("free", "mask")
    assert "way guided is left out: view 'default' has protocol noised, 2 noise levels" in caplog.text
