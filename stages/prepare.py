"""The chosen real images => data/real: with their pixels, or as an index of a source that keeps them."""

from __future__ import annotations

import logging

import numpy as np

from modescope import datasets, selection
from modescope.params import Params
from stages import DATA, progress, run

log = logging.getLogger(__name__)


def prepare(params: Params) -> None:
    chosen = datasets.choose(params.real, params.seed)
    source, rows, step = chosen.source, chosen.rows, datasets.BATCH
    log.info("%s", selection.balance(source.labels[rows], source.class_names))
    for where, why in source.unreadable:
        log.warning("left out: %s (%s)", where, why)
    in_order = len(rows) == len(source) and (np.diff(rows) == 1).all()
    config = {
        "identity": {
            "source": source.source,
            "preprocessing": source.preprocessing,
            "fingerprint": source.fingerprint,
        },
        "order": "source" if in_order else "seeded",
        "classes": list(source.class_names),
        "synsets": source.synsets,
        "unreadable": [where for where, _ in source.unreadable],
    }
    starts = range(0, len(rows), step) if chosen.stored else range(0)
    batches = ({"images": source.read(rows[i : i + step])} for i in progress(starts, "real images", "batch"))
    datasets.write_set(DATA / "real", chosen, config=config, batches=batches)


if __name__ == "__main__":
    run(prepare)
