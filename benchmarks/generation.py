"""Generation in numbers: the same images in every batch size, images per second, what a mask costs, inversion.

    python -m benchmarks.generation [generator] [--large]     => lines; --large: the 296M network, random weights, instead

Runs in the repository root on what the pipeline made. Times are medians; two cores, nothing else running.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
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
from modescope.jobs import look_of
from modescope.projection import Reducer

SAMPLES, BATCH = 1792, 256
OTHERS = 128  # images of each other kind


def timed(action: Callable[[], Any], repeats: int) -> list[float]:
    action()  # warm
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
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
    rate = SAMPLES / statistics.median(timed(lambda: batched(generator, root, BATCH), 3))
    print(f"one step, batches of {BATCH}, seeds to uint8: {rate:,.0f} images/s (wanted 400)")


def mask_cost(generator: Generator, root: int) -> None:
    """Alternating, so that both see the same machine."""
    indices = np.arange(BATCH)
    labels = sampling.balanced_labels(indices, generator.num_classes)
    noise = sampling.latents(root, indices, generator.latent_shape)
    paths = list(generator.module_paths(["encoder_bottleneck", "midblock"]).values())
    values = masking.recomputed(generator, np.arange(5), None, root, paths)
    mask = masking.mean_mask(values, list("abcde"), source="recorded", sigma=generator.sigma_max)
    ratios = []
    for _ in range(15):
        free, held = (timed(lambda m=m: masking.generate(generator, noise, labels, m), 1)[0] for m in (None, mask))  # type: ignore[misc]
        ratios.append(held / free)
    print(
        f"masked batch of {BATCH}, bottleneck and midblock: {statistics.median(ratios):.3f} times unmasked (wanted 1.02)"
    )


def single(generator: Generator, settings: params.Params, machine: runtime.Runtime) -> None:
    view, data = settings.view("default"), Path("data")
    network = load_generator(view.network, view.family, device=machine.device)
    reducer = Reducer.load(data / "maps/default/reducer")
    look = look_of(settings, "default", machine, data / "activations/default/real/basis.safetensors")
    paths = list(generator.module_paths(["encoder_bottleneck"]).values())
    values = masking.recomputed(generator, np.arange(5), None, settings.seed, paths)
    mask = masking.mean_mask(values, list("abcde"), source="recorded", sigma=generator.sigma_max)
    noise, labels = masking.fresh_noise(0, generator.latent_shape), np.array([0])

    def whole() -> None:
        pixels = masking.generate(generator, noise, labels, mask).pixels
        reducer.transform(flatten(capture_batch(network, pixels, ["made/0"], labels, look)))

    seconds = timed(whole, 15)
    print(f"one masked image with capture and projection: {1e3 * statistics.median(seconds):.0f} ms (wanted 150)")


def inverted(generator: Generator, name: str, root: int) -> None:
    """The real images from the nearest generated samples; then, as calibration, the generator's own and other images."""
    real, fake = datasets.open_set("data/real"), datasets.open_set(f"data/fake/{name}")
    pixels, labels = real.read(np.arange(len(real))), real.labels
    made = fake.read(np.arange(len(fake)))
    few = np.arange(OTHERS)
    noise = sampling.latents(root + 1, few, generator.latent_shape)
    own = masking.generate(generator, noise, labels[few], None).pixels
    sets = {"real": (pixels, labels), "own samples": (own, labels[few])}
    sets |= {kind: (images, labels[few]) for kind, images in inversion.other_images(pixels[few], root).items()}
    errors: dict[str, np.ndarray] = {}
    for kind, (images, asked) in sets.items():
        start = time.perf_counter()
        near = inversion.nearest_samples(images, made, 2, labels=asked, made_labels=fake.labels)
        ids = [f"{kind}/{i}" for i in range(len(images))]
        run = Inversions(generator=generator, pixels=images, ids=ids, asked=asked, root=root, starts=near)
        errors[kind] = inversion.joined(list(tqdm(run, desc=kind, unit="batch", dynamic_ncols=True))).error
        took, quantiles = time.perf_counter() - start, np.quantile(errors[kind], [0.5, 0.9, 0.99])
        told = inversion.separation(errors["real"], errors[kind])
        print(
            f"inversion, {kind}: {len(images)} images in {took:.0f} s, error <= .01 for {(errors[kind] <= 0.01).mean():.1%}, "
            f"median {quantiles[0]:.4f}, 90% {quantiles[1]:.4f}, 99% {quantiles[2]:.4f}; real ones smaller in {told:.1%}"
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

    ratios, seconds = [], []
    for _ in range(7):
        seconds.append(timed(bare, 1)[0])
        ratios.append(timed(lambda: masking.generate(generator, noise, labels, None), 1)[0] / seconds[-1])
    print(
        f"296M, one image: {statistics.median(seconds):.2f} s, {statistics.median(ratios):.3f} times the bare pass (1.05)"
    )
    image = np.zeros((1, 3, 64, 64), np.uint8)
    run = Inversions(
        generator=generator, pixels=image, ids=["black"], asked=labels, root=0, how=Descent(steps=2), restarts=0
    )
    step = timed(lambda: list(run), 1)[0] / 3
    steps = Descent().steps
    print(f"296M, inversion: about {step:.1f} s a step and image, {steps * step / 60:.1f} minutes for {steps} steps")


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
    mask_cost(generator, settings.seed)
    single(generator, settings, machine)
    inverted(generator, options.generator, settings.seed)


if __name__ == "__main__":
    main()
