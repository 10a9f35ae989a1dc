"""Where a reader keeps what it worked out about a source: beside the data, or where told."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

_NAME = ".modescope"


def cache_folder(data: Path, told: Path | str | None) -> Path:
    """The folder for what belongs to the source `data` (a folder); not created here.

    `told`: a folder of the user's, shared by all sources, each in a part of its own. Without it `.modescope` beside the
    data; where that cannot be written, the user's cache (XDG_CACHE_HOME, else ~/.cache).
    """
    if told is None and os.access(data, os.W_OK):
        return data / _NAME
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modescope"
    part = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:16]
    return (home if told is None else Path(told)) / part


def fingerprint(files: Iterable[Iterable[object]]) -> str:
    """A short hash of what identifies the files of a source: their names, sizes and times."""
    digest = hashlib.sha256()
    for each in files:
        digest.update(repr(tuple(each)).encode())
    return digest.hexdigest()[:16]
