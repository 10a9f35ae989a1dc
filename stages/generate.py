"""Images of one generator, seeded per sample, with the mask values of its sampling step => data/fake/<generator>."""

from __future__ import annotations

import numpy as np

from modescope import jobs, store
from modescope.params import Params
from stages import DATA, SHARDS, run
from stages._sharing import compute, machine


def generate(params: Params, name: str) -> None:
    job = jobs.generate_job(params, name, DATA, machine(params))
    real = store.open_stored_images(DATA / "real")
    total, classes, synsets = params.generate.num_samples or len(real), real.config["classes"], real.config["synsets"]
    labels = job.labels(np.arange(total))
    ids = [f"fake/{name}/{i}" for i in range(total)]
    config = jobs.generate_config(job, name)
    length = params.generate.shard_rows
    shards = store.Shards(SHARDS, config, ids=ids, labels=labels, batch_size=job.batch_size, shard_rows=length)
    if not compute(params, job, shards, "generate", name):
        return
    table = store.sample_table(
        ids,
        labels,
        batch_index=np.arange(total) // job.batch_size,
        class_name=[classes[c] for c in labels],
        synset_id=[synsets[c] for c in labels] if synsets else None,
        source=name,
        seed=params.seed,
        sigma=job.sigma,
        protocol="sampling",
    )
    described = {"identity": config, "classes": classes}
    shards.finish(DATA / "fake" / name, table, kind="images", config=described, track=params.capture.track)


if __name__ == "__main__":
    run(generate, "<generator>")
