"""Activations of one generator under a view => their coordinates on its map, data/maps/<view>/<generator>.parquet."""

from __future__ import annotations

from modescope import store
from modescope.params import Params
from modescope.projection import Reducer
from stages import DATA, run


def project(params: Params, view_name: str, name: str) -> None:
    params.view(view_name), params.generator(name)
    fake = store.open_activations(DATA / "activations" / view_name / name)
    real = store.open_activations(DATA / "activations" / view_name / "real")
    store.check_same_view(real, fake)
    reducer = Reducer.load(DATA / "maps" / view_name / "reducer")
    store.write_map(DATA / "maps" / view_name / f"{name}.parquet", fake.ids, reducer.transform(fake.matrix))


if __name__ == "__main__":
    run(project, "<view>", "<generator>")
