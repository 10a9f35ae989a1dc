"""What an export writes of a set besides its arrays: one entry per sample, and what the whole is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope.exchange.original import OURS
from modescope.records import RECONSTRUCTION
from modescope.store import Activations, Images, Rows

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was given of one set."""

    name: str
    images: Images | None = None
    reconstructions: Images | None = None
    activations: Activations | None = None
    maps: tuple[Path, ...] = ()

    @property
    def parts(self) -> list[Rows]:
        return [part for part in (self.images, self.activations, self.reconstructions) if part is not None]

    @property
    def ids(self) -> tuple[str, ...]:
        return self.parts[0].ids


def named(record: Mapping[Any, Any]) -> dict[str, Any]:
    kept = ("sample_id", "class_id", "synset_id", "class_name", "original_path", "seed", "protocol")
    return {name: plain(record[name]) for name in kept}


def plain(value: Any) -> Any:
    """A table's value as JSON has it."""
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return None
    return value.item() if isinstance(value, np.generic) else value


def sample_name(number: int) -> str:
    return f"sample_{number:06d}"


def batch_name(number: int) -> str:
    return f"batch_{number:06d}"


def sample_entries(found: Found, batch_rows: int) -> list[dict[str, Any]]:
    """One entry per sample, in the order of the first part, with the fields that the original reads and ours."""
    table = found.parts[0].table
    captured = (
        found.activations.table["sigma"].to_numpy()[found.activations.rows_of(found.ids)] if found.activations else None
    )
    reconstructed = found.reconstructions is not None or (
        found.activations is not None and RECONSTRUCTION in found.activations.manifest["arrays"]
    )
    entries = []
    for number, record in enumerate(table.to_dict("records")):
        entry = {**named(record), "class_label": int(record["class_id"])}
        if found.images is not None:
            entry["image_path"] = f"images/{found.name}/{sample_name(number)}.png"
        if reconstructed:
            entry["reconstructed_path"] = f"reconstructions/{found.name}/{sample_name(number)}.png"
        if found.activations is not None:
            entry["activation_path"] = f"activations/{found.name}/{batch_name(number // batch_rows)}"
            entry["batch_index"] = number % batch_rows
        entry |= {"source": plain(record["source"]), "sigma": plain(record["sigma"])}
        entry["conditioning_sigma"] = entry["sigma"] if captured is None else plain(captured[number])
        entries.append(entry)
    return entries


def set_info(found: Found, samples: list[dict[str, Any]]) -> dict[str, Any]:
    images, activations = found.images or found.reconstructions, found.activations
    names, synsets = _class_tables(found, samples)
    shapes = {a: list(activations.manifest["arrays"][a]["shape"]) for a in activations.layers} if activations else {}
    sigmas, seeds = ({entry[key] for entry in samples} for key in ("conditioning_sigma", "seed"))
    ours = {
        "version": VERSION,
        "name": found.parts[0].folder.name,
        "real": all(name.startswith("real/") for name in found.ids),
    }
    ours |= {"class_names": names, "synsets": synsets}
    if images is not None:  # pixels of an import lie in its folder, also where they were read from elsewhere before
        ours["images"] = {key: value for key, value in images.config.items() if key != "opened"}
    ours |= {"activations": activations.config} if activations else {}
    seen = [activations.folder, *found.maps] if activations else found.maps
    ours |= {"view": seen[0].parent.name} if seen else {}
    return {
        "model_type": found.name,
        "num_samples": len(samples),
        "layers": list(shapes),
        "layer_shapes": shapes,
        "conditioning_sigma": sigmas.pop() if len(sigmas) == 1 else None,
        "seed": seeds.pop() if len(seeds) == 1 else None,
        "label_order": "standard",
        "num_classes": len(names),
        "class_labels": {str(i): [synsets[i] if synsets else None, name] for i, name in enumerate(names)},
        OURS: ours,
        "samples": samples,
    }


def _class_tables(found: Found, samples: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str] | None]:
    """Names (and synsets) by class: as the images say, else as the samples do."""
    config = (found.images or found.parts[0]).config
    if config.get("classes"):
        synsets = config.get("synsets")
        return [str(name) for name in config["classes"]], list(synsets) if synsets else None
    known = {entry["class_id"]: entry["class_name"] for entry in samples}
    return [str(known.get(index, index)) for index in range(max(known) + 1)], None
