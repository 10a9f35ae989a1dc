"""How fast real images come off disk, each against the plain way to do it, both in one run.

    python benchmarks/readers.py [--rows 128116] [--jpegs 400] [--folder /somewhere/roomy]

Writes a packed shard of 64 x 64 images (1.6 GB at the default) and JPEG files to a temporary folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from modescope.images import ImageSource, archive, open_images

BATCH, SIDE = 128, 64
MEMORY = """
import re, sys
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1e3
bare = anonymous()
import numpy as np
from modescope.images import open_images
imported = anonymous()
images = open_images("imagenet-npz", sys.argv[1])
rng = np.random.default_rng(0)
for _ in range(200):
    images.read(rng.integers(0, len(images), 128))
print(f"{imported - bare:.0f} {anonymous() - bare:.0f}")
"""


def make_shard(folder: Path, rows: int) -> Path:
    rng = np.random.default_rng(0)
    path = folder / "train_data_batch_1.npz"
    data = np.empty((rows, 3 * SIDE * SIDE), np.uint8)
    for start in range(0, rows, 8192):
        data[start : start + 8192] = rng.integers(0, 256, data[start : start + 8192].shape, dtype=np.uint8)
    np.savez(path, data=data, labels=rng.integers(1, 1001, rows))
    return path


def make_jpegs(folder: Path, count: int) -> None:
    """Photograph-sized files with smooth content, 500 x 375."""
    rng = np.random.default_rng(0)
    (folder / "n01440764").mkdir(parents=True)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"n01440764/{i}.JPEG", quality=92)


def rate(work: Callable[[], object], images: int, seconds: float = 2.0) -> float:
    """Images per second: the median over at least three repeats."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return images / float(np.median(times))


def load_whole(path: Path, rows: np.ndarray) -> np.ndarray:
    with np.load(path) as archive:
        return archive["data"][rows].reshape(-1, 3, SIDE, SIDE)


def cold_batch(work: Callable[[], object], path: Path) -> float:
    """Milliseconds of one batch whose file is not in the page cache: the median of five."""
    times = []
    for _ in range(5):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def pillow_one(path: str) -> np.ndarray:
    """The plain way: centre square, LANCZOS."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(square).transpose(2, 0, 1)


def pillow_loop(images: ImageSource) -> np.ndarray:
    return np.stack([pillow_one(images.original_path(i)) for i in range(len(images))])


def warm(folder: Path, path: Path, rows: int) -> None:
    start = time.perf_counter()
    images = open_images("imagenet-npz", folder)
    first = time.perf_counter() - start
    start = time.perf_counter()
    images = open_images("imagenet-npz", folder)
    print(f"opening a shard of {rows:,}: {first:.3f} s, with its index {time.perf_counter() - start:.3f} s (< 0.2)")

    rng = np.random.default_rng(1)
    one = rng.integers(0, rows, BATCH)
    assert np.array_equal(images.read(one), load_whole(path, one))
    images.read(np.arange(rows // 8 * 8)[::8])  # both sides from memory: the file is in the page cache
    ours = rate(lambda: images.read(rng.integers(0, rows, BATCH)), BATCH)
    whole = rate(lambda: load_whole(path, rng.integers(0, rows, BATCH)), BATCH)
    print(
        f"random batches of {BATCH}: {ours:,.0f} images/s, np.load each time {whole:,.0f}: {ours / whole:,.0f}x (> 500)"
    )
    values = np.random.default_rng(2).integers(0, 256, (min(rows, 16384), 3 * SIDE * SIDE), dtype=np.uint8)
    copied = rate(lambda: values[rng.integers(0, len(values), BATCH)], BATCH)
    block = values[:BATCH]
    straight = rate(block.copy, BATCH)
    print(f"of copying as many random rows in memory ({copied:,.0f} images/s): {ours / copied:.2f} (> 0.5)")
    print(f"of copying one block again and again ({straight:,.0f} images/s): {ours / straight:.2f}")


def cold_and_memory(folder: Path, path: Path, rows: int) -> None:
    """In a function of its own: pages of a file that is still mapped somewhere stay in memory."""
    rng = np.random.default_rng(3)

    def mapped_alone() -> None:
        data = archive.member(path, "data")
        np.memmap(path, np.uint8, "r", data.offset or 0, data.shape)[rng.integers(0, rows, BATCH)]

    cold = cold_batch(lambda: open_images("imagenet-npz", folder).read(rng.integers(0, rows, BATCH)), path)
    alone = cold_batch(mapped_alone, path)
    print(f"opening and one batch from a cold file: {cold:.0f} ms, a memory map alone {alone:.0f} ms")
    done = subprocess.run([sys.executable, "-c", MEMORY, folder], capture_output=True, text=True, check=True)
    imported, total = done.stdout.split()
    print(f"anonymous memory above a bare interpreter: {total} MB, of which imports {imported} MB (< 200)")


def folder_of_files(folder: Path, count: int) -> None:
    make_jpegs(folder, count)
    images = open_images("folder", folder, SIDE)
    everything = range(len(images))
    assert np.array_equal(images.read(everything), pillow_loop(images)), "pixels differ"
    paths = [images.original_path(i) for i in everything]
    workers = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        plain = rate(lambda: pillow_loop(images), count)
        ours = rate(lambda: images.read(everything), count)
        several = rate(lambda: pool.map(pillow_one, paths), count)
    print(f"JPEG files: {ours:,.0f} images/s, one thread {plain:,.0f}: {ours / plain:.2f}x (> 1.7 on two free cores)")
    print(f"of what {workers} processes reach on this machine now ({several:,.0f} images/s): {ours / several:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128_116)
    parser.add_argument("--jpegs", type=int, default=400)
    parser.add_argument("--folder", default=None, help="where the temporary folder is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for part in ("packed", "files"):
            (Path(name) / part).mkdir()
        folder_of_files(Path(name) / "files", options.jpegs)
        shard = make_shard(Path(name) / "packed", options.rows)
        warm(shard.parent, shard, options.rows)
        cold_and_memory(shard.parent, shard, options.rows)


if __name__ == "__main__":
    main()
