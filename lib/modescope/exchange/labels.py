"""Which class the numbers of an original's set mean.

Packed ImageNet counts 1..1000 in `map_clsloc` order. Versions of the original took these numbers (`npz-as-index`), or
them less one (`npz-minus-one`), for standard indices, looked synset and name up by the wrong index, and later ones
translated them (`standard`). A set with matching synsets can thus be right or wrong throughout, and its files alone do
not say which.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from modescope import classes
from modescope.images import open_images
from modescope.images.packed import shard_paths

READINGS = ("npz-as-index", "npz-minus-one", "standard")
_PATH = re.compile(r"npz_sample_(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the stored numbers are (one of `READINGS`), and why that was concluded."""

    reading: str
    reason: str

    def __str__(self) -> str:
        return f"labels {self.reading}: {self.reason}"


def standard(labels: Int64[np.ndarray, " N"], reading: str) -> Int64[np.ndarray, " N"]:
    """Stored numbers under a reading => standard indices."""
    if reading not in READINGS:
        raise ValueError(f"labels {reading!r} is unknown; use {', '.join(READINGS)}")
    if reading != "standard":
        return classes.from_npz_labels(labels + (reading == "npz-minus-one"))
    if labels.max(initial=0) >= len(classes.table()):
        raise ValueError(f"class {labels.max()} is no standard index, 0..{len(classes.table()) - 1}; use npz-as-index")
    return labels


def is_packed(original_path: object) -> bool:
    """Whether a sample says that it came from packed ImageNet."""
    return isinstance(original_path, str) and bool(_PATH.fullmatch(original_path))


def by_evidence(
    labels: Int64[np.ndarray, " N"], synsets: Sequence[str | None], names: Sequence[str | None], what: str
) -> Verdict:
    """The reading that range and synsets (else names) prove. Raises ValueError where they leave a choice."""
    if labels.max() >= len(classes.table()):
        return Verdict(reading="npz-as-index", reason=f"class {labels.max()} occurs, so counting starts at 1")
    different = set(zip(labels.tolist(), synsets, names, strict=True))
    pairs = {(label, entry) for label, synset, name in different if (entry := _class_of(synset, name))}
    if not pairs:
        if labels.min() == 0:
            return Verdict(reading="npz-minus-one", reason="class 0 occurs, and no sample has a synset")
        raise ValueError(f"{what}: {_choice('no synset, no class 0 and no class 1000 occurs')}")
    if all(entry.npz_label - 1 == label for label, entry in pairs):
        return Verdict(reading="npz-minus-one", reason="each synset is that of the packed label class_id + 1")
    if all(entry.npz_label == label for label, entry in pairs):
        return Verdict(reading="npz-as-index", reason="each synset is that of the packed label class_id")
    if all(entry.index == label for label, entry in pairs):
        why = "class, synset and name agree, as they do after a translation and also after a look-up by the wrong index"
        raise ValueError(f"{what}: {_choice(why)}")
    label, entry = next(pair for pair in sorted(pairs, key=lambda p: p[0]) if pair[1].index != pair[0])
    raise ValueError(
        f"{what}: class {label} stands beside {entry.synset} ({entry.name}) and other samples follow another rule; "
        f"{_choice('the set mixes several readings')}"
    )


def _choice(why: str) -> str:
    return (
        f"its labels come from packed ImageNet, and whether they were translated cannot be told ({why}). Give --npz-dir "
        "with the packed files, which decides it, or say what class_id is: --labels npz-as-index (the packed label, "
        "1..1000), --labels npz-minus-one (that less one) or --labels standard (translated)"
    )


def _class_of(synset: str | None, name: str | None) -> classes.ImageNetClass | None:
    try:
        return classes.by_synset(synset) if synset else classes.find(name) if name else None
    except ValueError:
        return None  # such as unknown_1000, or a name that two classes share: no evidence either way


def by_shards(labels: Int64[np.ndarray, " N"], original_paths: Sequence[object], npz_dir: Path, what: str) -> Verdict:
    """The reading under which every `npz_sample_<i>` has the class that row i of the packed files has.

    Early versions of the original opened the files in the order of their names (1, 10, 2, ...); both orders are tried.
    """
    rows = np.fromiter(
        (int(match[1]) if (match := _PATH.fullmatch(str(path))) else -1 for path in original_paths),
        np.int64,
        len(labels),
    )
    if (rows < 0).any():
        wrong = original_paths[int((rows < 0).argmax())]
        raise ValueError(
            f"{what}: original_path {wrong!r} is not npz_sample_<i>, so --npz-dir cannot check it; use --labels"
        )
    agreement = {}
    for order, truth in _packed_labels(npz_dir).items():
        if rows.max() >= len(truth):
            raise ValueError(
                f"{npz_dir} holds {len(truth)} images, {what} refers to npz_sample_{rows.max()}; give the folder "
                "with all files"
            )
        for reading in READINGS:
            agreement[reading, order] = _agreement(labels, reading, truth[rows])
    (reading, order), share = max(agreement.items(), key=lambda item: item[1])
    if share < 1:
        found = ", ".join(f"{r} {max(s for (q, _), s in agreement.items() if q == r):.1%}" for r in READINGS)
        raise ValueError(
            f"{what}: no reading of its labels agrees with {npz_dir} throughout ({found}); is it the folder that the "
            "set was made from?"
        )
    return Verdict(reading=reading, reason=f"all {len(rows)} agree with {npz_dir}, files in the order of their {order}")


def _agreement(labels: np.ndarray, reading: str, truth: np.ndarray) -> float:
    try:
        return float((standard(labels, reading) == truth).mean())
    except ValueError:  # a label that this reading does not have
        return 0.0


def _packed_labels(npz_dir: Path) -> Mapping[str, Int64[np.ndarray, " M"]]:
    """Standard labels of all rows, with the files in the order of their numbers and in that of their names."""
    _, paths = shard_paths(npz_dir, None)
    with tempfile.TemporaryDirectory() as cache:  # nothing is left beside the user's files
        found = {path: open_images("imagenet-npz", path, cache=cache).labels for path in paths}
    orders = {"numbers": paths, "names": sorted(paths, key=lambda path: path.name)}
    return {order: np.concatenate([found[path] for path in ordered]) for order, ordered in orders.items()}
