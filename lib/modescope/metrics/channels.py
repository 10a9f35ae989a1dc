"""Activation statistics: real against generated, channel by channel of a layer, streamed over batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

_REACH = 6.0  # standard deviations on either side of the real mean that the bins divide


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """Of C channels: over all positions of all samples, and over the samples' own means.

    `histogram` counts values below, in B - 2 equal bins within, and above `low` .. `high` (those of the real side, so
    that both sides share the bins). Batches and shards merge in any order; sums are in float64.
    """

    samples: int
    positions: int  # values per sample and channel
    low: Float64[np.ndarray, " C"]
    high: Float64[np.ndarray, " C"]
    total: Float64[np.ndarray, " C"]  # of the deviations from the middle of low and high
    squares: Float64[np.ndarray, " C"]
    sample_squares: Float64[np.ndarray, " C"]  # of the samples' own means
    histogram: Int64[np.ndarray, "C B"]

    @property
    def mean(self) -> Float64[np.ndarray, " C"]:
        return (self.low + self.high) / 2 + self._offset

    @property
    def _offset(self) -> Float64[np.ndarray, " C"]:
        return self.total / (self.samples * self.positions)

    @property
    def spread(self) -> Float64[np.ndarray, " C"]:
        """Standard deviation over all values."""
        return np.sqrt(np.maximum(self.squares / (self.samples * self.positions) - self._offset**2, 0))

    @property
    def sample_spread(self) -> Float64[np.ndarray, " C"]:
        """Standard deviation of the samples' means: what the mean over samples is uncertain by, times sqrt(samples)."""
        return np.sqrt(np.maximum(self.sample_squares / self.samples - self._offset**2, 0))

    def merge(self, other: ChannelStatistics) -> ChannelStatistics:
        if not (
            self.positions == other.positions
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
            and self.histogram.shape == other.histogram.shape
        ):
            raise ValueError(
                "statistics with other bins or another image size cannot be merged; use one `bins` for all"
            )
        return ChannelStatistics(
            samples=self.samples + other.samples,
            positions=self.positions,
            low=self.low,
            high=self.high,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            sample_squares=self.sample_squares + other.sample_squares,
            histogram=self.histogram + other.histogram,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """What the bins of each channel span, and how many there are, the two open ones at the ends included."""

    low: Float64[np.ndarray, " C"]
    high: Float64[np.ndarray, " C"]
    count: int


def choose_bins(batches: Iterable[np.ndarray], *, count: int = 64) -> Bins:
    """One pass over (real) activations (N, C, ...): bins within 6 standard deviations of each channel's mean.

    A constant channel gets bins of width 2 / (count - 2) around its value.
    """
    if count < 3:
        raise ValueError(f"count = {count}: two open bins and at least one between them are needed; the default is 64")
    number, total, squares, first = 0, 0.0, 0.0, None
    for batch in batches:
        values = _values(batch)
        first = values[0].mean(axis=1) if first is None else first  # a point near the data, so that squares stay small
        values -= first[:, None]
        number += values.shape[0] * values.shape[2]
        total += values.sum(axis=(0, 2))
        squares += np.square(values).sum(axis=(0, 2))
    if first is None:
        raise ValueError("there are no activations to choose bins from; give at least one batch")
    mean = total / number
    reach = _REACH * np.sqrt(np.maximum(squares / number - mean**2, 0))
    reach = np.where(reach > 1e-12 * np.abs(first + mean), reach, 1.0)
    return Bins(low=first + mean - reach, high=first + mean + reach, count=count)


def channel_statistics(batches: Iterable[np.ndarray], bins: Bins) -> ChannelStatistics:
    """One pass over the activations (N, C, ...) of a layer, a batch in memory at a time."""
    merged: ChannelStatistics | None = None
    for batch in batches:
        values = _values(batch)
        if values.shape[1] != len(bins.low):
            raise ValueError(
                f"the activations have {values.shape[1]} channels and the bins {len(bins.low)}; both sides must be of "
                "one layer"
            )
        part = _of_batch(values, bins)
        merged = part if merged is None else merged.merge(part)
    if merged is None:
        raise ValueError("there are no activations; give at least one batch")
    return merged


def _values(batch: np.ndarray) -> Float64[np.ndarray, "N C P"]:
    if batch.ndim < 2 or 0 in batch.shape:
        raise ValueError(f"activations have shape {batch.shape}; give (N, C, ...) with at least one of each")
    values = batch.reshape(*batch.shape[:2], -1).astype(np.float64)
    bad = ~np.isfinite(values).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f"activations have NaN or infinity in row {int(bad.argmax())} of a batch; repair that sample")
    return values


def _of_batch(values: Float64[np.ndarray, "N C P"], bins: Bins) -> ChannelStatistics:
    n, channels, positions = values.shape
    inner = bins.count - 2
    width = (bins.high - bins.low) / inner
    place = np.floor((values - bins.low[:, None]) / width[:, None]).clip(-1, inner).astype(np.int64) + 1
    place += np.arange(channels)[:, None] * bins.count
    histogram = np.bincount(place.ravel(), minlength=channels * bins.count).reshape(channels, bins.count)
    values = values - ((bins.low + bins.high) / 2)[:, None]
    return ChannelStatistics(
        samples=n,
        positions=positions,
        low=bins.low,
        high=bins.high,
        total=values.sum(axis=(0, 2)),
        squares=np.square(values).sum(axis=(0, 2)),
        sample_squares=np.square(values.mean(axis=2)).sum(axis=0),
        histogram=histogram.astype(np.int64),
    )


def channel_shifts(real: ChannelStatistics, fake: ChannelStatistics) -> pd.DataFrame:
    """A row per channel, the farthest first: channel, shift, shift_error, spread_ratio, distance.

    `shift` is the difference of the means over the real standard deviation, `shift_error` its standard error (from the
    samples' means: positions of one image are not independent). `distance` is the area between the two cumulative
    histograms, in real standard deviations: the 1-Wasserstein distance up to the bins. nan for a channel that is
    constant on the real side, listed last.
    """
    if not (np.array_equal(real.low, fake.low) and np.array_equal(real.high, fake.high)):
        raise ValueError("real and fake have different bins; take both statistics with the bins chosen from the real")
    spread = np.where(real.spread > 1e-12 * (real.high - real.low), real.spread, np.nan)
    error = np.sqrt(real.sample_spread**2 / real.samples + fake.sample_spread**2 / fake.samples)
    width = (real.high - real.low) / (real.histogram.shape[1] - 2)
    steps = [side.histogram.cumsum(axis=1) / side.histogram.sum(axis=1, keepdims=True) for side in (real, fake)]
    table = pd.DataFrame(
        {
            "channel": np.arange(len(spread)),
            "shift": (fake.mean - real.mean) / spread,
            "shift_error": error / spread,
            "spread_ratio": fake.spread / spread,
            "distance": np.abs(steps[0] - steps[1]).sum(axis=1) * width / spread,
        }
    )
    return table.sort_values(["distance", "channel"], ascending=[False, True], ignore_index=True)
