"""How rows become shards, a sample table and a manifest: the parts that every writer shares."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import files
from modescope.records import check_ids

VERSION = 1
COLUMNS = (
    "sample_id",
    "batch_index",
    "class_id",
    "synset_id",
    "class_name",
    "original_path",
    "source",
    "seed",
    "sigma",
    "protocol",
)
"""Columns of every sample table."""
Batch = Mapping[str, np.ndarray]


def config_hash(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def sample_table(ids: Sequence[str], labels: np.ndarray, **columns: Any) -> pd.DataFrame:
    """The table of `COLUMNS`; a column not given is empty."""
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)} are not in the sample table; it has {', '.join(COLUMNS)}")
    table = pd.DataFrame({"sample_id": list(ids), "class_id": np.asarray(labels, np.int64)})
    for name in COLUMNS:
        if name not in table:
            table[name] = columns.get(name)
    return table[list(COLUMNS)]


def write_span(path_of: Callable[[str], Path], batches: Iterable[Batch], rows: int) -> dict[str, dict[str, Any]]:
    """Batches of {array: (n, ...)} => one .npy file of `rows` rows per array, and what the manifest says of each.

    Memory holds one batch. Raises ValueError when the batches hold another number of rows or change their shape, and
    before writing anything when the files cannot fit the disk.
    """
    writers: dict[str, files.ArrayWriter] = {}
    with ExitStack() as stack:
        for batch in batches:
            if not writers:
                room = sum(rows * value[:1].nbytes for value in batch.values() if len(value))
                files.check_room(path_of(next(iter(batch))).parent, room, "the next shard")
                for name, value in batch.items():
                    opened = files.array_writer(path_of(name), (rows, *value.shape[1:]), value.dtype)
                    writers[name] = stack.enter_context(opened)
            if batch.keys() != writers.keys():
                raise ValueError(f"arrays change from {', '.join(writers)} to {', '.join(batch)} between batches")
            for name, value in batch.items():
                _append(writers[name], name, value)
        if not writers:
            raise ValueError(f"there was no batch to write; {rows} rows were to come")
    return {
        name: {
            "shape": list(writer.shape[1:]),
            "dtype": str(writer.dtype),
            "bytes": path_of(name).stat().st_size,
            "sha256": writer.sha256(),
        }
        for name, writer in writers.items()
    }


def _append(writer: files.ArrayWriter, name: str, values: np.ndarray) -> None:
    try:
        writer.append(values)
    except ValueError as error:
        raise ValueError(f"array {name!r}: {error}") from error


class _Stream:
    """Batches of any size, taken as pieces that add up to the rows asked for."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._rest: Batch = {}

    def take(self, rows: int) -> Iterator[Batch]:
        while rows:
            batch = self._rest or next(self._batches, {})
            if not batch:
                return
            count = min(rows, len(next(iter(batch.values()))))
            yield {name: value[:count] for name, value in batch.items()}
            rest = {name: value[count:] for name, value in batch.items()}
            self._rest = rest if len(next(iter(rest.values()))) else {}
            rows -= count

    def rest(self) -> int:
        """Rows that nobody took."""
        return sum(
            len(next(iter(batch.values()))) for batch in ([self._rest] if self._rest else []) + list(self._batches)
        )


def manifest(
    *, kind: str, config: Mapping[str, Any], rows: int, shards: Sequence[Mapping[str, Any]], **extra: Any
) -> dict[str, Any]:
    """`shards`: one entry per array and shard: array, file, rows, shape, dtype, bytes, sha256."""
    arrays = {s["array"]: {"shape": s["shape"], "dtype": s["dtype"]} for s in shards}
    kept = ("array", "file", "rows", "bytes", "sha256")
    return {
        "version": VERSION,
        "kind": kind,
        "config_hash": config_hash(config),
        "config": dict(config),
        "rows": rows,
        **extra,
        "arrays": arrays,
        "shards": [{key: s[key] for key in kept} for s in shards],
    }


def complete(partial: Path, folder: Path, table: pd.DataFrame, described: Mapping[str, Any]) -> None:
    """Table, then manifest, into `partial`, which then takes the place of `folder`."""
    check_ids(list(table["sample_id"]), described["rows"], str(folder))
    files.write_table(partial / "samples.parquet", table)
    files.write_json(partial / "manifest.json", described)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def partial_of(folder: Path) -> Path:
    """An empty place beside `folder` for what is to replace it."""
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def write_rows(
    folder: Path,
    batches: Iterable[Batch],
    table: pd.DataFrame,
    *,
    kind: str,
    config: Mapping[str, Any],
    shard_rows: int = 4096,
) -> None:
    """Write batches of rows ({array: (n, ...)}) and their table as one folder, which replaces `folder` when complete.

    Without batches only the table is kept: an index of rows that lie elsewhere.
    """
    partial, stream = partial_of(folder), _Stream(batches)
    shards: list[dict[str, Any]] = []
    rows = len(table)
    for number, start in enumerate(range(0, rows, shard_rows)):
        span = [start, min(start + shard_rows, rows)]
        pieces = stream.take(span[1] - start)
        first = next(pieces, None)
        if first is None and not shards:
            break

        def name_of(array: str, number: int = number) -> Path:
            return partial / array / f"{number:05d}.npy"

        every = pieces if first is None else _with(first, pieces)
        for array, entry in write_span(name_of, every, span[1] - start).items():
            shards.append({"array": array, "file": f"{array}/{number:05d}.npy", "rows": span, **entry})
    if over := stream.rest():
        raise ValueError(f"{folder}: the table has {rows} rows, the batches {over} more; give one line per row")
    complete(partial, folder, table, manifest(kind=kind, config=config, rows=rows, shards=shards))


def _with(first: Batch, others: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from others
