"""Several views of one project: stepping through them, what stays, maps that keep samples in place, maps that turn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dashboards.explorer import atlases, states
from dashboards.explorer.parts import choosing, keys
from dashboards.explorer.parts.choosing import Choosing
from dashboards.explorer.resources import Project
from modescope import files
from tests.dashboards.measuring import Session, project_of, state

FRAME = (0.0, 2.0, 1.0, 3.0)


def add_view(root: Path, name: str, *, sigma: float, mirrored: bool) -> None:
    """Another view with the map of the first, samples in their places or on the other side."""
    raw = yaml.safe_load((root / "params.yaml").read_text())
    raw["views"][name] = {**raw["views"]["default"], "sigma": sigma}
    files.write_text(root / "params.yaml", yaml.safe_dump(raw, sort_keys=False))
    shutil.copytree(root / "data/maps/default", root / f"data/maps/{name}")
    for path in (root / f"data/maps/{name}").glob("*.parquet"):
        table = pd.read_parquet(path)
        moved = -table["x"] + table["x"].mean() if mirrored else table["x"] + 0.01
        files.write_table(path, table.assign(x=moved.astype(np.float32)))


@pytest.fixture
def root(fresh_root: Path) -> Path:
    add_view(fresh_root, "later", sigma=2.5, mirrored=False)
    add_view(fresh_root, "other", sigma=0.1, mirrored=True)
    return fresh_root


def test_maps_are_aligned_where_samples_keep_their_places(root: Path) -> None:
    project = project_of(root)
    assert atlases.aligned(project, "default", "later")
    assert not atlases.aligned(project, "default", "other")


def test_views_are_named_with_their_noise_level(root: Path) -> None:
    session = Session(root, state(), Choosing)
    assert session["view"].visible  # type: ignore[attr-defined]
    assert session["view"].options == [  # type: ignore[attr-defined]
        ("default", "default, sigma 0.4"),
        ("later", "later, sigma 2.5"),
        ("other", "other, sigma 0.1"),
    ]


def test_steps_through_views_keep_what_is_picked_and_on_aligned_maps_what_is_in_view(root: Path) -> None:
    first = states.picking(state(frame=FRAME), selected="real/5", manual=("real/6",))
    session = Session(root, first, Choosing)
    session.told("view-next")
    now = session.desk.state
    assert (now.look.view, now.look.frame) == ("later", FRAME)
    assert (now.picks.selected, now.picks.manual) == ("real/5", ("real/6",))
    session.told("view-next", "view-next")
    now = session.desk.state
    assert (now.look.view, now.look.frame, now.picks.selected) == ("other", None, "real/5")
    session.told("view-before", "view-before", "view-before")
    assert session.desk.state.look.view == "default"
    assert session["view"].value == "default"  # type: ignore[attr-defined]


def solid(root: Path) -> Project:
    for path in (root / "data/maps/default").glob("*.parquet"):
        files.write_table(path, pd.read_parquet(path).assign(z=np.float32(1)))
    return project_of(root)


def test_a_map_that_turns_says_how_and_what_is_not_drawn_on_it(fresh_root: Path) -> None:
    project = solid(fresh_root)
    words = choosing.hint(project, state(overlays=("names", "contours", "images")).look)
    assert "with Alt held, to turn it" in words
    assert "Not drawn on a map that turns: names, contours." in words
    assert "Not drawn" not in choosing.hint(project, state(overlays=("images",)).look)
    assert "drawn over it" not in keys.text(project, state(overlays=("contours", "gaps")))


def test_a_flat_map_says_nothing_of_turning(fresh_root: Path) -> None:
    assert "turn" not in choosing.hint(project_of(fresh_root), state(overlays=("names", "contours")).look)
