"""Images of one source (real, or a generator) through a view's network => data/activations/<view>/<source>."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from modescope import files, jobs, launching, store
from modescope.params import Params, ViewParams
from modescope.runtime import Runtime
from stages import DATA, SHARDS, progress, run
from stages._sharing import compute, machine

log = logging.getLogger(__name__)


def basis_of(params: Params, view_name: str, machine: Runtime) -> Path:
    """The basis on which a view keeps its activations: fitted once on a subset of the real images, then found again."""
    job = jobs.capture_job(params, view_name, "real", DATA, machine)
    how, view = params.capture.basis, params.view(view_name).model_dump()
    path = SHARDS / store.config_hash(jobs.basis_config(job, view, how.rows, how.components)) / "basis.safetensors"
    with launching.in_turn(params.runtime.launch):
        if not path.exists():
            batches = job.basis_rows(how.rows)
            rows = len(batches.ids)
            jobs.write_basis(path, progress(batches, f"{view_name}: basis", "batch"), rows, how.components)
    return path


def warn_of_one_step(params: Params, view: ViewParams) -> None:
    """A one-step generator as the feature network knows one noise level."""
    trained = {
        how.checkpoint: how.conditioning_sigma for how in params.generators.values() if how.sampler == "one-step"
    }
    sigma = trained.get(view.network)
    if sigma is not None and view.protocol == "noised" and set(view.sigmas) != {sigma}:
        log.warning(
            "the feature network %s is a one-step generator, trained at sigma %g alone, and this view looks at sigma %s; "
            "its features mean little there: take the EDM teacher where there is one",
            view.network,
            sigma,
            ", ".join(f"{each:g}" for each in view.sigmas),
        )


def capture(params: Params, view_name: str, source: str) -> None:
    """data/activations/<view>/both holds every side's manifest once more: what a map fitted on all of them depends on."""
    view, here = params.view(view_name), machine(params)
    warn_of_one_step(params, view)
    basis = None
    if view.keep == "pca":
        real = DATA / "activations" / view_name / "real" / "basis.safetensors"
        basis = basis_of(params, view_name, here) if source == "real" else real
    job = jobs.capture_job(params, view_name, source, DATA, here, basis)
    images = store.open_stored_images(job.images)
    config = jobs.capture_config(job, view.model_dump())
    length = params.capture.shard_rows
    shards = store.Shards(
        SHARDS, config, ids=images.ids, labels=images.labels, batch_size=job.batch_size, shard_rows=length
    )
    if not compute(params, job, shards, "capture", view_name, source):
        return
    table = images.table.assign(
        batch_index=np.arange(len(images)) // job.batch_size,
        seed=params.seed,
        sigma=view.sigmas[0] if len(view.sigmas) == 1 else None,
        protocol=job.protocol,
    )
    shards.finish(
        DATA / "activations" / view_name / source,
        table,
        kind="activations",
        config={**config, "source": source},
        track=params.capture.track,
        write=lambda folder: files.link(basis, folder / basis.name) if basis else None,
    )
    side = DATA / "activations" / view_name
    files.write_json(side / "both" / f"{source}.json", files.read_json(side / source / "manifest.json"))


if __name__ == "__main__":
    run(capture, "<view>", "<source: real or a generator>")
