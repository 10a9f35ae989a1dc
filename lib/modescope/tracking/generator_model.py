"""A generator as an MLflow model (its loader module): class labels and sample indices in, uint8 images out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import sampling
from modescope.generators import Generator, load_generator


class GeneratorModel:
    """`predict(DataFrame with integer columns "label" and "index")` => uint8 (N, C, H, W).

    Sampler, steps and seed are those it was logged with (override them with `model_config` on loading); index i is
    sample i of a pipeline with that seed.
    """

    def __init__(self, generator: Generator, *, sampler: str, steps: int, seed: int) -> None:
        self.generator, self.seed = generator, seed
        self.steps = sampling.sampler(sampler, steps=steps, sigma_max=generator.sigma_max)

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> np.ndarray:
        indices = model_input["index"].to_numpy(np.int64)
        noise = sampling.latents(self.seed, indices, self.generator.latent_shape).to(self.generator.device)
        rows = self.generator.rows(model_input["label"].to_numpy(np.int64))
        return self.generator.decode(sampling.last(self.steps(self.generator.denoise, noise, rows)))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> GeneratorModel:
    """What mlflow calls; the checkpoint lies at `path`, or alone in it."""
    place = Path(path)
    checkpoint = next(place.glob("*.safetensors")) if place.is_dir() else place
    return GeneratorModel(
        load_generator(checkpoint), **{"sampler": "one-step", "steps": 1, "seed": 0, **(model_config or {})}
    )
