"""Killed at any moment, the next run continues, and the finished bytes are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from modescope import store
from modescope.files import sha256
from modescope.params import load
from stages.capture import capture
from stages.generate import generate

REPOSITORY = Path(__file__).parents[2]
KILLS = 14

# Imports once, then forks a stage for every delay on its input and kills it with SIGKILL after so many seconds.
NURSERY = """
import os, signal, sys, time
import torch
torch.set_num_threads(1)
from modescope import params
from stages import capture, generate
for line in sys.stdin:
    seconds, stage, *keys = line.split()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        {"generate": generate.generate, "capture": capture.capture}[stage](params.load(), *keys)
        os._exit(0)
    start, status = time.monotonic(), 0
    while time.monotonic() - start < float(seconds):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    print(status, time.monotonic() - start, flush=True)
"""


class Nursery:
    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *stage, seconds=600.0):
        """Status (0: it ended by itself, 9: killed) and how long it took."""
        self.process.stdin.write(f"{seconds} {' '.join(stage)}\n")
        self.process.stdin.flush()
        status, took = self.process.stdout.readline().split()
        return int(status), float(took)


@pytest.fixture
def nursery(copy):
    made = Nursery(copy)
    yield made
    made.process.stdin.close()
    made.process.stdout.close()
    made.process.wait()


def content(folder):
    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def change(folder, **sections):
    path = folder / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        raw[section] |= values
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load(path)


def forget():
    for name in ("shards", "fake/dmd2", "activations/default/dmd2"):
        shutil.rmtree(Path("data") / name, ignore_errors=True)


@pytest.mark.parametrize(
    ("stage", "folder"),
    [(("generate", "dmd2"), "fake/dmd2"), (("capture", "default", "dmd2"), "activations/default/dmd2")],
)
def test_killed_at_random_moments_the_bytes_are_those_of_an_undisturbed_run(copy, nursery, stage, folder):
    small = {"batch_size": 32, "shard_rows": 64}
    settings = change(copy, generate={**small, "num_samples": 700}, capture=small)
    forget()
    generate(settings, "dmd2")
    undisturbed_images = content("data/fake/dmd2")
    status, seconds = nursery.run(*stage)
    assert status == 0
    expected = content(f"data/{folder}")
    shutil.rmtree("data/shards")
    shutil.rmtree(f"data/{folder}")
    moments, killed = random.Random(0), 0
    for _ in range(KILLS):
        status, _ = nursery.run(*stage, seconds=moments.uniform(0.02, seconds / 3))
        assert status in (0, 9)
        killed += status == 9
        if Path(f"data/{folder}/manifest.json").exists():
            assert content(f"data/{folder}") == expected  # a folder that stands is whole, also after a kill
    assert killed >= KILLS // 3
    assert nursery.run(*stage)[0] == 0
    assert content(f"data/{folder}") == expected
    assert content("data/fake/dmd2") == undisturbed_images
    assert not list(Path("data/shards").rglob("*.part"))  # what the killed ones left is gone


def test_more_samples_cost_the_missing_ones_alone(copy, monkeypatch):
    """From 100 to 300: batches before the first missing row are not computed again."""
    settings = change(
        copy, generate={"num_samples": 100, "batch_size": 32, "shard_rows": 64}, capture={"batch_size": 32}
    )
    forget()
    generate(settings, "dmd2")
    capture(settings, "default", "dmd2")
    grown = change(copy, generate={"num_samples": 300})
    computed = []
    write = store.Shards.write

    def counted(self, span, batches):
        computed.append(len(span))
        write(self, span, batches)

    monkeypatch.setattr(store.Shards, "write", counted)
    generate(grown, "dmd2")
    assert sum(computed) == 300 - 96  # whole batches of 32: rows 96 to 99 are made again with their batch
    computed.clear()
    capture(grown, "default", "dmd2")
    assert sum(computed) == 300 - 96
    images, activations = content("data/fake/dmd2"), content("data/activations/default/dmd2")
    forget()
    generate(grown, "dmd2")
    capture(grown, "default", "dmd2")
    assert content("data/fake/dmd2") == images
    assert content("data/activations/default/dmd2") == activations


def test_a_finished_stage_computes_nothing_again_even_when_dvc_has_removed_its_folder(copy, monkeypatch):
    settings = load()
    before = content("data/activations/default/real")
    shutil.rmtree("data/activations/default/real")

    def forbidden(self):
        raise AssertionError("nothing is left to compute")

    monkeypatch.setattr("modescope.jobs.CaptureJob.open", forbidden)
    capture(settings, "default", "real")
    assert content("data/activations/default/real") == before


def test_a_run_with_the_manifest_alone_tracked_has_the_same_rows(copy):
    before = store.open_activations("data/activations/default/real").features()
    capture(change(copy, capture={"track": "manifest"}), "default", "real")
    folder = Path("data/activations/default/real")
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "samples.parquet"]
    assert (store.open_activations(folder).features() == before).all()


def test_two_processes_make_the_bytes_of_one(copy):
    settings = change(copy, capture={"batch_size": 64, "shard_rows": 256})
    capture(settings, "default", "real")
    expected = content("data/activations/default/real")
    shutil.rmtree("data/shards")
    change(copy, runtime={"launch": "accelerate", "processes": 2})
    done = subprocess.run(
        [sys.executable, "-m", "stages.capture", "default", "real"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert content("data/activations/default/real") == expected


def test_a_capture_on_a_cluster_that_loses_a_node_has_the_bytes_of_one_process(copy, monkeypatch):
    """Two nodes; one is killed without grace after the first shards have come."""
    from ray.cluster_utils import Cluster

    settings = change(copy, capture={"batch_size": 16, "shard_rows": 32})
    capture(settings, "default", "real")
    expected = content("data/activations/default/real")
    shutil.rmtree("data/shards")
    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        away = cluster.add_node(**node)
        cluster.wait_for_nodes()
        arrived, write = [], store.Shards.write

        def killing(self, span, batches):
            write(self, span, batches)
            arrived.append(span.number)
            if len(arrived) == 6:
                cluster.remove_node(away, allow_graceful=False)

        monkeypatch.setattr(store.Shards, "write", killing)
        capture(change(copy, runtime={"launch": "ray", "address": cluster.address}), "default", "real")
    finally:
        cluster.shutdown()
    assert sorted(arrived) == list(range(-(-1797 // 32)))
    assert content("data/activations/default/real") == expected
