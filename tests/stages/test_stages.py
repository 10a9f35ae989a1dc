"""The stages, run one after the other on a tiny project, and what they say when something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from modescope import files, metrics, store
from modescope.edm import EDMPrecond
from modescope.selection import histogram_labels
from stages.generate import generate
from stages.track import flat, result
from stages.train import kept_teacher

SAMPLES = 150


def real_labels():
    return store.open_stored_images("data/real").labels


def test_real_images_are_the_digits_with_their_labels(here):
    real = store.open_stored_images("data/real")
    assert len(real) == 1797
    assert real.read(np.arange(2)).shape == (2, 1, 8, 8)
    assert real.ids[:2] == ("real/0", "real/1")
    assert real.labels[:10].tolist() == list(range(10))
    assert list(real.table.columns) == list(store.COLUMNS)


def test_generated_images_follow_the_real_labels_and_carry_their_mask_values(here):
    fake = store.open_stored_images("data/fake/dmd2")
    assert fake.ids[:2] == ("fake/dmd2/0", "fake/dmd2/1")
    assert fake.labels.tolist() == histogram_labels(real_labels(), np.arange(SAMPLES)).tolist()
    assert set(fake.manifest["arrays"]) == {"images", *here.generators["dmd2"].mask_layers}
    assert set(store.open_stored_images("data/fake/teacher").manifest["arrays"]) == {"images"}


def test_a_sample_stays_the_same_when_more_are_made(here, tmp_path):
    before = store.open_stored_images("data/fake/dmd2").read(np.arange(100))
    fewer = here.model_copy(update={"generate": here.generate.model_copy(update={"num_samples": 100})})
    kept = Path("data/fake/dmd2").rename(tmp_path / "kept")
    generate(fewer, "dmd2")
    after = store.open_stored_images("data/fake/dmd2").read(np.arange(100))
    shutil.rmtree("data/fake/dmd2")
    shutil.move(kept, "data/fake/dmd2")
    assert np.array_equal(before, after)


def test_activations_and_coordinates_are_joined_by_id(here):
    real = store.open_activations("data/activations/default/real")
    assert real.layers == ("encoder_bottleneck", "midblock")
    assert real.table["protocol"].unique().tolist() == ["noised"]
    assert len(real.manifest["shards"]) == 2 * 2
    points = store.read_map(Path("data/maps/default/real.parquet"), real.ids)
    assert points.shape == (1797, 2)
    fake = store.read_map(Path("data/maps/default/dmd2.parquet"), ["fake/dmd2/3"])
    assert np.isfinite(fake).all()


def test_scores_equal_the_metrics_of_the_standardised_features_and_name_their_settings(here):
    scores = files.read_json(Path("metrics/default/dmd2.json"))
    real, fake = (store.open_activations(f"data/activations/default/{s}").features() for s in ("real", "dmd2"))
    x, y = (((s - real.mean(0)) / real.std(0)).astype(np.float32) for s in (real, fake))
    expected = metrics.prdc(x, y, 5)
    assert scores["coverage"] == pytest.approx(expected.coverage, abs=2e-3)
    assert scores["recall"] == pytest.approx(expected.recall, abs=2e-3)
    assert scores["equal_laws"]["coverage"] == pytest.approx(metrics.expected_coverage(1797, SAMPLES, 5), abs=1e-5)
    assert (scores["real"], scores["fake"], scores["k"], scores["protocol"]) == (1797, SAMPLES, 5, "noised")
    low, high = scores["interval95"]["coverage"]
    assert low <= scores["coverage"] <= high
    classes = files.read_table(Path("metrics/default/dmd2.classes.csv"))
    assert classes["real"].sum() == 1797
    assert classes["fake"].tolist() == [15] * 10
    kinds = ("map", "classes", "gaps")
    assert all((Path("plots/default") / f"dmd2.{kind}.png").stat().st_size > 2000 for kind in kinds)


def test_every_sample_has_its_scores_and_every_gap_its_line(here):
    gaps = files.read_table(Path("metrics/default/dmd2.gaps.csv"))
    scores = files.read_json(Path("metrics/default/dmd2.json"))
    assert len(gaps) == scores["gaps"] > 0  # an untrained generator misses a lot
    assert gaps["missing"].sum() == pytest.approx(scores["missing_mass"], abs=1e-4)
    samples = files.read_table(Path("data/scores/default/dmd2.parquet")).set_index("sample_id")
    assert len(samples) == 1797 + SAMPLES
    assert samples["covered"].loc["real/0":"real/1796"].astype(float).mean() == pytest.approx(
        scores["coverage"], abs=1e-6
    )
    assert int((samples["gap"] == 0).sum()) == gaps["real"][0]
    assert samples.loc[gaps["centre"][0], "gap"] == 0


def test_the_comparison_has_a_row_per_generator_and_one_for_equal_laws(here):
    table = files.read_table(Path("metrics/default.csv"))
    assert table["generator"].tolist() == ["teacher", "dmd2", "equal laws"]
    assert set(table.columns) >= {"precision", "recall", "coverage", "frechet"}


def test_training_writes_three_checkpoints_with_provenance_and_keeps_a_fitting_teacher(here):
    names = {"teacher": 4, "dmd2-early": 2, "dmd2": 6}
    for name, steps in names.items():
        made = json.loads(files.read_tensors(Path(f"data/checkpoints/{name}.safetensors"))[1]["provenance"])
        assert made["steps"] == steps
        assert made["params"]["teacher"]["steps"] == 4
    assert isinstance(kept_teacher(here), EDMPrecond)
    assert kept_teacher(here.model_copy(update={"seed": 1})) is None
    teacher, student = (files.read_tensors(Path(f"data/checkpoints/{n}.safetensors"))[0] for n in ("teacher", "dmd2"))
    moved = [name for name in teacher if not np.array_equal(teacher[name], student[name])]
    assert "model.enc.4x4_block0.conv0.weight" in moved


def test_results_for_tracking_carry_parameters_scores_and_hashes(here):
    entry = {
        "cmd": "x",
        "deps": [
            {"path": "data/activations/default/real", "md5": "aa.dir"},
            {"path": "stages/evaluate.py", "md5": "b"},
        ],
        "outs": [{"path": "metrics/default/dmd2.json", "md5": "cc"}],
    }
    lock = {"stages": {"evaluate@default-dmd2": entry}}
    made = result(here, lock, "default", "dmd2")
    assert made.name == "default/dmd2"
    assert made.datasets["data/activations/default/real"] == "aa.dir"
    assert made.tags["dvc.metrics/default/dmd2.json"] == "cc"
    assert made.params["view_settings.sigma"] == "0.4"
    assert 0 <= made.metrics["coverage"] <= 1
    assert [model.kind for model in made.models] == ["generator", "reducer"]
    code = [*entry["deps"][:1], {"path": "stages/evaluate.py", "md5": "changed"}]
    same = result(here, {"stages": {"evaluate@default-dmd2": entry | {"deps": code}}}, "default", "dmd2")
    assert same.key == made.key  # an edited comment is no news
    assert same.tags["dvc.lock_entry"] != made.tags["dvc.lock_entry"]
    for change in ({"outs": []}, {"params": {"params.yaml": {"seed": 1}}}, {"deps": entry["deps"][1:]}):
        other = result(here, {"stages": {"evaluate@default-dmd2": entry | change}}, "default", "dmd2")
        assert other.key != made.key
    with pytest.raises(ValueError, match=r"dvc.lock has no stage evaluate@default-dmd2; run `dvc repro`"):
        result(here, {}, "default", "dmd2")
    assert flat({"a": {"b": 1, "c": {"d": 2}}}) == {"a.b": 1, "a.c.d": 2}


def says(done, *words):
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stderr.split())
    assert "Traceback" not in text
    for word in words:
        assert word in text
    return text


def test_an_unknown_generator_is_one_paragraph(root, call):
    says(call("generate", "dmd3", cwd=root), "generate: generator 'dmd3' is not in params.yaml", "nearest: 'dmd2'")


def test_an_unknown_parameter_is_one_paragraph_and_nothing_is_run(copy, call):
    raw = yaml.safe_load((copy / "params.yaml").read_text())
    raw["view"] = raw.pop("views")
    (copy / "params.yaml").write_text(yaml.safe_dump(raw))
    text = says(call("evaluate", "default", "dmd2", cwd=copy), "`view` is no parameter", "`views` is missing")
    assert "nothing was run" in text


def test_a_checkpoint_of_another_shape_keeps_what_was_made(copy, call):
    before = files.read_json(Path("data/fake/dmd2/manifest.json"))
    torch.manual_seed(0)
    other = EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=10, model_channels=64, channel_mult=(1,), num_blocks=1
    )
    config = files.read_tensors(Path("data/checkpoints/dmd2.safetensors"))[1]["config"]
    tensors = {name: value.numpy() for name, value in other.state_dict().items()}
    files.write_tensors(Path("data/checkpoints/dmd2.safetensors"), tensors, {"config": config})
    says(call("generate", "dmd2", cwd=copy), "dmd2.safetensors does not fit the network", "missing", "misshapen")
    assert files.read_json(Path("data/fake/dmd2/manifest.json")) == before


def test_a_truncated_shard_is_named_with_the_remedy(copy, call):
    shard = Path("data/activations/default/real/midblock/00000.npy")
    shard.write_bytes(shard.read_bytes()[:-100])
    says(call("fit", "default", cwd=copy), f"{shard} has", "run `dvc repro`")


def test_wrong_usage_shows_the_keys(root, call):
    done = call("project", "default", cwd=root)
    assert done.returncode == 1
    assert "usage: python -m stages.project <view> <generator>" in done.stderr


def test_a_missing_stage_before_this_one_is_named(copy, call):
    shutil.rmtree("data/activations/default/dmd2")
    says(call("project", "default", "dmd2", cwd=copy), "data/activations/default/dmd2/manifest.json is missing")
    assert pd.read_csv("metrics/default.csv").shape[0] == 3
