"""modescope's folders => the original's, one job per set and per map."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from modescope import datasets, files, store
from modescope.exchange.describing import Found, batch_name, named, plain, sample_entries, sample_name, set_info
from modescope.exchange.embeddings import AXES, embedding_table
from modescope.exchange.job import Job, Progress, check_absent
from modescope.exchange.original import read_json
from modescope.records import RECONSTRUCTION
from modescope.store import Activations, Images, Rows

BATCH_ROWS = 256


def export_jobs(
    sources: Sequence[Path], target: Path, *, name: str | None = None, batch_rows: int = BATCH_ROWS
) -> list[Job]:
    """What is to be written below `target`.

    `sources`: folders of images or activations, map tables (.parquet) or folders of them. What has one last name
    (`data/real`, `data/activations/default/real`, `data/maps/default/real.parquet`) is one set, called `name` where that
    is given. Samples are joined by id.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows {batch_rows} must be at least 1")
    sets: dict[str, Found] = {}
    for path in (inner for source in sources for inner in _expanded(source)):
        title = name or (path.stem if path.suffix == ".parquet" else path.name)
        sets[title] = _added(sets.get(title, Found(name=title)), path)
    for found in sets.values():
        _check(found)
    jobs = [job for found in sets.values() for job in _jobs(found, target, batch_rows)]
    places = [place for found in sets.values() for place in _places(found, target)]
    check_absent(places, "give another target, or move it away")
    return jobs


def _expanded(source: Path) -> list[Path]:
    if (source.suffix == ".parquet" and source.is_file()) or (source / "manifest.json").is_file():
        return [source]
    maps = sorted(source.glob("*.parquet")) if source.is_dir() else []
    if not maps:
        raise ValueError(
            f"{source} is no folder of images or activations (with a manifest.json), no map (.parquet) and no folder of "
            "maps; give such as data/real, data/activations/default/real, data/maps/default"
        )
    return maps


def _added(found: Found, path: Path) -> Found:
    if path.suffix == ".parquet":
        return replace(found, maps=(*found.maps, path))
    if read_json(path / "manifest.json").get("kind") == "activations":
        _check_first(found.activations, path)
        return replace(found, activations=store.open_activations(path))
    images = datasets.open_set(path)
    if images.config.get("reconstructions"):
        _check_first(found.reconstructions, path)
        return replace(found, reconstructions=images)
    _check_first(found.images, path)
    return replace(found, images=images)


def _check_first(other: Rows | None, path: Path) -> None:
    if other is not None:
        raise ValueError(f"{path} and {other.folder} are the same part of one set; export them to two targets")


def _check(found: Found) -> None:
    """All parts hold the same samples, and each map has a set to say what its samples are."""
    if not found.parts:
        raise ValueError(
            f"{found.maps[0]} comes without its samples; give the images or activations of {found.name!r} as well"
        )
    first = found.parts[0]
    for part in found.parts[1:]:
        if len(part) != len(first) or set(part.ids) != set(first.ids):
            raise ValueError(
                f"{part.folder} ({len(part)} samples) and {first.folder} ({len(first)}) hold different samples; a set of the "
                "original has all parts of each: export them to two targets, or make one from the other again"
            )
    if len({path.stem for path in found.maps}) < len(found.maps):
        raise ValueError(f"the maps {', '.join(map(str, found.maps))} have one name; export them to two targets")


def _jobs(found: Found, target: Path, batch_rows: int) -> Iterator[Job]:
    samples = sample_entries(found, batch_rows)
    activations = found.activations
    left = [a for a in found.images.manifest["arrays"] if a != "images"] if found.images is not None else []
    note = f"recorded mask values stay behind: {', '.join(left)}" if left else ""

    def write(progress: Progress) -> None:
        with _staged(target, found.name) as stage:
            if found.images is not None:
                _write_images(stage / "images", found.images, "images", found.ids, progress)
            if found.reconstructions is not None:
                _write_images(stage / "reconstructions", found.reconstructions, "images", found.ids, progress)
            if activations is not None:
                _write_batches(stage / "activations", activations, found.ids, batch_rows, progress)
                if RECONSTRUCTION in activations.manifest["arrays"] and found.reconstructions is None:
                    _write_images(stage / "reconstructions", activations, RECONSTRUCTION, found.ids, progress)
            files.write_json(stage / "metadata" / "dataset_info.json", set_info(found, samples))

    yield Job(
        what=f"set {found.name}", place=target / "metadata" / found.name, rows=len(found.ids), write=write, note=note
    )
    for path in found.maps:
        yield _map_job(found, path, samples, target)


def _map_job(found: Found, path: Path, samples: list[dict[str, Any]], target: Path) -> Job:
    place = target / "embeddings" / f"{path.stem}.csv"
    points = files.read_table(path)
    table = embedding_table(pd.DataFrame(samples), points, str(path))

    def write(progress: Progress) -> None:
        described = {"model": found.name, "num_samples": len(table), "n_components": sum(a in points for a in AXES)}
        files.write_json(place.with_suffix(".json"), described)
        files.write_table(place, table)

    return Job(what=f"map {path.stem}", place=place, rows=len(table), write=write)


def _places(found: Found, target: Path) -> Iterator[Path]:
    for part in ("images", "reconstructions", "activations", "metadata"):
        yield target / part / found.name
    for path in found.maps:
        yield target / "embeddings" / f"{path.stem}.csv"


@contextmanager
def _staged(target: Path, name: str) -> Iterator[Path]:
    """A folder with one part of the set per subfolder; they take their places together at the end, metadata last."""
    stage = target / f".{name}.part"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    try:
        yield stage
        for part in ("images", "reconstructions", "activations", "metadata"):
            if (stage / part).is_dir():
                (target / part).mkdir(exist_ok=True)
                (stage / part).rename(target / part / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _spans(rows: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def _write_images(folder: Path, stored: Rows, array: str, ids: Sequence[str], progress: Progress) -> None:
    rows = stored.rows_of(ids)
    for start, stop in progress(_spans(len(rows), BATCH_ROWS), f"{array} of {stored.folder}"):
        wanted = rows[start:stop]
        pixels = stored.read(wanted) if isinstance(stored, Images) else stored.take(wanted, array)
        for number, image in enumerate(pixels, start):
            files.write_bytes(folder / f"{sample_name(number)}.png", encode_png(image))


def encode_png(pixels: UInt8[np.ndarray, "C H W"]) -> bytes:
    """One grey or RGB image, losslessly."""
    if len(pixels) not in (1, 3):
        raise ValueError(f"an image has {len(pixels)} channels; PNG here is grey (1) or RGB (3)")
    content = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(content, "PNG")
    return content.getvalue()


def _write_batches(folder: Path, stored: Activations, ids: Sequence[str], batch_rows: int, progress: Progress) -> None:
    rows = stored.rows_of(ids)
    shapes = {layer: list(stored.manifest["arrays"][layer]["shape"]) for layer in stored.layers}
    for number, (start, stop) in enumerate(progress(_spans(len(rows), batch_rows), f"activations of {stored.folder}")):
        wanted = rows[start:stop]
        flat = {layer: stored.take(wanted, layer).reshape(len(wanted), -1) for layer in stored.layers}
        with files.replacing(folder / f"{batch_name(number)}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **flat)
        table = stored.table.iloc[wanted]
        samples = [
            {"batch_index": row, **named(record), "conditioning_sigma": plain(record["sigma"])}
            for row, record in enumerate(table.to_dict("records"))
        ]
        described = {"batch_size": len(wanted), "layers": list(shapes), "layer_shapes": shapes, "samples": samples}
        files.write_json(folder / f"{batch_name(number)}.json", described)
