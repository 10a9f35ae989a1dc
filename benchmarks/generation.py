"""Generation in numbers: the same images in every batch size, images per second, what a mask costs, inversion.

    python -m benchmarks.generation [generator] [--large]     => lines; --large: the 296M network, random weights, instead

Runs in the repository root on what the pipeline made. Each line ends with the number asked for, in brackets. Where two
things are compared they take turns, and the least time of each counts: what the work costs when nothing else runs.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from modescope import datasets, inversion, masking, params, runtime, sampling
from modescope.capturing import capture_batch, flatten
from modescope.edm import IMAGENET64, EDMPrecond
from modescope.generators import Generator, edm_layers, load_generator
from modescope.inversion import Descent, Inversions
from modescope.jobs import invert_job, look_of
from modescope.projection import Reducer
from modescope.records import Mask, Span

SAMPLES, BATCH = 1792, 256
TURNS = 25
BACKWARDS = 64  # images that the teacher's sampler is run backwards from


def least(actions: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Seconds of each action, taken in turn: the least of so many, after one that warms up."""
    seconds = dict.fromkeys(actions, math.inf)
    for turn in tqdm(range(turns + 1), desc=", ".join(actions), unit="turn", leave=False, dynamic_ncols=True):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if turn:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def batched(generator: Generator, root: int, size: int) -> np.ndarray:
    """Samples 0..SAMPLES - 1 in batches of `size`, from their seeds to uint8."""
    parts = []
    for start in range(0, SAMPLES, size):
        indices = np.arange(start, min(start + size, SAMPLES))
        labels = sampling.balanced_labels(indices, generator.num_classes)
        noise = sampling.latents(root, indices, generator.latent_shape)
        parts.append(masking.generate(generator, noise, labels, None).pixels)
    return np.concatenate(parts)


def same_in_every_batch(generator: Generator, root: int) -> None:
    whole = batched(generator, root, 64).astype(int)
    for size in (1, 7):
        off = np.abs(batched(generator, root, size).astype(int) - whole)
        print(f"batches of {size} against 64: {(off == 0).mean():.4%} of pixels equal, off by {off.max()} at most (1)")


def speed(generator: Generator, root: int) -> None:
    seconds = least({"images": lambda: batched(generator, root, BATCH)}, 3)["images"]
    print(f"one step, batches of {BATCH}, seeds to uint8: {SAMPLES / seconds:,.0f} images/s (400)")


def mean_of_five(generator: Generator, root: int, layers: Sequence[str]) -> Mask:
    paths = list(generator.module_paths(layers).values())
    values = masking.recomputed(generator, np.arange(5), None, root, paths)
    return masking.mean_mask(values, list("abcde"), source="recorded", sigma=generator.sigma_max)


def mask_cost(generator: Generator, root: int, size: int, turns: int) -> None:
    """Against no mask: with the mask alone, and with what it held and replaced brought back."""
    indices = np.arange(size)
    labels = sampling.balanced_labels(indices, generator.num_classes)
    noise = sampling.latents(root, indices, generator.latent_shape)
    mask = mean_of_five(generator, root, ["encoder_bottleneck", "midblock"])
    ways: dict[str, Callable[[], Any]] = {
        "unmasked": lambda: masking.generate(generator, noise, labels, None),
        "masked": lambda: masking.generate(generator, noise, labels, mask, keep=False),
        "masked and kept": lambda: masking.generate(generator, noise, labels, mask),
    }
    seconds = least(ways, turns)
    alone, kept = (seconds[way] / seconds["unmasked"] for way in ("masked", "masked and kept"))
    print(
        f"masked batch of {size}, bottleneck and midblock: {alone:.3f} times unmasked (1.02); with the held and computed "
        f"values brought back {kept:.3f}"
    )


def single(generator: Generator, settings: params.Params, machine: runtime.Runtime) -> None:
    view, data = settings.view("default"), Path("data")
    network = load_generator(view.network, view.family, device=machine.device)
    reducer = Reducer.load(data / "maps/default/reducer")
    look = look_of(settings, "default", machine, data / "activations/default/real/basis.safetensors")
    mask = mean_of_five(generator, settings.seed, ["encoder_bottleneck"])
    noise, labels = masking.fresh_noise(0, generator.latent_shape), np.array([0])

    def whole() -> None:
        pixels = masking.generate(generator, noise, labels, mask).pixels
        reducer.transform(flatten(capture_batch(network, pixels, ["made/0"], labels, look)))

    seconds = least({"one masked image": whole}, TURNS)["one masked image"]
    print(f"one masked image with capture and projection: {1e3 * seconds:.0f} ms (150)")


def inverted(settings: params.Params, name: str, machine: runtime.Runtime) -> None:
    """All images of the stage `invert`, without its shards: the calibration, then the real ones."""
    job, enough = invert_job(settings, name, Path("data"), machine), settings.inversion.enough
    listed, errors, seconds = job.listed(), [], []
    rows = job.open()
    starts = range(0, len(listed.ids), job.batch_size)
    for number, first in enumerate(tqdm(starts, desc="inversion", unit="batch", dynamic_ncols=True)):
        start, stop = time.perf_counter(), min(first + job.batch_size, len(listed.ids))
        errors += [batch["error"] for batch in rows(Span(number=number, start=first, stop=stop))]
        seconds.append((time.perf_counter() - start) / (stop - first) * (listed.kinds[first:stop] == "real").sum())
    error = np.concatenate(errors)
    told = inversion.summary({kind: error[listed.kinds == kind] for kind in ("real", *inversion.KINDS)}, enough)
    print(
        f"inversion of {(listed.kinds == 'real').sum()} real images: {sum(seconds):.0f} s (180; 90% with an error <= .01)"
    )
    for line in inversion.told_lines(told, enough):
        print(f"inversion, {line}")


def backwards(settings: params.Params, machine: runtime.Runtime) -> None:
    """The teacher's deterministic sampler, from images to noise and forwards again."""
    how, real = settings.generator("teacher"), datasets.open_set("data/real")
    teacher = load_generator(how.checkpoint, how.family, device=machine.device)
    rows = np.arange(min(BACKWARDS, len(real)))
    start = time.perf_counter()
    found = inversion.reverse(
        teacher.denoise, teacher.encode(real.read(rows)), teacher.rows(real.labels[rows]), steps=how.steps
    )
    high = np.quantile(found.error, 0.9)
    print(
        f"teacher, Heun's sampler of {how.steps} steps backwards and forwards: {len(rows)} images in "
        f"{time.perf_counter() - start:.0f} s, median squared error {np.median(found.error):.1e}, 90% {high:.1e}, largest "
        f"{found.error.max():.1e}; error <= .01 for {(found.error <= 0.01).mean():.1%}"
    )


def large() -> None:
    """Costs of the 296M network with random weights, one image."""
    torch.manual_seed(0)
    network = EDMPrecond(**IMAGENET64).eval().requires_grad_(False)
    generator = Generator(
        family="edm",
        network=network,
        config=IMAGENET64,
        layers=edm_layers(network),
        checkpoint_hash="random",
        latent_shape=(3, 64, 64),
        num_classes=1000,
    )
    noise, labels = masking.fresh_noise(0, generator.latent_shape), np.array([0])
    x, level, rows = noise * 80, torch.full((1,), 80.0), generator.rows(labels)

    def bare() -> None:
        with torch.no_grad():
            network(x, level, rows)

    seconds = least({"bare": bare, "generated": lambda: masking.generate(generator, noise, labels, None)}, 6)
    bare_pass, ratio = seconds["bare"], seconds["generated"] / seconds["bare"]
    print(f"296M, one image: {bare_pass:.2f} s, {ratio:.3f} times the bare pass (1.05)")
    for size in (1, 2):
        mask_cost(generator, 0, size, 4)
    image = np.zeros((1, 3, 64, 64), np.uint8)

    def search(steps: int) -> Callable[[], Any]:
        how = Descent(steps=steps)
        return lambda: list(
            Inversions(generator=generator, pixels=image, ids=["black"], asked=labels, root=0, how=how, restarts=0)
        )

    seconds = least({"one step": search(1), "three steps": search(3)}, 2)
    step, steps = (seconds["three steps"] - seconds["one step"]) / 2, Descent().steps
    print(
        f"296M, inversion: {step:.1f} s a step and image, {steps * step / 60:.1f} minutes for {steps} steps: "
        f"{step / bare_pass:.1f} bare passes a step"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", nargs="?", default="dmd2")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    settings = params.load()
    machine = runtime.start(settings.runtime.device, settings.runtime.threads)
    if options.large:
        large()
        return
    generator = load_generator(settings.generator(options.generator).checkpoint, device=machine.device)
    same_in_every_batch(generator, settings.seed)
    speed(generator, settings.seed)
    mask_cost(generator, settings.seed, BATCH, TURNS)
    single(generator, settings, machine)
    inverted(settings, options.generator, machine)
    backwards(settings, machine)


if __name__ == "__main__":
    main()
