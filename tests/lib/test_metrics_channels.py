"""Activation statistics: streamed, merged, ranked."""

from __future__ import annotations

import numpy as np
import pytest

from modescope import metrics


def _layer(seed: int, n: int, offset: float = 0) -> np.ndarray:
    """Five channels of 3x3 positions with means 0, 10, .. and spreads 1, 2, ..; float32, as captured."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 5, 3, 3)) * np.arange(1, 6)[:, None, None] + 10 * np.arange(5)[:, None, None]
    return (values + offset).astype(np.float32)


def _statistics(values: np.ndarray, bins: metrics.Bins, parts: int = 4) -> metrics.ChannelStatistics:
    return metrics.channel_statistics(np.array_split(values, parts), bins)


def test_streamed_statistics_are_those_of_all_values() -> None:
    values = _layer(0, 103, offset=1000)
    bins = metrics.choose_bins(np.array_split(values, 7))
    flat = values.astype(float).transpose(1, 0, 2, 3).reshape(5, -1)
    np.testing.assert_allclose((bins.low + bins.high) / 2, flat.mean(axis=1))
    np.testing.assert_allclose((bins.high - bins.low) / 12, flat.std(axis=1), rtol=1e-6)
    for parts in (1, 5):
        got = _statistics(values, bins, parts)
        np.testing.assert_allclose(got.mean, flat.mean(axis=1))
        np.testing.assert_allclose(got.spread, flat.std(axis=1), rtol=1e-6)
        np.testing.assert_allclose(got.sample_spread, values.astype(float).mean(axis=(2, 3)).std(axis=0), rtol=1e-5)
        for c in range(5):
            edges = np.linspace(bins.low[c], bins.high[c], 63)
            np.testing.assert_array_equal(got.histogram[c, 1:-1], np.histogram(flat[c], edges)[0])
        assert got.histogram.sum(axis=1).tolist() == [103 * 9] * 5


def test_values_beyond_the_bins_are_counted_at_their_ends() -> None:
    bins = metrics.Bins(low=np.array([0.0]), high=np.array([2.0]), count=4)
    got = metrics.channel_statistics([np.array([[-5.0], [0], [0.9], [1], [1.99], [2], [7]])], bins)
    assert got.histogram.tolist() == [[1, 2, 2, 2]]
    assert got.positions == 1


def test_shifted_and_narrowed_channels_come_first() -> None:
    real, fake = _layer(0, 400), _layer(1, 400)
    fake[:, 3] += 8  # two standard deviations
    fake[:, 1] = 10 + (fake[:, 1] - 10) * 0.5
    bins = metrics.choose_bins([real])
    table = metrics.channel_shifts(_statistics(real, bins), _statistics(fake, bins)).set_index("channel")
    assert table.index[:2].tolist() == [3, 1]
    assert table.loc[3, "shift"] == pytest.approx(2, abs=0.1)
    assert table.loc[3, "distance"] == pytest.approx(2, abs=0.1)
    assert table.loc[1, "spread_ratio"] == pytest.approx(0.5, abs=0.03)
    assert table.loc[1, "distance"] == pytest.approx(0.5 * (2 / np.pi) ** 0.5, abs=0.05)  # E|z - z/2|
    same = table.loc[[0, 2, 4]]
    assert (same["shift"].abs() < 4 * same["shift_error"]).all()
    assert (same["distance"] < 0.1).all()


def test_the_error_of_a_shift_counts_images_not_positions() -> None:
    shifts, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        real, fake = (np.repeat(rng.standard_normal((50, 2, 1)), 16, axis=2) for _ in range(2))
        bins = metrics.choose_bins([real])
        table = metrics.channel_shifts(_statistics(real, bins), _statistics(fake, bins))
        shifts += table["shift"].tolist()
        errors += table["shift_error"].tolist()
    assert np.mean(errors) == pytest.approx(np.std(shifts), rel=0.25)


def test_a_constant_channel_is_missing_and_last() -> None:
    real = np.stack([np.full(20, 3.0), np.arange(20.0)], axis=1)
    bins = metrics.choose_bins([real])
    table = metrics.channel_shifts(_statistics(real, bins), _statistics(real + 1, bins))
    assert table["channel"].tolist() == [1, 0]
    assert table.loc[1].drop("channel").isna().all()
    assert _statistics(real, bins).histogram.sum(axis=1).tolist() == [20, 20]


def test_what_does_not_fit_is_refused() -> None:
    real = _layer(0, 20)
    bins, others = metrics.choose_bins([real]), metrics.choose_bins([real + 1])
    with pytest.raises(ValueError, match="real and fake have different bins"):
        metrics.channel_shifts(_statistics(real, bins), _statistics(real, others))
    with pytest.raises(ValueError, match="cannot be merged; use one `bins` for all"):
        _statistics(real, bins).merge(_statistics(real, others))
    with pytest.raises(ValueError, match="cannot be merged"):
        _statistics(real, bins).merge(_statistics(real[:, :, :2], bins))
    with pytest.raises(ValueError, match="the activations have 4 channels and the bins 5"):
        _statistics(real[:, :4], bins)
    with pytest.raises(ValueError, match="NaN or infinity in row 3 of a batch"):
        metrics.choose_bins([np.where(np.arange(20)[:, None] == 3, np.nan, 1.0)])
    for empty in (lambda: metrics.choose_bins([]), lambda: metrics.channel_statistics([], bins)):
        with pytest.raises(ValueError, match=r"there are no activations.*give at least one batch"):
            empty()
    with pytest.raises(ValueError, match="count = 2: two open bins"):
        metrics.choose_bins([real], count=2)
    with pytest.raises(ValueError, match=r"activations have shape \(5,\); give \(N, C, ...\)"):
        metrics.choose_bins([np.zeros(5)])
