"""Real images of the chosen source => data/real."""

from __future__ import annotations

import numpy as np

from modescope import store
from modescope.images import open_images
from modescope.params import Params
from stages import DATA, progress, run

BATCH = 1024


def prepare(params: Params) -> None:
    real = params.real
    source = open_images(real.kind, real.path, real.resolution)
    rows = np.arange(len(source))
    table = store.sample_table(
        [str(i) for i in source.ids],
        source.labels,
        batch_index=rows // BATCH,
        synset_id=[source.synsets[c] for c in source.labels] if source.synsets else None,
        class_name=[source.class_names[c] for c in source.labels],
        original_path=[source.original_path(i) for i in rows.tolist()],
        source=source.source,
    )
    starts = range(0, len(rows), BATCH)
    batches = ({"images": source.read(rows[i : i + BATCH])} for i in progress(starts, "real images", "batch"))
    config = {
        "source": real.model_dump(),
        "preprocessing": source.preprocessing,
        "classes": list(source.class_names),
        "synsets": source.synsets,
    }
    store.write_rows(DATA / "real", batches, table, kind="images", config=config)


if __name__ == "__main__":
    run(prepare)
