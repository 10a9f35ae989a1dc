"""A tiny project of which everything was measured: scores, gaps, verdicts and inversions, as stages write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from bokeh.document import Document
from bokeh.plotting import figure

from dashboards.explorer import resources
from dashboards.explorer.desk import Desk
from dashboards.explorer.making import Studio
from dashboards.explorer.part import Part
from dashboards.explorer.resources import Project
from dashboards.explorer.states import State
from dashboards.explorer.states.dials import Dials
from dashboards.explorer.states.looks import Look
from modescope import files
from tests.dashboards.driving import settle

ROWS = 60
FIRST, SECOND = [0, 10, 20, 30, 40], [1, 11, 21]
"""Members of two missing regions: of class 0 and class 1."""


def state(**look: object) -> State:
    return State(look=Look(**{"view": "default", "generator": "student", **look}), dials=Dials())


def scores() -> pd.DataFrame:
    """Not in the order of the samples: joins are by id."""
    gap = np.full(ROWS, -1.0)
    gap[FIRST], gap[SECOND] = 0, 1
    none = [None] * ROWS
    real = pd.DataFrame(
        {
            "sample_id": [f"real/{i}" for i in range(ROWS)],
            "covered": gap < 0,
            "density_ratio": np.where(gap < 0, np.tile([1.0, 2.0], ROWS // 2), 0.0),
            "nearest_fake": np.arange(ROWS, dtype=float),
            "gap": gap,
            "precise": none,
            "nearest_real": np.nan,
        }
    )
    fake = pd.DataFrame(
        {
            "sample_id": [f"fake/student/{i}" for i in range(ROWS)],
            "covered": none,
            "density_ratio": np.nan,
            "nearest_fake": np.nan,
            "gap": np.nan,
            "precise": np.arange(ROWS) >= 4,
            "nearest_real": np.arange(ROWS, dtype=float) * 2,
        }
    )
    return pd.concat([real, fake]).iloc[::-1]


def measure(root: Path) -> None:
    """Write what stages evaluate, reach and invert leave."""
    files.write_table(root / "data/scores/default/student.parquet", scores())
    gaps = {"rank": [0, 1], "centre": ["real/20", "real/1"], "found": [0, 1], "expected": [5.0, 3.0]}
    gaps |= {"missing": [0.08, 0.03], "q_value": [1e-9, 1e-3], "classes": ["0: 5", "1: 3"]}
    files.write_table(root / "metrics/default/student.gaps.csv", pd.DataFrame(gaps))
    reach = pd.DataFrame({"rank": [0, 1], "way": ["mask", "mask"], "share": [0.0, 0.5], "reached": [False, True]})
    files.write_table(root / "metrics/default/student.reach.csv", reach)
    errors = pd.DataFrame({"sample_id": ["own/3", "real/5", "real/9"], "error": [0.5, 0.01, 0.3]})
    files.write_table(root / "data/inversions/student/samples.parquet", errors)


def project_of(root: Path) -> Project:
    measure(root)
    return resources.load(root)


class Plain(Part):
    """Two figures without anything in them, in place of the scene."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        desk.figures += [figure(name="map"), figure(name="map2")]


class Session:
    """One session of some parts."""

    def __init__(self, root: Path, first: State, *parts: type[Part]) -> None:
        self.document = Document()
        self.desk = Desk(Studio(resources.load(root)), self.document, "", first, (Plain, *parts))
        self.settled()

    def settled(self) -> Session:
        """Nothing is under way any more."""
        settle(self.document, lambda: not self.desk.line._waiting and not self.document.session_callbacks)
        return self

    def told(self, *messages: str) -> Session:
        for message in messages:
            self.desk.hear(f"1 {message}")
        return self.settled()

    def become(self, wanted: State) -> Session:
        self.desk.become(wanted)
        return self.settled()

    def data(self, name: str) -> dict:
        (renderer,) = [each for plot in self.desk.figures for each in plot.renderers if each.name == name]
        return renderer.data_source.data

    def __getitem__(self, name: str) -> object:
        return self.document.get_model_by_name(name)
