"""Shards as units of work: any process may compute any of them, in any order, and none is computed twice.

<root>/<config hash>/config.json             what the rows were made with
<root>/<config hash>/00000.json              a finished shard: how many rows, which samples, the files of its arrays
<root>/<config hash>/<array>/00000-4096.npy  its rows

The config holds all that decides the bytes, a version constant of each algorithm and the batch boundaries included; the
number of rows is no part of it, so a larger run finds what a smaller one left. A shard that ends early is finished by
computing its missing batches.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import files
from modescope.files import DamagedFileError
from modescope.records import Span
from modescope.store.writing import Batch, complete, config_hash, manifest, partial_of, write_span

_MARK = 8  # characters per row in a shard's record: the checksum of its id and label


def _marks(ids: Sequence[str], labels: np.ndarray) -> list[str]:
    return [f"{zlib.crc32(f'{name} {label}'.encode()):08x}" for name, label in zip(ids, labels.tolist(), strict=True)]


def _shared(ours: str, theirs: str) -> int:
    """Rows with the same samples at the beginning of both."""
    if theirs.startswith(ours):
        return len(ours) // _MARK
    pairs = (ours[i : i + _MARK] == theirs[i : i + _MARK] for i in range(0, len(ours), _MARK))
    return next((row for row, same in enumerate(pairs) if not same), len(ours) // _MARK)


class Shards:
    """The rows `ids` (with their `labels`) under one `config`, in shards of `shard_rows` made of whole batches.

    `root`: where all configurations lie. A shard's length is `shard_rows` rounded up to whole batches.
    """

    def __init__(
        self,
        root: Path,
        config: Mapping[str, Any],
        *,
        ids: Sequence[str],
        labels: np.ndarray,
        batch_size: int,
        shard_rows: int,
    ) -> None:
        self.length = -(-shard_rows // batch_size) * batch_size
        self.config = {**config, "batch_size": batch_size, "shard_rows": self.length}
        self.folder = root / config_hash(self.config)
        self.batch_size, self.rows = batch_size, len(ids)
        marks = _marks(ids, labels)
        self._marks = ["".join(marks[i : i + self.length]) for i in range(0, self.rows, self.length)]

    def _span(self, number: int) -> tuple[int, int]:
        return number * self.length, min((number + 1) * self.length, self.rows)

    def _record(self, number: int) -> dict[str, Any] | None:
        """What is known of a shard, None where it is not there or its files are not what the record says."""
        try:
            record = files.read_json(self.folder / f"{number:05d}.json")
            whole = record["config_hash"] == self.folder.name and all(
                (self.folder / entry["file"]).stat().st_size == entry["bytes"] for entry in record["arrays"].values()
            )
        except (DamagedFileError, OSError, KeyError, TypeError):
            return None
        return record if whole else None

    def _done(self, number: int) -> int:
        """Rows of a shard, counted from its start, that need not be computed."""
        record = self._record(number)
        return 0 if record is None else _shared(self._marks[number], record["marks"])

    def missing(self) -> list[Span]:
        """What is still to be computed: whole batches, none of a finished shard."""
        found = []
        for number in range(len(self._marks)):
            start, stop = self._span(number)
            done = self._done(number)
            if start + done < stop:
                found.append(Span(number=number, start=start + done // self.batch_size * self.batch_size, stop=stop))
        return found

    def write(self, span: Span, batches: Iterable[Batch]) -> None:
        """The rows of a span, after those of its shard that are there already, as one shard; then its record."""
        start, stop = self._span(span.number)
        before = self._record(span.number) if span.start > start else None
        kept = self._kept(before, span.start - start) if before else ()
        rows = stop - start

        def path_of(array: str) -> Path:
            return self.folder / array / f"{span.number:05d}-{rows}.npy"

        known = self._record(span.number)
        if known and known["rows"] == rows:  # other samples under the same names: no record may vouch for a mixture
            (self.folder / f"{span.number:05d}.json").unlink()
        entries = write_span(path_of, _chained(kept, batches), rows)
        arrays = {name: {"file": f"{name}/{path_of(name).name}", **entry} for name, entry in entries.items()}
        files.write_json(self.folder / "config.json", self.config)
        record = {"config_hash": self.folder.name, "rows": rows, "marks": self._marks[span.number], "arrays": arrays}
        files.write_json(self.folder / f"{span.number:05d}.json", record)
        for entry in (before or {"arrays": {}})["arrays"].values():
            if entry["file"] not in {new["file"] for new in arrays.values()}:
                (self.folder / entry["file"]).unlink(missing_ok=True)

    def _kept(self, record: Mapping[str, Any], rows: int) -> Iterator[Batch]:
        opened = {n: files.read_array(self.folder / e["file"], mapped=True) for n, e in record["arrays"].items()}
        for start in range(0, rows, self.batch_size):
            yield {name: values[start : start + self.batch_size] for name, values in opened.items()}

    def _entries(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """Every array of every shard: its line of the manifest (`file` as it lies here) and its path."""
        for number in range(len(self._marks)):
            record = self._record(number)
            if record is None or _shared(self._marks[number], record["marks"]) < len(self._marks[number]) // _MARK:
                raise ValueError(f"{self.folder}: shard {number} is not finished; run the same command again")
            for name, entry in record["arrays"].items():
                yield {"array": name, "rows": list(self._span(number)), **entry}, self.folder / entry["file"]

    def finish(
        self,
        folder: Path,
        table: pd.DataFrame,
        *,
        kind: str,
        config: Mapping[str, Any],
        track: str = "shards",
        write: Callable[[Path], None] | None = None,
    ) -> None:
        """The finished shards as one folder, which replaces `folder`: table, manifest and, unless `track` is "manifest",
        second names of the shard files. `write(partial)` may add files of its own before the manifest is written.
        """
        partial, shards = partial_of(folder), []
        for entry, path in self._entries():
            if track == "manifest":
                shards.append(entry)
                continue
            first, stop = entry["rows"]
            target = partial / entry["array"] / f"{first // self.length:05d}.npy"
            shards.append(
                {**entry, "file": f"{entry['array']}/{target.name}", **_cut(path, target, stop - first, entry)}
            )
        extra = {"shards_of": self.folder.name}
        if track == "manifest":
            extra["shards_at"] = os.path.relpath(self.folder, folder)
        if write:
            write(partial)
        for leaving in self.folder.rglob(".*.part"):  # of processes that were killed: every shard is finished
            leaving.unlink(missing_ok=True)
        described = manifest(kind=kind, config={**config, **self.config}, rows=self.rows, shards=shards, **extra)
        complete(partial, folder, table, described)


def _cut(path: Path, target: Path, rows: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    """`target` with the first `rows` rows of a shard: a link where that is all of them => its size and checksum."""
    values = files.read_array(path, mapped=True)
    if len(values) == rows:
        files.link(path, target)
        return {"bytes": entry["bytes"], "sha256": entry["sha256"]}
    written = write_span(lambda _: target, iter([{"rows": values[:rows]}]), rows)["rows"]
    return {"bytes": written["bytes"], "sha256": written["sha256"]}


def _chained(kept: Iterable[Batch], batches: Iterable[Batch]) -> Iterator[Batch]:
    yield from kept
    yield from batches


def prune(root: Path, used: Collection[str]) -> list[Path]:
    """Remove the shards of every configuration but the `used` (names of folders in `root`) => what was removed."""
    stale = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name not in used]
    for folder in stale:
        shutil.rmtree(folder)
    return stale
