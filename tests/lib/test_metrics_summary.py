"""All scores of a generator: numbers that say what was planted, each beside what real data would score."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from modescope import components, metrics
from modescope.metrics.__main__ import main

NAMES = ["left", "right", "top"]


def sides(missing=None, n=400, d=6):
    """Three separate classes of equal size; the generated side lacks `missing`, its samples go to the others."""
    rng = np.random.default_rng(0)
    centres = 8 * np.eye(3, d)
    real_labels = np.arange(n) % 3
    kept = [c for c in range(3) if c != missing]
    fake_labels = np.array(kept)[np.arange(n) % len(kept)]
    x, y = ((centres[labels] + rng.normal(size=(n, d))).astype(np.float32) for labels in (real_labels, fake_labels))
    return x, y, real_labels.astype(np.int64), fake_labels.astype(np.int64)


def looked(missing=None):
    x, y, lx, ly = sides(missing)
    compared = metrics.compare(x, y, ks=(5,))
    return compared, metrics.gaps(compared, real_labels=lx), x, y, lx, ly


def test_a_missing_class_is_the_gap_and_shows_in_the_scores():
    compared, found, x, y, *_ = looked(missing=1)
    scores = metrics.summarise(compared, found, x, y, k=5, seed=0)
    assert scores["gaps"] == len(found) >= 1
    assert scores["missing_mass"] == pytest.approx(1 / 3, abs=0.05)
    assert scores["coverage"] < 0.75 * scores["equal_laws"]["coverage"]
    assert scores["distribution_shift"] > 5 * scores["equal_laws"]["distribution_shift"]
    table = metrics.gap_table(found, [f"real/{i}" for i in range(len(x))], NAMES)
    assert table["classes"][0].startswith("right: ")
    assert int(table["centre"][0].removeprefix("real/")) % 3 == 1
    json.dumps(scores, allow_nan=False)


def test_equal_laws_have_no_gap_and_score_what_the_closed_forms_say():
    compared, found, x, y, *_ = looked()
    scores = metrics.summarise(compared, found, x, y, k=5, seed=0)
    assert (scores["gaps"], scores["missing_mass"], list(metrics.gap_table(found, [], NAMES).index)) == (0, 0, [])
    for name in ("coverage", "mode_coverage"):
        assert scores[name] == pytest.approx(scores["equal_laws"][name], abs=0.05)
    low, high = scores["interval95"]["coverage"]
    assert low <= scores["coverage"] <= high


def test_a_judge_finds_samples_of_the_wrong_class_and_says_how_far_it_can_be_trusted():
    x, y, lx, ly = sides()
    right = metrics.judgement(metrics.judge(x, y, lx, ly, seed=0))
    wrong = metrics.judgement(metrics.judge(x, y, lx, (ly + 1) % 3, seed=0))
    assert right["class_fidelity"] > 0.98
    assert right["class_fidelity_real"] > 0.98
    assert wrong["class_fidelity"] < 0.02
    assert wrong["class_fidelity_real"] == right["class_fidelity_real"]


def test_one_class_or_a_tiny_one_has_no_judge():
    x, y, lx, ly = sides()
    assert metrics.judge(x, y, np.zeros_like(lx), ly, seed=0) is None
    few = lx.copy()
    few[few == 2] = 0
    few[:3] = 2
    assert metrics.judge(x, y, few, ly, seed=0) is None
    assert metrics.judgement(None) == {}


def test_the_class_table_has_a_line_per_class_and_the_judges_word_where_there_is_one():
    compared, _, x, y, lx, ly = looked(missing=2)
    judged = metrics.judge(x, y, lx, ly, seed=0)
    table = metrics.class_table(compared, x, y, lx, ly, NAMES, k=5, judged=judged)
    assert table["class_name"].tolist() == NAMES
    assert table["fake"].tolist() == [200, 200, 0]
    assert table["fidelity"].isna().tolist() == [False, False, True]
    assert "fidelity" not in metrics.class_table(compared, x, y, lx, ly, NAMES, k=5)


def test_limits_per_class_are_those_of_the_class_alone_or_wilsons_where_these_are_wider():
    compared, _, _, _, lx, ly = looked(missing=2)
    members = compared.members[5]
    table = metrics.class_intervals(members, lx, ly).set_index("class_id")
    for label in (0, 1):
        alone = metrics.intervals(members, real_rows=lx == label, fake_rows=ly == label)
        counts = {"precision": (ly == label).sum(), "recall": (lx == label).sum(), "coverage": (lx == label).sum()}
        assert table.loc[label, "density_low"] == pytest.approx(alone["density"].low)
        assert table.loc[label, "density_high"] == pytest.approx(alone["density"].high)
        for score, count in counts.items():
            wilson = proportion(alone[score].value, count)
            assert table.loc[label, f"{score}_low"] == pytest.approx(max(0, min(alone[score].low, wilson[0])))
            assert table.loc[label, f"{score}_high"] == pytest.approx(min(1, max(alone[score].high, wilson[1])))
    assert table.loc[2, ["precision_low", "precision_high", "density_low"]].isna().all()
    assert table.loc[2, "coverage_low"] == 0  # none of its real samples is covered ...
    assert 0 < table.loc[2, "coverage_high"] < 0.05  # ... which is not quite certain


def proportion(share, count):
    found = binomtest(round(share * count), int(count)).proportion_ci(0.95, method="wilson")
    return found.low, found.high


def test_an_empty_class_is_missing_and_not_zero_and_carries_the_mass_that_is_missing():
    compared, found, x, y, lx, ly = looked(missing=2)
    modes = metrics.mode_coverage(compared)
    table = metrics.class_table(compared, x, y, lx, ly, NAMES, k=5, found=found, modes=modes).set_index("class_name")
    assert table.loc["top", ["precision", "density", "spread_ratio"]].isna().all()
    assert table.loc["top", ["recall", "coverage", "mode_coverage"]].tolist() == [0, 0, 0]
    assert table["missing_mass"].sum() == pytest.approx(sum(gap.missing for gap in found))
    assert table.loc["top", "missing_mass"] == pytest.approx(1 / 3, abs=0.05)
    assert table["mode_coverage"] @ table["real"] / len(x) == pytest.approx(modes.value)
    swapped = metrics.compare(y, x, ks=(5,))
    other = metrics.class_table(swapped, y, x, ly, lx, NAMES, k=5).set_index("class_name")
    assert other.loc["top", ["recall", "coverage", "missing_mass"]].isna().all()


def test_the_curve_has_a_line_per_k_beside_what_equal_laws_score():
    x, y, *_ = sides()
    compared = metrics.compare(x, y, ks=(5, 1, 10))
    table = metrics.curve_table(compared)
    assert table["k"].tolist() == [1, 5, 10]
    for line in table.itertuples():
        alone = metrics.prdc(x, y, line.k)
        assert (line.precision, line.recall, line.coverage) == (alone.precision, alone.recall, alone.coverage)
        assert line.expected_coverage == metrics.expected_coverage(len(x), len(y), line.k)
    assert table["precision"].is_monotonic_increasing


def test_what_held_out_samples_score_stands_beside_as_many_generated_ones():
    x, y, lx, ly = sides(missing=1)
    told = metrics.calibration(metrics.held_out(x, y, k=5, seed=0, splits=3, labels=(lx, ly)))["held_out"]
    assert told["n"] == told["reference"] == 200
    assert told["real"]["recall"] - told["generated"]["recall"] > 5 * told["difference_se"]["recall"]
    json.dumps(told, allow_nan=False)


def test_mode_coverage_on_the_map_is_told_beside_that_of_the_features():
    compared, found, x, y, *_ = looked(missing=1)
    on_map = metrics.mode_coverage(metrics.compare(x[:, :2], y[:, :2], ks=(1,)))
    scores = metrics.summarise(compared, found, x, y, k=5, seed=0, on_map=on_map)
    assert scores["mode_coverage_map"] == on_map.value < scores["equal_laws"]["mode_coverage_map"]
    assert "mode_coverage_map" not in metrics.summarise(compared, found, x, y, k=5, seed=0)


# Command line: files and tables


def test_the_command_writes_the_scores_of_the_library_and_a_line_per_class(tmp_path, capsys):
    x, y, lx, ly = sides(missing=1)
    words = np.array(NAMES)
    paths = [tmp_path / f"{name}.npy" for name in ("x", "y", "lx", "ly")]
    for path, values in zip(paths, (x, y, words[lx], words[ly]), strict=True):
        np.save(path, values)
    real, fake, of_real, of_fake = map(str, paths)
    given = [real, fake, "--labels-real", of_real, "--labels-fake", of_fake]
    assert main([*given, "--json", str(tmp_path / "scores.json"), "--csv", str(tmp_path / "tables")]) == 0
    printed = capsys.readouterr().out
    assert "held-out real" in printed
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["recall"] == metrics.prdc(x, y, 5).recall
    held = metrics.held_out(x, y, k=5, seed=0, splits=4, labels=(lx, ly)).table()
    assert scores["held_out"][1]["held_out"] == pytest.approx(held["held_out"][1])
    classes = pd.read_csv(tmp_path / "tables/classes.csv").set_index("class_name")
    assert classes.loc["right", "fake"] == 0
    assert np.isnan(classes.loc["right", "precision"])
    assert pd.read_csv(tmp_path / "tables/curve.csv")["k"].tolist() == [1, 2, 3, 5, 10, 20]
    assert pd.read_csv(tmp_path / "tables/gaps.csv")["missing"].sum() == pytest.approx(scores["missing_mass"])


def test_the_command_standardises_like_the_pipeline(tmp_path, capsys):
    x, y, *_ = sides()
    x[:, 0] *= 1000
    y[:, 0] *= 1000
    for name, values in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", values)
    given = [str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), "--splits", "0", "--json", str(tmp_path / "s.json")]
    assert main([*given, "--standardise"]) == 0
    scale = components.fit(x, None)
    expected = metrics.prdc(scale.project(x), scale.project(y), 5)
    assert json.loads((tmp_path / "s.json").read_text())["coverage"] == expected.coverage
    assert "held-out" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"--labels-real": np.zeros(400)}, "labels are given for one side alone; scores per class need"),
        (
            {"--labels-real": np.zeros(399), "--labels-fake": np.zeros(400)},
            r"labels-real.npy has shape \(399,\) for 400",
        ),
        (
            {"--labels-real": np.where(np.arange(400) == 7, np.nan, 1), "--labels-fake": np.zeros(400)},
            "labels-real.npy has no label in row 7",
        ),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, message, tmp_path, capsys):
    x, y, *_ = sides()
    for name, values in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", values)
    given = [str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    for option, values in labels.items():
        path = tmp_path / f"{option.removeprefix('--')}.npy"
        np.save(path, values)
        given += [option, str(path)]
    assert main(given) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_long_comparison_is_estimated_before_it_begins(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("modescope.metrics.__main__.LARGE", 1)
    x, y, *_ = sides()
    for name, values in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", values)
    assert main([str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), "--splits", "2"]) == 0
    told = capsys.readouterr().err
    assert told.startswith("the distances: 3.2e+05 pairs")
    assert "held out: 100%" in told
    assert "distances: 100%" in told
