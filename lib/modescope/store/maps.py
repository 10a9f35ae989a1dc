"""Coordinates on a map, by sample id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from modescope import files
from modescope.records import check_ids, positions, row_index


def write_map(path: Path, ids: Sequence[str], points: np.ndarray) -> None:
    """Map coordinates => parquet with sample_id, x, y (and z)."""
    check_ids(ids, len(points), str(path))
    columns = {axis: points[:, i].astype(np.float32) for i, axis in enumerate("xyz"[: points.shape[1]])}
    files.write_table(path, pd.DataFrame({"sample_id": list(ids), **columns}))


def read_map(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Coordinates of the given ids => float32 (n, 2 or 3)."""
    table = files.read_table(path)
    rows = positions(row_index(tuple(table["sample_id"])), ids, str(path))
    return table.drop(columns="sample_id").to_numpy(np.float32)[rows]
