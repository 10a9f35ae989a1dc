"""Reading and writing single files: atomic, checksummed, and never anything that executes code on load.

All writing of modescope goes through here. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

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


class ArrayWriter:
    """Rows appended to a .npy file of a length known beforehand; the checksum is made on the way, beside the writing."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype, self.rows = shape, dtype, 0
        self._file, self._pool, self._digest = file, pool, hashlib.sha256()
        header = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, described)
        self._put(memoryview(header.getvalue()))

    def append(self, values: np.ndarray) -> None:
        if values.shape[1:] != self.shape[1:] or values.dtype != self.dtype:
            raise ValueError(
                f"rows change from {self.dtype} {self.shape[1:]} to {values.dtype} {values.shape[1:]} between batches; "
                "an array has one shape and type"
            )
        self.rows += len(values)
        if values.size:
            self._put(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)

    def _put(self, content: memoryview) -> None:
        hashed = self._pool.submit(self._digest.update, content)
        self._file.write(content)
        hashed.result()

    def sha256(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def array_writer(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[ArrayWriter]:
    """Stream rows into `path`, which appears when all of them (`shape[0]`) were appended.

    Raises ValueError for another number of rows, OSError with the remedy when the disk is full.
    """
    try:
        with replacing(path) as temporary, ThreadPoolExecutor(1) as pool, temporary.open("wb", buffering=0) as file:
            writer = ArrayWriter(file, pool, shape, np.dtype(dtype))
            yield writer
            if writer.rows != shape[0]:
                raise ValueError(f"{path} was given {writer.rows} rows; it is to hold {shape[0]}")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"the disk of {path.parent} is full; what was finished before is kept: free some space (see "
            "`python -m modescope.plan`) and run the same command again"
        ) from error


def free_bytes(folder: Path, *, spare: float = 0.0) -> int:
    """Free space on the disk that holds (or will hold) `folder`, less the share `spare` (0..1) of the whole disk."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(there)
    return max(0, usage.free - round(spare * usage.total))


def check_room(folder: Path, needed: int, what: str, *, spare: float = 0.0) -> None:
    """Raise a ValueError where `needed` bytes do not fit the disk of `folder`, the share `spare` of which stays free."""
    free = free_bytes(folder, spare=spare)
    if needed > free:
        less = f" when {spare:.0%} of the disk stay free" if spare else ""
        raise ValueError(
            f"{what} needs {needed / 1e9:.2f} GB in {folder}, {free / 1e9:.2f} GB are free{less}; make room there, ask "
            "for fewer samples, or keep less of each (`keep: pca` or `mean`, `dtype: float16`)"
        )


def link(source: Path, target: Path) -> None:
    """`target` with the bytes of `source`: a second name for the same file where the disk allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


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
