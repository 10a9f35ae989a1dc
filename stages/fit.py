"""Real activations of a view => the reducer, how good its map is, and the real coordinates, data/maps/<view>."""

from __future__ import annotations

from dataclasses import asdict

from modescope import files, quality, store
from modescope.params import Params
from modescope.projection import Reducer
from stages import DATA, run


def fit(params: Params, view_name: str) -> None:
    params.view(view_name)
    real = store.open_activations(DATA / "activations" / view_name / "real")
    how = params.reducer
    reducer = Reducer.fit(
        {"real": real.matrix},
        seed=params.seed,
        standardise=not real.standardised,
        columns={layer: tuple(real.manifest["arrays"][layer]["shape"]) for layer in real.layers},
        network=real.config["network_hash"],
        **how.model_dump(),
    )
    folder = DATA / "maps" / view_name
    found = quality.measure(
        reducer.scores, reducer.embedding, k=how.n_neighbors, seed=params.seed, min_dist=how.min_dist, metric=how.metric
    )
    reducer = reducer.judged(real.matrix)
    reducer.save(folder / "reducer")
    files.write_json(folder / "reducer" / "quality.json", asdict(found))
    store.write_map(folder / "real.parquet", real.ids, reducer.embedding)
    print(*report(found, reducer), sep="\n")


def report(found: quality.Quality, reducer: Reducer) -> list[str]:
    """What a map is worth, in lines."""
    measures = {name: value for name, value in asdict(found).items() if isinstance(value, float)}
    lines = [f"map of {found.of} rows, {found.rows} asked, k {found.k}"]
    lines += [f"  {name:16}{value:8.4f}" for name, value in measures.items()]
    for method, errors in reducer.evidence.items():
        chosen = " (default)" if method == reducer.inverse else ""
        lines.append(f"  inverse {method}{chosen}: error {errors.features:.3f}, round trip {errors.place:.3f}")
    return lines


if __name__ == "__main__":
    run(fit, "<view>")
