"""What every step of the pipeline asks of its network, and how much of it is there already."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from modescope import jobs, store
from modescope.datasets import Chosen
from modescope.files import DamagedFileError
from modescope.generators import Generator, settled_precision
from modescope.params import CaptureParams, GenerateParams, Params
from modescope.plan.costs import Cost
from modescope.plan.counting import Evaluation, count_pass, evaluations
from modescope.runtime import Runtime

R = TypeVar("R", bound=store.Rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Images of a step, and the evaluations of its network that each takes: (how many, of which kind).

    Kept are `levels` values of each layer as `keep` says (`components` together where that is pca), `itemsize` bytes a
    number, and with `image` the image.
    """

    step: str
    images: int
    done: int
    evaluations: tuple[tuple[int, Evaluation], ...]
    image: bool
    keep: str = "full"
    levels: int = 1
    components: int = 0
    itemsize: int = 4

    def row_bytes(self, shapes: Sequence[tuple[int, ...]], image_bytes: int) -> int:
        """Bytes on disk per image, from the shapes of the layers' values."""
        values = self.components + 1  # and the length of what they leave out
        if self.keep != "pca":
            values = self.levels * sum(shape[0] if self.keep == "mean" else math.prod(shape) for shape in shapes)
        return values * self.itemsize + image_bytes * self.image


def cost_of(work: Work, generator: Generator, seconds: Mapping[Evaluation, float]) -> Cost:
    """The cost of a step on its network; `seconds` per image of its evaluations, where they were measured."""
    passes = [(count, count_pass(generator, evaluation)) for count, evaluation in work.evaluations]
    timed = [count * seconds[kind] for count, kind in work.evaluations if kind in seconds]
    image = generator.decode(torch.zeros(1, *generator.latent_shape, device=generator.device))
    return Cost(
        step=work.step,
        images=work.images,
        done=work.done,
        flops=sum(count * each.flops for count, each in passes),
        row_bytes=work.row_bytes(list(passes[0][1].shapes.values()), image.nbytes),
        memory=max(each.memory for _, each in passes),
        seconds=sum(timed) if len(timed) == len(passes) else None,
    )


def prepare_cost(chosen: Chosen, data: Path) -> Cost:
    """Pixels that `prepare` stores; nothing where they stay in their source."""
    source, images = chosen.source, len(chosen.rows)
    size = source.channels * source.resolution**2 if chosen.stored else 0
    return Cost(step="prepare", images=images, done=images if _prepared(chosen, data) else 0, row_bytes=size)


def works(params: Params, chosen: Chosen, data: Path, machine: Runtime) -> Iterator[Work]:
    """What every step asks of its network, in the order of the pipeline. Rows that are in `data` count as done, as
    long as `data/real` is what the parameters ask for; `machine` is part of what decides which shards these are.
    """
    total = params.generate.num_samples or len(chosen.rows)
    there = _There(params, data, machine) if _prepared(chosen, data) else None
    for name in params.generators:
        yield _generate(params, name, total, there.generated(name, total) if there else 0)
    for view, settings in params.views.items():
        if settings.keep == "pca":
            rows = min(params.capture.basis.rows, len(chosen.rows))
            yield _basis(params, view, rows, rows if there and there.basis(view) else 0)
        for source in ("real", *params.generators):
            images = len(chosen.rows) if source == "real" else total
            yield _capture(params, view, source, images, there.captured(view, source, images) if there else 0)


def _generate(params: Params, name: str, images: int, done: int) -> Work:
    how = params.generator(name)
    kind = Evaluation(
        checkpoint=how.checkpoint,
        family=how.family,
        precision=params.generate.precision,
        batch=params.generate.batch_size,
        layers=tuple(how.mask_layers) if how.masks == "stored" else (),
        stop=False,
    )
    each = ((evaluations(how.sampler, how.steps), kind),)
    return Work(step=f"generate {name}", images=images, done=done, evaluations=each, image=True)


def _looking(params: Params, view: str, *, stop: bool, checkpoint: str | None = None) -> Evaluation:
    settings = params.view(view)
    return Evaluation(
        checkpoint=checkpoint or settings.network,
        family=settings.family,
        precision=settled_precision(params.capture.precision, settings.family),
        batch=params.capture.batch_size,
        layers=tuple(settings.layers),
        stop=stop,
        preprocessing=jobs.preprocessing_of(settings),
    )


def _capture(params: Params, view: str, source: str, images: int, done: int) -> Work:
    """The levels' passes end after the last layer; reconstructions take the first one to its end, sampling all."""
    settings, how = params.view(view), params.capture
    levels = max(1, len(settings.sigmas))  # clean images are looked at once
    if jobs.protocol_of(params, view, source) == "sampling":
        made = params.generator(source)
        whole = _looking(params, view, stop=False, checkpoint=made.checkpoint)
        each = [(evaluations(made.sampler, made.steps), whole)]
    else:
        ends = int(how.reconstructions and settings.protocol != "clean")
        each = [(ends, _looking(params, view, stop=False)), (levels - ends, _looking(params, view, stop=True))]
    return Work(
        step=f"capture {view} {source}",
        images=images,
        done=done,
        evaluations=tuple((count, kind) for count, kind in each if count),
        keep=settings.keep,
        levels=levels,
        components=how.basis.components,
        itemsize=np.dtype(how.dtype).itemsize,
        image=how.reconstructions and settings.protocol != "clean",
    )


def _basis(params: Params, view: str, images: int, done: int) -> Work:
    """Full captures of some real images, of which nothing stays but the components that are fitted on them."""
    each = ((max(1, len(params.view(view).sigmas)), _looking(params, view, stop=True)),)
    return Work(step=f"basis {view}", images=images, done=done, evaluations=each, keep="pca", image=False)


def _opened(opener: Callable[[Path], R], folder: Path) -> R | None:
    """A folder that a stage made, None where there is none that can be read: it will be made."""
    try:
        return opener(folder)
    except DamagedFileError:
        return None


def _prepared(chosen: Chosen, data: Path) -> bool:
    """Whether `data/real` holds the rows that are chosen now, of the files that are there now."""
    real = _opened(store.open_stored_images, data / "real")
    if real is None or real.config.get("identity", {}).get("fingerprint") != chosen.source.fingerprint:
        return False
    return len(real) == len(chosen.rows) and list(real.ids) == chosen.source.ids[chosen.rows].tolist()


@dataclass(frozen=True, slots=True)
class _There:
    """Rows that are there already: in a finished folder, or in shards, of the configuration that the stages compute under."""

    params: Params
    data: Path
    machine: Runtime

    def generated(self, name: str, total: int) -> int:
        job, ids, labels = self._samples(name, total)
        made = _opened(store.open_stored_images, self.data / "fake" / name)
        return self._rows(made, jobs.generate_config(job, name), ids, labels, self.params.generate)

    def basis(self, view: str) -> Path | None:
        """Where the basis of a view lies, None where it is still to be fitted."""
        job = jobs.capture_job(self.params, view, "real", self.data, self.machine)
        how = self.params.capture.basis
        config = jobs.basis_config(job, self.params.view(view).model_dump(), how.rows, how.components)
        kept = self.data / "shards" / store.config_hash(config) / "basis.safetensors"
        return kept if kept.is_file() else None

    def captured(self, view: str, source: str, images: int) -> int:
        basis, settings = None, self.params.view(view)
        stored = _opened(store.open_stored_images, jobs.folder_of(source, self.data))
        if stored is None or (source != "real" and not self._as_asked(stored, source)):
            return 0
        if settings.keep == "pca" and (basis := self.basis(view)) is None:
            return 0
        ids, labels = stored.ids, stored.labels
        if source != "real":
            _, ids, labels = self._samples(source, images)
        job = jobs.capture_job(self.params, view, source, self.data, self.machine, basis)
        made = _opened(store.open_activations, self.data / "activations" / view / source)
        return self._rows(made, jobs.capture_config(job, settings.model_dump()), ids, labels, self.params.capture)

    def _samples(self, name: str, count: int) -> tuple[jobs.GenerateJob, tuple[str, ...], np.ndarray]:
        """The samples that a generator will have: how they are made, ids, labels."""
        job = jobs.generate_job(self.params, name, self.data, self.machine)
        return job, tuple(f"fake/{name}/{i}" for i in range(count)), job.labels(np.arange(count))

    def _as_asked(self, stored: store.Images, name: str) -> bool:
        """Whether stored samples are of the generator as the parameters describe it."""
        wanted = jobs.generate_config(jobs.generate_job(self.params, name, self.data, self.machine), name)
        return store.config_hash(stored.config.get("identity", {})) == store.config_hash(wanted)

    def _rows(
        self,
        made: store.Rows | None,
        config: Mapping[str, Any],
        ids: tuple[str, ...],
        labels: np.ndarray,
        how: GenerateParams | CaptureParams,
    ) -> int:
        """Rows of a finished folder where it holds just these, else of the shards."""
        if made is not None and made.ids == ids and np.array_equal(made.labels, labels):
            wanted = {**config, "batch_size": how.batch_size}
            if store.config_hash({key: made.config.get(key) for key in wanted}) == store.config_hash(wanted):
                return len(ids)
        shards = store.Shards(
            self.data / "shards", config, ids=ids, labels=labels, batch_size=how.batch_size, shard_rows=how.shard_rows
        )
        return len(ids) - sum(len(span) for span in shards.missing())
