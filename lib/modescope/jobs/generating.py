"""Samples of a generator by index, in fixed batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modescope import sampling, store
from modescope.generators import Generator, identity, load_generator
from modescope.params import Params
from modescope.records import Span
from modescope.runtime import Runtime, arithmetic, keep_memory, sharing
from modescope.sampling import Step
from modescope.selection import histogram_labels
from modescope.taps import capture

GENERATE_VERSION = 1
"""Part of every configuration hash of generated images. Raise it when the same request gives other bytes."""

Batches = Iterator[Mapping[str, np.ndarray]]
Sample = Callable[[Generator, np.ndarray], Iterator[Step]]
"""Samples by index => the steps in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateJob:
    """Samples of one generator by index. `labels_of`: the folder of the images whose labels they follow, None: `classes`
    in turn.
    """

    runtime: Runtime
    checkpoint: str
    family: str
    sampler: str
    steps: int
    noise: str
    guidance: float | None
    sigma: float
    layers: tuple[str, ...]
    labels_of: str | None
    classes: int
    root: int
    batch_size: int
    precision: str

    def load(self) -> Generator:
        """The generator as the job computes with it: in its precision, compiled where the machine is to."""
        loaded = load_generator(self.checkpoint, self.family, device=self.runtime.device, sigma_max=self.sigma)
        how = self.runtime
        return loaded.prepared(self.precision, compile=how.compile, channels_last=how.channels_last)

    def labels(self, indices: np.ndarray) -> np.ndarray:
        """Class of each sample: with the histogram of the real images, or classes in turn."""
        if self.labels_of is None:
            return sampling.balanced_labels(indices, self.classes)
        return histogram_labels(store.open_stored_images(self.labels_of).labels, indices)

    def sample(self) -> Sample:
        """`(generator, indices) -> steps` of these samples; the labels are read once."""
        period = len(store.open_stored_images(self.labels_of)) if self.labels_of else self.classes
        labels = self.labels(np.arange(period))
        steps = sampling.sampler(self.sampler, steps=self.steps, sigma_max=self.sigma, noise=self.noise)

        def sample(generator: Generator, indices: np.ndarray) -> Iterator[Step]:
            noise = sampling.latents(self.root, indices, generator.latent_shape).to(generator.device)
            renoise = sampling.renoising(self.root, indices.tolist(), generator.latent_shape)
            return steps(self._denoiser(generator), noise, generator.rows(labels[indices % period]), renoise)

        return sample

    def _denoiser(self, generator: Generator) -> sampling.Denoiser:
        if self.guidance is None:
            return generator.denoise
        return sampling.guided(generator.denoise, generator.unconditional(), self.guidance)

    def open(self) -> Callable[[Span], Batches]:
        keep_memory()
        return partial(self._batches, self.load(), self.sample())

    def _batches(self, generator: Generator, sample: Sample, span: Span) -> Batches:
        """Fixed batches, the last one padded with the samples that would follow."""
        paths = generator.module_paths(self.layers)
        for start in range(span.start, span.stop, self.batch_size):
            kept = slice(0, min(self.batch_size, span.stop - start))
            with arithmetic(self.precision):
                x0, values = _last(generator, sample, np.arange(start, start + self.batch_size), paths)
            masks = {name: values[path][kept].float().cpu().numpy() for name, path in paths.items()}
            yield {"images": generator.decode(x0)[kept], **masks}


def _last(
    generator: Generator, sample: Sample, indices: np.ndarray, paths: Mapping[str, str]
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    """The samples, and what `paths` computed in the last step. Without any a CPU shares the samples between its threads."""
    if paths:
        with capture(generator.network, paths.values()) as values:
            return sampling.last(sample(generator, indices)), values
    with sharing(generator.device) as spread:
        parts = spread(lambda part: sampling.last(sample(generator, indices[part])), len(indices), len(indices))
    return torch.cat(parts), {}


def generate_job(params: Params, name: str, data: Path, machine: Runtime) -> GenerateJob:
    """How the samples of a generator are made."""
    how = params.generator(name)
    return GenerateJob(
        runtime=machine,
        checkpoint=how.checkpoint,
        family=how.family,
        sampler=how.sampler,
        steps=how.steps,
        noise=how.noise,
        guidance=how.guidance,
        sigma=how.conditioning_sigma,
        layers=tuple(how.mask_layers) if how.masks == "stored" else (),
        labels_of=str(data / "real") if params.generate.labels == "real" else None,
        classes=len(store.open_stored_images(data / "real").config["classes"]),
        root=params.seed,
        batch_size=params.generate.batch_size,
        precision=params.generate.precision,
    )


def generate_config(job: GenerateJob, name: str) -> dict[str, Any]:
    """All that decides the bytes of a sample, but its index and label."""
    return {
        "version": GENERATE_VERSION,
        "generator": name,
        "checkpoint_hash": identity(job.checkpoint, job.family),
        "sampler": job.sampler,
        "steps": job.steps,
        "noise": job.noise if job.sampler == "few-step" else None,
        "guidance": job.guidance,
        "sigma": job.sigma,
        "layers": list(job.layers),
        "seed": job.root,
        "precision": job.precision,
        "runtime": job.runtime.record(),
    }
