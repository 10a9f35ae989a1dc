"""The cost of a step as a record, and the table of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HEADS = ("step", "images", "done", "GFLOP each", "TFLOP left", "disk", "memory", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one step of the pipeline takes. `flops`, `row_bytes` and `seconds` are per image, `memory` is in bytes.

    `seconds` None: not known.
    """

    step: str
    images: int
    done: int = 0
    flops: float = 0
    row_bytes: int = 0
    memory: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.done <= self.images:
            raise ValueError(f"{self.step}: {self.done} of {self.images} images are done; give 0 to {self.images}")

    @property
    def left(self) -> int:
        return self.images - self.done

    @property
    def flops_left(self) -> float:
        return self.left * self.flops

    @property
    def bytes_left(self) -> int:
        return self.left * self.row_bytes

    @property
    def seconds_left(self) -> float | None:
        return 0.0 if not self.left else None if self.seconds is None else self.left * self.seconds


def table(costs: Sequence[Cost]) -> str:
    """The costs as lines of text, with totals: work, bytes and times are of what is still to be done."""
    lines = [HEADS, *(_line(cost) for cost in costs), _total(costs)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
    return "  ".join([first.strip().ljust(widths[0]), *others]).rstrip()


def _line(cost: Cost) -> tuple[str, ...]:
    work = (f"{cost.flops / 1e9:,.3g}", f"{cost.flops_left / 1e12:,.1f}") if cost.flops else ("-", "-")
    bytes_ = (_bytes(cost.bytes_left), _bytes(cost.memory))
    time = _duration(cost.seconds_left) if cost.flops else "-"  # of the networks alone
    return (cost.step, f"{cost.images:,}", f"{cost.done:,}", *work, *bytes_, time)


def _total(costs: Sequence[Cost]) -> tuple[str, ...]:
    times = [cost.seconds_left for cost in costs if cost.flops]
    known = [time for time in times if time is not None]
    bytes_ = (_bytes(sum(cost.bytes_left for cost in costs)), _bytes(max((cost.memory for cost in costs), default=0)))
    work = f"{sum(cost.flops_left for cost in costs) / 1e12:,.1f}"
    return ("total", "", "", "", work, *bytes_, _duration(sum(known) if len(known) == len(times) else None))


def _bytes(count: float) -> str:
    """1.5 GB, in powers of 1000."""
    if not count:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _duration(seconds: float | None) -> str:
    """12 s, 5 min, 3 h 20 min, 4 d 2 h."""
    if seconds is None:
        return "?"
    if seconds <= 59:
        return f"{math.ceil(seconds)} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"
