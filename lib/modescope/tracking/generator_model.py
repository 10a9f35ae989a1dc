"""A generator as an MLflow model (its loader module): class labels and sample indices in, uint8 images out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import sampling
from modescope.generators import SIGMA_MAX, Generator, load_generator


class GeneratorModel:
    """`predict(DataFrame with integer columns "label" and "index")` => uint8 (N, C, H, W).

    Sampler, steps, noise and seed are those it was logged with (override them with `model_config` on loading); index i is
    sample i of a pipeline with that seed.
    """

    def __init__(self, generator: Generator, *, sampler: str, steps: int, noise: str, seed: int) -> None:
        self.generator, self.seed = generator, seed
        self.steps = sampling.sampler(sampler, steps=steps, sigma_max=generator.sigma_max, noise=noise)

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> np.ndarray:
        indices = model_input["index"].to_numpy(np.int64)
        noise = sampling.latents(self.seed, indices, self.generator.latent_shape).to(self.generator.device)
        rows = self.generator.rows(model_input["label"].to_numpy(np.int64))
        renoise = sampling.renoising(self.seed, indices.tolist(), self.generator.latent_shape)
        return self.generator.decode(sampling.last(self.steps(self.generator.denoise, noise, rows, renoise)))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> GeneratorModel:
    """What mlflow calls; the checkpoint lies at `path`, or alone in it."""
    logged = {
        "sampler": "one-step",
        "steps": 1,
        "noise": "fresh",
        "seed": 0,
        "sigma_max": SIGMA_MAX,
        **(model_config or {}),
    }
    return GeneratorModel(load_generator(Path(path), sigma_max=logged.pop("sigma_max")), **logged)
