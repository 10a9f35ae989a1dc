"""The map against StandardScaler + UMAP on the raw matrix: time, memory and faithfulness, both sides in one run.

    python -m benchmarks.projection_speed                               # 4,000 x 98,304 float16: about ten minutes
    python -m benchmarks.projection_speed --rows 800 --columns 6000     # a smoke run
    python -m benchmarks.projection_speed --alone --rows 50000          # modescope alone: 9.8 GB of temporary disk

Each side runs in its own process, on the same file, after a tiny fit that pays for imports and compilation. Wall time
is followed by processor time, which tells more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import re
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

from modescope.layout import Layout, nearest, place
from modescope.projection import Reducer
from modescope.quality import measure

K = 15
NEW = 1000


def write_features(path: Path, rows: int, columns: int) -> None:
    """Thirty clusters on a curved surface with noise, rectified as activations are; float16."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((30, 24))[rng.permutation(rows) % 30] + 0.5 * rng.standard_normal((rows, 24))
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


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    before = time.process_time()
    return seconds(call), time.process_time() - before


def peak_megabytes() -> float:
    """Of this process alone; `getrusage` begins with what its parent held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else float("nan")


def run_ours(folder: Path) -> dict[str, float]:
    features = np.load(folder / "features.npy", mmap_mode="r")
    known, new = features[:-NEW], np.array(features[-NEW:])
    Reducer.fit(np.random.default_rng(0).standard_normal((200, 20)), pca=5)
    imports = peak_megabytes()
    fitted: list[Reducer] = []
    wall, processor = timed(lambda: fitted.append(Reducer.fit(known)))
    reducer = fitted[0]
    peak = peak_megabytes()
    np.save(folder / "ours.npy", reducer.embedding)
    reducer.transform(new[:1])
    many = timed(lambda: reducer.transform(new))
    one = [seconds(partial(reducer.transform, new[i : i + 1])) for i in range(30)]
    points = reducer.embedding[:30, None] + np.float32(0.01)
    reducer.inverse_transform(points[0])
    back = [seconds(partial(reducer.inverse_transform, point)) for point in points]
    reducer.save(folder / "reducer")
    quality = measure(reducer.scores, reducer.embedding, stability_rows=0)
    return {
        "fit": wall,
        "fit_cpu": processor,
        "peak": peak,
        "imports": imports,
        "many": many[0],
        "many_cpu": many[1],
        "transform": float(np.median(one)),
        "inverse": float(np.median(back)),
        "load": seconds(lambda: Reducer.load(folder / "reducer")),
        "trustworthiness_of_scores": quality.trustworthiness,
    }


def run_raw(folder: Path) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        tiny = np.random.default_rng(0).standard_normal((200, 20))
        UMAP(random_state=0, n_jobs=1).fit(tiny).transform(tiny[:5] + 0.1)
        features = np.load(folder / "features.npy", mmap_mode="r")
        scaler, model = StandardScaler(), UMAP(n_neighbors=K, random_state=0, n_jobs=1, transform_seed=1)
        wall, processor = timed(lambda: model.fit(scaler.fit_transform(features[:-NEW].astype(np.float32))))
        peak = peak_megabytes()
        np.save(folder / "raw.npy", model.embedding_)
        new = scaler.transform(features[-NEW:].astype(np.float32))
        places: list[np.ndarray] = []
        many = timed(lambda: places.append(model.transform(new)))
        model.transform_seed = 2
        other = model.transform(new)
    fitted = Layout(
        embedding=model.embedding_, sigmas=model._sigmas, rhos=model._rhos, a=float(model._a), b=float(model._b)
    )
    ours = place(fitted, *nearest(new, model._raw_data, K), seed=0)
    spread = float(np.sqrt(model.embedding_.var(0).sum()))
    return {
        "fit": wall,
        "fit_cpu": processor,
        "peak": peak,
        "many": many[0],
        "many_cpu": many[1],
        "between_seeds": float(np.median(np.linalg.norm(places[0] - other, axis=1))) / spread,
        "to_ours": float(np.median(np.linalg.norm(places[0] - ours, axis=1))) / spread,
    }


def side(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.projection_speed", "--side", name, "--folder", str(folder)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def standardised_distances(path: Path) -> np.ndarray:
    """Euclidean distances between standardised rows, column block by column block."""
    features = np.load(path, mmap_mode="r")[:-NEW]
    gram = np.zeros((len(features),) * 2)
    for begin in range(0, features.shape[1], 4096):
        block = StandardScaler().fit_transform(features[:, begin : begin + 4096].astype(np.float32))
        gram += block @ block.T
    squares = np.diag(gram)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * gram, 0))
    np.fill_diagonal(distances, 0)
    return distances


def alone(ours: dict[str, float]) -> list[str]:
    return [
        f"fit                         {ours['fit']:9.1f} s   ({ours['fit_cpu']:.1f} s of processor)",
        f"peak memory                 {ours['peak']:9.0f} MB  (imports {ours['imports']:.0f} MB)",
        f"one sample to the map       {ours['transform'] * 1e3:9.1f} ms",
        f"{NEW} samples to the map     {ours['many']:9.2f} s   ({ours['many_cpu']:.2f} s of processor)",
        f"one point to activations    {ours['inverse'] * 1e3:9.1f} ms",
        f"load the map                {ours['load']:9.2f} s",
        f"trustworthiness of the principal components, k = {K}: {ours['trustworthiness_of_scores']:.4f}",
    ]


def compared(ours: dict[str, float], raw: dict[str, float], trust: dict[str, float]) -> list[str]:
    return [
        "StandardScaler + UMAP on the raw matrix, and how many times modescope's figure that is",
        f"fit                         {raw['fit']:9.1f} s   ({raw['fit_cpu']:.1f} s of processor)"
        f"  {raw['fit'] / ours['fit']:.1f} x, processor {raw['fit_cpu'] / ours['fit_cpu']:.1f} x",
        f"peak memory                 {raw['peak']:9.0f} MB  {raw['peak'] / ours['peak']:.1f} x",
        f"{NEW} samples to the map     {raw['many']:9.2f} s   ({raw['many_cpu']:.2f} s of processor)"
        f"  {raw['many'] / ours['many']:.1f} x",
        f"places between seeds of umap-learn's transform: {raw['between_seeds']:.4f} deviations of the map; "
        f"from them to modescope's on the same map: {raw['to_ours']:.4f}",
        f"trustworthiness in the standardised features, k = {K}: {trust['raw']:.4f}; modescope {trust['ours']:.4f}",
    ]


def report(rows: int, columns: int, folder: Path, *, only_ours: bool) -> None:
    path = folder / "features.npy"
    write_features(path, rows + NEW, columns)
    ours = side("ours", folder)
    print(f"{rows} x {columns} float16, modescope", *alone(ours), sep="\n", flush=True)
    if only_ours:
        return
    raw, distances = side("raw", folder), standardised_distances(path)
    trust = {
        name: trustworthiness(distances, np.load(folder / f"{name}.npy"), n_neighbors=K, metric="precomputed")
        for name in ("ours", "raw")
    }
    print(*compared(ours, raw, trust), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--columns", type=int, default=98_304)
    parser.add_argument("--alone", action="store_true", help="leave StandardScaler + UMAP out")
    parser.add_argument("--side", choices=["ours", "raw"], help="run one side on --folder and print its numbers")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({"ours": run_ours, "raw": run_raw}[arguments.side](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(arguments.rows, arguments.columns, Path(folder), only_ours=arguments.alone)


if __name__ == "__main__":
    main()
