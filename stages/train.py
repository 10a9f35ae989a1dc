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

from modescope import datasets, files, runtime, seeds
from modescope.edm import EDMPrecond
from modescope.generators import encode_images, load_generator
from modescope.params import Params
from modescope.records import ImageSet
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


def provenance(params: Params) -> dict[str, Any]:
    """What is about to run: asked for before the first step, since files may change while it runs."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "params": params.training.model_dump(),
        "seed": params.seed,
        "git_commit": commit,
        "code_sha256": {path: files.sha256(Path(path)) for path in CODE},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def kept_teacher(params: Params) -> EDMPrecond | None:
    """The teacher that lies in data/checkpoints, if it was trained with the parameters of today."""
    path = FOLDER / "teacher.safetensors"
    if not path.exists():
        return None
    trained = json.loads(files.read_tensors(path)[1]["provenance"])
    today = params.training.model_dump()
    same = trained["seed"] == params.seed and all(trained["params"][x] == today[x] for x in ("network", "teacher"))
    if not same:
        return None
    network = load_generator(path, device="cpu").network
    assert isinstance(network, EDMPrecond)  # noqa: S101 - what the family is
    return network


def train_teacher(params: Params, images: ImageSet, config: dict[str, Any]) -> EDMPrecond:
    how = params.training.teacher
    torch.manual_seed(int(seeds.stream(params.seed, "initial weights").integers(2**62)))
    teaching = TeacherTraining(
        EDMPrecond(**config),
        data_of(images, params, "teacher"),
        steps=how.steps,
        batch_size=how.batch_size,
        lr=how.lr,
        ema=how.ema,
    )
    made = provenance(params)
    start = time.perf_counter()
    losses = list(progress(teaching, "teacher", "step"))
    seconds, loss = round(time.perf_counter() - start), float(np.mean(losses[-100:]))
    save("teacher", teaching.average.network, config, made | {"steps": how.steps, "seconds": seconds, "loss": loss})
    return teaching.average.network


def distil(params: Params, images: ImageSet, teacher: EDMPrecond, config: dict[str, Any]) -> None:
    how = params.training.distillation
    distillation = Distillation(
        teacher,
        data_of(images, params, "distillation"),
        steps=how.steps,
        batch_size=how.batch_size,
        lr=how.lr,
        gan_head_weight=how.gan_head_weight,
        gan_weight=how.gan_weight,
        generator_every=how.generator_every,
        settle=how.settle,
        ema=how.ema,
    )
    made = provenance(params)
    start = time.perf_counter()
    for step, _ in enumerate(progress(distillation, "distillation", "step"), start=1):
        early = step == how.early_step
        if early or step == how.steps or step % how.save_every == 0:
            reached = {"steps": step, "seconds": round(time.perf_counter() - start)}
            save("dmd2-early" if early else "dmd2", distillation.average.network, config, made | reached)


def data_of(images: ImageSet, params: Params, purpose: str) -> Data:
    return Data(encode_images(images.pixels), torch.from_numpy(images.labels), torch_rng(params.seed, purpose))


def train(params: Params) -> None:
    runtime.start("cpu", params.training.threads)
    images = datasets.open_set(DATA / "real").select()
    config = {
        "img_resolution": images.pixels.shape[2],
        "img_channels": images.pixels.shape[1],
        "label_dim": int(images.labels.max()) + 1,
        **params.training.network.model_dump(),
    }
    teacher = kept_teacher(params) or train_teacher(params, images, config)
    distil(params, images, teacher, config)


if __name__ == "__main__":
    run(train)
