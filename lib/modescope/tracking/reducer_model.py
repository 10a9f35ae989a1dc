"""A fitted map as an MLflow model: features in, coordinates out. Loaded from code, without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from modescope.projection import Reducer


class ReducerModel(mlflow.pyfunc.PythonModel):
    """`predict(features (N, D))` => coordinates float32 (N, 2 or 3)."""

    def load_context(self, context: Any) -> None:
        self.reducer = Reducer.load(Path(context.artifacts["reducer"]))

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        return self.reducer.transform(np.asarray(model_input, np.float32))


mlflow.models.set_model(ReducerModel())
