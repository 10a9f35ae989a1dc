"""Finished results => MLflow runs. The only part of modescope that imports mlflow, and only when there is news."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

KEY_TAG = "modescope.key"
PATIENCE = 5.0
"""Seconds to wait for whoever writes the database."""
MOST_METRICS = 1000
_REQUIREMENTS = ["modescope"]


class TrackingError(ValueError):
    """The tracking store cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A file or folder that MLflow keeps as a loadable model: kind "generator" or "reducer"."""

    kind: str
    path: Path
    config: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that one run shows. `key` identifies the result: a second result with the same key is not news."""

    name: str
    key: str
    params: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: Mapping[str, str]  # name => content hash
    series: Mapping[str, Sequence[tuple[int, float]]] = field(
        default_factory=dict
    )  # name => (step, value), drawn as a line
    artifacts: Sequence[Path] = ()
    models: Sequence[Model] = ()

    def __post_init__(self) -> None:
        count = len(self.metrics) + sum(len(points) for points in self.series.values())
        if count > MOST_METRICS:
            raise ValueError(
                f"{self.name} has {count} metrics and MLflow takes {MOST_METRICS} at a time; what is told per class or per "
                "sample belongs into a table among the artifacts"
            )


def database(root: Path) -> Path:
    """MLflow's own default place, so that a bare `mlflow ui` in the repository root shows the runs."""
    return root / "mlflow.db"


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise TrackingError(
            f"the MLflow database {path} cannot be used ({error}); the results themselves are safe in metrics/. "
            "Make the file and its folder writable, end whatever locks it, or move it away, then run `dvc repro` again"
        ) from error


def tracked(root: Path) -> set[str]:
    """Keys of the results that already have a run which is not deleted. Reads the database directly: mlflow is slow."""
    path = database(root)
    if not path.exists():
        return set()
    with _connected(path) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"tags", "runs"} <= tables:
            return set()
        query = (
            "SELECT tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid "
            "WHERE tags.key = ? AND runs.lifecycle_stage = 'active' AND runs.status = 'FINISHED'"
        )
        return {row[0] for row in connection.execute(query, (KEY_TAG,))}


def _check_writable(root: Path) -> None:
    with _connected(database(root)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS modescope_probe (id INTEGER)")
        connection.execute("DROP TABLE modescope_probe")
        connection.commit()


@contextlib.contextmanager
def _unsynchronised(new: bool) -> Iterator[None]:
    """A new database is written without waiting for the disk at each of the thousand steps in which mlflow creates it: a
    machine that crashes meanwhile loses nothing that was there before.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    if not new:
        yield
        return
    event.listen(Engine, "connect", hurry)
    try:
        yield
    finally:
        event.remove(Engine, "connect", hurry)


def track(results: Iterable[Result], *, root: Path, experiment: str) -> list[str]:
    """Log each result as a run of `experiment` in the store at `root`; returns the run ids.

    Raises TrackingError when the database cannot be written (before anything is logged).
    """
    new = not database(root).exists()
    _check_writable(root)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # slow to import, and needed only when there is news

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(f"sqlite:///{database(root)}")
    with _unsynchronised(new), warnings.catch_warnings():
        # Advice to add an input example: the models carry explicit signatures instead.
        warnings.filterwarnings("ignore", message=".*input example", category=UserWarning)
        found = mlflow.get_experiment_by_name(experiment)
        location = (root / "mlruns").as_uri()
        identity = found.experiment_id if found else mlflow.create_experiment(experiment, artifact_location=location)
        return [_log(mlflow, result, identity) for result in results]


def _signature(model: Model) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    if model.kind == "generator":
        return ModelSignature(Schema([ColSpec("long", "label"), ColSpec("long", "index")]))
    return ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1, -1))]))


def _points(series: Mapping[str, Sequence[tuple[int, float]]]) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, value, now, step) for name, points in series.items() for step, value in points]


def _log_model(mlflow: Any, model: Model) -> str:
    info = mlflow.pyfunc.log_model(
        name=model.kind,
        loader_module=f"{__name__}.{model.kind}_model",  # code that is installed, never a pickle
        data_path=str(model.path),
        signature=_signature(model),
        model_config=dict(model.config),
        pip_requirements=_REQUIREMENTS,
    )
    return str(info.model_id)


def _log(mlflow: Any, result: Result, experiment: str) -> str:
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    with mlflow.start_run(experiment_id=experiment, run_name=result.name) as run:
        mlflow.log_params(dict(result.params))
        # Before the scores, which mlflow would read back one by one for every model and log again beside it.
        models = {model.kind: _log_model(mlflow, model) for model in result.models}
        mlflow.log_metrics(dict(result.metrics), model_id=models.get("generator"))
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics=_points(result.series))
        mlflow.set_tags(dict(result.tags))
        for name, digest in result.datasets.items():
            mlflow.log_input(MetaDataset(CodeDatasetSource(tags={"dvc": name}), name=name, digest=digest))
        for path in result.artifacts:
            mlflow.log_artifact(str(path), "plots" if path.suffix == ".png" else "tables")
        mlflow.set_tag(KEY_TAG, result.key)  # last: a run that was cut short is not taken for the result
    log.info("run %s: %s", result.name, run.info.run_id)
    return str(run.info.run_id)
