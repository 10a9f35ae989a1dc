"""A tiny project: 60 real digits, 60 images of an untrained one-step generator, one multi-step teacher, one map."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from modescope import files, params, store
from modescope.edm import EDMPrecond
from stages.capture import capture
from stages.fit import fit
from stages.generate import generate
from stages.project import project

REPOSITORY = Path(__file__).parents[2]
ROWS = 60
LAYERS = ["encoder_block_0", "encoder_block_1", "encoder_block_2", "encoder_bottleneck", "midblock"]


def settings() -> dict:
    """The repository's own parameters, made small."""
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    one_step = {**raw["generators"]["dmd2"], "mask_layers": LAYERS}
    heun = {**raw["generators"]["teacher"], "steps": 2}
    raw["generate"] |= {"num_samples": ROWS, "batch_size": 30}
    raw["generators"] = {
        "teacher": {**heun, "checkpoint": "data/checkpoints/teacher.safetensors"},
        "other": {**one_step, "checkpoint": "data/checkpoints/other.safetensors"},
        "student": {**one_step, "checkpoint": "data/checkpoints/student.safetensors"},
        "absent": {**one_step, "checkpoint": "data/checkpoints/absent.safetensors"},
    }
    raw["inversion"]["generators"] = raw["reach"]["generators"] = ["student"]
    raw["runtime"] |= {"device": "cpu", "threads": 1}
    raw["views"] = {"default": {**raw["views"]["default"], "network": "data/checkpoints/teacher.safetensors"}}
    raw["capture"] = {**raw["capture"], "batch_size": 30}
    raw["reducer"] = {**raw["reducer"], "pca": 10, "n_neighbors": 5}
    return raw


def write_checkpoint(path: Path, seed: int) -> None:
    """Random weights, large enough that noise, class and mask all show in the image."""
    config = dict(img_resolution=8, img_channels=1, label_dim=10, model_channels=32, channel_mult=[1, 2])
    config |= dict(num_blocks=1, attn_resolutions=[4])
    network = EDMPrecond(**config)
    rng = np.random.default_rng(seed)
    state = {
        name: (value.numpy() + rng.normal(0, 0.08, value.shape) * (value.ndim > 1)).astype(np.float32)
        for name, value in network.state_dict().items()
        if "resample_filter" not in name
    }
    state |= {name: v.numpy() for name, v in network.state_dict().items() if "resample_filter" in name}
    files.write_tensors(path, state, {"config": json.dumps(config)})


def write_real(folder: Path) -> None:
    pixels, labels = load_digits(return_X_y=True)
    images = np.floor(pixels[:ROWS].reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8)
    table = store.sample_table([f"real/{i}" for i in range(ROWS)], labels[:ROWS], source="digits")
    config = {"identity": {"source": "digits"}, "classes": [str(c) for c in range(10)], "synsets": None}
    store.write_rows(folder, [{"images": images}], table, kind="images", config=config)


@pytest.fixture(scope="session")
def project_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    files.write_text(root / "params.yaml", yaml.safe_dump(settings(), sort_keys=False))
    for seed, name in enumerate(("teacher", "other", "student")):
        torch.manual_seed(seed)
        write_checkpoint(root / f"data/checkpoints/{name}.safetensors", seed)
    write_real(root / "data/real")
    chosen = params.load(root / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("teacher", "other", "student"):
            generate(chosen, name)
        for source in ("real", "teacher", "other", "student"):
            capture(chosen, "default", source)
        fit(chosen, "default")
        for name in ("teacher", "other", "student"):
            project(chosen, "default", name)
    return root


@pytest.fixture(scope="session")
def borrow(project_root: Path) -> Iterator[Callable[[Path], Path]]:
    """A copy of the tiny project at a place, of which everything under data is hard links: files there are replaced by
    new ones (as `modescope.files` does) and never written in place, which is checked at the end."""

    def stamps() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in project_root.rglob("*.*")}

    def copy(place: Path) -> Path:
        shutil.copytree(project_root / "data", place / "data", copy_function=os.link)
        shutil.copyfile(project_root / "params.yaml", place / "params.yaml")
        return place

    before = stamps()
    yield copy
    assert stamps() == before, "a test wrote into the files that all tests share"


@pytest.fixture
def fresh_root(borrow: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A project of one's own, free to be changed."""
    return borrow(tmp_path / "copy")
