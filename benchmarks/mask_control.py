"""What a mask controls: how near the result comes to the aim, and what diversity is left.

    python -m benchmarks.mask_control [generator]     => the table, also metrics/mask_control.<generator>.csv

200 seeded aims: the centre of a sample's five nearest neighbours in feature space (the default view, standardised).
The mean of the neighbours' mask values is held in the one-step generator under three new seeds; the class is the
neighbours' majority. control: median distance from the result to the aim over the same without a mask (lower steers
better); diversity: distance between the results of different seeds over the same without a mask.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.svm import SVC
from torch import Tensor
from tqdm import tqdm

from modescope import components, datasets, files, masking, params, runtime, sampling, store
from modescope.capturing import capture_batch, flatten
from modescope.generators import Generator, load_generator
from modescope.jobs import look_of

AIMS, SEEDS, K, BATCH = 200, 3, 5, 200
Values = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def nearest(points: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """Rows of the k nearest of `among` for each point: (n, k)."""
    return torch.cdist(torch.from_numpy(points), torch.from_numpy(among)).topk(k, largest=False).indices.numpy()


class Bench:
    """The loaded data, and one measurement per (aims, mask values)."""

    def __init__(self, name: str) -> None:
        self.settings = params.load()
        self.view = self.settings.view("default")
        machine = runtime.start(self.settings.runtime.device, self.settings.runtime.threads)
        how = self.settings.generator(name)
        self.generator = load_generator(how.checkpoint, device=machine.device)
        self.network = load_generator(self.view.network, device=machine.device)
        self.real_images, self.fake_images = (datasets.open_set(Path("data", s)) for s in ("real", f"fake/{name}"))
        folder = Path("data/activations/default")
        real, fake = (store.open_activations(folder / s) for s in ("real", name))
        self.scale = components.fit(real.matrix, None, standardise=not real.standardised)
        self.real, self.fake = self.scale.project(real.matrix), self.scale.project(fake.matrix)
        self.look = look_of(self.settings, "default", machine, folder / "real/basis.safetensors")
        self.layer_sets = {
            "bottleneck": ["encoder_bottleneck"],
            "bottleneck + midblock": ["encoder_bottleneck", "midblock"],
            "every encoder layer": [layer for layer in self.generator.layers if layer.startswith("encoder")],
        }
        flat = self.real_images.read(np.arange(len(real))).reshape(len(real), -1)
        self.judge = SVC().fit(flat, self.real_images.labels)

    def results(self, labels: np.ndarray, masks: Mapping[str, Tensor] | None, seed: int) -> tuple[np.ndarray, float]:
        """One image per aim => its features, and the share that is of the class asked for."""
        noise = sampling.latents(self.settings.seed + 1 + seed, np.arange(AIMS), self.generator.latent_shape)
        mask = None
        if masks is not None:
            mask = masking.Mask(
                values=masks, ids=("mean",), weights=(1.0,), source="recorded", sigma=self.generator.sigma_max
            )
        pixels = masking.generate(self.generator, noise, labels, mask).pixels
        acts = capture_batch(
            self.network,
            pixels,
            [f"control/{i}" for i in range(AIMS)],  # one noise per aim: seeds differ by their images alone
            labels,
            self.look,
        )
        agreement = (self.judge.predict(pixels.reshape(AIMS, -1)) == labels).mean()
        return self.scale.project(flatten(acts)), float(agreement)

    def measure(self, source: str, points: np.ndarray, labels: np.ndarray, values: Values, bar: tqdm) -> list[dict]:
        """All layer sets for one source of mask values; `values(rows)` are the mask values of neighbour rows."""
        rng = np.random.default_rng(self.settings.seed)
        picks = rng.choice(len(points), AIMS, replace=False)
        neighbours = nearest(points[picks], points, K + 1)[:, 1:]
        aims = points[neighbours].mean(axis=1)
        majority = np.array([np.bincount(labels[row]).argmax() for row in neighbours])
        free, agreements = zip(*(self.results(majority, None, s) for s in range(SEEDS)), strict=True)
        free_features = np.stack(free, axis=1)
        held = {path: v.mean(axis=1) for path, v in group(values(neighbours.ravel())).items()}
        at = float(np.median(np.linalg.norm(points[neighbours] - aims[:, None], axis=2)))
        base = float(np.median(np.linalg.norm(free_features - aims[:, None], axis=2)))
        rows = [
            {
                "neighbours": source,
                "held": "nothing",
                "control": 1.0,
                "diversity": 1.0,
                "agreement": np.mean(agreements),
            },
            {"neighbours": source, "held": "(a neighbour itself)", "control": at / base},
        ]
        for label, layers in self.layer_sets.items():
            paths = self.generator.module_paths(layers).values()
            chosen = {path: torch.from_numpy(held[path]) for path in paths}
            made, agreements = zip(*(self.results(majority, chosen, s) for s in range(SEEDS)), strict=True)
            found = masking.measure_control(aims, np.stack(made, axis=1), free_features, float(np.mean(agreements)))
            rows.append({"neighbours": source, "held": label, **asdict(found)})
            bar.update()
        return rows


def group(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{path: (AIMS * K, C, H, W)} => {path: (AIMS, K, C, H, W)}"""
    return {path: v.reshape(AIMS, K, *v.shape[1:]) for path, v in values.items()}


def recorded(bench: Bench, layers: list[str]) -> Values:
    paths: Mapping[str, str] = bench.generator.module_paths(layers)
    return lambda rows: {path: bench.fake_images.take(rows, name) for name, path in paths.items()}


def scaled(bench: Bench, layers: list[str]) -> Values:
    paths = list(bench.generator.module_paths(layers).values())
    images = bench.real_images

    def values(rows: np.ndarray) -> Mapping[str, np.ndarray]:
        parts = [
            masking.scaled_values(
                bench.generator, images.read(rows[i : i + BATCH]), images.labels[rows[i : i + BATCH]], paths
            )
            for i in range(0, len(rows), BATCH)
        ]
        return {path: torch.cat([part[path] for part in parts]).numpy() for path in paths}

    return values


def encoder_and_midblock(generator: Generator) -> list[str]:
    return [layer for layer in generator.layers if layer.startswith("encoder") or layer == "midblock"]


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "dmd2"
    bench = Bench(name)
    layers = encoder_and_midblock(bench.generator)
    own = recorded(bench, layers)
    stand_in = nearest(bench.real, bench.fake, 1)[:, 0]
    real_labels, fake_labels = bench.real_images.labels, bench.fake_images.labels
    with tqdm(total=9, desc="masks", unit="set", dynamic_ncols=True) as bar:
        rows = [
            *bench.measure("generated, recorded", bench.fake, fake_labels, own, bar),
            *bench.measure("real, nearest generated", bench.real, real_labels, lambda r: own(stand_in[r]), bar),
            *bench.measure("real, scaled", bench.real, real_labels, scaled(bench, layers), bar),
        ]
    table = pd.DataFrame(rows).round(3)
    files.write_table(Path(f"metrics/mask_control.{name}.csv"), table)
    print(table.to_string(index=False, na_rep="", float_format="%.2f"))


if __name__ == "__main__":
    main()
