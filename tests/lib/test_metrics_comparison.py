"""The comparison of two sets, and what is read from it: single samples, coverage, copies, kept neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from modescope import files, metrics
from modescope.neighbours import Journal, as_points, nearest


def _normal(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None].astype(float) - b, axis=2)


# Comparison


def test_memberships_are_those_of_a_sweep_for_any_chunk() -> None:
    x, y = _normal(0, 120, 6), _normal(1, 100, 6)
    alone = metrics.sweep(x, y, (5, 2))
    for chunk in (None, 30):
        together = metrics.compare(x, y, (5, 2), scales=(7,), chunk=chunk).members
        assert list(together) == [5, 2]
        for k, members in together.items():
            for name in metrics.Memberships.__slots__:
                np.testing.assert_array_equal(getattr(members, name), getattr(alone[k], name))


def test_neighbours_and_realism_equal_brute_force() -> None:
    x, y = _normal(0, 60, 4), _normal(1, 50, 4)
    got = metrics.compare(x, y, (3,))
    across, own = _distances(x, y), _distances(x, x)
    np.testing.assert_allclose(got.real_to_fake.distances, np.sort(across, axis=1)[:, :3])
    np.testing.assert_array_equal(got.fake_to_real.rows, np.argsort(across.T, axis=1)[:, :3])
    np.testing.assert_array_equal(got.among_real.rows[:, :4], np.argsort(own, axis=1)[:, 1:5])
    radii = np.sort(own, axis=1)[:, 3]
    kept = np.sort(radii)[:30]  # the half with the smaller radii
    np.testing.assert_allclose(got.realism, np.max(np.where(radii <= kept[-1], radii, 0)[:, None] / across, axis=0))
    assert (got.real, got.fake) == (60, 50)


def test_realism_above_one_means_inside_the_pruned_manifold() -> None:
    x = _normal(0, 200, 2)
    got = metrics.compare(x, np.concatenate([x[:50], x[:50] + 100]), (3,))
    assert np.isinf(got.realism[:50]).mean() > 0.3  # at the centre of a ball that was kept
    assert (got.realism[50:] < 1).all()
    assert got.members[3].precise[got.realism > 1].all()


def test_bad_features_and_k_are_refused() -> None:
    x = _normal(0, 12, 2)
    with pytest.raises(ValueError, match=r"fake has NaN, infinity or a value beyond 1e150 in row 3"):
        metrics.compare(x, np.where(np.arange(12)[:, None] == 3, np.nan, x))
    with pytest.raises(ValueError, match=r"k = \[12\] with 12 real samples"):
        metrics.compare(x, x, (12,))
    with pytest.raises(ValueError, match="real has 2 dimensions and fake has 3"):
        metrics.compare(x, _normal(0, 12, 3))


# Single samples


def test_columns_of_single_samples_by_hand() -> None:
    real, fake = np.array([[0.0], [1.0], [3.0], [10.0]]), np.array([[0.5], [2.0], [20.0]])
    got = metrics.compare(real, fake, (1,), scales=(1,))
    columns = metrics.real_columns(got)
    assert columns["covered"].tolist() == [True, True, True, False]
    assert columns["radius"].tolist() == [1, 1, 2, 7]
    assert columns["nearest_fake"].tolist() == [0.5, 0.5, 1, 8]
    assert columns["nearest_fake_row"].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(columns["density_ratio"], np.array([1, 2, 1, 0]) / (3 / 4))  # closed: 2 is 1 from 1
    assert columns["gap"].tolist() == [-1] * 4
    fakes = metrics.fake_columns(got)
    assert fakes["precise"].tolist() == [True, True, False]
    assert fakes["real_balls"].tolist() == [2, 1, 0]
    assert fakes["nearest_real"].tolist() == [0.5, 1, 10]
    assert fakes["radius"].tolist() == [1.5, 1.5, 18]
    np.testing.assert_allclose(fakes["realism"], [2, 1, 1 / 19])
    with pytest.raises(ValueError, match=r"k = 7 was not compared; take one of \[1\]"):
        metrics.real_columns(got, k=7)


def test_density_ratio_is_one_on_average_and_gaps_carry_their_number() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    real = rng.standard_normal((600, 3)) + 50 * labels[:, None]
    equal = metrics.compare(real, rng.standard_normal((600, 3)) + 50 * rng.integers(0, 4, (600, 1)))
    assert metrics.real_columns(equal)["density_ratio"].mean() == pytest.approx(1, abs=0.1)
    cut = metrics.compare(real, rng.standard_normal((600, 3)) + 50 * rng.integers(0, 2, (600, 1)))
    found = metrics.gaps(cut)
    column = metrics.real_columns(cut, found)["gap"]
    assert len(found) == 2
    np.testing.assert_array_equal(np.flatnonzero(column == 1), found[1].rows)
    np.testing.assert_array_equal(column >= 0, labels >= 2)


# Coverage at one threshold, shift


def test_mode_coverage_by_hand() -> None:
    real, fake = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([[2.0], [8.5], [-50.0]])
    got = metrics.mode_coverage(metrics.compare(real, fake, (1,), scales=(3,)), level=0.6)
    assert got.threshold == 2  # nearest others at 1, 1, 2, 4
    assert got.covered.tolist() == [True, True, True, True]
    assert got.value == 1
    # Three of three others are drawn: all but the sample at 7 have one within 2.
    assert got.expected == 3 / 4


@pytest.mark.parametrize(("n", "m"), [(300, 300), (300, 60), (150, 400)])
def test_mode_coverage_of_equal_laws_is_the_expected_one_and_falls_with_dropped_modes(n: int, m: int) -> None:
    runs = []
    for seed in range(12):
        x, y = _normal(seed, n, 3), _normal(seed + 99, m, 3)
        runs.append(metrics.mode_coverage(metrics.compare(x, y, (3,), scales=(min(n - 1, 149),)), k=2))
    gaps = np.array([run.value - run.expected for run in runs])
    assert abs(gaps.mean()) < 4 * gaps.std(ddof=1) / 12**0.5 + 0.01
    half = metrics.mode_coverage(metrics.compare(x, np.abs(y) * (1, 1, 1), (3,)))
    assert half.value < 0.6 * half.expected


def test_mode_coverage_refuses_what_it_cannot_take() -> None:
    x = _normal(0, 30, 2)
    with pytest.raises(ValueError, match=r"level = 1\.0, k = 1: level lies between 0 and 1"):
        metrics.mode_coverage(metrics.compare(x, x), level=1.0)
    with pytest.raises(ValueError, match="k = 9: .*the 7 neighbours at hand"):
        metrics.mode_coverage(metrics.compare(x, x, scales=(7,)), k=9)


def test_shift_is_in_units_of_the_real_spread_and_has_its_null() -> None:
    runs = [metrics.distribution_shift(_normal(s, 50, 5), _normal(s + 500, 80, 5)) for s in range(60)]
    assert np.mean([run.value**2 for run in runs]) == pytest.approx(runs[0].null ** 2, rel=0.3)
    x = np.array([[0.0, 0.0], [2.0, 0.0]])
    assert metrics.distribution_shift(x, x + 3).value == pytest.approx(18**0.5 / 2**0.5)
    assert np.isnan(metrics.distribution_shift(np.zeros((3, 2)), x).value)
    with pytest.raises(ValueError, match="real has 1 sample; a spread needs at least 2"):
        metrics.distribution_shift(x[:1], x)


# Copies


def test_copies_are_called_and_new_samples_are_not() -> None:
    rng = np.random.default_rng(0)
    real = rng.standard_normal((2000, 6))
    fake = rng.standard_normal((500, 6))
    fake[:40] = real[100:140] + 1e-3 * rng.standard_normal((40, 6))
    for got in (
        metrics.copies(metrics.compare(real, fake)),
        metrics.copies_against(metrics.compare(real, fake), real, rng.standard_normal((3000, 6))),
    ):
        called = np.flatnonzero(got.q_values <= 0.05)
        assert set(range(40)) <= set(called.tolist())
        assert len(called) <= 45
        assert got.rows[:40].tolist() == list(range(100, 140))
        assert set(got.ranked(40).tolist()) == set(range(40))
        assert got.share == pytest.approx(40 / 500 + 0.01, abs=0.02)


def test_real_samples_held_out_one_at_a_time_are_like_new_ones() -> None:
    calls, shares = 0, []
    for seed in range(15):
        both = np.random.default_rng(seed).standard_normal((500, 3))
        got = metrics.copies(metrics.compare(both[:300], both[300:]), level=0.2)
        calls += bool((got.q_values <= 0.05).any())
        shares.append(got.share)
    assert calls <= 3
    assert np.mean(shares) == pytest.approx(0.2, abs=4 * np.std(shares) / 15**0.5)


def test_a_held_out_ratio_leaves_the_sample_itself_out_of_the_radius() -> None:
    real = _normal(0, 40, 2)
    got = metrics.copies(metrics.compare(real, real, (2,)), k=2)
    for row in (0, 7, 39):
        others = np.delete(real, row, axis=0)
        apart = _distances(real[row : row + 1], others)[0]
        own = np.sort(_distances(others[[apart.argmin()]], others)[0])
        assert got.held_out_ratios[row] == pytest.approx(apart.min() / own[2])
    assert got.ratios.tolist() == [0] * 40


def test_copies_among_the_real_samples_make_no_nan() -> None:
    real = np.repeat(_normal(0, 10, 2), 4, axis=0)
    fake = np.concatenate([real[:2], _normal(1, 5, 2)])
    got = metrics.copies(metrics.compare(real, fake, (2,)), k=2)
    assert got.ratios[:2].tolist() == [0, 0]
    assert np.isinf(got.ratios[2:]).all()


def test_copies_refuse_what_they_cannot_take() -> None:
    x = _normal(0, 30, 2)
    compared = metrics.compare(x, x, scales=(5,))
    with pytest.raises(ValueError, match="level = 0.01, k = 5: .* from 1 to 4 with the neighbours at hand"):
        metrics.copies(compared)
    with pytest.raises(ValueError, match="real has 29 samples and the comparison 30"):
        metrics.copies_against(compared, x[:29], x)


# Kept neighbours


def test_kept_neighbours_are_computed_once_for_each_key(tmp_path: Path) -> None:
    x, path = _normal(0, 50, 3), tmp_path / "real.safetensors"
    first = metrics.kept_neighbours(path, x, 6, key="a")
    stamp = path.stat().st_mtime_ns
    again = metrics.kept_neighbours(path, x, 4, key="a")
    assert path.stat().st_mtime_ns == stamp
    plain = nearest(as_points(x, "x"), 6)
    for near in (first, again):
        assert torch.equal(near.squared, plain.squared)
        assert torch.equal(near.indices, plain.indices)
    y = _normal(1, 40, 3)
    with_kept = metrics.compare(x, y, (3,), scales=(6,), real_nearest=again)
    np.testing.assert_array_equal(with_kept.found, metrics.compare(x, y, (3,), scales=(6,)).found)
    assert metrics.kept_neighbours(path, x, 9, key="a").squared.shape == (50, 9)
    other = metrics.kept_neighbours(path, x + x**2, 3, key="b")
    assert not torch.equal(other.squared, plain.squared[:, :3])
    assert torch.equal(metrics.read_neighbours(path, "b").squared, other.squared)


def test_neighbours_of_other_features_or_too_few_are_refused(tmp_path: Path) -> None:
    x, path = _normal(0, 50, 3), tmp_path / "real.safetensors"
    metrics.write_neighbours(path, nearest(as_points(x, "x"), 4), "a")
    with pytest.raises(ValueError, match="holds neighbours of 'a', not of 'b'"):
        metrics.read_neighbours(path, "b")
    with pytest.raises(ValueError, match="real_nearest holds 4 neighbours of 50 samples; here 20 neighbours"):
        metrics.compare(x, x, scales=(20,), real_nearest=metrics.read_neighbours(path, "a"))
    path.write_bytes(b"not tensors")
    with pytest.raises(files.DamagedFileError, match="cannot be read"):
        metrics.read_neighbours(path, "a")


# Progress and resuming


class _KilledError(Exception):
    pass


def test_a_comparison_that_was_killed_goes_on_and_comes_out_the_same(tmp_path: Path) -> None:
    x, y, told = _normal(0, 90, 4), _normal(1, 70, 4), []
    expected = metrics.compare(x, y, (2, 5), chunk=16, journal=Journal(report=told.append))
    assert sum(told) == metrics.pairs(90, 70)
    left: Iterator[int] = iter(())

    def report(pairs: int) -> None:
        if next(left, None) is None:
            raise _KilledError

    for blocks in (0, 14, 20, 20, 14, 20):
        left = iter(range(blocks))
        with pytest.raises(_KilledError):
            metrics.compare(x, y, (2, 5), chunk=16, journal=Journal(folder=tmp_path, report=report, seconds=0))
    assert len(list(tmp_path.iterdir())) == 3  # killed in the last of three passes
    got = metrics.compare(x, y, (2, 5), chunk=16, journal=Journal(folder=tmp_path))
    for one, other in ((got.members[k], expected.members[k]) for k in (2, 5)):
        for name in type(one).__slots__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("among_real", "real_to_fake", "fake_to_real"):
        np.testing.assert_array_equal(getattr(got, name).distances, getattr(expected, name).distances)
        np.testing.assert_array_equal(getattr(got, name).rows, getattr(expected, name).rows)
    np.testing.assert_array_equal(got.realism, expected.realism)
    np.testing.assert_array_equal(got.found, expected.found)
    with pytest.raises(ValueError, match="fake.safetensors holds what was found for other samples or settings"):
        metrics.compare(x, y[::-1].copy(), (2, 5), journal=Journal(folder=tmp_path))


def test_the_search_among_real_samples_is_resumed_and_known_neighbours_are_not_counted(tmp_path: Path) -> None:
    x, y, told = _normal(0, 60, 3), _normal(1, 50, 3), []
    folder = tmp_path / "passes"
    near = metrics.kept_neighbours(tmp_path / "n.safetensors", x, 20, key="a", journal=Journal(folder=folder))
    again = metrics.kept_neighbours(
        tmp_path / "other.safetensors", x, 20, key="a", journal=Journal(folder=folder, report=told.append)
    )
    assert told == [60 * 61 // 2]  # all of it was at hand
    np.testing.assert_array_equal(near.indices.numpy(), again.indices.numpy())
    told.clear()
    metrics.compare(x, y, scales=(20,), real_nearest=near, journal=Journal(report=told.append))
    assert sum(told) == metrics.pairs(60, 50, real_known=True)
