"""Gaps: from a missing region to images made towards it, a verdict, and a report that stays."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bokeh.document import Document
from driving import opened, press, report, settle, text

from dashboards.explorer import attempts, reports
from dashboards.explorer.attempts import Attempt, verdict
from dashboards.explorer.making import Studio
from dashboards.explorer.parts.gaps import frame_of
from dashboards.explorer.resources import load
from modescope import files, reaching
from modescope.reaching import real_share, regions_of

REGIONS = (("real/5", ("real/5", "real/15", "real/25")), ("real/7", ("real/7",)))
COLUMNS = ["rank", "centre", "real", "expected", "found", "missing", "q_value", "classes"]


def tables(root: Path, generator: str, regions: tuple, radius: float) -> None:
    """What stage evaluate writes, by hand: the regions, and balls of one radius around every real sample."""
    ids = [f"real/{i}" for i in range(60)]
    gap = {name: rank for rank, (_, members) in enumerate(regions) for name in members}
    scores = {"sample_id": ids, "gap": [gap.get(name, -1) for name in ids], "radius": np.full(60, radius)}
    files.write_table(root / f"data/scores/default/{generator}.parquet", pd.DataFrame(scores))
    lines = [
        (rank, centre, len(members), float(len(members)), 0, len(members) / 60, 0.01, f"{centre[-1]}: {len(members)}")
        for rank, (centre, members) in enumerate(regions)
    ]
    files.write_table(root / f"metrics/default/{generator}.gaps.csv", pd.DataFrame(lines, columns=COLUMNS))
    files.write_json(root / f"metrics/default/{generator}.json", {"coverage": 0.5})


@pytest.fixture
def root(fresh_root: Path) -> Path:
    tables(fresh_root, "student", REGIONS, 1e9)
    tables(fresh_root, "other", (), 1e9)
    columns = ["rank", "centre", "classes", "way", "images", "inside", "share", "real_share", "distance", "reached"]
    reach = [
        (0, "real/5", "5: 3", "mask", 8, 2, 0.25, 0.6, 0.9, False),
        (0, "real/5", "5: 3", "guided", 8, 5, 0.625, 0.6, 0.7, True),
    ]
    files.write_table(fresh_root / "metrics/default/student.reach.csv", pd.DataFrame(reach, columns=columns))
    return fresh_root


@pytest.fixture
def page(root: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    page = opened(root, monkeypatch)
    report(page, "tab gaps")
    return page


def towards(page: Document, way: int = 0) -> None:
    page.get_model_by_name("way").active = way
    press(page, "towards")
    assert "<progress" in text(page, "tried")
    settle(page, lambda: "<progress" not in text(page, "tried"))


def test_the_list_ranks_regions_with_their_verdicts(page: Document) -> None:
    listed = text(page, "missing")
    assert re.findall(r'data-event="gap (\d)"', listed) == ["0", "1"]
    assert "3 real, 5.0% of all" in listed
    assert "class 5 ×3" in listed
    assert "mask 25%" in listed
    assert "guided 62%" in listed
    assert listed.count(">reached<") == 1
    assert "not tried yet" in listed


def test_a_generator_without_gaps_or_without_scores_says_so(page: Document) -> None:
    page.get_model_by_name("generator").value = "other"
    assert "No missing region at a false discovery rate of 5%" in text(page, "missing")
    page.get_model_by_name("generator").value = "teacher"
    assert "was not evaluated" in text(page, "missing")


def test_an_opened_region_shows_its_images_and_the_map_goes_there(page: Document) -> None:
    report(page, "gap 0")
    assert re.findall(r'data-event="click (real/\d+)"', text(page, "region")) == ["real/5", "real/15", "real/25"]
    desk = next(iter(page.session_destroyed_callbacks)).__self__
    left, right, bottom, top = desk.state.look.frame
    for x, y in desk.project.places("default", REGIONS[0][1])[:, :2]:
        assert left < x < right
        assert bottom < y < top
    assert not page.get_model_by_name("missing").visible
    report(page, "gap none")
    assert page.get_model_by_name("missing").visible
    assert desk.state.look.frame is None
    report(page, "gap 7")
    assert "there is no region" in text(page, "alert")


def test_images_towards_a_region_come_with_the_rule_of_the_pipeline(page: Document, root: Path) -> None:
    report(page, "gap 0")
    page.get_model_by_name("tries").value = 4
    towards(page)
    assert re.search(r"\d of 4 images landed in the region; of the same seeds without an aim", text(page, "tried"))
    studio = next(iter(page.session_destroyed_callbacks)).__self__.studio
    ((tried,),) = studio.attempts.values()
    scores = files.read_table(root / "data/scores/default/student.parquet")
    gaps = files.read_table(root / "metrics/default/student.gaps.csv")
    region = regions_of(scores, gaps, 2)[0]
    around = reaching.neighbourhood(studio.workshop.opened, "default", scores)
    features = np.stack([studio.made[name].arrays["features"] for name in tried.ids])
    _, rank, inside = around.landed(features)
    assert tried.inside == tuple(((rank == 0) & inside).tolist())
    assert tried.real == real_share(around, region, studio.project.params.seed)
    assert text(page, "tried").count("kept in") == sum(tried.inside)
    recipes = [studio.made[name].recipe for name in tried.ids]
    assert [recipe.label for recipe in recipes] == [5] * 4
    assert {name for recipe in recipes for name in recipe.aim.ids} == set(region.ids)
    assert len({recipe.seed for recipe in recipes}) == 4


def test_every_way_can_be_gone(page: Document) -> None:
    report(page, "gap 1")
    page.get_model_by_name("tries").value = 1
    for way in (0, 1, 2):
        towards(page, way)
    assert [way in text(page, "tried") for way in ("by mask", "by inversion", "by guided")] == [True] * 3
    assert not page.get_model_by_name("alert").visible


def test_generate_can_aim_at_the_open_region_too(page: Document) -> None:
    report(page, "gap 0", "tab generate")
    page.get_model_by_name("start").value = "gap"
    page.get_model_by_name("variations").value = 2
    press(page, "generate")
    settle(page, lambda: "<progress" not in text(page, "status"))
    assert text(page, "result").count('data-event="show made/') == 2
    report(page, "tab gaps")
    assert "by mask: nearest" in text(page, "tried")


def test_the_report_keeps_runs_and_notes_through_reloads(
    page: Document, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(page, "tab gaps")
    assert "Open a region" in text(page, "entries")
    report(page, "gap 0")
    page.get_model_by_name("tries").value = 2
    towards(page)
    page.get_model_by_name("notes").value = "<script>alert(1)</script>"
    key = re.findall(r'data-event="keep (\w+)"', text(page, "tried"))[0]
    report(page, f"keep {key}", f"keep {key}")
    assert "In the report" in text(page, "tried")
    again = opened(root, monkeypatch)
    report(again, "tab gaps")
    shown = text(again, "entries")
    assert "Region 1 by mask" in shown
    assert f"note {key}" in shown
    report(again, f"note {key}")
    again.get_model_by_name("noted").value = "seen & <b>"
    assert "seen &amp; &lt;b&gt;" in text(again, "entries")
    report(again, f"unkeep {key}")
    assert "Open a region" in text(again, "entries")
    report(again, "unkeep ../../params")
    assert "is not in the report" in text(again, "alert")
    assert (root / "params.yaml").is_file()


@pytest.fixture
def kept(root: Path) -> Studio:
    studio = Studio(load(root))
    how = dict(view="default", generator="student", layers=("encoder_bottleneck",), source="nearest", begin="seed")
    _, tried = attempts.attempt(studio, how, 0, "mask", (0, 1))
    gap = attempts_gap(studio)
    assert tried is not None
    reports.keep(studio, reports.entry(studio, "default", "student", gap, tried, "<img src=x> | *stars*"))
    return studio


def attempts_gap(studio: Studio) -> reports.Gap:
    from dashboards.explorer.evidence import evidence

    return evidence(studio.project, "default", "student").gaps[0]


def test_the_report_as_a_page_holds_its_images_and_escapes_notes(kept: Studio) -> None:
    found = reports.exported(kept, "default", "student", "html").decode()
    assert found.count("data:image/png;base64,") == 3 + 2
    assert "&lt;img src=x&gt;" in found
    assert "<img src=x>" not in found
    assert "http" not in found


def test_the_report_as_a_folder_holds_all_to_make_it_again(kept: Studio) -> None:
    packed = reports.exported(kept, "default", "student", "zip")
    with zipfile.ZipFile(io.BytesIO(packed)) as folder:
        assert {"report.md", "report.html", "report.json", "made.zip"} <= set(folder.namelist())
        text = folder.read("report.md").decode()
        linked = re.findall(r"\]\((images/[\w-]+\.png)\)", text)
        assert len(linked) == 5
        assert set(linked) <= set(folder.namelist())
        assert "    <img src=x> | *stars*" in text
        values = json.loads(folder.read("report.json"))
    assert values[0]["reached"] is (values[0]["verdict"].find("Reached:") > 0)
    assert json.loads(reports.exported(kept, "default", "student", "json")) == values


def test_a_report_without_entries_and_a_damaged_entry_are_passed_over(kept: Studio) -> None:
    with pytest.raises(ValueError, match="has no entry; keep one first"):
        reports.exported(kept, "default", "other", "html")
    with pytest.raises(ValueError, match="has no entry"):
        reports.exported(kept, "default", "../x", "html")
    folder = reports.folder(kept, "student")
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_text(next(folder.glob("[0-9a-f]*.json")).read_text())
    assert len(reports.entries(kept, "default", "student")) == 1


RUN = Attempt(
    rank=0, way="mask", ids=tuple(f"made/{i}" for i in range(8)), inside=(True,) * 6 + (False,) * 2, free=0, real=0.6
)


@pytest.mark.parametrize(
    ("inside", "free", "real", "reached", "words"),
    [
        (6, 0, 0.6, True, "Reached: more than chance explains"),
        (0, 0, 0.6, False, "brought no more images there than none would"),
        (3, 4, 0.1, False, "brought no more images there"),
        (2, 0, 0.6, False, "fewer than half of what real images score"),
        (3, 1, 0.5, False, "so few images may be chance"),
    ],
)
def test_verdicts_in_words_follow_the_rule(inside: int, free: int, real: float, reached: bool, words: str) -> None:
    run = replace(RUN, inside=(True,) * inside + (False,) * (8 - inside), free=free, real=real)
    assert run.reached is reached
    assert words in verdict(run)
    assert f"{inside} of 8 images landed" in verdict(run)


def test_a_frame_holds_its_places_with_room_and_is_never_too_small() -> None:
    places = np.array([[1.0, 2.0], [3.0, 2.0]])
    left, right, bottom, top = frame_of(places, np.array([10.0, 10.0]))
    assert (left, right) == (0.5, 3.5)
    assert (bottom, top) == pytest.approx((1.4, 2.6))
