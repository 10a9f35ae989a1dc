"""The embedded default's own networks: an EDM teacher and its DMD2 distillation => data/checkpoints.

Frozen in the pipeline: `make train` runs it. Each checkpoint carries its provenance as safetensors metadata.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modescope import files, runtime, seeds, store
from modescope.edm import EDMPrecond
from modescope.generators import encode_images
from modescope.params import Params
from modescope.training import Data, Distillation, TeacherTraining
from stages import DATA, progress, run

FOLDER = DATA / "checkpoints"
CODE = ("stages/train.py", "lib/modescope/training.py", "lib/modescope/edm.py", "lib/modescope/taps.py")


def torch_rng(root: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(int(seeds.stream(root, purpose).integers(2**62)))


def save(name: str, network: nn.Module, config: dict[str, Any], provenance: dict[str, Any]) -> None:
    tensors = {key: value.detach().numpy() for key, value in network.state_dict().items()}
    metadata = {"config": json.dumps(config), "provenance": json.dumps(provenance)}
    files.write_tensors(FOLDER / f"{name}.safetensors", tensors, metadata)


def provenance(params: Params, **more: Any) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "params": params.training.model_dump(),
        "seed": params.seed,
        "git_commit": commit,
        "code_sha256": {path: files.sha256(Path(path)) for path in CODE},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **more,
    }


def train(params: Params) -> None:
    runtime.start("cpu", params.training.threads)
    real = store.open_stored_images(DATA / "real").select()
    channels, size = real.pixels.shape[1], real.pixels.shape[2]
    config = {
        "img_resolution": size,
        "img_channels": channels,
        "label_dim": int(real.labels.max()) + 1,
        **params.training.network.model_dump(),
    }
    images, labels = encode_images(real.pixels), torch.from_numpy(real.labels)
    torch.manual_seed(int(seeds.stream(params.seed, "initial weights").integers(2**62)))

    how = params.training.teacher
    data = Data(images, labels, torch_rng(params.seed, "teacher"))
    teaching = TeacherTraining(
        EDMPrecond(**config), data, steps=how.steps, batch_size=how.batch_size, lr=how.lr, ema=how.ema
    )
    start, losses = time.perf_counter(), []
    for loss in progress(teaching, "teacher", "step"):
        losses.append(loss)
    seconds = round(time.perf_counter() - start)
    teacher = teaching.average.network
    final_loss = float(np.mean(losses[-100:]))
    save("teacher", teacher, config, provenance(params, steps=how.steps, seconds=seconds, loss=final_loss))

    distil = params.training.distillation
    distillation = Distillation(
        teacher,
        Data(images, labels, torch_rng(params.seed, "distillation")),
        steps=distil.steps,
        batch_size=distil.batch_size,
        lr=distil.lr,
        gan_head_weight=distil.gan_head_weight,
        gan_weight=distil.gan_weight,
        generator_every=distil.generator_every,
        settle=distil.settle,
        ema=distil.ema,
    )
    start = time.perf_counter()
    names = {distil.early_step: "dmd2-early", distil.steps: "dmd2"}
    for step, _ in enumerate(progress(distillation, "distillation", "step"), start=1):
        if step in names:
            seconds = round(time.perf_counter() - start)
            average = distillation.average.network
            save(names[step], average, config, provenance(params, steps=step, seconds=seconds))


if __name__ == "__main__":
    run(train)
