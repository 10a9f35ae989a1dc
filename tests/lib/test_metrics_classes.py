"""Classes: where generated samples land, which get too few, what a probe says, and every class by itself."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from modescope import metrics


def _classes(seed: int, n: int, count: int = 3, apart: float = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % count
    return rng.standard_normal((n, 4)) + apart * labels[:, None], labels


# Where generated samples land


def test_agreement_is_that_of_the_nearest_real_samples() -> None:
    real, fake = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([[0.4], [10.6], [10.4]])
    real_labels, fake_labels = np.array([0, 0, 1, 1]), np.array([0, 1, 0])
    compared = metrics.compare(real, fake, (2,), scales=(2,))
    table = metrics.class_agreement(compared, real_labels, fake_labels, k=1).set_index("class_id")
    assert table["agreement"].tolist() == [0.5, 1]  # the last sample was to be a 0 and lies among the 1s
    assert table["real_agreement"].tolist() == [1, 1]
    assert metrics.class_agreement(compared, real_labels, fake_labels)["real_agreement"].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="k = 3: the comparison holds 2 real neighbours of a fake sample; take 1 to 2"):
        metrics.class_agreement(compared, real_labels, fake_labels, k=3)
    with pytest.raises(ValueError, match=r"fake_labels has shape \(2,\) for 3 samples"):
        metrics.class_agreement(compared, real_labels, fake_labels[:2])


def test_a_class_without_samples_has_missing_fidelity_not_zero() -> None:
    x, labels = _classes(0, 90)
    compared = metrics.compare(x, x + 0.1)
    table = metrics.class_agreement(compared, labels, np.where(labels == 2, 7, labels)).set_index("class_id")
    assert table.index.tolist() == [0, 1, 2, 7]
    assert table["agreement"].isna().tolist() == [False, False, True, False]
    assert table.loc[7, "agreement"] == 0
    assert table["real_agreement"].isna().tolist() == [False, False, False, True]
    ranks = metrics.centroid_ranks(x, x + 0.1, labels, np.where(labels == 2, 7, labels)).set_index("class_id")
    assert np.isnan(ranks.loc[7, "rank"])  # no real sample makes a centroid
    assert np.isnan(ranks.loc[7, "first"])
    assert ranks.loc[0, "first"] == 1


def test_centroid_ranks_equal_leaving_each_sample_out() -> None:
    x, labels = _classes(0, 60, apart=0.4)
    fake, fake_labels = _classes(1, 31, apart=0.4)
    table = metrics.centroid_ranks(x, fake, labels, fake_labels).set_index("class_id")
    own, across = [], []
    for row, label in enumerate(labels):
        rest = np.arange(60) != row
        centroids = np.stack([x[rest & (labels == c)].mean(axis=0) for c in range(3)])
        apart = np.linalg.norm(centroids - x[row], axis=1)
        own.append(1 + (apart < apart[label]).sum())
    centroids = np.stack([x[labels == c].mean(axis=0) for c in range(3)])
    for point, label in zip(fake, fake_labels, strict=True):
        apart = np.linalg.norm(centroids - point, axis=1)
        across.append(1 + (apart < apart[label]).sum())
    for c in range(3):
        assert table.loc[c, "real_rank"] == pytest.approx(np.array(own)[labels == c].mean())
        assert table.loc[c, "rank"] == pytest.approx(np.array(across)[fake_labels == c].mean())
        assert table.loc[c, "real_first"] == pytest.approx((np.array(own)[labels == c] == 1).mean())
        assert table.loc[c, "first"] == pytest.approx((np.array(across)[fake_labels == c] == 1).mean())


# Underrepresented classes


def test_classes_are_ranked_by_their_share_and_a_missing_one_comes_first() -> None:
    real, labels = _classes(0, 900)
    fake, fake_labels = _classes(1, 900)
    kept = (fake_labels == 0) | ((fake_labels == 1) & (np.arange(900) < 450))
    table = metrics.underrepresented(metrics.compare(real, fake[kept]), labels)
    assert table["class_id"].tolist() == [2, 1, 0]
    assert table["found"].tolist() == [0, 150, 300]
    np.testing.assert_allclose(table["expected"], 150)
    np.testing.assert_allclose(table["ratio"], (0, 1, 2))
    assert (table["q_value"] < 0.01).tolist() == [True, False, False]


def test_equal_laws_underrepresent_no_class() -> None:
    called = 0
    for seed in range(15):
        (real, labels), (fake, _) = _classes(seed, 400, 5, 1.5), _classes(seed + 99, 300, 5, 1.5)
        called += bool((metrics.underrepresented(metrics.compare(real, fake), labels)["q_value"] <= 0.05).any())
    assert called <= 2


# Each class by itself


def test_a_class_by_itself_scores_what_it_scores_alone() -> None:
    real, labels = _classes(0, 120)
    fake, fake_labels = _classes(1, 90)
    labels = np.where(labels == 2, 9, labels)
    rows = metrics.class_scores(real, fake, labels, fake_labels, k=3)
    assert len(rows) == 4
    table = rows.table().set_index("class_id")
    for c in (0, 1):
        alone = metrics.prdc(real[labels == c], fake[fake_labels == c], 3)
        for name in ("precision", "recall", "density", "coverage"):
            assert table.loc[c, name] == getattr(alone, name)
        assert table.loc[c, "expected_coverage"] == metrics.expected_coverage(40, 30, 3)
    assert table["real"].tolist() == [40, 40, 0, 40]
    assert table["fake"].tolist() == [30, 30, 30, 0]
    assert table["coverage"].isna().tolist() == [False, False, True, True]
    assert list(metrics.class_scores(real, fake, labels, fake_labels, k=3, workers=2))[:2] == list(rows)[:2]
    with pytest.raises(ValueError, match="k = 0, workers = 1: the neighbour that sets a radius"):
        metrics.class_scores(real, fake, labels, fake_labels, k=0)
    with pytest.raises(ValueError, match=r"real_labels has shape \(90,\) for 120 samples"):
        metrics.class_scores(real, fake, fake_labels, fake_labels)


# Probe


def test_the_probe_knows_held_out_classes_and_sees_wrong_ones() -> None:
    real, labels = _classes(0, 400, apart=4)
    fake, fake_labels = _classes(1, 300, apart=4)
    probe = metrics.fit_probe(real, labels, seed=0)
    assert len(probe.held_out) == 100
    assert probe.accuracy > 0.95
    good = metrics.probe_scores(probe, real, fake, labels, fake_labels)
    assert good.accuracy == probe.accuracy
    assert good.fidelity == pytest.approx(probe.accuracy, abs=0.04)
    assert good.inception_score == pytest.approx(good.real_inception_score, rel=0.05)
    swapped = metrics.probe_scores(probe, real, fake, labels, (fake_labels + 1) % 3)
    assert swapped.fidelity < 0.05
    one_class = metrics.probe_scores(probe, real, fake[fake_labels == 0], labels, fake_labels[fake_labels == 0])
    assert one_class.inception_score < 1.1
    assert set(one_class.fidelity_by_class) == {0}
    assert set(one_class.accuracy_by_class) == {0, 1, 2}


def test_the_probe_is_the_same_for_the_same_seed_and_takes_another_classifier() -> None:
    real, labels = _classes(0, 90)
    one, same, other = (metrics.fit_probe(real, labels, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.held_out, same.held_out)
    np.testing.assert_array_equal(one.probabilities(real), same.probabilities(real))
    assert not np.array_equal(one.held_out, other.held_out)
    nearest = metrics.fit_probe(real, labels, seed=0, classifier=KNeighborsClassifier(1))
    assert set(np.unique(nearest.probabilities(real))) == {0, 1}
    assert nearest.accuracy == 1


def test_inception_score_of_sure_and_of_clueless_predictions() -> None:
    sure = np.eye(5)[np.arange(100) % 5]
    assert metrics.inception_score(sure) == (pytest.approx(5), pytest.approx(0, abs=1e-9))
    assert metrics.inception_score(np.full((10, 4), 0.25)) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    rng = np.random.default_rng(0)
    runs = [metrics.inception_score(rng.dirichlet(np.full(4, 0.5), 200)) for _ in range(150)]
    values, errors = np.array(runs).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.3)


def test_a_probe_needs_two_classes_of_two() -> None:
    real, labels = _classes(0, 30)
    with pytest.raises(ValueError, match=r"held_out = 0\.25 of 1 classes"):
        metrics.fit_probe(real, np.zeros(30, int), seed=0)
    with pytest.raises(ValueError, match="the smallest of 1 samples.*leave small classes out"):
        metrics.fit_probe(real, np.where(np.arange(30) == 4, 9, labels), seed=0)
    with pytest.raises(ValueError, match=r"held_out = 1\.0 of 3 classes"):
        metrics.fit_probe(real, labels, seed=0, held_out=1.0)
    with pytest.raises(ValueError, match=r"labels has shape \(29,\) for 30 samples"):
        metrics.fit_probe(real, labels[:29], seed=0)
    probe = metrics.fit_probe(real, labels, seed=0)
    with pytest.raises(ValueError, match=r"fake_labels has shape \(3,\) for 30 samples"):
        metrics.probe_scores(probe, real, real, labels, labels[:3])


def test_fidelity_of_classes_sees_a_class_that_is_made_as_another_one():
    rng = np.random.default_rng(3)
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    real_labels, fake_labels = np.repeat([0, 1, 2], 30), np.repeat([0, 1, 2], 20)
    real = centres[real_labels] + rng.standard_normal((90, 2))
    fake = centres[np.where(fake_labels == 2, 1, fake_labels)] + rng.standard_normal((60, 2))
    table = metrics.fidelity_table(metrics.compare(real, fake), real, fake, real_labels, fake_labels).set_index(
        "class_id"
    )
    assert table["real_agreement"].tolist() == [1, 1, 1]
    assert table["agreement"].tolist() == [1, 1, 0]
    assert table["first"].tolist() == [1, 1, 0]
    assert table["represented"].tolist() == [1, 2, 0]
    assert table["represented_q"][2] < 0.01 < table["represented_q"][1]
