"""A fitted map as an MLflow model (its loader module): features in, coordinates out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modescope.projection import Reducer


class ReducerModel:
    """`predict(features (N, D))` => coordinates float32 (N, 2 or 3)."""

    def __init__(self, reducer: Reducer) -> None:
        self.reducer = reducer

    def predict(self, model_input: Any, params: Any = None) -> np.ndarray:
        return self.reducer.transform(np.asarray(model_input, np.float32))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ReducerModel:
    """What mlflow calls; the reducer's folder is `path`, or lies alone in it."""
    place = Path(path)
    return ReducerModel(Reducer.load(place if (place / "reducer.json").exists() else next(place.iterdir())))
