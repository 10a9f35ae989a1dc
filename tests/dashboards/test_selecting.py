"""What the page says of picked samples: details, neighbours with distances, groups, the table, files to take away."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bokeh.document import Document
from driving import opened, press, report, settle, text

from dashboards.explorer import taking
from dashboards.explorer.about import about, distances
from dashboards.explorer.making import Studio
from dashboards.explorer.resources import load
from modescope import files, store


@pytest.fixture
def page(fresh_root: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    return opened(fresh_root, monkeypatch)


@pytest.fixture(scope="module")
def studio(project_root: Path) -> Studio:
    return Studio(load(project_root))


def test_clicks_select_then_pick_and_the_cross_clears(page: Document) -> None:
    report(page, "click real/5", "click fake/student/1", "click real/2", "click real/2")
    assert "real/5" in text(page, "selected")
    assert "class 5" in text(page, "selected")
    assert text(page, "neighbours").count("<img") == 1
    report(page, "drop fake/student/1")
    assert "<img" not in text(page, "neighbours")
    report(page, "clear")
    assert "Nothing yet" in text(page, "selected")


def test_neighbours_come_from_the_kind_that_is_asked_for_with_their_distances(page: Document, studio: Studio) -> None:
    report(page, "click real/5")
    page.get_model_by_name("k").value = 7
    press(page, "find")
    settle(page, lambda: text(page, "neighbours").count("<img") == 7)
    for active, kind in ((1, "real/"), (2, "fake/student/")):
        page.get_model_by_name("among").active = active
        settle(
            page,
            lambda kind=kind: (
                text(page, "neighbours").count(f"thumb/{kind}") == 7
                or text(page, "neighbours").count(f'data-id="{kind}') == 7
            ),
        )
    settle(page, lambda: "<figcaption></figcaption>" not in text(page, "neighbours"))
    place = store.read_map(studio.project.root / "data/maps/default/real.parquet", ["real/5"])[0]
    others = studio.project.generators["student"].points["default"]
    nearest = np.sort(np.linalg.norm(others - place, axis=1))[0]
    assert f"<figcaption>{nearest:.2g}</figcaption>" in text(page, "neighbours")


def test_another_sample_can_be_selected_in_place_and_neighbours_taken_out_at_once(page: Document) -> None:
    report(page, "click real/5", "click real/6", "click real/7", "loose")
    assert "<img" not in text(page, "neighbours")
    report(page, "click real/6", "select real/9")
    assert "real/9" in text(page, "selected")
    assert "<img" not in text(page, "neighbours")


def test_what_is_known_of_a_sample_is_told_and_what_is_not_is_left_out(fresh_root: Path) -> None:
    scores = pd.DataFrame(
        {
            "sample_id": ["real/3", "real/4", "fake/student/8"],
            "covered": [True, False, None],
            "nearest_fake": [2.5, 3.5, np.nan],
            "nearest_fake_row": [8.0, 9.0, np.nan],
            "density_ratio": [1.25, 0.0, np.nan],
            "gap": [-1.0, 2.0, np.nan],
            "precise": [None, None, True],
            "nearest_real": [np.nan, np.nan, 2.5],
            "nearest_real_row": [np.nan, np.nan, 3.0],
        }
    )
    files.write_table(fresh_root / "data/scores/default/student.parquet", scores)
    studio = Studio(load(fresh_root))
    real, lost, fake, unknown = (
        about(studio, "default", "student", name) for name in ("real/3", "real/4", "fake/student/8", "real/5")
    )
    assert real.nearest_fake == ("fake/student/8", 2.5)
    assert (real.density_ratio, real.gap, lost.gap) == (1.25, None, 2)
    assert fake.nearest_real == ("real/3", 2.5)
    assert (unknown.nearest_fake, unknown.covered, unknown.density_ratio) == (None, None, None)
    assert unknown.place is not None
    with pytest.raises(ValueError, match="is not among the images of this map"):
        about(studio, "default", "student", "real/99999")


def test_distances_in_features_are_those_of_standardised_activations(studio: Studio) -> None:
    ids = ("real/2", "fake/student/5")
    found = distances(studio, "default", "real/1", ids, "features")
    values = studio.workshop.opened.features("default", ("real/1", *ids)).astype(np.float64)
    np.testing.assert_allclose(found, np.linalg.norm(values[1:] - values[0], axis=1))
    assert distances(studio, "default", "real/1", ("made/00",), "features") == (np.inf,)


def test_a_group_says_its_classes_and_can_be_left(page: Document) -> None:
    everything = json.dumps({"box": [-1e3, -1e3, 1e3, 1e3]})
    report(page, f"region replace {everything}")
    settle(page, lambda: "120" in text(page, "group"))
    assert "60 generated" in text(page, "group")
    assert "60 real" in text(page, "group")
    report(page, "group-clear")
    assert "Draw a lasso" in text(page, "group")


def test_the_table_compares_samples_and_is_bounded(page: Document) -> None:
    report(page, *(f"tabled real/{i}" for i in range(8)))
    settle(page, lambda: text(page, "table").count("<tr>") == 9)
    report(page, "tabled real/9")
    assert "holds 8 samples already" in text(page, "alert")
    report(page, "untabled real/3")
    settle(page, lambda: text(page, "table").count("<tr>") == 8)
    report(page, "untabled")
    assert text(page, "table") == ""


def test_picks_are_taken_away_as_csv_and_parquet(page: Document) -> None:
    report(page, "click real/5", "click real/6", "take csv picks")
    model = page.get_model_by_name("file")
    settle(page, lambda: bool(model.value))
    told = json.loads(model.value)
    table = pd.read_csv(io.BytesIO(base64.b64decode(told["content"])))
    assert told["name"] == "picks.csv"
    assert table["sample_id"].tolist() == ["real/5", "real/6"]
    assert table["picked_as"].tolist() == ["selected", "by hand"]
    report(page, "take parquet picks")
    settle(page, lambda: json.loads(model.value)["name"] == "picks.parquet")
    again = pd.read_parquet(io.BytesIO(base64.b64decode(json.loads(model.value)["content"])))
    assert again["class_id"].tolist() == [5, 6]
    report(page, "take csv group")
    assert "nothing to take" in text(page, "alert")


def test_a_cell_that_a_spreadsheet_would_compute_is_quoted() -> None:
    content = taking.file(pd.DataFrame({"name": ["=1+1", "plain", "@x"]}), "csv").decode()
    assert content.splitlines() == ["name", "'=1+1", "plain", "'@x"]
    with pytest.raises(ValueError, match="is no kind of table"):
        taking.file(pd.DataFrame(), "pickle")


def test_reports_that_name_nothing_known_change_nothing(page: Document) -> None:
    for event in (
        "click real/999",
        "select ../../etc",
        "tabled <script>",
        "drop x",
        "nonsense",
        "take csv",
        "region x",
    ):
        report(page, event)
        assert "Nothing yet" in text(page, "selected")
        assert "<script>" not in text(page, "alert")
    report(page, "click real/5")
    assert "real/5" in text(page, "selected")
