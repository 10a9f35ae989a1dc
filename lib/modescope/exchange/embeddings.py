"""Maps: the original's CSV with umap_x and umap_y, and modescope's table of sample ids and coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from modescope import store
from modescope.exchange.job import Job, Progress
from modescope.exchange.original import OriginalSet, read_json

AXES = ("x", "y", "z")


def embedding_jobs(
    source: Path, target: Path, sets: Mapping[str, OriginalSet], view: str | None, *, everything: bool
) -> Iterator[Job]:
    """One job per CSV; without `everything`, of those whose samples belong to `sets`.

    A set's only map takes the set's name below maps/<view>/, as the explorer looks for it; others keep theirs.
    """
    read = [(path, *_read(path, sets)) for path in sorted((source / "embeddings").glob("*.csv"))]
    wanted = [(path, table, members) for path, table, members in read if members or everything]
    for path, table, members in wanted:
        if not members:
            raise ValueError(
                f"{path} belongs to no set of {source}; there: {', '.join(sets)}: move it away, or use --set"
            )
        ids, points = _points(path, table, members, sets)
        alone = len(members) == 1 and sum(other == members for *_, other in wanted) == 1
        original = sets[members[0]]
        title = ("real" if original.real else str(original.ours.get("name", original.name))) if alone else path.stem
        place = target / "maps" / (view or str(original.ours.get("view", "imported"))) / f"{title}.parquet"

        def write(progress: Progress, place: Path = place, ids: list[str] = ids, points: np.ndarray = points) -> None:
            store.write_map(place, ids, points)

        yield Job(what=f"map {path.stem}", place=place, rows=len(ids), write=write)


def _read(path: Path, sets: Mapping[str, OriginalSet]) -> tuple[pd.DataFrame, list[str]]:
    """A CSV and the sets that its samples belong to."""
    try:
        table = pd.read_csv(path, dtype={"sample_id": str})
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as CSV ({error}); copy it again from where it was made") from error
    if "sample_id" not in table or not (_axes(table)):
        raise ValueError(f"{path} has no columns sample_id, umap_x, umap_y; is it an embedding? Move it away otherwise")
    if "image_path" in table and table["image_path"].notna().all():
        names = [_set_of(str(image)) for image in table["image_path"]]
        table["_set"] = names
        return table, [name for name in dict.fromkeys(names) if name in sets]
    beside = path.with_suffix(".json")
    said = read_json(beside).get("model") if beside.is_file() else None
    fitting = [name for name in sets if name in (said, path.stem) or path.stem.startswith(f"{name}_umap")]
    name = fitting[0] if fitting else next(iter(sets)) if len(sets) == 1 else ""
    table["_set"] = name
    return table, [name] if name else []


def _set_of(image_path: str) -> str:
    parts = PurePosixPath(image_path).parts
    return parts[1] if len(parts) > 2 and parts[0] == "images" else ""


def _axes(table: pd.DataFrame) -> list[str]:
    for prefix in ("umap_", ""):
        found = [f"{prefix}{axis}" for axis in AXES if f"{prefix}{axis}" in table]
        if len(found) >= 2:
            return found
    return []


def _points(
    path: Path, table: pd.DataFrame, members: Sequence[str], sets: Mapping[str, OriginalSet]
) -> tuple[list[str], np.ndarray]:
    """Ids in modescope's form, and coordinates float32 (n, 2 or 3)."""
    names = {
        (member, sample): ours
        for member in members
        for sample, ours in zip(sets[member].samples["sample_id"], sets[member].ids(), strict=True)
    }
    keys = list(zip(table["_set"], table["sample_id"], strict=True))
    if unknown := [key for key in keys if key not in names]:
        raise ValueError(
            f"{path} holds sample {unknown[0][1]!r} of set {unknown[0][0]!r}, which the metadata do not ({len(unknown)} of "
            f"{len(keys)}); it was made from another run: import the other parts with --parts, or every set at once"
        )
    points = table[_axes(table)].to_numpy()
    if points.dtype.kind not in "fi" or not np.isfinite(points.astype(np.float64)).all():
        raise ValueError(f"{path} holds coordinates that are not finite numbers; copy it again from where it was made")
    return [names[key] for key in keys], points.astype(np.float32)


def embedding_table(samples: pd.DataFrame, map_table: pd.DataFrame, what: str) -> pd.DataFrame:
    """One line per sample of a map, with what the original showed of it: the fields of `samples`, then umap_x, umap_y."""
    unknown = set(map_table["sample_id"]) - set(samples["sample_id"])
    if unknown:
        raise ValueError(
            f"{what} holds sample {min(unknown)!r}, which its set does not ({len(unknown)} of {len(map_table)}); export the "
            "map with the images or activations that it was made from"
        )
    named = map_table.rename(columns={axis: f"umap_{axis}" for axis in AXES})
    return samples.merge(named, on="sample_id", how="inner", validate="one_to_one")
