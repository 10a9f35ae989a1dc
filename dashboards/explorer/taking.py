"""Samples as tables to take away."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd

from .about import About, about
from .making import Studio

KINDS = ("csv", "parquet")
MOST = 20_000
"""Lines of one table."""


def table(studio: Studio, view: str, generator: str, ids: Sequence[str], parts: Sequence[str] = ()) -> pd.DataFrame:
    """One line per sample: id, class, place, nearest of the other kind, scores. `parts`: what each was picked as."""
    told = [about(studio, view, generator, name) for name in ids[:MOST]]
    frame = pd.DataFrame([_line(studio, each) for each in told])
    if parts:
        frame.insert(1, "picked_as", list(parts[:MOST]))
    return frame


def _line(studio: Studio, told: About) -> dict[str, object]:
    place = told.place or (None, None)
    nearest = told.nearest_fake or told.nearest_real or (None, None)
    return {
        "sample_id": told.id,
        "class_id": told.label,
        "class_name": None if told.label is None else studio.project.classes[told.label],
        "synset_id": told.synset,
        "source": told.source,
        "x": place[0],
        "y": place[1],
        "z": place[2] if len(place) > 2 else None,
        "nearest_other": nearest[0],
        "distance": nearest[1],
        "covered": told.covered,
        "density_ratio": told.density_ratio,
        "inversion_error": told.inversion_error,
        "gap": told.gap,
    }


def file(frame: pd.DataFrame, kind: str) -> bytes:
    """A table as the content of a file. A cell that a spreadsheet would take for a formula is quoted."""
    if kind not in KINDS:
        raise ValueError(f"kind {kind[:20]!r} is no kind of table; use {' or '.join(KINDS)}")
    if kind == "csv":
        words = frame.select_dtypes(include=["object", "string"]).columns
        safe = frame.assign(**{name: frame[name].map(_plain) for name in words})
        return safe.to_csv(index=False).encode()
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
