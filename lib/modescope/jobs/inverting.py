"""Real images, and others beside them as calibration, inverted through a one-step generator in fixed batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modescope import checkpoints, datasets, inversion, sampling, seeds, store
from modescope.files import sha256
from modescope.generators import Generator, load_generator
from modescope.inversion import KINDS, Descent, Expected, Inversions
from modescope.jobs.generating import Batches
from modescope.params import Params
from modescope.records import Span
from modescope.runtime import Runtime, keep_memory
from modescope.selection import spread

INVERT_VERSION = 2
"""Part of every configuration hash of inversions. Raise it when the same request gives other bytes."""
CANDIDATES = 4096
"""Generated samples, at most, among which those nearest to an image are looked for, and by which starts are moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What is inverted, in order: first the calibration, kind by kind, then the real images.

    rows: of each image, the real image that it is or is made of (`own`: that has its label).
    """

    ids: tuple[str, ...]
    kinds: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertJob:
    """Inversions through one generator. `real`, `fake`: folders of the images and of its own samples, whose noise (from
    `root`) every search starts from."""

    runtime: Runtime
    checkpoint: str
    family: str
    sigma: float
    real: str
    fake: str
    images: int | None
    calibration: int
    starts: int
    steps: int
    enough: float
    root: int
    batch_size: int

    def listed(self) -> Listed:
        """A seeded part of the real images, or all; where their order is a seeded one, the first, so that a larger part
        begins with a smaller one."""
        real = store.open_stored_images(self.real)
        seeded = real.config.get("order") == "seeded"

        def part(most: int) -> np.ndarray:
            return np.arange(min(most, len(real))) if seeded else spread(len(real), most, self.root)

        few, many = part(self.calibration), part(self.images or len(real))
        rows = np.concatenate([*[few] * len(KINDS), many])
        kinds = np.repeat([*KINDS, "real"], [*[len(few)] * len(KINDS), len(many)])
        names = [real.ids[row] if kind == "real" else f"{kind}/{row}" for kind, row in zip(kinds, rows, strict=True)]
        return Listed(ids=tuple(names), kinds=kinds, labels=real.labels[rows], rows=rows)

    def open(self) -> Callable[[Span], Batches]:
        keep_memory()
        generator = load_generator(self.checkpoint, self.family, device=self.runtime.device, sigma_max=self.sigma)
        listed = self.listed()
        return partial(
            self._batches, generator, listed, self._calibration(generator, listed), self._expected(generator)
        )

    def _expected(self, generator: Generator) -> Expected:
        fake = datasets.open_set(self.fake)
        rows = spread(len(fake), CANDIDATES, self.root)
        noise = sampling.latents(self.root, rows, generator.latent_shape)
        labels = fake.labels[rows] if generator.num_classes else None
        return inversion.expected(generator.encode(fake.read(rows)), noise, labels)

    def _calibration(self, generator: Generator, listed: Listed) -> np.ndarray:
        """Pixels of the images before the real ones."""
        rows = listed.rows[listed.kinds == KINDS[0]]
        noise = torch.from_numpy(seeds.normal(self.root, "invert/own", rows.tolist(), generator.latent_shape))
        condition = generator.rows(listed.labels[: len(rows)])
        x0 = sampling.last(
            sampling.one_step(generator.denoise, noise.to(generator.device), condition, sigma_max=generator.sigma_max)
        )
        others = inversion.other_images(datasets.open_set(self.real).read(rows), self.root)
        return np.concatenate([generator.decode(x0), *(others[kind] for kind in KINDS[1:])])

    def _batches(
        self, generator: Generator, listed: Listed, before: np.ndarray, expected: Expected, span: Span
    ) -> Batches:
        real, fake = datasets.open_set(self.real), datasets.open_set(self.fake)
        how = Descent(steps=self.steps, enough=self.enough)
        for start in range(span.start, span.stop, self.batch_size):
            part = np.arange(start, min(start + self.batch_size, span.stop))
            first, labels = part[part < len(before)], listed.labels[part]
            pixels = np.concatenate([before[first], real.read(listed.rows[part[len(first) :]])])
            starts = self._starts(fake, pixels, labels, classes=generator.num_classes > 0)
            aim, begun = generator.encode(pixels), (generator.encode(fake.read(column)) for column in starts.T)
            (found,) = Inversions(
                generator=generator,
                pixels=pixels,
                ids=[listed.ids[i] for i in part],
                asked=labels,
                root=self.root,
                how=how,
                starts=starts,
                moves=torch.stack([expected.move(aim, there) for there in begun], dim=1),
                batch_size=len(part),
            )
            yield {"made": found.made, "noise": found.noise, "error": found.error, "start": found.starts}

    def _starts(self, fake: store.Images, pixels: np.ndarray, labels: np.ndarray, *, classes: bool) -> np.ndarray:
        """Nearest generated samples of each image, of its class where there are enough: an image's are its own affair."""
        k = min(self.starts, len(fake))
        starts = np.empty((len(pixels), k), np.int64)
        asked = labels if classes else np.zeros_like(labels)
        for label in np.unique(asked):
            own = np.flatnonzero(fake.labels == label) if classes else np.empty(0, np.int64)
            among = (own if len(own) >= k else np.arange(len(fake)))[:CANDIDATES]
            near = inversion.nearest_samples(pixels[asked == label], fake.read(among), k)
            starts[asked == label] = among[near]
        return starts


def invert_job(params: Params, name: str, data: Path, machine: Runtime) -> InvertJob:
    """How real images are inverted through a generator. ValueError for one that does not make its images in one step."""
    how, asked = params.generator(name), params.inversion
    if how.sampler != "one-step" or how.guidance is not None:
        guided = "" if how.guidance is None else f" with guidance {how.guidance:g}"
        raise ValueError(
            f"generator {name!r} samples by {how.sampler}{guided}, and noise is searched for one plain step; take {name!r} "
            "out of inversion.generators (a deterministic sampler is run backwards by `modescope.inversion.reverse`)"
        )
    return InvertJob(
        runtime=machine,
        checkpoint=how.checkpoint,
        family=how.family,
        sigma=how.conditioning_sigma,
        real=str(data / "real"),
        fake=str(data / "fake" / name),
        images=asked.images,
        calibration=asked.calibration,
        starts=asked.starts,
        steps=asked.steps,
        enough=asked.enough,
        root=params.seed,
        batch_size=asked.batch_size,
    )


def invert_config(job: InvertJob, name: str) -> dict[str, Any]:
    """All that decides the bytes of an inversion, but which images it is of."""
    real, fake = (store.open_stored_images(folder) for folder in (job.real, job.fake))
    return {
        "version": INVERT_VERSION,
        "generator": name,
        "checkpoint_hash": sha256(checkpoints.find(Path(job.checkpoint))),
        "sigma": job.sigma,
        "images": real.config["identity"],
        "samples": _digest(fake),
        "calibration": job.calibration,
        "starts": job.starts,
        "steps": job.steps,
        "enough": job.enough,
        "seed": job.root,
        "runtime": job.runtime.record(),
    }


def _digest(fake: store.Images) -> str:
    """Checksum of the generated images and of their labels."""
    shards: list[Mapping[str, Any]] = [shard for shard in fake.manifest["shards"] if shard["array"] == "images"]
    digest = hashlib.sha256(fake.labels.tobytes())
    digest.update("".join(shard["sha256"] for shard in shards).encode())
    return digest.hexdigest()
