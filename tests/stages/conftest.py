"""A project on which every stage has run once, and ways to damage and call it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from modescope import params
from stages.capture import capture
from stages.compare import compare
from stages.evaluate import evaluate
from stages.fit import fit
from stages.generate import generate
from stages.prepare import prepare
from stages.project import project
from stages.train import train

ROOT = Path(__file__).parents[2]
SAMPLES = 150


def settings() -> dict:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["generate"] |= {"num_samples": SAMPLES, "batch_size": 64}
    raw["generators"]["teacher"]["steps"] = 2
    del raw["generators"]["dmd2-early"]
    raw["reach"]["generators"] = ["dmd2"]
    raw["runtime"] |= {"device": "cpu", "threads": 1}
    raw["capture"]["shard_rows"] = 1000
    raw["training"]["teacher"]["steps"] = 4
    raw["training"]["distillation"] |= {"steps": 6, "early_step": 2, "save_every": 5}
    return raw


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A project on which every stage has run once; the networks were trained for a few steps."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(yaml.safe_dump(settings(), sort_keys=False))
    for name in ("stages", "lib"):
        (folder / name).symlink_to(ROOT / name)
    chosen = params.load(folder / "params.yaml")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare(chosen)
        train(chosen)
        for name in chosen.generators:
            generate(chosen, name)
        for source in ("real", *chosen.generators):
            capture(chosen, "default", source)
        fit(chosen, "default")
        for name in chosen.generators:
            project(chosen, "default", name)
            evaluate(chosen, "default", name)
        compare(chosen, "default")
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def here(root, monkeypatch):
    monkeypatch.chdir(root)
    return params.load()


@pytest.fixture
def copy(root, tmp_path, monkeypatch):
    """A copy that a test may damage."""
    folder = Path(shutil.copytree(root, tmp_path / "copy", symlinks=True))
    monkeypatch.chdir(folder)
    return folder


def called(stage, *keys, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{stage}", *keys]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def call():
    """`python -m stages.<stage> <keys>` in a folder => the finished process."""
    return called
