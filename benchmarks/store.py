"""The store against the plain disk: writing shards, and 64 rows at random from a cold start.

    python -m benchmarks.store [folder] [rows]

Writing: the same bytes written once as one plain file and once as shards with their checksums, both flushed to the disk
(fsync) before the clock stops. Reading: 64 random rows of 98,304 float16 values (both 768 x 8 x 8 layers of the ImageNet-64
network), after the kernel was told to forget the files; beside it one seek and read per row.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from modescope import store
from modescope.store import Shards

LAYERS, SHAPE, BATCH, LENGTH, PICKED, REPEATS = ("encoder_bottleneck", "midblock"), (768, 8, 8), 64, 2048, 64, 3


def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {layer: rng.standard_normal((BATCH, *SHAPE), np.float32).astype(np.float16) for layer in LAYERS}


def plain(path: Path, content: Mapping[str, np.ndarray], rows: int) -> float:
    """Seconds to write the rows as one file, as fast as the disk takes them."""
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(rows // BATCH):
            for values in content.values():
                file.write(values.data)
        os.fsync(file.fileno())
    return time.perf_counter() - start


def sharded(folder: Path, content: Mapping[str, np.ndarray], rows: int) -> tuple[float, Shards]:
    """Seconds to write them as shards, checksums and records included."""
    ids, labels = [f"real/{i}" for i in range(rows)], np.zeros(rows, np.int64)
    shards = Shards(folder, {"benchmark": 1}, ids=ids, labels=labels, batch_size=BATCH, shard_rows=LENGTH)

    def batches(count: int) -> Iterator[Mapping[str, np.ndarray]]:
        return iter([content] * (count // BATCH))

    start = time.perf_counter()
    for span in shards.missing():
        shards.write(span, batches(len(span)))
    return time.perf_counter() - start, shards


def forget(folder: Path) -> None:
    """Have the kernel drop the files of a folder from its cache."""
    for path in folder.rglob("*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def one_by_one(folder: Path, picked: np.ndarray) -> float:
    """Seconds to seek and read row after row."""
    width = int(np.prod(SHAPE)) * 2
    start = time.perf_counter()
    for layer in LAYERS:
        for row in picked:
            with (folder / layer / f"{row // LENGTH:05d}.npy").open("rb") as file:
                file.seek(128 + (row % LENGTH) * width)
                file.read(width)
    return time.perf_counter() - start


def main() -> None:
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data")
    rows = (int(sys.argv[2]) if len(sys.argv) > 2 else 3 * LENGTH) // LENGTH * LENGTH
    content = batch()
    size = rows * sum(values[0].nbytes for values in content.values()) / 1e6
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        pairs = []
        for _ in tqdm(range(REPEATS), desc=f"writing {size:.0f} MB both ways", unit="round"):
            shutil.rmtree(folder / "shards", ignore_errors=True)
            seconds = plain(folder / "plain", content, rows)
            (folder / "plain").unlink()
            took, shards = sharded(folder / "shards", content, rows)
            pairs.append((seconds, took))
        table = store.sample_table([f"real/{i}" for i in range(rows)], np.zeros(rows, np.int64))
        shards.finish(folder / "acts", table, kind="activations", config={})
        for seconds, took in pairs:
            print(f"write: plain {size / seconds:.0f} MB/s, shards {size / took:.0f} MB/s, ratio {seconds / took:.2f}")
        print(f"median ratio {np.median([seconds / took for seconds, took in pairs]):.2f} (asked: 0.60)")
        for seed in range(REPEATS):
            picked = np.sort(np.random.default_rng(seed).choice(rows, PICKED, replace=False))
            forget(folder / "acts")
            loop = one_by_one(folder / "acts", picked)
            forget(folder / "acts")
            acts = store.open_activations(folder / "acts")
            acts.rows_of(["real/0"])
            start = time.perf_counter()
            acts.matrix[picked]
            took = time.perf_counter() - start
            del acts  # mapped pages cannot be forgotten
            print(f"read {PICKED} rows cold: {took:.3f} s (asked: 0.2), row by row {loop:.3f} s")


if __name__ == "__main__":
    main()
