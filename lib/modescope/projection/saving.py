"""A map as two files: `reducer.safetensors`, then `reducer.json`, which names its checksum. Arrays and JSON only."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from modescope.files import DamagedFileError, read_json, read_tensors, sha256, write_json, write_tensors

log = logging.getLogger("modescope.projection")

FORMAT = 1
LIBRARIES = ("numpy", "scipy", "numba")
AGAIN = "Delete the folder and run `dvc repro` (or `dvc checkout`) to make it again"


def here() -> dict[str, str]:
    """Versions of the libraries that a map's coordinates depend on."""
    return {name: version(name) for name in LIBRARIES}


def write(folder: Path, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    write_tensors(folder / "reducer.safetensors", arrays)
    write_json(folder / "reducer.json", {"format": FORMAT, **record, "sha256": sha256(folder / "reducer.safetensors")})


def read(folder: Path, needed: set[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write` wrote => the record and the arrays, after their checks."""
    record = read_json(folder / "reducer.json")
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else None
        raise ValueError(
            f"{folder / 'reducer.json'} has format {found!r}, this modescope reads format {FORMAT}; "
            "fit the map again with this version (`dvc repro`), or load it with the version that wrote it"
        )
    if missing := (needed | {"versions", "sha256"}) - record.keys():
        raise DamagedFileError(
            f"{folder / 'reducer.json'} lacks {', '.join(map(repr, sorted(missing)))}; it is damaged. {AGAIN}"
        )
    path = folder / "reducer.safetensors"
    arrays, _ = read_tensors(path)
    if sha256(path) != record["sha256"]:
        raise DamagedFileError(
            f"{path} does not have the checksum that reducer.json names; the two do not belong together. {AGAIN}"
        )
    record["settings"].pop("repeatable", None)  # maps of earlier versions
    _compare(record["versions"])
    return record, arrays


def _compare(fitted: Mapping[str, str]) -> None:
    other = [f"{name} {was} (here {version(name)})" for name, was in fitted.items() if was != version(name)]
    if other:
        log.warning(
            "the map was fitted with %s: new rows may be placed slightly elsewhere; fit it again to be sure",
            ", ".join(other),
        )
