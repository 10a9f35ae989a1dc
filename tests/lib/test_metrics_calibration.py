"""Held-out real samples in the generated ones' place, differences between generators, and what a comparison will cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from modescope import metrics, seeds
from modescope.metrics.calibration import _drawn
from modescope.neighbours import Journal


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _normal(seed: int, count: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width), np.float32)


# Held-out samples


@pytest.mark.parametrize("m", [60, 30, 20])
@pytest.mark.parametrize("kind", ["narrow", "wide", "wide, off the origin", "wide, many ties", "wide, copies"])
def test_a_split_scores_what_each_score_says_of_its_samples(kind: str, m: int) -> None:
    width = 3 if kind == "narrow" else 70  # wide ones are read off one table of products
    x, y = _normal(0, 60, width), _normal(1, m, width) * np.float32(1.2)
    if "off" in kind:
        x, y = x + 3, y + 3
    if "ties" in kind:
        x, y = (np.sign(side) * (np.arange(width) < 6) for side in (x, y))
    if "copies" in kind:
        y[::2] = x[: len(y)][::2]
    held = metrics.held_out(x, y, seed=7, k=3, splits=2)
    h = min(m, 30)
    assert (held.count, held.reference, held.samples) == (h, 60 - h, (60, m))
    for turn in range(2):
        aside = _drawn(np.zeros(60), h, seeds.stream(7, "held out", turn))
        chosen = _drawn(np.zeros(m), h, seeds.stream(7, "held out, generated", turn))
        assert len(set(aside)) == len(set(chosen)) == h
        reference = np.delete(x, aside, axis=0)
        for side, row in ((x[aside], held.real[turn]), (y[chosen], held.generated[turn])):
            compared = metrics.compare(reference, side, (3,), scales=(3,))
            members = compared.members[3]
            expected = asdict(members.prdc()) | {
                "clipped_density": members.clipped().density,
                "clipped_coverage": members.clipped().coverage,
                "mode_coverage": metrics.mode_coverage(compared).value,
                "frechet": metrics.frechet_distance(reference, side),
                "kernel": metrics.kernel_distance(reference, side),
            }
            assert held.names == tuple(expected)
            np.testing.assert_allclose(row, list(expected.values()), rtol=1e-9, atol=1e-9)


def test_the_table_takes_means_over_splits_and_their_difference() -> None:
    held = metrics.held_out(_normal(0, 80, 2), _normal(1, 80, 2), seed=0, k=2, splits=3)
    table = held.table()
    assert list(table.columns) == [
        "score",
        "value_at_equal_numbers",
        "value_se",
        "held_out",
        "held_out_se",
        "difference",
        "difference_se",
    ]
    np.testing.assert_allclose(table["value_at_equal_numbers"], held.generated.mean(axis=0))
    np.testing.assert_allclose(table["held_out"], held.real.mean(axis=0))
    np.testing.assert_allclose(table["difference"], (held.generated - held.real).mean(axis=0), atol=1e-15)
    # Halves: the variance over splits is that of the whole once more (h / (N - h) = 1), and a third for three splits.
    np.testing.assert_allclose(table["held_out_se"], held.real.std(axis=0, ddof=1) * (1 + 1 / 3) ** 0.5)
    np.testing.assert_allclose(
        table["difference_se"], (held.generated - held.real).std(axis=0, ddof=1) * (1 + 1 / 3) ** 0.5
    )


def test_where_all_generated_samples_are_scored_the_error_of_as_many_real_ones_stands_in() -> None:
    held = metrics.held_out(_normal(0, 90, 2), _normal(1, 30, 2), seed=0, k=2, splits=3)
    table, spread = held.table(), held.real.std(axis=0, ddof=1)
    np.testing.assert_allclose(table["value_se"], spread * 1.5**0.5)
    np.testing.assert_allclose(table["held_out_se"], spread * (1 / 3 + 1 / 2) ** 0.5)
    np.testing.assert_allclose(table["difference_se"], np.hypot(table["value_se"], table["held_out_se"]))


def test_equal_laws_differ_by_no_more_than_the_errors_say() -> None:
    tables = [
        metrics.held_out(_normal(2 * s, 100, 3), _normal(2 * s + 1, 100, 3), seed=s, k=3, splits=4).table()
        for s in range(12)
    ]
    differences, errors = (np.array([t[name] for t in tables]) for name in ("difference", "difference_se"))
    ratio = np.sqrt(np.square(errors).mean(axis=0)) / np.sqrt(np.square(differences).mean(axis=0))
    assert ratio.min() > 0.8
    assert ratio.max() < 1.4 * 5**0.5
    assert np.all(np.abs(differences.mean(axis=0)) < 4 * differences.std(axis=0) / 12**0.5)


def test_a_collapsed_generator_stands_out_at_equal_numbers() -> None:
    x, y = _normal(0, 400, 4), _normal(1, 400, 4)
    table = metrics.held_out(x, np.abs(y), seed=0).table().set_index("score")
    apart = table["difference"] / table["difference_se"]
    assert (apart[["recall", "coverage", "clipped_coverage", "mode_coverage"]] < -4).all()
    assert (apart[["frechet", "kernel"]] > 4).all()


def test_the_same_seed_draws_the_same_splits_and_progress_is_told() -> None:
    x, y, told = _normal(0, 50, 2), _normal(1, 40, 2), []
    one, two, other = (
        metrics.held_out(x, y, seed=seed, k=2, splits=2, chunk=chunk, journal=Journal(report=told.append))
        for seed, chunk in ((0, None), (0, 16), (1, None))
    )
    np.testing.assert_allclose(one.real, two.real, rtol=1e-12)
    assert not np.array_equal(one.real, other.real)
    assert told == [1] * 6


def _tell_then_stop(told: list[int], splits: int):
    def report(count: int) -> None:
        told.append(count)
        if sum(told) == splits:
            raise KeyboardInterrupt

    return report


def test_finished_splits_are_kept_and_not_scored_again(tmp_path: Path) -> None:
    x, y, told, again = _normal(0, 50, 2), _normal(1, 40, 2), [], []
    settings = {"seed": 0, "k": 2, "splits": 3}
    with pytest.raises(KeyboardInterrupt):
        metrics.held_out(x, y, **settings, journal=Journal(folder=tmp_path, report=_tell_then_stop(told, 2), seconds=0))
    journal = Journal(folder=tmp_path, report=again.append)
    resumed, whole = metrics.held_out(x, y, **settings, journal=journal), metrics.held_out(x, y, **settings)
    assert (told, again) == ([1, 1], [1, 1, 1])  # stopped before the second was kept
    np.testing.assert_array_equal(resumed.real, whole.real)
    np.testing.assert_array_equal(resumed.generated, whole.generated)
    with pytest.raises(ValueError, match="held-out.safetensors holds what was found for other samples or settings"):
        metrics.held_out(x, y, seed=1, k=2, splits=3, journal=journal)


@pytest.mark.parametrize("count", [10, 33, 50])
def test_every_class_gives_its_share(count: int) -> None:
    labels = np.repeat([3, 5, 9], [50, 30, 20])[np.random.default_rng(0).permutation(100)]
    rows = _drawn(labels, count, np.random.default_rng(1))
    assert len(np.unique(rows)) == count
    got = np.array([(labels[rows] == label).sum() for label in (3, 5, 9)])
    assert np.all(np.abs(got - count * np.array([0.5, 0.3, 0.2])) <= 1)


def test_too_few_held_out_samples_or_splits_are_refused() -> None:
    x = _normal(0, 20, 2)
    with pytest.raises(ValueError, match=r"splits = 4, k = 10 with 10 held-out samples \(20 real, 20 generated\)"):
        metrics.held_out(x, x, seed=0, k=10)
    with pytest.raises(ValueError, match="splits = 1, k = 5 with 10 held-out samples"):
        metrics.held_out(x, x, seed=0, splits=1)
    with pytest.raises(ValueError, match="labels of the generated samples has shape"):
        metrics.held_out(x, x, seed=0, labels=(np.zeros(20), np.zeros(3)))


# Differences between two generators


def _columns(real: np.ndarray, fake: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    compared = metrics.compare(real, fake, (5,), scales=(5,))
    return metrics.real_columns(compared), metrics.fake_columns(compared)


def test_two_generators_of_one_law_are_within_the_noise_in_about_95_of_100_draws() -> None:
    within = []
    for seed in range(40):
        real, *fakes = np.random.default_rng(seed).standard_normal((3, 120, 6))
        found = metrics.difference(*(_columns(real, fake) for fake in fakes))
        within.append([one.within for one in found.values()])
    assert np.all(np.mean(within, axis=0) >= 0.85)
    assert np.mean(within) <= 0.995  # wide enough for everything is no interval


def test_what_differs_is_told_with_its_sign() -> None:
    real = _normal(0, 300, 6)
    narrow, plain = _columns(real, 0.4 * _normal(1, 300, 6)), _columns(real, _normal(2, 300, 6))
    found = metrics.difference(narrow, plain)
    assert found["precision"].low > 0
    assert found["density"].low > 0
    assert found["recall"].high < 0
    assert found["coverage"].high < 0
    swapped = metrics.difference(plain, narrow)
    for name, one in found.items():
        assert swapped[name].value == pytest.approx(-one.value)
        assert swapped[name].low == pytest.approx(-one.high)
        assert not one.within


def test_the_error_of_a_paired_difference_by_hand() -> None:
    real_a = {"covered": np.array([True, True, False, False]), "nearest_fake_row": np.array([0, 0, 1, 1])}
    real_b = {"covered": np.array([True, False, False, False]), "nearest_fake_row": np.array([2, 1, 1, 0])}
    sides = [
        (r | {"recalled": r["covered"]}, {"precise": np.array([True, False]), "real_balls": np.array([4, 0])})
        for r in (real_a, real_b)
    ]
    found = metrics.difference(*sides, k=2)
    # Apart: 0 1 0 0, mean 1/4; errors (-1 3 -1 -1) / 16; sums by A's rows 2 -2, by B's 2 (rows 1, 2) -1 -1.
    variance = (2**2 + 2**2 + 2**2 + 1 + 1) / 256
    assert found["coverage"].value == 0.25
    assert found["coverage"].standard_error == pytest.approx(variance**0.5)
    assert found["precision"].value == 0
    assert found["precision"].standard_error == pytest.approx((0.25 / 2 + 0.25 / 2) ** 0.5)
    assert found["density"].standard_error == pytest.approx((1 / 2 + 1 / 2) ** 0.5)


def test_generators_against_other_real_samples_cannot_be_compared() -> None:
    fake = _normal(0, 30, 2)
    one, two = _columns(_normal(1, 30, 2), fake), _columns(_normal(2, 40, 2), fake)
    with pytest.raises(ValueError, match="first generator was compared with 30 real samples and the second with 40"):
        metrics.difference(one, two)
    with pytest.raises(ValueError, match="level = 1.5; a confidence level lies between 0 and 1"):
        metrics.difference(one, one, level=1.5)


# Cost


def test_the_cost_of_a_comparison_counts_its_products_and_its_memory() -> None:
    assert metrics.pairs(4, 3) == 12 + 6 + 10
    assert metrics.pairs(4, 3, real_known=True) == 12 + 6
    found = metrics.estimate(1000, 500, 16)
    assert found.pairs == 1000 * 500 + 500 * 501 // 2 + 1000 * 1001 // 2
    assert found.flop == 32 * found.pairs
    assert found.bytes > 1500 * 16 * 4 + 1000 * 16 * 4
    twice = metrics.Estimate(pairs=10**9, flop=10**15, bytes=2 * 10**9, seconds=3725)
    assert str(twice) == "1e+09 pairs, 1e+03 TFLOP, 2.00 GB, about 1 h 02 min"
    with pytest.raises(ValueError, match="n = 5, m = 50, d = 8, k = 5: need d >= 1, k >= 1 and more than k samples"):
        metrics.estimate(5, 50, 8)
