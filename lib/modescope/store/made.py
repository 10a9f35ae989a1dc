"""Images that a person had made: one file of arrays and one record each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modescope import files
from modescope.files import DamagedFileError
from modescope.store.writing import config_hash


def write_made(folder: Path, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Keep one made image with its record: `<hash>.safetensors`, then `<hash>.json`, which marks it complete.

    The hash is that of `record["recipe"]`, all that decides the image: the same recipe replaces itself. Returns the id,
    `made/<hash>`.
    """
    name = config_hash(record["recipe"])
    path = folder / f"{name}.safetensors"
    files.write_tensors(path, arrays)
    sample_id = f"made/{name}"
    files.write_json(folder / f"{name}.json", {"id": sample_id, **record, "sha256": files.sha256(path)})
    return sample_id


def read_made(folder: Path, sample_id: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Record and arrays of one made image. Raises DamagedFileError when either is missing or not what was written."""
    name = sample_id.removeprefix("made/")
    path = folder / f"{name}.safetensors"
    record = files.read_json(folder / f"{name}.json")
    arrays, _ = files.read_tensors(path)
    if not isinstance(record, dict) or record.get("id") != sample_id or files.sha256(path) != record.get("sha256"):
        raise DamagedFileError(f"{path} is not what its record describes; delete it and {name}.json, and make it again")
    return record, arrays


def list_made(folder: Path) -> tuple[str, ...]:
    """Ids of the complete made images of a folder, oldest first (none where there is no folder)."""
    records = sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return tuple(f"made/{path.stem}" for path in records)
