"""What an export or an import does, one finished thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[Iterable[Any], str], Iterable[Any]]
"""A sized iterable and what it is => the same items; a command shows a bar on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`rows` samples of `what` go to `place` when `write` is called; `note`: what a reader of the result should know."""

    what: str
    place: Path
    rows: int
    write: Callable[[Progress], None]
    note: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.rows} rows to {self.place}" + (f" ({self.note})" if self.note else "")


def check_absent(places: Iterable[Path], remedy: str) -> None:
    """Raise a ValueError naming what of `places` is there already."""
    for place in places:
        if place.exists():
            raise ValueError(f"{place} exists already and is not replaced; {remedy}")
