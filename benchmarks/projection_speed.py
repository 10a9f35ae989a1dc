"""The map against StandardScaler + UMAP on the raw matrix: time, memory and faithfulness, both sides in one run.

    python benchmarks/projection_speed.py                               # 4,000 x 98,304 float16: about ten minutes
    python benchmarks/projection_speed.py --rows 800 --columns 6000     # a smoke run

Each side runs in its own process, on the same file, after a tiny fit that pays for imports and compilation.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.manifold import trustworthiness
from sklearn.preprocessing import StandardScaler

from modescope.components import Components
from modescope.layout import Layout
from modescope.projection import Reducer, Settings

K = 15


def write_features(path: Path, rows: int, columns: int) -> None:
    """Thirty clusters on a curved surface with noise, rectified as activations are; float16."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((30, 24)).repeat(-(-rows // 30), axis=0)[:rows] + 0.5 * rng.standard_normal((rows, 24))
    hidden = np.tanh(latent @ rng.standard_normal((24, 200)) / 4).astype(np.float32)
    weights = rng.standard_normal((200, columns), dtype=np.float32) / 8
    file = np.lib.format.open_memmap(path, "w+", np.float16, (rows, columns))
    for begin in range(0, rows, 200):
        part = hidden[begin : begin + 200] @ weights
        part += 0.5 * rng.standard_normal(part.shape, dtype=np.float32)
        file[begin : begin + 200] = np.maximum(part, 0.1 * part)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_ours(folder: Path) -> dict[str, float]:
    features = np.load(folder / "features.npy", mmap_mode="r")
    Reducer.fit(np.random.default_rng(0).standard_normal((200, 20)), pca=5)
    before = peak_megabytes()
    fitted: list[Reducer] = []
    took = seconds(lambda: fitted.append(Reducer.fit(features)))
    reducer = fitted[0]
    peak = peak_megabytes()
    np.save(folder / "ours.npy", reducer.embedding)
    row = features[:1] * np.float16(1.05)
    reducer.transform(row)
    reducer.inverse_transform(reducer.embedding[:1])
    there = [seconds(lambda: reducer.transform(row)) for _ in range(30)]
    points = reducer.embedding[:30, None] + np.float32(0.01)
    back = [seconds(partial(reducer.inverse_transform, point)) for point in points]
    return {
        "fit": took,
        "peak": peak,
        "imports": before,
        "transform": float(np.median(there)),
        "inverse": float(np.median(back)),
    }


def run_raw(folder: Path) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        UMAP(random_state=0, n_jobs=1).fit(np.random.default_rng(0).standard_normal((200, 20)))
        features = np.load(folder / "features.npy", mmap_mode="r")
        model = UMAP(n_neighbors=K, random_state=0, n_jobs=1)
        took = seconds(lambda: model.fit(StandardScaler().fit_transform(features.astype(np.float32))))
    np.save(folder / "raw.npy", model.embedding_)
    return {"fit": took, "peak": peak_megabytes()}


def side(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", name, "--folder", str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def standardised_distances(path: Path) -> np.ndarray:
    """Euclidean distances between standardised rows, column block by column block."""
    features = np.load(path, mmap_mode="r")
    gram = np.zeros((len(features),) * 2)
    for begin in range(0, features.shape[1], 4096):
        block = StandardScaler().fit_transform(features[:, begin : begin + 4096].astype(np.float32))
        gram += block @ block.T
    squares = np.diag(gram)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * gram, 0))
    np.fill_diagonal(distances, 0)
    return distances


def load_time(folder: Path, *, rows: int = 50_000, columns: int = 98_304) -> float:
    """A map of random numbers at full size: saved, then loaded."""
    rng = np.random.default_rng(0)
    settings = Settings(
        pca=50, n_neighbors=K, min_dist=0.1, n_components=2, seed=0, metric="euclidean", repeatable=True
    )
    Reducer(
        settings=settings,
        components=Components(
            mean=rng.standard_normal(columns),
            inverse_scale=np.ones(columns),
            axes=rng.standard_normal((50, columns), dtype=np.float32),
            variance=np.ones(50),
        ),
        scores=rng.standard_normal((rows, 50), dtype=np.float32),
        layout=Layout(
            embedding=rng.standard_normal((rows, 2), dtype=np.float32),
            sigmas=np.ones(rows, np.float32),
            rhos=np.zeros(rows, np.float32),
            a=1.577,
            b=0.895,
        ),
    ).save(folder / "large")
    return seconds(lambda: Reducer.load(folder / "large"))


def compare(rows: int, columns: int, folder: Path) -> None:
    write_features(folder / "features.npy", rows, columns)
    ours, raw = side("ours", folder), side("raw", folder)
    distances = standardised_distances(folder / "features.npy")
    trust = {
        name: trustworthiness(distances, np.load(folder / f"{name}.npy"), n_neighbors=K, metric="precomputed")
        for name in ("ours", "raw")
    }
    print(f"{rows} x {columns} float16          modescope   StandardScaler + UMAP")
    print(f"fit                         {ours['fit']:9.1f} s   {raw['fit']:9.1f} s   {raw['fit'] / ours['fit']:.1f} x")
    print(
        f"peak memory                 {ours['peak']:9.0f} MB  {raw['peak']:9.0f} MB  (imports {ours['imports']:.0f} MB)"
    )
    print(f"trustworthiness, k = {K}     {trust['ours']:9.4f}     {trust['raw']:9.4f}")
    print(f"one sample to the map       {ours['transform'] * 1e3:9.1f} ms")
    print(f"one point to activations    {ours['inverse'] * 1e3:9.1f} ms")
    print(f"load a map of 50,000 rows   {load_time(folder):9.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--columns", type=int, default=98_304)
    parser.add_argument("--side", choices=["ours", "raw"], help="run one side on --folder and print its numbers")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({"ours": run_ours, "raw": run_raw}[arguments.side](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments.rows, arguments.columns, Path(folder))


if __name__ == "__main__":
    main()
