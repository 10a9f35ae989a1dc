"""Activations of images, or of samples while they are made, in fixed batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modescope import components, datasets, store
from modescope.capturing import CAPTURE_VERSION, Captures, Look, SamplingCaptures, fit_basis
from modescope.extractors import Preprocessing
from modescope.files import sha256
from modescope.generators import Generator, identity, load_generator, settled_precision
from modescope.jobs.generating import Batches, GenerateJob, generate_job
from modescope.params import Params, ViewParams
from modescope.records import RECONSTRUCTION, Span
from modescope.runtime import Runtime, keep_memory
from modescope.sampling import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureJob:
    """Activations of the images of a folder, or (`generator`) of samples while that generator makes them."""

    runtime: Runtime
    images: str
    network: str
    family: str
    layers: tuple[str, ...]
    sigmas: tuple[float, ...]
    protocol: str
    keep: str
    basis: str | None
    precision: str
    root: int
    batch_size: int
    dtype: str
    reconstructions: bool
    generator: GenerateJob | None = None
    preprocessing: Preprocessing | None = None

    def look(self) -> Look:
        return Look(
            layers=self.layers,
            sigmas=self.sigmas,
            protocol=self.protocol,
            keep=self.keep,
            basis=components.load(Path(self.basis))[0] if self.basis else None,
            precision=self.precision,
            root=self.root,
        )

    def _network(self) -> Generator:
        config = asdict(self.preprocessing) if self.preprocessing else None
        loaded = load_generator(self.network, self.family, config, device=self.runtime.device)
        how = self.runtime
        return loaded.prepared(self.precision, compile=how.compile, channels_last=how.channels_last)

    def _captures(self, network: Generator, look: Look, start: int, stop: int | None) -> Captures:
        images = datasets.open_set(self.images)
        return Captures(
            network=network,
            read=images.read,
            ids=images.ids,
            labels=images.labels,
            look=look,
            batch_size=self.batch_size,
            start=start,
            stop=stop,
            reconstruct=self.reconstructions,
        )

    def open(self) -> Callable[[Span], Batches]:
        keep_memory()
        look = self.look()
        if self.generator is None:
            return partial(self._of_images, self._network(), look)
        return partial(self._of_samples, self.generator.load(), self.generator.sample(), look)

    def basis_rows(self, rows: int) -> Captures:
        """What a basis is fitted on: a seeded subset of the images, kept in full. Where their order is a seeded one
        already, the first rows are that subset, and stay it when more are asked for.
        """
        images = store.open_stored_images(self.images)
        stop = min(rows, len(images)) if images.config.get("order") == "seeded" else None
        full = replace(self, keep="full", basis=None, reconstructions=False)
        return full._captures(self._network(), full.look(), 0, stop).subset(rows)

    def _of_images(self, network: Generator, look: Look, span: Span) -> Batches:
        yield from self._stored(self._captures(network, look, span.start, span.stop))

    def _of_samples(
        self,
        generator: Generator,
        sample: Callable[[Generator, np.ndarray], Iterator[Step]],
        look: Look,
        span: Span,
    ) -> Batches:
        sampled = SamplingCaptures(
            generator=generator,
            steps=sample,
            look=look,
            batch_size=self.batch_size,
            stop=span.stop,
            start=span.start,
        )
        for batch in self._stored(sampled):
            yield {name: value for name, value in batch.items() if self.reconstructions or name != RECONSTRUCTION}

    def _stored(self, captures: Captures | SamplingCaptures) -> Batches:
        for batch in captures:
            yield {
                name: value.numpy() if name == RECONSTRUCTION else value.numpy().astype(self.dtype)
                for name, value in batch.items()
            }


def preprocessing_of(view: ViewParams) -> Preprocessing | None:
    """What a TorchScript network of a view expects of its images."""
    how = view.preprocessing
    if how is None:
        return None
    return Preprocessing(
        resolution=how.resolution,
        resize=how.resize,
        low=how.low,
        high=how.high,
        mean=None if how.mean is None else tuple(how.mean),
        std=None if how.std is None else tuple(how.std),
    )


def folder_of(source: str, data: Path) -> Path:
    """Where the images of a source (`real`, or a generator) lie."""
    return data / "real" if source == "real" else data / "fake" / source


def protocol_of(params: Params, view_name: str, source: str) -> str:
    """The protocol of one side of a view. ValueError where real images are to be recorded while they are sampled."""
    view = params.view(view_name)
    protocol = view.real_protocol or view.protocol if source == "real" else view.protocol
    if protocol == "sampling" and source == "real":
        raise ValueError(
            f"views.{view_name}.protocol is sampling, and no sampling pass makes a real image; name what the real side "
            "goes through instead (views.<view>.real_protocol: scaled, as the original visualizer did), or use noised"
        )
    return protocol


def capture_job(
    params: Params, view_name: str, source: str, data: Path, machine: Runtime, basis: Path | None = None
) -> CaptureJob:
    """How the images of a source are looked at under a view."""
    view = params.view(view_name)
    protocol = protocol_of(params, view_name, source)
    made = generate_job(params, source, data, machine) if protocol == "sampling" else None
    return CaptureJob(
        runtime=machine,
        images=str(folder_of(source, data)),
        network=view.network,
        family=view.family,
        layers=tuple(view.layers),
        sigmas=view.sigmas,
        protocol=protocol,
        keep=view.keep,
        basis=str(basis) if basis else None,
        precision=settled_precision(params.capture.precision, view.family),
        root=params.seed,
        batch_size=params.capture.batch_size,
        dtype=params.capture.dtype,
        reconstructions=params.capture.reconstructions and protocol != "clean",
        generator=replace(made, precision=params.capture.precision) if made else None,
        preprocessing=preprocessing_of(view),
    )


def look_of(params: Params, view_name: str, machine: Runtime, basis: Path) -> Look:
    """How a view looks at an image that was just made. `basis`: where the view's basis lies, should it have one."""
    kept = basis if params.view(view_name).keep == "pca" else None
    return capture_job(params, view_name, "made", basis.parent, machine, kept).look()


def capture_config(job: CaptureJob, view: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides the bytes of a capture, but which samples of the image set it is of. ValueError where samples
    of another network than the view's are to be recorded while they are made.
    """
    network_hash = identity(job.network, job.family)
    if job.generator is not None and identity(job.generator.checkpoint, job.generator.family) != network_hash:
        raise ValueError(
            f"protocol sampling records {job.generator.checkpoint}, but the view's network is {job.network}; activations "
            "of two networks do not compare: give the view that checkpoint as its network, or use protocol noised"
        )
    return {
        "version": CAPTURE_VERSION,
        "view": dict(view),
        "network_hash": network_hash,
        "protocol": job.protocol,
        "keep": job.keep,
        "basis": sha256(Path(job.basis)) if job.basis else None,
        "precision": job.precision,
        "dtype": job.dtype,
        "reconstructions": job.reconstructions,
        "images": store.open_stored_images(job.images).config["identity"],
        "seed": job.root,
        "runtime": job.runtime.record(),
    }


def basis_config(job: CaptureJob, view: Mapping[str, Any], rows: int, n: int) -> dict[str, Any]:
    """All that decides a basis of `n` components fitted on `rows` of the job's images."""
    images = store.open_stored_images(job.images)
    among = images.ids[:rows] if images.config.get("order") == "seeded" else images.ids
    digest = hashlib.sha256("\n".join(among).encode()).hexdigest()
    return {**capture_config(job, view), "components": n, "rows": rows, "among": digest}


def write_basis(path: Path, batches: Iterable[Mapping[str, torch.Tensor]], rows: int, n: int) -> None:
    """Fit the first `n` principal components on `rows` rows of full captures, and keep them."""
    widths: dict[str, int] = {}

    def measured() -> Iterator[Mapping[str, torch.Tensor]]:
        for batch in batches:
            widths.update({name: value[0].numel() for name, value in batch.items()})
            yield batch

    path.parent.mkdir(parents=True, exist_ok=True)
    basis = fit_basis(measured(), rows, n, folder=path.parent)
    components.save(path, basis, widths)
