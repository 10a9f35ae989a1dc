"""Neighbours of the real samples, kept in a file: they are the same for every generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from modescope import files
from modescope.neighbours import Features, Journal, Nearest, as_points, nearest


def write_neighbours(path: Path, near: Nearest, key: str) -> None:
    """Squared distances and indices with the `key` that names what they were computed from."""
    squared, indices = near.squared.cpu().numpy(), near.indices.cpu().numpy()
    narrow = np.int32 if len(indices) <= np.iinfo(np.int32).max else np.int64
    files.write_tensors(path, {"squared": squared, "indices": indices.astype(narrow)}, {"key": key})


def read_neighbours(path: Path, key: str) -> Nearest:
    """What `write_neighbours` wrote. ValueError when it was computed from something else."""
    arrays, metadata = files.read_tensors(path)
    if metadata.get("key") != key:
        raise ValueError(
            f"{path} holds neighbours of {metadata.get('key')!r}, not of {key!r}: they are of other features; "
            "delete the file to compute them anew"
        )
    return _nearest(arrays)


def _nearest(arrays: dict[str, np.ndarray]) -> Nearest:
    indices = torch.from_numpy(arrays["indices"].astype(np.int64))
    return Nearest(squared=torch.from_numpy(arrays["squared"]), indices=indices)


def kept_neighbours(
    path: Path, real: Features, k: int, *, key: str, chunk: int | None = None, journal: Journal | None = None
) -> Nearest:
    """At least k neighbours of every real sample: from `path` where they stand there, else computed and written.

    `key` must change whenever the features do (the hash of their manifest and of the view). Neighbours of another key,
    or fewer, are computed anew and replaced. `chunk` and `journal` as in `compare`.
    """
    points = as_points(real, "real")
    if path.is_file():
        arrays, metadata = files.read_tensors(path)
        rows, depth = arrays["squared"].shape
        if metadata.get("key") == key and rows == len(points) and depth >= k:
            return _nearest(arrays)
    near = nearest(points, k, chunk=chunk, journal=journal, name="real")
    write_neighbours(path, near, key)
    return near
