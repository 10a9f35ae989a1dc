"""Whose activations a map is fitted on, and in how many dimensions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from modescope import files, params, store
from modescope.params import ParamsError
from modescope.projection import Reducer
from stages.fit import fit, fitted_on
from stages.project import project


def changed(here: params.Params, **reducer: object) -> params.Params:
    return here.model_copy(update={"reducer": here.reducer.model_copy(update=reducer)})


def places(side: str) -> np.ndarray:
    ids = store.open_activations(f"data/activations/default/{side}").ids
    return store.read_map(Path(f"data/maps/default/{side}.parquet"), ids)


def test_a_map_of_both_keeps_the_fitted_places_of_every_side(copy):
    chosen = changed(params.load(), fit_on="both")
    assert fitted_on(chosen) == ["real", "teacher", "dmd2"]
    fit(chosen, "default")
    reducer = Reducer.load("data/maps/default/reducer")
    assert reducer.parts == {"real": 1797, "teacher": 150, "dmd2": 150}
    assert np.array_equal(places("real"), reducer.embedding[:1797])
    project(chosen, "default", "dmd2")
    assert np.array_equal(places("dmd2"), reducer.embedding[-150:])
    kept = files.read_json(Path("data/maps/default/dmd2.separation.json"))
    assert kept["rows"] == 150


def test_a_map_of_one_generator_places_the_real_ones_and_the_other_generator(copy):
    chosen = changed(params.load(), fit_on="dmd2")
    fit(chosen, "default")
    reducer = Reducer.load("data/maps/default/reducer")
    assert reducer.parts == {"dmd2": 150}
    real = store.open_activations("data/activations/default/real")
    assert np.array_equal(places("real"), reducer.transform(real.matrix))
    project(chosen, "default", "teacher")
    teacher = store.open_activations("data/activations/default/teacher")
    assert np.array_equal(places("teacher"), reducer.transform(teacher.matrix))
    project(chosen, "default", "dmd2")
    assert np.array_equal(places("dmd2"), reducer.embedding)


def test_a_side_that_has_changed_since_the_fit_is_refused(here):
    reducer = Reducer.load("data/maps/default/reducer")
    real = store.open_activations("data/activations/default/real")
    with pytest.raises(
        ValueError, match="part 'real' has 100 rows, the map was fitted on 1797 of it; fit the map again"
    ):
        reducer.located("real", real.matrix[:100])


def test_a_view_may_have_a_map_of_its_own_kind(copy):
    chosen = changed(params.load(), fit_on="dmd2", views={"default": {"n_components": 3, "metric": "cosine"}})
    fit(chosen, "default")
    project(chosen, "default", "teacher")
    assert places("real").shape == (1797, 3)
    assert places("teacher").shape == (150, 3)
    assert Reducer.load("data/maps/default/reducer").settings.metric == "cosine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit_on": "dmd3"}, "reducer.fit_on is 'dmd3'; give real, both, or one of: dmd2, dmd2-early, teacher"),
        ({"metric": "haversine"}, "`reducer.metric` is 'haversine': input should be 'euclidean' or 'cosine'"),
        ({"views": {"defautl": {}}}, "view 'defautl' is not in params.yaml; nearest: 'default'"),
        ({"views": {"default": {"n_components": 4}}}, "views.default.n_components is 4: input should be 2 or 3"),
        ({"views": {"default": {"pcb": 4}}}, "views.default.pcb is 4: extra inputs are not permitted"),
        ({"views": {"default": {"fit_on": "both"}}}, "reducer.views.default.fit_on differs; all views share"),
    ],
)
def test_maps_that_cannot_be_are_refused_before_anything_runs(tmp_path, change, message):
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw | {"reducer": raw["reducer"] | change}))
    with pytest.raises(ParamsError, match=message):
        params.load(path)


def test_no_generator_is_named_as_a_side_is(tmp_path):
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    raw["generators"]["both"] = raw["generators"]["dmd2"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError, match="a generator is called 'both', which names a side"):
        params.load(tmp_path / "params.yaml")
