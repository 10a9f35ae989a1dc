"""A column of numbers as places along a palette, and the round numbers beside its colour bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Shaped

Kind = Literal["linear", "log", "ratio"]
MOST = 1 << 18  # values from which the range is taken: every so manieth where there are more


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Values from `low` to `high` along a palette: evenly, by logarithm, or as ratios (by logarithm, 1 in the middle)."""

    kind: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind {self.kind!r} is unknown; choose from {', '.join(get_args(Kind))}")
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise ValueError(f"a scale from {self.low} to {self.high} has no length; give finite low < high")
        if self.kind != "linear" and self.low <= 0:
            raise ValueError(f"a {self.kind} scale starts at {self.low}; it needs values above 0: take a linear one")

    @classmethod
    def of(cls, values: Shaped[np.ndarray, " N"], kind: str = "linear", tails: float = 0.01) -> Scale:
        """From all finite values but the share `tails` at each end, which take the end colours.

        Zeros do not count for logarithms and ratios, and lie at the low end.
        """
        if not 0 <= tails < 0.5:
            raise ValueError(f"tails is {tails}; give the share left out at each end, from 0 to below 0.5")
        known = values[np.isfinite(values)].astype(np.float64)
        if kind != "linear" and (known < 0).any():
            raise ValueError(
                f"values reach down to {known.min():g}; a {kind} scale has none below 0: take a linear one"
            )
        known = known if kind == "linear" else known[known > 0]
        known = known[:: max(1, len(known) // MOST)]
        if not len(known):
            known = np.array([0.5, 2.0] if kind == "ratio" else [1.0, 10.0] if kind == "log" else [0.0, 1.0])
        low, high = np.quantile(known, (tails, 1 - tails)).tolist()
        if low == high:
            low, high = float(known.min()), float(known.max())
        return cls(kind=kind, **dict(zip(("low", "high"), _ends(kind, low, high), strict=True)))

    def unit(self, values: Shaped[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
        """Place in [0, 1] of each value, beyond the ends 0 or 1; NaN stays NaN."""
        low, high = self._along(np.array([self.low, self.high]))
        places = (self._along(values) - low) / (high - low)
        return np.clip(places, 0, 1).astype(np.float32)

    def _along(self, values: Shaped[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
        column = values.astype(np.float64)
        if self.kind == "linear":
            return column
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(column)

    def ticks(self, most: int = 6) -> tuple[Float64[np.ndarray, " T"], Float32[np.ndarray, " T"]]:
        """At most so many (3 or more) round values within the range, ascending, and their places."""
        if most < 3:
            raise ValueError(f"{most} ticks do not make a scale; ask for at least 3")
        rules = {"linear": _even_ticks, "log": _power_ticks, "ratio": _doubling_ticks}
        values = rules[self.kind](self.low, self.high, most)
        if len(values) < 2:  # a range within which powers are too far apart
            values = _even_ticks(self.low, self.high, most)
        return values, self.unit(values)


def _even_ticks(low: float, high: float, most: int) -> Float64[np.ndarray, " T"]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power, 20 * power):
        first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
        if last - first < most:
            break
    return np.clip(np.arange(first, last + 1) * step, low, high)


def _power_ticks(low: float, high: float, most: int) -> Float64[np.ndarray, " T"]:
    """1, 2 and 5 times powers of ten; else 1 and 3 times; else every power, every second, every third and so on."""
    powers = np.arange(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    rules = [((1, 2, 5), 1), ((1, 3), 1), *(((1,), step) for step in range(1, len(powers) + 1))]
    for digits, step in rules:
        values = np.array([digit * 10.0**power for power in powers[powers % step == 0] for digit in digits])
        values = values[(values >= low * (1 - 1e-9)) & (values <= high * (1 + 1e-9))]
        if len(values) <= most:
            break
    return np.clip(values, low, high)


def _doubling_ticks(low: float, high: float, most: int) -> Float64[np.ndarray, " T"]:
    """1 and powers of two (or of four, eight and so on) on both sides of it."""
    doublings = int(np.floor(np.log2(high) + 1e-9))
    side = np.arange(0, doublings + 1, max(1, int(np.ceil(2 * doublings / max(most - 1, 1)))))
    return 2.0 ** np.concatenate([-side[:0:-1], side])


def _ends(kind: str, low: float, high: float) -> tuple[float, float]:
    """Ends of a range of some length; of ratios, as far below 1 as above."""
    if kind == "ratio":
        far = max(high, 1 / low, 1.0)
        far = far if far > 1 else 2.0
        return 1 / far, far
    if low < high:
        return low, high
    if kind == "log":
        return low / 2, high * 2
    room = 0.5 * abs(low) or 0.5
    return low - room, high + room
