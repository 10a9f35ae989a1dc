"""Reading and writing single files: atomic, checksummed, and never anything that executes code on load.

All writing of modescope goes through here. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file


class DamagedFileError(ValueError):
    """A file that is missing, truncated or not what its name says."""


def _damaged(path: Path, why: object) -> DamagedFileError:
    return DamagedFileError(
        f"{path} cannot be read ({why}); it is damaged or incomplete. "
        "Delete it and run `dvc repro` (or `dvc checkout`) to make it again"
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing; run `dvc repro` to make it") from error
    except ValueError as error:
        raise _damaged(path, error) from error


def write_array(path: Path, values: np.ndarray) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(values), allow_pickle=False)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """An array, or a read-only memory map of it."""
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing; run `dvc repro` to make it") from error
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(path, error) from error


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Arrays => one safetensors file."""
    with replacing(path) as temporary:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, temporary, metadata=dict(metadata or {}))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A safetensors file => arrays, metadata."""
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; run `dvc repro` (or `dvc checkout`) to make it")
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise _damaged(path, error) from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A table => parquet, or CSV where the name ends so."""
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, lineterminator="\n")
        else:
            table.to_parquet(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; run `dvc repro` to make it")
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise _damaged(path, error) from error


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
