"""Which rows are used: balanced, seeded, stable when more are asked for, and never silently fewer than asked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modescope import selection
from modescope.selection import Balance, balance, choose_classes, histogram_labels, select

LABELS = np.array([2, 0, 1, 0, 2, 2, 0, 2], np.int64)  # 0: rows 1 3 6, 1: row 2, 2: rows 0 4 5 7
CLASSES = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(lambda v: np.array(v, np.int64))


def chosen_labels(labels=LABELS, **asked):
    return labels[select(labels, seed=0, **asked)].tolist()


@given(st.lists(st.integers(0, 5), max_size=20))
def test_nothing_asked_gives_every_row_in_source_order(labels):
    assert select(np.array(labels, np.int64), seed=3).tolist() == list(range(len(labels)))


def test_one_row_of_each_class_per_cycle_and_exhausted_classes_are_skipped():
    assert chosen_labels(num_samples=8) == [0, 1, 2, 0, 2, 0, 2, 2]
    assert chosen_labels(num_samples=4) == [0, 1, 2, 0]


def test_samples_per_class_takes_so_many_of_each_class_per_cycle():
    assert chosen_labels(num_samples=8, samples_per_class=2) == [0, 0, 1, 2, 2, 0, 2, 2]


def test_samples_per_class_alone_is_one_cycle():
    assert chosen_labels(samples_per_class=1) == [0, 1, 2]
    assert chosen_labels(samples_per_class=3, target_classes=[2, 0]) == [0, 0, 0, 2, 2, 2]


def test_restricting_classes_alone_gives_all_their_rows():
    assert sorted(select(LABELS, target_classes=[0, 1], seed=0).tolist()) == [1, 2, 3, 6]
    assert len(set(chosen_labels(num_classes=2))) == 2


def test_target_classes_and_num_classes_together_take_the_first_of_the_list():
    assert set(chosen_labels(target_classes=[2, 0, 1], num_classes=2)) == {0, 2}


@given(CLASSES, st.integers(0, 5), st.integers(1, 4) | st.none(), st.data())
def test_a_smaller_selection_begins_a_larger_one(labels, seed, samples_per_class, data):
    fewer, more = sorted(data.draw(st.tuples(*[st.integers(1, len(labels))] * 2)))
    rows = select(labels, num_samples=more, samples_per_class=samples_per_class, seed=seed)
    again = select(labels, num_samples=fewer, samples_per_class=samples_per_class, seed=seed)
    assert rows[:fewer].tolist() == again.tolist()
    assert len(set(rows.tolist())) == more


@given(CLASSES, st.integers(1, 4), st.data())
def test_the_order_is_that_of_a_plain_loop_over_the_classes(labels, samples_per_class, data):
    wanted = data.draw(st.integers(1, len(labels)))
    rows = select(labels, num_samples=wanted, samples_per_class=samples_per_class, seed=1)
    left = {c: int((labels == c).sum()) for c in sorted(set(labels.tolist()))}
    expected: list[int] = []
    while any(left.values()):
        for c in left:
            taken = min(samples_per_class, left[c])
            expected += [c] * taken
            left[c] -= taken
    assert labels[rows].tolist() == expected[:wanted]


@given(CLASSES, st.integers(0, 5))
def test_the_order_within_a_class_depends_on_seed_and_class_alone(labels, seed):
    together = select(labels, num_samples=len(labels), seed=seed)
    for c in set(labels.tolist()):
        alone = select(labels, target_classes=[c], seed=seed)
        assert together[labels[together] == c].tolist() == alone.tolist()


def test_another_seed_gives_another_order_and_other_classes():
    labels = np.repeat(np.arange(20), 20)
    assert select(labels, num_samples=50, seed=0).tolist() != select(labels, num_samples=50, seed=1).tolist()
    one, other = (set(labels[select(labels, num_classes=5, seed=s)].tolist()) for s in (0, 1))
    assert one != other
    assert select(labels, num_samples=4, seed=0).tolist() == [2, 21, 46, 77]  # part of every result: may not move


@given(CLASSES, st.integers(0, 5))
def test_raising_num_classes_keeps_those_chosen(labels, seed):
    present = len(set(labels.tolist()))
    orders = [
        choose_classes(labels, num_classes=k, target_classes=None, seed=seed).tolist() for k in range(1, present + 1)
    ]
    assert all(longer[:-1] == shorter for shorter, longer in pairwise(orders))
    assert sorted(orders[-1]) == sorted(set(labels.tolist()))


def test_percentile_keeps_both_ends_and_never_a_row_without_score():
    labels = np.zeros(6, np.int64)
    scores = np.array([0.0, 10.0, 20.0, 30.0, 40.0, np.nan], np.float32)
    assert set(select(labels, scores=scores, percentile=(0, 50), seed=0).tolist()) == {0, 1, 2}
    assert set(select(labels, scores=scores, percentile=(50, 100), seed=0).tolist()) == {2, 3, 4}
    assert set(select(labels, scores=scores, percentile=(0, 100), seed=0).tolist()) == {0, 1, 2, 3, 4}


def test_percentiles_are_those_of_the_chosen_classes():
    scores = np.array([100.0, 0.0, 100.0, 1.0, 100.0, 100.0, 2.0, 100.0])
    assert select(LABELS, target_classes=[0], scores=scores, percentile=(60, 100), seed=0).tolist() == [6]


@given(CLASSES, st.data())
def test_a_percentile_drops_rows_without_changing_the_order_of_the_others(labels, data):
    scores = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=len(labels), max_size=len(labels))))
    low, high = sorted(data.draw(st.lists(st.integers(0, 100), min_size=2, max_size=2, unique=True)))
    bounds = np.percentile(scores, [low, high])
    within = (scores >= bounds[0]) & (scores <= bounds[1])
    if not within.any():  # the range lies between two scores
        with pytest.raises(ValueError, match="keeps none of"):
            select(labels, scores=scores, percentile=(low, high), seed=0)
        return
    rows = select(labels, scores=scores, percentile=(low, high), seed=0)
    assert set(rows.tolist()) == set(np.flatnonzero(within).tolist())
    for c in set(labels.tolist()):
        alone = select(labels, target_classes=[c], seed=0)
        assert rows[labels[rows] == c].tolist() == [row for row in alone.tolist() if within[row]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"num_samples": 9}, r"num_samples 9 is more than the 8 rows .*of 8 in all.*at most 8"),
        ({"num_samples": 5, "target_classes": [2]}, "num_samples 5 is more than the 4 rows"),
        ({"num_samples": 0}, "num_samples 0 must be at least 1; null takes all"),
        ({"num_classes": -1}, "num_classes -1 must be at least 1"),
        ({"samples_per_class": 0}, "samples_per_class 0 must be at least 1"),
        ({"num_classes": 4}, "num_classes 4 is more than the 3 classes of this source; ask for at most 3"),
        ({"num_classes": 3, "target_classes": [0, 2]}, "num_classes 3 is more than the 2 classes of target_classes"),
        ({"target_classes": []}, "target_classes names no class"),
        ({"target_classes": [1, 0, 1]}, "target_classes names class 1 more than once"),
        ({"target_classes": [0, 7]}, r"asks for class 7 \(1 of 2 have no image here\); .* images of 3 classes"),
        ({"samples_per_class": 3}, r"samples_per_class 3 is more than the 1 rows of class 1 \(1 of 3 .*num_samples"),
        ({"percentile": (0, 10)}, "percentile needs scores"),
        ({"percentile": (0, 10), "scores": np.zeros(3)}, r"scores have shape \(3,\); give one per row .*\(8,\)"),
        ({"percentile": (10, 10), "scores": np.zeros(8)}, r"percentile \(10, 10\) is no range"),
        ({"percentile": (20, 10), "scores": np.zeros(8)}, "no range"),
        ({"percentile": (-1, 10), "scores": np.zeros(8)}, "no range"),
        ({"percentile": (0, 101), "scores": np.zeros(8)}, "no range"),
        ({"percentile": (0, float("nan")), "scores": np.zeros(8)}, "no range"),
        ({"percentile": (0, 10), "scores": np.full(8, np.nan)}, "no row of the chosen classes has a score"),
        ({"percentile": (0, 10), "scores": np.full(8, np.inf)}, r"scores hold inf \(row 0\)"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_there_is(asked, said):
    with pytest.raises(ValueError, match=said):
        select(LABELS, seed=0, **asked)


def test_a_percentile_that_keeps_nothing_says_so():
    with pytest.raises(ValueError, match=r"percentile \(40, 60\) keeps none of the 2 scored rows"):
        select(np.zeros(2, np.int64), scores=np.arange(2.0), percentile=(40, 60), seed=0)


def test_an_empty_source_has_nothing_to_give():
    with pytest.raises(ValueError, match="num_samples 1 is more than the 0 rows"):
        select(np.empty(0, np.int64), num_samples=1, seed=0)


def test_generated_labels_follow_the_real_rows_again_and_again():
    assert histogram_labels(np.array([5, 5, 7]), np.array([0, 1, 2, 3, 4, 300])).tolist() == [5, 7, 5, 5, 7, 5]
    assert histogram_labels(LABELS, np.arange(8)).tolist() == [0, 1, 2, 0, 2, 0, 2, 2]
    with pytest.raises(ValueError, match="real_labels is empty"):
        histogram_labels(np.empty(0, np.int64), np.array([0]))


@given(CLASSES, st.integers(1, 40))
def test_labels_of_samples_have_the_real_histogram_and_stay_when_a_balanced_selection_grows(labels, n):
    assert np.array_equal(np.sort(histogram_labels(labels, np.arange(len(labels)))), np.sort(labels))
    n = min(n, len(labels))
    small, large = (labels[select(labels, seed=0, num_samples=m)] for m in (n, len(labels)))
    assert np.array_equal(histogram_labels(small, np.arange(n)), histogram_labels(large, np.arange(n)))


def test_balance_counts_the_classes_that_have_images():
    found = balance(LABELS, ["a", "b", "c", "d"])
    assert found == Balance(classes=(0, 1, 2), names=("a", "b", "c"), counts=(3, 1, 4))
    assert (found.fewest, found.most, found.ratio) == (1, 4, 4.0)
    assert str(found) == "3 classes, 1 to 4 images each"


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0, 0, 1, 1], "2 classes, 2 images each"), ([0, 1], "2 classes, 1 image each"), ([1], "1 class, 1 image")],
)
def test_balance_reads_as_a_sentence(labels, said):
    assert str(balance(np.array(labels, np.int64), ["a", "b"])) == said
    assert balance(np.array(labels, np.int64), ["a", "b"]).ratio == 1.0


def test_balance_of_no_images_is_told_as_such():
    assert str(balance(np.empty(0, np.int64), ["a", "b"])) == "0 classes, 0 images"


def test_balance_refuses_labels_without_a_name():
    with pytest.raises(ValueError, match="labels run from 0 to 2, but there are 2 class names"):
        balance(LABELS, ["a", "b"])


def test_a_spread_is_all_rows_or_a_seeded_choice_of_them():
    assert selection.spread(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    chosen = selection.spread(1000, 50, 0)
    assert len(set(chosen.tolist())) == 50
    assert (np.diff(chosen) > 0).all()
    assert not np.array_equal(chosen, selection.spread(1000, 50, 1))
