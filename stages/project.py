"""Activations of one generator under a view => their coordinates on its map, data/maps/<view>/<generator>.parquet, and
how much of what separates them from the real ones the map keeps, <generator>.separation.json beside.
"""

from __future__ import annotations

from dataclasses import asdict

from modescope import files, quality, store
from modescope.params import Params
from modescope.projection import Reducer
from stages import DATA, run


def project(params: Params, view_name: str, name: str) -> None:
    params.view(view_name), params.generator(name)
    fake = store.open_activations(DATA / "activations" / view_name / name)
    real = store.open_activations(DATA / "activations" / view_name / "real")
    store.check_same_view(real, fake)
    folder = DATA / "maps" / view_name
    reducer = Reducer.load(folder / "reducer")
    reducer.check_source(
        {layer: tuple(fake.manifest["arrays"][layer]["shape"]) for layer in fake.layers}, fake.config["network_hash"]
    )
    (fake_scores, fake_places), (real_scores, real_places) = (
        reducer.located(side, activations.matrix) for side, activations in ((name, fake), ("real", real))
    )
    store.write_map(folder / f"{name}.parquet", fake.ids, fake_places)
    kept = quality.separation(
        real_scores,
        fake_scores,
        real_places,
        fake_places,
        k=reducer.settings.n_neighbors,
        seed=params.seed,
        metric=reducer.settings.metric,
    )
    files.write_json(folder / f"{name}.separation.json", asdict(kept))


if __name__ == "__main__":
    run(project, "<view>", "<generator>")
