"""The original's folders => modescope's.

<target>/real, <target>/fake/<set>     images
<target>/activations/<view>/<set>      activations, and beside them the denoised images of the same pass
<target>/reconstructions/<set>         denoised images without activations
<target>/maps/<view>/<set>.parquet     coordinates
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import classes, files, store
from modescope.exchange import labels as reading
from modescope.exchange.arrays import ActivationBatches, ImageBatches, Joined, Shape, layer_shapes
from modescope.exchange.batches import read_batches
from modescope.exchange.embeddings import embedding_jobs
from modescope.exchange.job import Job, Progress, check_absent
from modescope.exchange.original import NPZ_SOURCE, OriginalSet, read_set, set_names
from modescope.records import RECONSTRUCTION

PARTS = ("images", "reconstructions", "activations", "maps")
IMAGE_ROWS = 256
_UNKNOWN = "unknown (imported)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A set with what modescope says of it: `table` in the order of the original's list, its classes translated."""

    original: OriginalSet
    name: str
    table: pd.DataFrame
    note: str
    class_names: list[str]
    synsets: list[str] | None

    @property
    def images_place(self) -> Path:
        return Path("real") if self.original.real else Path("fake") / self.name


def import_jobs(
    source: Path,
    target: Path,
    *,
    sets: Sequence[str] | None = None,
    parts: Collection[str] = PARTS,
    labels: str | None = None,
    npz_dir: Path | None = None,
    shapes: Mapping[str, Shape] | None = None,
    view: str | None = None,
) -> list[Job]:
    """What is to be written below `target`; metadata, labels and places are checked here, arrays while writing.

    `labels`: one of `labels.READINGS`, for samples from packed ImageNet whose metadata leave it open. `npz_dir`: the
    packed files, which decide it. `shapes`: (C, H, W) of layers whose JSON has none. `view`: its name below activations/
    and maps/.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"part {unknown[0]!r} is unknown; use {', '.join(PARTS)}")
    originals = [read_set(source, name) for name in set_names(source, sets)]
    if sum(original.real for original in originals) > 1:
        names = ", ".join(original.name for original in originals if original.real)
        raise ValueError(
            f"{source} holds several sets of real images ({names}), whose ids collide; choose one with --set"
        )
    imported = [_imported(original, labels, npz_dir) for original in originals]
    jobs = [job for each in imported for job in _set_jobs(each, target, parts, shapes or {}, view)]
    if "maps" in parts:
        known = {each.original.name: each.original for each in imported}
        jobs += embedding_jobs(source, target, known, view, everything=sets is None)
    if not jobs:
        raise ValueError(f"{source} holds nothing of {', '.join(parts)} for {', '.join(o.name for o in originals)}")
    check_absent((job.place for job in jobs), "give another target, or with --set and --parts what is to come")
    return jobs


def _imported(original: OriginalSet, labels: str | None, npz_dir: Path | None) -> Imported:
    samples = original.samples
    class_id, note = _standard_labels(original, labels, npz_dir)
    changed = class_id != samples["class_id"].to_numpy()
    synset, name = samples["synset_id"].copy(), samples["class_name"].copy()
    if original.imagenet:
        entries = [classes.by_index(int(index)) for index in class_id]
        synset[changed | synset.isna()] = [
            e.synset for e, use in zip(entries, changed | synset.isna(), strict=True) if use
        ]
        name[changed | name.isna()] = [e.name for e, use in zip(entries, changed | name.isna(), strict=True) if use]
        _check_synsets(original, synset, entries)
    names, synsets = _class_tables(original, class_id, name)
    table = store.sample_table(
        original.ids(),
        class_id,
        batch_index=np.arange(len(samples)) // IMAGE_ROWS,
        synset_id=synset.tolist(),
        class_name=name.tolist(),
        original_path=samples["original_path"].tolist(),
        **_image_columns(original),
    )
    title = str(original.ours.get("name", original.name))
    return Imported(original=original, name=title, table=table, note=note, class_names=names, synsets=synsets)


def _image_columns(original: OriginalSet) -> dict[str, Any]:
    """How the images were made: an export says it; the original's generated ones were sampled at their noise level."""
    samples, info = original.samples, original.info
    if original.ours:
        return {column: _column(samples[column]) for column in ("source", "seed", "sigma", "protocol")}
    if original.real:
        return {"source": _column(samples["source"].fillna(str(info.get("source", original.name))))}
    return {
        "source": original.name,
        "seed": _column(samples["seed"].fillna(info.get("seed"))) if "seed" in info else _column(samples["seed"]),
        "sigma": _column(_sigma(original)),
        "protocol": "sampling",
    }


def _sigma(original: OriginalSet) -> pd.Series:
    sigma, common = original.samples["conditioning_sigma"], original.info.get("conditioning_sigma")
    return sigma if common is None else sigma.fillna(common)


def _column(values: pd.Series) -> list[Any] | None:
    """Values for the sample table; None where there are none at all, so that the column is an empty one."""
    return None if values.isna().all() else [None if pd.isna(value) else value for value in values]


def _standard_labels(original: OriginalSet, choice: str | None, npz_dir: Path | None) -> tuple[np.ndarray, str]:
    """Standard class indices, and how they were arrived at."""
    samples, found = original.samples, original.samples["class_id"].to_numpy(np.int64)
    if choice is not None and choice not in reading.READINGS:
        raise ValueError(f"labels {choice!r} is unknown; use {', '.join(reading.READINGS)}")
    said = (samples["source"] == NPZ_SOURCE) | samples["original_path"].map(reading.is_packed)
    packed = said.to_numpy(bool) | (original.info.get("source") == NPZ_SOURCE)
    if original.info.get("label_order") == "standard" or not packed.any():
        return found, "labels as they are" + (", exported as standard indices" if packed.any() else "")
    chosen, rows = found[packed], samples[packed]
    if npz_dir is not None:
        verdict = reading.by_shards(chosen, rows["original_path"].tolist(), npz_dir, str(original.path))
        if choice not in (None, verdict.reading):
            raise ValueError(f"--labels {choice} contradicts the packed files: {verdict}; leave --labels away")
    elif choice is not None:
        verdict = reading.Verdict(reading=choice, reason="as told")
    else:
        verdict = reading.by_evidence(
            chosen, rows["synset_id"].tolist(), rows["class_name"].tolist(), str(original.path)
        )
    try:
        found = found.copy()
        found[packed] = reading.standard(chosen, verdict.reading)
    except ValueError as error:
        raise ValueError(f"{original.path}, read as {verdict.reading}: {error}") from error
    return found, str(verdict)


def _check_synsets(original: OriginalSet, synsets: pd.Series, entries: Sequence[classes.ImageNetClass]) -> None:
    for sample_id, synset, entry in zip(original.samples["sample_id"], synsets, entries, strict=True):
        if synset != entry.synset:
            raise ValueError(
                f"{original.path}: sample {sample_id!r} has class {entry.index}, which is {entry.synset}, and synset "
                f"{synset}; correct the one that is wrong"
            )


def _class_tables(original: OriginalSet, class_id: np.ndarray, names: pd.Series) -> tuple[list[str], list[str] | None]:
    """Names (and synsets) by class: ImageNet's, those of an export, or what the samples say."""
    if "class_names" in original.ours:
        return list(original.ours["class_names"]), original.ours.get("synsets")
    if original.imagenet:
        return [entry.name for entry in classes.table()], [entry.synset for entry in classes.table()]
    known = {int(index): str(name) for index, name in zip(class_id, names, strict=True) if name is not None}
    return [known.get(index, str(index)) for index in range(int(class_id.max()) + 1)], None


def _set_jobs(
    each: Imported, target: Path, parts: Collection[str], shapes: Mapping[str, Shape], view: str | None
) -> Iterator[Job]:
    samples, place = each.original.samples, each.original.place
    images, reconstructed = samples["image_path"], samples["reconstructed_path"].dropna()
    if "images" in parts and place(images.iloc[0]).parent.is_dir():
        yield _image_job(each, target / each.images_place, images, _image_config(each))
    beside = "reconstructions" in parts and len(reconstructed) > 0 and place(reconstructed.iloc[0]).parent.is_dir()
    if "activations" in parts and (each.original.root / "activations" / each.original.name).is_dir():
        whole = beside and len(reconstructed) == len(samples)
        yield _activation_job(each, target, shapes, view, reconstructed=reconstructed if whole else None)
        beside = beside and not whole
    if beside:
        config = {**_image_config(each), "reconstructions": True}
        yield _image_job(each, target / "reconstructions" / each.name, reconstructed, config)


def _image_job(each: Imported, folder: Path, paths: pd.Series, config: Mapping[str, Any]) -> Job:
    found = [each.original.place(path) for path in paths]
    batches = ImageBatches([found[i : i + IMAGE_ROWS] for i in range(0, len(found), IMAGE_ROWS)])
    table = each.table.loc[paths.index].reset_index(drop=True)

    def write(progress: Progress) -> None:
        store.write_rows(folder, progress(batches, folder.name), table, kind="images", config=config)

    what = "reconstructions" if "reconstructions" in config else "images"
    return Job(what=f"{what} of {each.original.name}", place=folder, rows=len(table), write=write, note=each.note)


def _image_config(each: Imported) -> dict[str, Any]:
    """As exported, else what is known: `identity` tells sets apart, by their metadata."""
    original = each.original
    if "images" in original.ours:
        return dict(original.ours["images"])
    identity = {
        "source": _sources(original),
        "preprocessing": "as stored by the original visualizer",
        "fingerprint": files.sha256(original.path)[:16],
    }
    config = {"identity": identity, "classes": each.class_names, "synsets": each.synsets, "labels": each.note}
    if original.real:
        return {**config, "order": "source", "unreadable": []}
    made = {"generator": each.name, "checkpoint_hash": _UNKNOWN, "sampler": _UNKNOWN, "steps": None}
    return {**made, "seed": original.info.get("seed"), "sigma": original.info.get("conditioning_sigma"), **config}


def _sources(original: OriginalSet) -> str:
    return ", ".join(sorted(map(str, original.samples["source"].dropna().unique()))) or original.name


def _activation_job(
    each: Imported, target: Path, shapes: Mapping[str, Shape], view: str | None, reconstructed: pd.Series | None
) -> Job:
    """Activations, and beside them the denoised images of the same pass."""
    original, found = each.original, read_batches(each.original)
    order = list(original.info.get("layers", ())) if original.ours else ()
    layers = layer_shapes(found.files[0].path, found.shapes, shapes, imagenet=original.imagenet, order=order)
    activations = ActivationBatches(found.files, layers)
    batches: ActivationBatches | Joined = activations
    if reconstructed is not None:
        paths = [original.place(path) for path in reconstructed.to_numpy()[found.order]]
        ends = np.cumsum([0, *(len(file.rows) for file in found.files)])
        groups = [paths[a:b] for a, b in pairwise(ends)]
        batches = Joined(activations, ImageBatches(groups, RECONSTRUCTION))
    table = each.table.iloc[found.order].reset_index(drop=True).assign(batch_index=found.number, **found.columns)
    name = view or str(original.ours.get("view", "imported"))
    folder = target / "activations" / name / ("real" if original.real else each.name)
    config = original.ours.get("activations") or _activation_config(each, table, list(layers))

    def write(progress: Progress) -> None:
        store.write_rows(folder, progress(batches, folder.name), table, kind="activations", config=config)

    what = "activations" if reconstructed is None else "activations and reconstructions"
    return Job(what=f"{what} of {original.name}", place=folder, rows=len(table), write=write, note=each.note)


def _activation_config(each: Imported, table: pd.DataFrame, layers: list[str]) -> dict[str, Any]:
    """What is known of a foreign capture: enough to keep it apart from captures with another protocol or noise level."""
    sigmas, protocols = (sorted(table[name].dropna().unique().tolist()) for name in ("sigma", "protocol"))
    view = {"layers": layers, "protocol": ", ".join(protocols), "sigma": sigmas[0] if len(sigmas) == 1 else sigmas}
    came = {"kind": "exchange", "path": str(each.original.root), "set": each.original.name}
    source = "real" if each.original.real else each.name
    network = f"{_UNKNOWN} from {each.original.root}"
    return {"view": view, "network_hash": network, "source": source, "imported": came, "labels": each.note}
