"""The metadata of the original's folders, read into one table per set; what is wrong is named with its file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

OURS = "modescope"
"""Key of `dataset_info.json` under which an export of modescope keeps what the original had no place for."""
NPZ_SOURCE = "imagenet_real_npz"
_NUMBER = re.compile(r"sample_(\d+)")
_COLUMNS = (
    "synset_id",
    "class_name",
    "image_path",
    "reconstructed_path",
    "activation_path",
    "batch_index",
    "original_path",
    "source",
    "conditioning_sigma",
    "sigma",
    "seed",
    "protocol",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalSet:
    """One set of images: `info` as read, `samples` a table with sample_id, class_id and whatever else was known."""

    root: Path
    name: str
    info: Mapping[str, Any]
    samples: pd.DataFrame

    @property
    def path(self) -> Path:
        return info_path(self.root, self.name)

    @property
    def ours(self) -> Mapping[str, Any]:
        """What an export of modescope wrote beside the original's fields; empty for the original's own sets."""
        found = self.info.get(OURS, {})
        return found if isinstance(found, dict) else {}

    @property
    def real(self) -> bool:
        if "real" in self.ours:
            return bool(self.ours["real"])
        named = "real" in str(self.info.get("model_type", self.name)).lower()
        return named or bool(self.samples["original_path"].notna().any())

    @property
    def imagenet(self) -> bool:
        """Whether classes and network are ImageNet's: the original knew no others, exports of modescope do."""
        if self.ours:
            return bool(self.samples["synset_id"].notna().any())
        kinds = [self.info.get("model_type", self.name), *self.samples["source"].dropna().unique()]
        return any(str(kind).startswith("imagenet") for kind in kinds)

    def ids(self) -> list[str]:
        """Ids in modescope's form: those of an export as they were, else `real/<i>` or `fake/<set>/<i>`."""
        names = self.samples["sample_id"].tolist()
        if self.ours:
            return names
        numbers = [match and int(match[1]) for match in map(_NUMBER.fullmatch, names)]
        counted = numbers if None not in numbers and len(set(numbers)) == len(numbers) else range(len(names))
        prefix = "real" if self.real else f"fake/{self.name}"
        return [f"{prefix}/{number}" for number in counted]

    def place(self, path: str) -> Path:
        """A path of the metadata, which counts from the root and stays below it."""
        parts = PurePosixPath(path.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"{self.path} points outside its root ({path!r}); paths there start below {self.root}")
        return self.root / parts


def info_path(root: Path, name: str) -> Path:
    return root / "metadata" / name / "dataset_info.json"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or a ValueError that names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; copy it from where the set was made") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); copy it again from where it was made") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}; the original writes an object there: copy it again")
    return value


def set_names(root: Path, chosen: Sequence[str] | None) -> list[str]:
    """The sets below `root`, or the `chosen` of them."""
    there = sorted(path.parent.name for path in root.glob("metadata/*/dataset_info.json"))
    if not there:
        raise ValueError(
            f"{root} holds no metadata/<set>/dataset_info.json; give the folder that holds images/, activations/ and "
            "metadata/"
        )
    for name in chosen or ():
        if name not in there:
            raise ValueError(f"set {name!r} is not in {root}; there: {', '.join(there)}")
    return list(chosen or there)


def read_set(root: Path, name: str) -> OriginalSet:
    path = info_path(root, name)
    info = read_json(path)
    samples = info.get("samples")
    if not isinstance(samples, list) or not samples or not all(isinstance(sample, dict) for sample in samples):
        raise ValueError(f"{path} has no list `samples` with an entry per sample; copy it again from where it was made")
    if info.get("num_samples", len(samples)) != len(samples):
        raise ValueError(
            f"{path} says num_samples {info['num_samples']} and lists {len(samples)} samples; the two must agree: "
            "copy it again, or set num_samples to the number of the list"
        )
    return OriginalSet(root=root, name=name, info=info, samples=_table(path, root, name, samples))


def _table(path: Path, root: Path, name: str, samples: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    ids = [sample.get("sample_id") for sample in samples]
    if not all(isinstance(value, str) for value in ids) or len(set(ids)) != len(ids):
        raise ValueError(f"{path}: each sample needs a sample_id of its own; correct the list")
    columns: dict[str, Any] = {"sample_id": ids, "class_id": _classes(path, samples)}
    columns |= {column: [sample.get(column) for sample in samples] for column in _COLUMNS}
    for column in (name for name in _COLUMNS if name.endswith("_path")):
        if wrong := [value for value in columns[column] if not isinstance(value, str | None)]:
            raise ValueError(f"{path}: {column} {wrong[0]!r} is no text; correct it, or copy the file again")
    table = pd.DataFrame({key: pd.Series(values, dtype=object) for key, values in columns.items()})
    table["class_id"] = table["class_id"].astype(np.int64)
    table["image_path"] = table["image_path"].fillna(f"images/{name}/" + table["sample_id"] + ".png")
    for folder in (f"reconstructions/{name}", f"images/{name}_reconstructed"):
        if (root / folder).is_dir():
            there = f"{folder}/" + table["sample_id"] + ".png"
            table["reconstructed_path"] = table["reconstructed_path"].fillna(there)
    return table


def _classes(path: Path, samples: Sequence[Mapping[str, Any]]) -> list[int]:
    found = [sample.get("class_id", sample.get("class_label")) for sample in samples]
    for sample, value in zip(samples, found, strict=True):
        if type(value) is not int or value < 0:
            raise ValueError(
                f"{path}: sample {sample['sample_id']!r} has the class {value!r}; a class_id (or class_label) is a whole "
                "number from 0: correct it, or take the sample off the list"
            )
    return found
