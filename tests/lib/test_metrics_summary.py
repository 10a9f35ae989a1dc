"""All scores of a generator: numbers that say what was planted, each beside what real data would score."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modescope import metrics

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
