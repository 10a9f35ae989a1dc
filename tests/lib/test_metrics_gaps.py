"""Gaps: none where there are none, all that were cut, and the law that the test rests on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from modescope import metrics
from modescope.metrics.discovery import benjamini_hochberg, benjamini_yekutieli

Law = Callable[[np.random.Generator, int], np.ndarray]


def _modes(rng: np.random.Generator, n: int, kept: list[int], width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian modes 100 apart, and which mode each sample is of."""
    labels = rng.choice(kept, n)
    points = rng.standard_normal((n, width))
    points[:, 0] += 100 * labels
    return points, labels


def _found(real: np.ndarray, fake: np.ndarray, labels: np.ndarray | None = None) -> tuple[metrics.Gap, ...]:
    return metrics.gaps(metrics.compare(real, fake), real_labels=labels)


# The law of a count


@pytest.mark.parametrize(("n", "m", "k"), [(10, 7, 3), (500, 40, 30), (60, 900, 5)])
def test_the_p_value_is_the_tail_of_the_beta_binomial_law(n: int, m: int, k: int) -> None:
    found = np.arange(m + 1)
    np.testing.assert_allclose(metrics.too_few_p(n, m, k, found), betabinom.cdf(found, m, k, n - k), rtol=1e-8)


def test_counts_around_a_real_sample_follow_that_law() -> None:
    counts = []
    for seed in range(100):
        both = np.random.default_rng(seed).standard_normal((70, 1 + seed % 9))
        counts.append(metrics.compare(both[:40], both[40:], scales=(6,)).found[0, 0])  # one centre a draw: independent
    p_values = metrics.too_few_p(40, 30, 6, np.array(counts))
    for level in (0.1, 0.3, 0.6):
        attained = max(p for p in metrics.too_few_p(40, 30, 6, np.arange(31)) if p <= level)
        assert (p_values <= level).mean() == pytest.approx(attained, abs=4 * (attained * (1 - attained) / 100) ** 0.5)


def test_counts_are_those_of_closed_balls_by_brute_force() -> None:
    real, fake = np.random.default_rng(0).integers(0, 6, (2, 50, 2)).astype(float)
    got = metrics.compare(real, fake, scales=(3, 9))
    own = np.sort(np.linalg.norm(real[:, None] - real, axis=2), axis=1)  # the first is the sample itself
    across = np.linalg.norm(real[:, None] - fake, axis=2)
    for row, k in enumerate((3, 9)):
        np.testing.assert_array_equal(got.found[row], (across <= own[:, k, None]).sum(axis=1))


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_call_what_the_step_up_rule_calls(values: list[float]) -> None:
    p = np.array(values)
    ordered, n = np.sort(p), len(p)
    harmonic = sum(1 / i for i in range(1, n + 1))
    for adjust, constant in ((benjamini_hochberg, 1.0), (benjamini_yekutieli, harmonic)):
        q = adjust(p)
        assert (q >= p * (1 - 1e-12)).all()
        for rate in (0.0503, 0.497):
            passed = np.flatnonzero(ordered * constant * n / np.arange(1, n + 1) <= rate)
            assert (q <= rate).sum() == (passed[-1] + 1 if len(passed) else 0)


def test_the_smallest_scale_is_where_an_empty_ball_passes() -> None:
    for n, m in ((1000, 1000), (5000, 1000), (1300, 50)):
        k = metrics.gap_scales(n, m)[0]
        threshold = 0.05 / (n * 3 * (1 / np.arange(1, n + 1)).sum())
        assert metrics.too_few_p(n, m, k, np.array(0)) <= threshold * 1.2
        assert metrics.too_few_p(n, m, k - 1, np.array(0)) > threshold * 0.3
    assert metrics.gap_scales(8, 8) == (2,)


# Equal laws


LAWS: dict[str, Law] = {
    "a plane": lambda rng, n: rng.standard_normal((n, 2)),
    "32 dimensions": lambda rng, n: rng.standard_normal((n, 32)),
    "heavy tails": lambda rng, n: rng.standard_t(2, (n, 4)),
    "modes": lambda rng, n: rng.standard_normal((n, 3)) + 10 * rng.integers(0, 5, (n, 1)),
    "ties": lambda rng, n: np.round(3 * rng.standard_normal((n, 2))),
}


@pytest.mark.parametrize("law", LAWS)
def test_real_against_real_has_no_gap(law: str) -> None:
    with_gaps = 0
    for seed in range(20):
        both = LAWS[law](np.random.default_rng(seed), 600)
        with_gaps += bool(_found(both[:300], both[300:]))
    assert with_gaps <= 1  # 0.05 of 20


def test_a_perfect_generator_with_few_samples_has_no_gap_although_most_real_samples_are_uncovered() -> None:
    rng = np.random.default_rng(0)
    real, labels = _modes(rng, 2600, [0, 1])
    fake, _ = _modes(rng, 100, [0, 1])
    compared = metrics.compare(real, fake)
    assert compared.members[5].prdc().coverage < 0.2
    assert metrics.gaps(compared, real_labels=labels) == ()


# Gaps that were cut


@pytest.mark.parametrize("width", [2, 8, 64])
def test_dropped_modes_are_found_whole_each_by_itself(width: int) -> None:
    rng = np.random.default_rng(0)
    real, labels = _modes(rng, 1000, list(range(10)), width)
    fake, _ = _modes(rng, 1000, [0, 2, 3, 5, 6, 8, 9], width)
    found = _found(real, fake, labels)
    assert {tuple(gap.classes) for gap in found} == {(1,), (4,), (7,)}
    for gap in found:
        label = next(iter(gap.classes))
        np.testing.assert_array_equal(gap.rows, np.flatnonzero(labels == label))
        assert gap.classes == {label: gap.real}
        assert (gap.found, gap.expected) == (0, gap.real)
        assert gap.missing == pytest.approx(gap.real / 1000)
        assert labels[gap.centre] == label
        assert gap.p_value <= gap.q_value < 1e-6
        assert gap.centre_found < gap.centre_expected
    assert [gap.missing for gap in found] == sorted((gap.missing for gap in found), reverse=True)


@pytest.mark.parametrize("width", [2, 8])
def test_half_of_a_mode_is_found(width: int) -> None:
    rng = np.random.default_rng(1)
    real, labels = _modes(rng, 2000, [0, 1], width)
    fake, fake_labels = _modes(rng, 2000, [0, 1], width)
    fake = fake[(fake_labels == 0) | (fake[:, 1] < 0)]
    (gap,) = _found(real, fake, labels)
    assert set(gap.classes) == {1}
    assert (real[gap.rows, 1] > -0.3).mean() > 0.9
    assert 0.12 < gap.missing < 0.3
    assert gap.found < gap.expected / 3


def test_a_class_that_is_missing_among_few_generated_samples_is_found() -> None:
    rng = np.random.default_rng(0)
    real, labels = _modes(rng, 1500, [0, 1, 2])
    fake, _ = _modes(rng, 150, [0, 2])
    (gap,) = _found(real, fake, labels)
    assert set(gap.classes) == {1}
    assert gap.real > 0.9 * (labels == 1).sum()


def test_touching_gaps_are_one_region_and_its_classes_are_counted() -> None:
    rng = np.random.default_rng(0)
    real = rng.uniform(0, 1, (1500, 2))
    labels = np.where(real[:, 0] < 0.5, "left", "right")
    fake = rng.uniform(0, 1, (2500, 2))
    fake = fake[np.linalg.norm(fake - (0.45, 0.5), axis=1) > 0.25]
    (gap,) = _found(real, fake, labels)
    assert list(gap.classes) == ["left", "right"]
    assert sum(gap.classes.values()) == gap.real
    assert (np.linalg.norm(real[gap.rows] - (0.45, 0.5), axis=1) < 0.27).all()


def test_collapse_to_one_image_leaves_everything_else_missing() -> None:
    rng = np.random.default_rng(0)
    real, _ = _modes(rng, 500, [0, 1])
    found = _found(real, np.tile(real[:1], (500, 1)) + 1e-3 * rng.standard_normal((500, 8)))
    assert sum(gap.missing for gap in found) > 0.9


def test_bad_settings_are_refused() -> None:
    x = np.random.default_rng(0).standard_normal((40, 2))
    compared = metrics.compare(x, x)
    with pytest.raises(ValueError, match=r"rate = 5\.0; a false discovery rate lies between 0 and 1"):
        metrics.gaps(compared, rate=5.0)
    with pytest.raises(ValueError, match=r"real_labels has shape \(39,\) for 40 samples"):
        metrics.gaps(compared, real_labels=np.zeros(39, int))
    with pytest.raises(ValueError, match=r"scales = \[40\] with 40 real samples: give at least one, each from 1 to 39"):
        metrics.compare(x, x, scales=(40,))
    with pytest.raises(ValueError, match="need 1 <= k < n"):
        metrics.too_few_p(5, 5, 5, np.array([0]))
