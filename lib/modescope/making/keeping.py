"""Images that were kept: found again by their ids, exported one by one or together."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from modescope import store
from modescope.making.recipes import Recipe
from modescope.making.scripts import script
from modescope.making.workshop import Workshop

PICTURES = ("image", "free", "mean")
"""The image, the one of the same seed with nothing held, the mean of the images aimed at (absent where none were)."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip knows: equal files make equal bytes
COLUMNS = (
    "id",
    "folder",
    "generator",
    "view",
    "seed",
    "condition",
    "sampler",
    "steps",
    "layers",
    "source",
    "strength",
    "neighbours",
    "distance",
    "relative",
    "landed",
    "script",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A made image as it is kept: its id, recipe, the rest of its record, and its arrays."""

    id: str
    recipe: Recipe
    record: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def landed(self) -> tuple[float, ...] | None:
        """Its place on the map of the recipe's view, where it has one."""
        place = self.record["landed"]
        return None if place is None else tuple(place)


def read_kept(workshop: Workshop, sample_id: str) -> Kept:
    """A made image by its id. ValueError for an unknown id, a damaged file, and a recipe of another version."""
    for generator in workshop.opened.params.generators:
        folder = workshop.folder(generator)
        if sample_id in store.list_made(folder):
            record, arrays = store.read_made(folder, sample_id)
            try:
                recipe = Recipe.read(record["recipe"])
            except (KeyError, AttributeError, ValueError) as error:
                raise ValueError(f"{sample_id} in {folder}: {error}") from error
            return Kept(id=sample_id, recipe=recipe, record=record, arrays=arrays)
    raise ValueError(f"{sample_id!r} is not among the made images; `python -m modescope.making list` names them")


def kept_ids(workshop: Workshop) -> Iterator[str]:
    """Ids of all that was made, generator by generator, oldest first; not every one need be readable."""
    for generator in workshop.opened.params.generators:
        yield from store.list_made(workshop.folder(generator))


def script_of(workshop: Workshop, sample_id: str) -> str:
    """The script of a kept image, to be run in the root of the project. ValueError where no script can carry it."""
    return _script(workshop, read_kept(workshop, sample_id))


def _script(workshop: Workshop, kept: Kept) -> str:
    generator, name = kept.recipe.generator, kept.id.removeprefix("made/")
    return script(
        kept.recipe,
        checkpoint=workshop.opened.params.generator(generator).checkpoint,
        record=f"data/made/{generator}/{name}.safetensors",
        output=f"{name}.png",
    )


def png(pixels: UInt8[np.ndarray, "C H W"]) -> bytes:
    """An image at its own size."""
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    Image.fromarray(rows[..., 0] if rows.shape[2] == 1 else rows).save(buffer, "PNG")
    return buffer.getvalue()


def bundle(workshop: Workshop, ids: Sequence[str]) -> bytes:
    """Kept images as a zip: index.csv, and for each `<hash>/` its pictures, record.json and replay.py (left out where no
    script can carry the recipe). The same ids give the same bytes.
    """
    if not ids:
        raise ValueError("ids is empty; name at least one image to pack")
    lines, parts = [], []
    for kept in (read_kept(workshop, name) for name in dict.fromkeys(ids)):
        files = _files(workshop, kept)
        folder = kept.id.removeprefix("made/")
        parts += [(f"{folder}/{name}", content) for name, content in files.items()]
        lines.append(_line(kept, folder, "replay.py" if "replay.py" in files else ""))
    return _zipped([("index.csv", _table(lines)), *parts])


def _files(workshop: Workshop, kept: Kept) -> dict[str, bytes]:
    found = {f"{name}.png": png(kept.arrays[name]) for name in PICTURES if name in kept.arrays}
    found["record.json"] = (json.dumps(dict(kept.record), indent=2, sort_keys=True) + "\n").encode()
    if all(held.source != "inverse" for held in kept.recipe.holds):
        found["replay.py"] = _script(workshop, kept).encode()
    return found


def _line(kept: Kept, folder: str, replay: str) -> dict[str, Any]:
    recipe = kept.recipe
    condition = " ".join(f"{label}:{share:.4g}" for label, share in recipe.condition) or "none"
    return {
        "id": kept.id,
        "folder": folder,
        "generator": recipe.generator,
        "view": recipe.aim.view,
        "seed": recipe.seed,
        "condition": condition,
        "sampler": recipe.sampler,
        "steps": recipe.steps,
        "layers": " ".join(recipe.layers),
        "source": " ".join(dict.fromkeys(held.source for held in recipe.holds)),
        "strength": " ".join(dict.fromkeys(f"{held.strength:g}" for held in recipe.holds)),
        "neighbours": " ".join(recipe.aim.ids),
        "distance": kept.record.get("distance"),
        "relative": kept.record.get("relative"),
        "landed": " ".join(f"{x:.6g}" for x in kept.landed or ()),
        "script": replay,
    }


def _table(lines: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _zipped(parts: Sequence[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts:
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
