"""Two generators beside each other: scores with noise, classes, blind votes, the way to MLflow."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bokeh.document import Document
from driving import opened, report, settle, text

from dashboards.explorer import ballots, making
from dashboards.explorer.parts.metrics import _row, link, noise
from dashboards.explorer.resources import Project, load
from modescope import files
from modescope.tracking import finding


@pytest.fixture
def measured(fresh_root: Path) -> Path:
    """Scores as stages evaluate and compare leave them."""
    for name, recall in (("student", 0.9), ("other", 0.25)):
        scores = {"precision": 0.5, "recall": recall, "coverage": 0.75, "held_out": {"real": {"recall": 0.96}}}
        files.write_json(fresh_root / f"metrics/default/{name}.json", scores)
        lines = [
            {
                "class_id": c,
                "class_name": str(c),
                "coverage": recall - c / 100,
                "coverage_low": 0.1,
                "coverage_high": 0.9,
            }
            | {"recall": recall, "precision": np.nan}
            for c in range(3)
        ]
        files.write_table(fresh_root / f"metrics/default/{name}.classes.csv", pd.DataFrame(lines))
    pair = {"a": "other", "b": "student", "difference": 0.1, "low": 0.0, "high": 0.2}
    table = pd.DataFrame(
        [{"score": "recall", "within_noise": False, **pair}, {"score": "coverage", "within_noise": True, **pair}]
    )
    files.write_table(fresh_root / "metrics/default.differences.csv", table)
    return fresh_root


@pytest.fixture
def page(measured: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    return opened(measured, monkeypatch)


def beside(page: Document, name: str) -> None:
    report(page, "tab compare")
    page.get_model_by_name("beside").value = name


def test_scores_stand_beside_what_real_images_score(page: Document) -> None:
    report(page, "tab compare")
    settle(page, lambda: "recall" in text(page, "metrics"))
    assert "<td>0.900</td><td class='soft'>0.960</td>" in text(page, "metrics")


def test_a_second_generator_shows_which_differences_are_noise(page: Document) -> None:
    beside(page, "other")
    settle(page, lambda: "<th>other</th>" in text(page, "metrics"))
    assert "<td>recall</td><td><b>0.900</b></td><td>0.250</td><td></td>" in text(page, "metrics")
    assert "<td>coverage</td><td>0.750</td><td>0.750</td><td>=</td>" in text(page, "metrics")


@pytest.mark.parametrize(
    ("score", "better", "worse"),
    [
        ("recall", 0.9, 0.2),
        ("density", 1.04, 1.47),
        ("frechet", 67.2, 408.5),
        ("sliced_wasserstein", 0.06, 0.25),
        ("copies", 0, 0.1),
    ],
)
def test_the_better_of_two_scores_is_bold(score: str, better: float, worse: float) -> None:
    row = _row(score, [{score: worse}, {score: better}], {})
    assert row.count("<b>") == 1
    assert re.findall(r"<b>([\d.]+)</b>", row) == [
        f"{better:,}" if isinstance(better, int) else f"{better:.{1 if better > 10 else 3}f}"
    ]
    assert "<b>" not in _row(score, [{score: worse}, {score: better}], {score: True})


def test_each_class_has_its_line_and_leads_to_the_map(page: Document) -> None:
    beside(page, "other")
    settle(page, lambda: "coverage, other" in text(page, "classes"))
    said = text(page, "classes")
    assert said.count("<tr data-event='zoom ") == 3
    assert "data-value='0.89'" in said
    assert "data-value='0.24'" in said
    assert "none</td>" in said  # a class without a value says so


def test_noise_is_told_of_the_pair_in_either_order(measured: Path) -> None:
    assert noise(measured, "default", "student", "other") == {"recall": False, "coverage": True}
    assert noise(measured, "default", "student", "teacher") == {}


@pytest.fixture
def project(fresh_root: Path) -> Project:
    return load(fresh_root)


def test_a_ballot_shows_one_seed_of_one_class_in_an_order_that_its_address_does_not_tell(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODESCOPE_ROOT", str(project.root))
    rng, orders = np.random.default_rng(0), set()
    for _ in range(20):
        ballot = ballots.draw(project, "student", "other", rng)
        ids = [ballots.opened(token) for token in (ballot.left, ballot.right)]
        names = ["other", "student"] if ballot.swapped else ["student", "other"]
        assert ids == [f"fake/{name}/{ballot.number}" for name in names]
        assert {project.label(name) for name in ids} == {ballot.label}
        assert not any(name in token for token in (ballot.left, ballot.right) for name in ("student", "other"))
        orders.add(ballot.swapped)
    assert orders == {True, False}
    pixels = making.thumbnail(ballot.left)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, project.pixels(ids[0]))
    assert making.thumbnail("blind/0000") is None


def test_votes_are_kept_by_generator_whatever_the_side(project: Project) -> None:
    left_is_student = ballots.Ballot(number=1, label=1, left="", right="", swapped=False)
    left_is_other = ballots.Ballot(number=2, label=2, left="", right="", swapped=True)
    for ballot, choice in (
        (left_is_student, "left"),
        (left_is_other, "right"),
        (left_is_other, "left"),
        (left_is_student, "same"),
    ):
        ballots.vote(project.root, "student", "other", ballot, choice)
    assert ballots.tally(project.root, "other", "student") == {"student": 2, "other": 1, None: 1}
    with pytest.raises(ValueError, match="use one of left, right, same"):
        ballots.vote(project.root, "student", "other", left_is_other, "up")
    asked = {ballots.draw(project, "student", "other", np.random.default_rng(i)).number for i in range(30)}
    assert not asked & {1, 2}


def test_generators_that_share_no_seed_cannot_be_voted_on(project: Project) -> None:
    from dataclasses import replace

    student = project.generators["student"]
    shifted = replace(student, numbers=student.numbers + 1000)
    with pytest.raises(ValueError, match="have no sample of the same label and seed"):
        ballots.draw(
            replace(project, generators={"student": student, "other": shifted}),
            "student",
            "other",
            np.random.default_rng(0),
        )


def test_a_vote_in_the_page_asks_the_next_question(page: Document, measured: Path) -> None:
    beside(page, "other")
    settle(page, lambda: "Which is the better" in text(page, "votes"))
    before = text(page, "votes")
    report(page, "vote left")
    settle(page, lambda: "Which is the better" in text(page, "votes") and text(page, "votes") != before)
    assert sum(ballots.tally(measured, "student", "other").values()) == 1
    assert "fake/" not in text(page, "votes")


def test_a_run_is_found_by_the_name_of_its_result(tmp_path: Path) -> None:
    assert link(tmp_path, "default", "student") is None
    with sqlite3.connect(tmp_path / "mlflow.db") as base:
        base.execute("CREATE TABLE runs (name, experiment_id, run_uuid, lifecycle_stage, status, start_time)")
        rows = [
            ("default/student", 1, "old", "active", "FINISHED", 1),
            ("default/student", 1, "new", "active", "FINISHED", 2),
        ]
        rows += [
            ("default/student", 1, "gone", "deleted", "FINISHED", 3),
            ("default/student", 1, "cut", "active", "FAILED", 4),
        ]
        base.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", rows)
    base.close()
    assert link(tmp_path, "default", "student") == "http://127.0.0.1:5000/#/experiments/1/runs/new"
    (tmp_path / "damaged").write_text("no database")
    assert finding.runs(tmp_path / "damaged") == {}
