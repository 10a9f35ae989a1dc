"""A generator as an MLflow model: class labels and seeds in, uint8 images out. Loaded from code, without pickle."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import pandas as pd

from modescope import sampling
from modescope.generators import load_generator


class GeneratorModel(mlflow.pyfunc.PythonModel):
    """`predict(DataFrame with integer columns "label" and "index")` => uint8 (N, C, H, W).

    Sampler, steps and seed are those it was logged with (override them with `model_config` on loading); index i is
    sample i of a pipeline with that seed.
    """

    def load_context(self, context: Any) -> None:
        self.generator = load_generator(context.artifacts["generator"])
        self.config = {"sampler": "one-step", "steps": 1, "seed": 0, **(context.model_config or {})}

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray:
        steps = sampling.sampler(self.config["sampler"], steps=self.config["steps"], sigma_max=self.generator.sigma_max)
        indices = model_input["index"].to_numpy(np.int64)
        noise = sampling.latents(self.config["seed"], indices, self.generator.latent_shape).to(self.generator.device)
        rows = self.generator.rows(model_input["label"].to_numpy(np.int64))
        return self.generator.decode(sampling.last(steps(self.generator.denoise, noise, rows)))


mlflow.models.set_model(GeneratorModel())
