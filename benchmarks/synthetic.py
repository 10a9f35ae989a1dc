"""A project of any size without a network: packed images in a thousand classes, generated ones, and a map with gaps.

    python -m benchmarks.synthetic FOLDER [--real 1281167] [--generated 50000]

The images are 16x16 patterns by class with noise; the map is drawn, not fitted. It is for the explorer's measurements.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float32, Int64, UInt8

from modescope import files, params, store
from stages.prepare import prepare

REPOSITORY = Path(__file__).parents[1]
SIDE, CLASSES, BATCH = 16, 1000, 1 << 14
PER_FILE = 128_117
"""Images of one packed file: ten of them hold the training images of ImageNet."""
MISSED = 25
"""Every so manieth class is not generated."""


def pixels(labels: Int64[np.ndarray, " n"], seed: int) -> UInt8[np.ndarray, "n 3 S S"]:
    """A pattern for each class, with noise."""
    patterns = np.random.default_rng(0).integers(40, 200, (CLASSES, 3, 4, 4), dtype=np.uint8)
    noise = np.random.default_rng([1, seed]).integers(0, 56, (64, 3, SIDE, SIDE), dtype=np.uint8)
    return patterns[labels].repeat(SIDE // 4, 2).repeat(SIDE // 4, 3) + noise[np.arange(len(labels)) % 64]


def places(labels: Int64[np.ndarray, " n"], seed: int, spread: float) -> Float32[np.ndarray, "n 2"]:
    """A cloud for each class, some long and some round, and a few outliers."""
    rng, drawn = np.random.default_rng([2, seed]), np.random.default_rng(3)
    turn, wide = drawn.uniform(0, np.pi, CLASSES)[labels], drawn.uniform(1, 4, CLASSES)[labels]
    centres = (drawn.normal(size=(CLASSES, 2)) * 14)[labels]
    along, across = rng.normal(size=(2, len(labels))) * 0.45 * spread
    far = rng.random(len(labels)) < 0.002
    stretch = wide * np.where(far, 8, 1)
    offset = np.stack(
        [np.cos(turn) * along * stretch - np.sin(turn) * across, np.sin(turn) * along * stretch + across], 1
    )
    return (centres + offset).astype(np.float32)


def write_packed(folder: Path, count: int) -> None:
    """`train_data_batch_<n>.npz` as ImageNet is packed."""
    folder.mkdir(parents=True)
    labels = np.random.default_rng(4).integers(0, CLASSES, count)
    for number, start in enumerate(range(0, count, PER_FILE), 1):
        mine = labels[start : start + PER_FILE]
        data = pixels(mine, number).reshape(len(mine), -1)
        np.savez(folder / f"train_data_batch_{number}.npz", data=data, labels=mine + 1)


def write_fake(folder: Path, name: str, count: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Samples of a generator that misses some classes."""
    there = np.flatnonzero((np.arange(CLASSES) + seed) % MISSED)
    labels = there[np.arange(count) % len(there)]
    table = store.sample_table([f"fake/{name}/{i}" for i in range(count)], labels, source=name)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, count, BATCH):
            yield {"images": pixels(labels[start : start + BATCH], seed)}

    store.write_rows(folder, batches(), table, kind="images", config={"generator": name})
    return labels


def write(root: Path, real: int, generated: int, generators: tuple[str, ...] = ("dmd2-early", "dmd2")) -> None:
    """A project in `root` that the explorer opens."""
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    raw["real"] |= {"npz_dir": str(root / "packed")}
    raw["generators"] = {name: raw["generators"][name] for name in generators}
    raw["inversion"]["generators"] = raw["reach"]["generators"] = []
    files.write_text(root / "params.yaml", yaml.safe_dump(raw, sort_keys=False))
    write_packed(root / "packed", real)
    with contextlib.chdir(root):
        prepare(params.load(root / "params.yaml"))
    images = store.open_stored_images(root / "data/real")
    maps = root / "data/maps/default"
    store.write_map(maps / "real.parquet", images.ids, places(images.labels, 0, 1.0))
    for seed, name in enumerate(generators, 1):
        labels = write_fake(root / "data/fake" / name, name, generated, seed)
        ids = [f"fake/{name}/{i}" for i in range(generated)]
        store.write_map(maps / f"{name}.parquet", ids, places(labels, seed, 0.8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=int, default=1_281_167)
    parser.add_argument("--generated", type=int, default=50_000)
    arguments = parser.parse_args()
    write(arguments.folder.resolve(), arguments.real, arguments.generated)


if __name__ == "__main__":
    main()
