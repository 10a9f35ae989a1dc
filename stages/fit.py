"""Real activations of a view => the reducer and the real coordinates, data/maps/<view>."""

from __future__ import annotations

from modescope import store
from modescope.params import Params
from modescope.projection import Reducer
from stages import DATA, run


def fit(params: Params, view_name: str) -> None:
    params.view(view_name)
    real = store.open_activations(DATA / "activations" / view_name / "real")
    how = params.reducer.model_dump()
    reducer = Reducer.fit(real.matrix, seed=params.seed, standardise=not real.standardised, **how)
    folder = DATA / "maps" / view_name
    reducer.save(folder / "reducer")
    store.write_map(folder / "real.parquet", real.ids, reducer.embedding)


if __name__ == "__main__":
    run(fit, "<view>")
