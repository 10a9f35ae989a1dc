"""Arrays inside .npz files without loading them: stored members are mapped in place, deflated ones unpacked once.

An .npz is a zip of .npy files (PKWARE APPNOTE 4.3.7 for the local header; NEP 1 for .npy).
"""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from modescope.files import replacing

_BLOCK = 1 << 20
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, length of the extra field


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One array of an archive. `offset`: where its first value lies in the file, or None where it is deflated."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int | None

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@contextmanager
def _reading(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, struct.error, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as .npz ({error}); it is truncated or damaged: download or copy it again"
        ) from error


def _entry(archive: zipfile.ZipFile, path: Path, name: str) -> zipfile.ZipInfo:
    if f"{name}.npy" not in archive.namelist():
        there = ", ".join(entry.removesuffix(".npy") for entry in archive.namelist()) or "nothing"
        raise ValueError(f"{path} holds no array {name!r} (it holds {there}); is it a packed ImageNet file?")
    return archive.getinfo(f"{name}.npy")


def _header(file: Any, path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(file)
        if version not in read:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = read[version](file)
    except ValueError as error:
        raise ValueError(f"{path}: array {name!r} cannot be read ({error}); download or copy the file again") from error
    if dtype.hasobject:
        raise ValueError(f"{path}: array {name!r} holds Python objects, which are never loaded; save plain numbers")
    if fortran:
        raise ValueError(
            f"{path}: array {name!r} is stored column by column (Fortran order), so no image lies in one piece; "
            "save it again through np.ascontiguousarray"
        )
    return shape, dtype


def member(path: Path, name: str) -> Member:
    """Where and what the array `name` of the archive is; reads no values. ValueError names the file and the remedy."""
    with _reading(path) as archive:
        entry = _entry(archive, path, name)
        with archive.open(entry) as inner:
            shape, dtype = _header(inner, path, name)
            header = inner.tell()
    found = Member(name=name, shape=shape, dtype=dtype.str, offset=None)
    if entry.file_size != header + found.nbytes:
        raise ValueError(
            f"{path}: array {name!r} has {entry.file_size - header} bytes, its shape {shape} needs {found.nbytes}; "
            "download or copy the file again"
        )
    if entry.compress_type != zipfile.ZIP_STORED:
        return found
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        # The local header's own lengths: its extra field may differ from the one in the central directory.
        _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    start = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    return Member(name=name, shape=shape, dtype=dtype.str, offset=start + header)


def load(path: Path, name: str) -> np.ndarray:
    """A small array, whole."""
    with _reading(path) as archive, archive.open(_entry(archive, path, name)) as inner:
        shape, dtype = _header(inner, path, name)
        values = np.frombuffer(inner.read(), dtype)
    if values.size != np.prod(shape):
        raise ValueError(f"{path}: array {name!r} is not as long as its shape {shape}; download or copy the file again")
    return values.reshape(shape)


def unpack(path: Path, name: str, target: Path) -> None:
    """A deflated member => the .npy file `target`, atomically, in blocks of 1 MB; zip checks the sum at the end."""
    with _reading(path) as archive:
        entry = _entry(archive, path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < entry.file_size:
            raise ValueError(
                f"cache {target.parent} has {free / 1e9:.1f} GB free, unpacking {path.name} takes "
                f"{entry.file_size / 1e9:.1f} GB; make room, or give another folder as cache"
            )
        bar = tqdm(total=entry.file_size, desc=f"unpacking {path.name}", unit="B", unit_scale=True, disable=None)
        with replacing(target) as temporary, archive.open(entry) as inner, temporary.open("wb") as out, bar:
            while block := inner.read(_BLOCK):
                out.write(block)
                bar.update(len(block))
