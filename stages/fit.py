"""Activations of a view => the reducer, how good its map is, and the real coordinates, data/maps/<view>.

`reducer.fit_on` says whose activations: the real ones, one generator's, or both: the real ones and all generators'.
"""

from __future__ import annotations

from dataclasses import asdict

from modescope import files, quality, store
from modescope.params import Params
from modescope.projection import Reducer, judged
from stages import DATA, run


def fit(params: Params, view_name: str) -> None:
    params.view(view_name)
    how = params.reducer.of(view_name)
    activations = DATA / "activations" / view_name
    real = store.open_activations(activations / "real")
    sides = {name: store.open_activations(activations / name) for name in fitted_on(params)}
    for side in sides.values():
        store.check_same_view(real, side)
    features = {name: side.matrix for name, side in sides.items()}
    reducer = Reducer.fit(
        features,
        seed=params.seed,
        standardise=not real.standardised,
        columns={layer: tuple(real.manifest["arrays"][layer]["shape"]) for layer in real.layers},
        network=real.config["network_hash"],
        **how.model_dump(exclude={"fit_on", "views"}),
    )
    found = quality.measure(
        reducer.scores, reducer.embedding, k=how.n_neighbors, seed=params.seed, min_dist=how.min_dist, metric=how.metric
    )
    reducer = judged(reducer, features)
    folder = DATA / "maps" / view_name
    reducer.save(folder / "reducer")
    files.write_json(folder / "reducer" / "quality.json", asdict(found))
    store.write_map(folder / "real.parquet", real.ids, reducer.located("real", real.matrix)[1])
    print(*report(found, reducer), sep="\n")


def fitted_on(params: Params) -> list[str]:
    """Sides whose activations the maps are fitted on."""
    return ["real", *params.generators] if params.reducer.fit_on == "both" else [params.reducer.fit_on]


def report(found: quality.Quality, reducer: Reducer) -> list[str]:
    """What a map is worth, in lines."""
    measures = {name: value for name, value in asdict(found).items() if isinstance(value, float)}
    lines = [f"map of {found.of} rows ({', '.join(reducer.parts)}), {found.rows} asked, k {found.k}"]
    lines += [f"  {name:16}{value:8.4f}" for name, value in measures.items()]
    for method, errors in reducer.evidence.items():
        chosen = " (default)" if method == reducer.inverse else ""
        lines.append(f"  inverse {method}{chosen}: error {errors.features:.3f}, round trip {errors.place:.3f}")
    return lines


if __name__ == "__main__":
    run(fit, "<view>")
