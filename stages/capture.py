"""Images of one source (real, or a generator) through a view's network => data/activations/<view>/<source>."""

from __future__ import annotations

import numpy as np

from modescope import runtime, store
from modescope.capturing import Captures
from modescope.generators import load_generator
from modescope.params import Params
from stages import DATA, progress, run


def capture(params: Params, view_name: str, source: str) -> None:
    view = params.view(view_name)
    images = store.open_stored_images(DATA / "real" if source == "real" else DATA / "fake" / source)
    machine = runtime.start(params.runtime.device, params.runtime.threads)
    network = load_generator(view.network, view.family, device=machine.device)
    captures = Captures(
        generator=network,
        read=images.read,
        ids=images.ids,
        labels=images.labels,
        layers=view.layers,
        protocol=view.protocol,
        sigma=view.sigma,
        root=params.seed,
        batch_size=params.capture.batch_size,
    )
    batches = (
        {name: value.numpy().astype(params.capture.dtype) for name, value in batch.items()}
        for batch in progress(captures, f"{view_name}: {source}", "batch")
    )
    config = {
        "view": view.model_dump(),
        "network_hash": network.checkpoint_hash,
        "source": source,
        "images": images.manifest["config_hash"],
        "seed": params.seed,
        "dtype": params.capture.dtype,
        "runtime": machine.record(),
    }
    table = images.table.assign(
        batch_index=np.arange(len(images)) // params.capture.batch_size,
        seed=params.seed,
        sigma=view.sigma,
        protocol=view.protocol,
    )
    folder = DATA / "activations" / view_name / source
    store.write_rows(folder, batches, table, kind="activations", config=config, shard_rows=params.capture.shard_rows)


if __name__ == "__main__":
    run(capture, "<view>", "<source: real or a generator>")
