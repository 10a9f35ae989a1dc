"""MLflow runs: one per result, never twice, with models that load in a fresh process without pickle."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import torch

from modescope import files, sampling, tracking
from modescope.edm import EDMPrecond
from modescope.generators import load_generator
from modescope.projection import Reducer
from modescope.tracking import Model, Result, TrackingError

pytestmark = [  # mlflow's own: what its parts say of each other while it is imported
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*type hint:UserWarning"),
]

LOADING = """
import pickle, sys
plain = pickle.load
def guarded(file, **options):  # numba reads its own cache so; nothing of the run may be read so
    assert "mlruns" not in str(getattr(file, "name", "")), file.name
    return plain(file, **options)
pickle.load = guarded
import mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
models = {m.name: m for m in mlflow.search_logged_models(experiment_ids=[sys.argv[2]], output_format="list")}
images = mlflow.pyfunc.load_model(models["generator"].model_uri).predict(pd.DataFrame({"label": [1, 2], "index": [4, 5]}))
points = mlflow.pyfunc.load_model(models["reducer"].model_uri).predict(np.load(sys.argv[3]))
np.savez(sys.argv[4], images=images, points=points)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with one run that holds a tiny generator and a tiny map."""
    root = tmp_path_factory.mktemp("tracking")
    torch.manual_seed(0)
    network = EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=4, model_channels=32, channel_mult=(1,), num_blocks=1
    )
    torch.nn.init.normal_(network.model.out_conv.weight, std=0.1)
    checkpoint = root / "g.safetensors"
    files.write_tensors(checkpoint, {k: v.numpy() for k, v in network.state_dict().items()})
    features = np.random.default_rng(0).standard_normal((60, 12)).astype(np.float32)
    np.save(root / "features.npy", features)
    reducer = Reducer.fit(features, pca=5, n_neighbors=5)
    reducer.save(root / "reducer")
    (root / "scores.json").write_text("{}")
    (root / "map.png").write_bytes(b"a picture")
    result = Result(
        name="default/g",
        key="first",
        params={"sigma": "0.4"},
        metrics={"recall": 0.5},
        tags={"git.commit": "0" * 40},
        datasets={"data/real": "abc"},
        series={"over_k.recall": [(1, 0.25), (5, 0.5)]},
        artifacts=[root / "scores.json", root / "map.png"],
        models=[
            Model(kind="generator", path=checkpoint, config={"sampler": "one-step", "steps": 1, "seed": 3}),
            Model(kind="reducer", path=root / "reducer"),
        ],
    )
    assert tracking.tracked(root) == set()
    (run,) = tracking.track([result], root=root, experiment="trial")
    return root, run, reducer, features


def test_a_run_holds_parameters_scores_hashes_and_files(made):
    import mlflow

    root, run, _, _ = made
    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    logged = client.get_run(run)
    assert logged.info.run_name == "default/g"
    assert logged.data.params["sigma"] == "0.4"
    assert logged.data.metrics == {"recall": 0.5, "over_k.recall": 0.5}
    assert [(m.step, m.value) for m in client.get_metric_history(run, "over_k.recall")] == [(1, 0.25), (5, 0.5)]
    assert logged.data.tags["git.commit"] == "0" * 40
    assert [(d.dataset.name, d.dataset.digest) for d in logged.inputs.dataset_inputs] == [("data/real", "abc")]
    assert [item.path for item in client.list_artifacts(run)] == ["plots", "tables"]
    assert [item.path for item in client.list_artifacts(run, "plots")] == ["plots/map.png"]
    assert [item.path for item in client.list_artifacts(run, "tables")] == ["tables/scores.json"]
    assert logged.info.artifact_uri.startswith((root / "mlruns").as_uri())


def test_a_result_is_known_by_its_key_until_its_run_is_deleted(made):
    root, run, _, _ = made
    assert tracking.tracked(root) == {"first"}
    with sqlite3.connect(root / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (run,))
    assert tracking.tracked(root) == set()
    with sqlite3.connect(root / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'active', status = 'RUNNING'")
    assert tracking.tracked(root) == set()
    with sqlite3.connect(root / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET status = 'FINISHED'")
    assert tracking.tracked(root) == {"first"}
    connection.close()


def test_models_load_in_a_fresh_process_without_pickle_and_give_the_same(made, tmp_path):
    root, _, reducer, features = made
    assert not list((root / "mlruns").rglob("*.pkl"))
    out = tmp_path / "out.npz"
    arguments = [f"sqlite:///{root}/mlflow.db", "1", str(root / "features.npy"), str(out)]
    done = subprocess.run([sys.executable, "-c", LOADING, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    generator = load_generator(root / "g.safetensors", device="cpu")
    noise = sampling.latents(3, np.array([4, 5]), generator.latent_shape)
    expected = generator.decode(
        sampling.last(sampling.one_step(generator.denoise, noise, generator.rows(np.array([1, 2]))))
    )
    with np.load(out) as found:
        assert np.array_equal(found["images"], expected)
        assert np.array_equal(found["points"], reducer.transform(features))


def test_a_database_that_cannot_be_used_is_one_clear_error(tmp_path):
    result = Result(name="a", key="k", params={}, metrics={}, tags={}, datasets={})
    (tmp_path / "mlflow.db").write_text("this is no database, but it is long enough to be read as one" * 20)
    with pytest.raises(
        TrackingError, match=r"mlflow.db cannot be used \(file is not a database\); the results themselves"
    ):
        tracking.tracked(tmp_path)
    with pytest.raises(TrackingError, match="Make the file and its folder writable"):
        tracking.track([result], root=tmp_path, experiment="x")
    with pytest.raises(TrackingError, match="unable to open database file"):
        tracking.track([result], root=tmp_path / "nowhere", experiment="x")


def test_a_locked_database_is_an_error_not_a_hang(tmp_path, monkeypatch):
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(tracking, "PATIENCE", 0.1)
    result = Result(name="a", key="k", params={}, metrics={}, tags={}, datasets={})
    with pytest.raises(TrackingError, match="database is locked"):
        tracking.track([result], root=tmp_path, experiment="x")
    holder.close()


def test_more_metrics_than_mlflow_takes_are_refused_before_anything_is_logged():
    scores = {f"class {i}": 0.5 for i in range(999)}
    plain = {"name": "a", "key": "k", "params": {}, "tags": {}, "datasets": {}}
    Result(metrics=scores, series={"over_k": [(1, 0.1)]}, **plain)
    with pytest.raises(ValueError, match=r"a has 1001 metrics and MLflow takes 1000 at a time; .* among the artifacts"):
        Result(metrics=scores, series={"over_k": [(1, 0.1), (2, 0.2)]}, **plain)
