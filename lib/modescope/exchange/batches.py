"""Which rows of which file of activations belong to which samples, from the metadata alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope.exchange.arrays import BatchFile, read_npz
from modescope.exchange.original import OriginalSet, read_json

_KEYS = {"seed": "seed", "sigma": "conditioning_sigma", "protocol": "protocol"}
OTHER_PARTS = "the other parts can be imported with --parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """`order`: the sample (place in the list of the set) of each row, file by file; `columns`: how it was captured."""

    files: list[BatchFile]
    order: np.ndarray
    columns: dict[str, list[Any]]
    shapes: dict[str, Sequence[int]]

    @property
    def number(self) -> np.ndarray:
        """The file of each row."""
        return np.repeat(np.arange(len(self.files)), [len(file.rows) for file in self.files])


def read_batches(original: OriginalSet) -> Batches:
    samples = original.samples
    if samples["activation_path"].notna().all():
        found = _by_path(original)
    elif samples["activation_path"].isna().all():
        found = _by_order(original)
    else:
        lacking = samples["sample_id"][samples["activation_path"].isna()].iloc[0]
        raise ValueError(
            f"{original.path}: sample {lacking!r} has no activation_path, others have; give all of them one"
        )
    files, shapes, defaults = [], _described(original.info), _defaults(original)
    columns: dict[str, list[Any]] = {name: [] for name in defaults}
    for path, (places, rows) in found.items():
        described = _json_beside(path)
        shapes = {**shapes, **_described(described)}
        entries = described.get("samples", [])
        files.append(_checked(original, path, places, rows, described))
        for name, values in defaults.items():
            told = [entries[row].get(_KEYS[name]) if entries else None for row in rows]
            columns[name] += [values[place] if own is None else own for place, own in zip(places, told, strict=True)]
    order = np.concatenate([places for places, _ in found.values()])
    return Batches(files=files, order=order, columns=columns, shapes=shapes)


Found = dict[Path, tuple[np.ndarray, np.ndarray]]
"""Each file => the samples in it (places in the list) and their rows."""


def _by_path(original: OriginalSet) -> Found:
    samples, found = original.samples, {}
    for name, part in samples.groupby("activation_path", sort=False):
        path = original.place(str(name)).with_suffix(".npz")
        if not path.is_file():
            raise ValueError(f"{path} is missing, {original.path} refers to it; copy it from where the set was made")
        whole = part["batch_index"].map(lambda row: type(row) is int)
        if whole.all():
            found[path] = part.index.to_numpy(np.int64), part["batch_index"].to_numpy(np.int64)
        elif len(part) == 1 and part["batch_index"].isna().all() and _length(path) == 1:
            found[path] = part.index.to_numpy(np.int64), np.zeros(1, np.int64)  # one file per sample, as early versions
        else:
            lacking = part["sample_id"][~whole].iloc[0]
            raise ValueError(
                f"{original.path}: sample {lacking!r} has no whole number as batch_index and {path} several rows, so "
                f"which is its own is not known; {OTHER_PARTS}"
            )
    return found


def _by_order(original: OriginalSet) -> Found:
    """Without paths: all rows of all files, in the order of their names, are the samples in theirs."""
    folder = original.root / "activations" / original.name
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise ValueError(f"{folder} holds no batch_<n>.npz; copy them from where the set was made")
    lengths = [_length(path) for path in paths]
    if sum(lengths) != len(original.samples):
        raise ValueError(
            f"{folder} holds {sum(lengths)} rows in {len(paths)} files, {original.path} lists "
            f"{len(original.samples)} samples and no activation_path; a file is missing or of another set: copy the "
            "folder again"
        )
    starts = np.cumsum([0, *lengths])
    return {p: (np.arange(a, a + n), np.arange(n)) for p, a, n in zip(paths, starts, lengths, strict=False)}


def _length(path: Path) -> int:
    described = _json_beside(path)
    if told := len(described.get("samples", [])) or described.get("batch_size"):
        return int(told)
    return max((len(values) for values in read_npz(path).values() if values.ndim), default=0)


def _json_beside(path: Path) -> dict[str, Any]:
    """The batch's own metadata; early versions of the original wrote none for generated images."""
    beside = path.with_suffix(".json")
    described = read_json(beside) if beside.is_file() else {}
    samples = described.get("samples", [])
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise ValueError(f"{beside}: `samples` is no list with an entry per row; copy it again from where it was made")
    if samples and described.get("batch_size", len(samples)) != len(samples):
        raise ValueError(
            f"{beside} says batch_size {described['batch_size']} and lists {len(samples)} samples; copy it again"
        )
    return described


def _checked(
    original: OriginalSet, path: Path, places: np.ndarray, rows: np.ndarray, described: Mapping[str, Any]
) -> BatchFile:
    """The file with its rows, where metadata and batch agree."""
    ids, labels = original.samples["sample_id"].to_numpy()[places], original.samples["class_id"].to_numpy()[places]
    _check_single(original, path, ids, rows)
    entries: Sequence[Mapping[str, Any]] = described.get("samples", [])
    total = len(entries) or int(described.get("batch_size", len(rows)))
    if rows.min() < 0 or rows.max() >= total:
        wrong = int(((rows < 0) | (rows >= total)).argmax())
        raise ValueError(
            f"{original.path}: sample {ids[wrong]!r} is row {rows[wrong]} of {path}, which has {total} samples; "
            "copy both again"
        )
    for name, label, row in zip(ids, labels, rows, strict=True):
        theirs = entries[row].get("class_id", entries[row].get("class_label", label)) if entries else label
        if theirs != label:
            raise ValueError(
                f"{path.with_suffix('.json')} gives row {row} the class {theirs}, {original.path} its sample {name!r} the "
                f"class {label}; one of them is of another run: copy both again"
            )
    return BatchFile(path=path, rows=rows, total=total, classes=labels)


def _check_single(original: OriginalSet, path: Path, ids: np.ndarray, rows: np.ndarray) -> None:
    """No two samples share a row, as they do after the original's resume."""
    repeated = pd.Series(rows).duplicated(keep=False).to_numpy()
    if repeated.any():
        first, second = np.flatnonzero(repeated & (rows == rows[repeated.argmax()]))[:2]
        raise ValueError(
            f"{original.path}: samples {ids[first]!r} and {ids[second]!r} are both row {rows[first]} of {path}; a "
            f"resumed run of the original overwrote earlier batches, whose activations are lost: capture them "
            f"again; {OTHER_PARTS}"
        )


def _defaults(original: OriginalSet) -> dict[str, np.ndarray]:
    """Seed, noise level and protocol of each sample where its batch does not say. The original fed real images x * sigma."""
    common = {name: original.info.get(key) for name, key in _KEYS.items()}
    if not original.ours:
        common["protocol"] = "scaled" if original.real else "sampling"
    found = {}
    for name, key in _KEYS.items():
        values = original.samples[key].to_numpy(object, copy=True)
        values[pd.isna(values)] = common[name]
        found[name] = values
    return found


def _described(info: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """Shapes of layers, under any of the names that they have been written under."""
    layers = info.get("layers")
    found: dict[str, Any] = dict(layers) if isinstance(layers, dict) else {}
    if isinstance(layers, list):
        found |= {entry["name"]: entry.get("shape") for entry in layers if isinstance(entry, dict) and "name" in entry}
    for key in ("shapes", "layer_shapes"):
        found |= info[key] if isinstance(info.get(key), dict) else {}
    return {name: shape for name, shape in found.items() if _is_shape(shape)}


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 3 and all(type(side) is int and side > 0 for side in value)
