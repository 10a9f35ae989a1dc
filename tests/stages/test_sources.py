"""What a user may choose: the source of the real images, which of them, and what is captured of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from modescope import components, datasets, files, plan, runtime, store
from modescope.generators import load_generator
from modescope.params import ParamsError, load
from modescope.plan.__main__ import main as planned
from stages.capture import capture
from stages.evaluate import evaluate
from stages.fit import fit
from stages.generate import generate
from stages.prepare import prepare
from stages.project import project
from tests.lib.scripts import exported

TENCH = 449  # its label in packed ImageNet; its standard index is 0


def change(folder, **sections):
    path = folder / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        raw[section] |= values
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load(path)


def packed(folder, labels, side=8):
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 3 * side * side), np.uint8)
    half = len(labels) // 2
    for number, part in ((1, slice(None, half)), (2, slice(half, None))):
        np.savez(folder / f"train_data_batch_{number}.npz", data=pixels[part], labels=np.array(labels[part]))
    return pixels.reshape(-1, 3, side, side)


def test_packed_images_stay_where_they_are_and_keep_their_class(copy):
    pixels = packed(copy / "npz", [TENCH, 450, 1, TENCH] * 3)
    prepare(change(copy, real={"npz_dir": "npz", "target_classes": ["tench"]}))
    real = datasets.open_set("data/real")
    assert set(real.labels.tolist()) == {0}
    assert set(real.table["class_name"]) == {"tench"}
    assert set(real.table["synset_id"]) == {"n01440764"}
    assert sorted(real.ids) == sorted(f"real/{i}" for i in (0, 3, 4, 7, 8, 11))
    number = int(real.ids[0].removeprefix("real/"))
    assert np.array_equal(real.read(np.array([0]))[0], pixels[number])
    assert not Path("data/real/images").exists()
    assert real.table["source"].unique().tolist() == ["imagenet_real_npz"]
    assert real.table["original_path"][0].endswith(f"#{number % 6}")


def test_a_folder_of_files_is_decoded_once_and_its_unreadable_files_are_listed(copy, caplog):
    for name in ("cat", "dog"):
        (copy / "photos/train" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (20, 16), (40 * i, 0, 0)).save(copy / f"photos/train/{name}/{i}.png")
    (copy / "photos/train/cat/broken.png").write_bytes(b"no image")
    prepare(change(copy, real={"imagenet_dir": "photos", "resolution": 8}))
    real = datasets.open_set("data/real")
    assert real.config["classes"] == ["cat", "dog"]
    assert Path("data/real/images/00000.npy").exists()
    assert len(real) == 6
    assert "broken.png" in caplog.text
    assert real.config["unreadable"][0].endswith("broken.png")


def test_two_sources_at_once_are_an_error_that_says_so(copy):
    with pytest.raises(ParamsError, match="npz_dir and imagenet_dir are both given"):
        change(copy, real={"npz_dir": "npz", "imagenet_dir": "photos"})
    with pytest.raises(ParamsError, match="percentile has 1 values"):
        change(copy, real={"npz_dir": None, "imagenet_dir": None, "percentile": [1.0]})


def test_a_selection_is_balanced_and_a_larger_one_keeps_it(copy, caplog):
    caplog.set_level("INFO")
    prepare(change(copy, real={"num_samples": 40, "num_classes": 5}))
    few = store.open_stored_images("data/real")
    assert np.unique(few.labels, return_counts=True)[1].tolist() == [8] * 5
    assert "5 classes, 8 images each" in caplog.text
    prepare(change(copy, real={"num_samples": 60}))
    assert store.open_stored_images("data/real").ids[:40] == few.ids


def test_samples_can_be_chosen_by_a_score_of_the_pipeline(copy):
    ids = store.open_stored_images("data/real").ids
    scores = pd.DataFrame({"sample_id": [*ids, "fake/dmd2/0"], "distance": np.arange(len(ids) + 1.0)})
    scores.to_parquet(copy / "scores.parquet")
    prepare(change(copy, real={"scores": "scores.parquet", "score": "distance", "percentile": [0, 10]}))
    chosen = store.open_stored_images("data/real")
    assert len(chosen) == pytest.approx(180, abs=1)
    assert {int(name.removeprefix("real/")) for name in chosen.ids} == set(range(len(chosen)))
    wrong = change(copy, real={"score": "nothing"})
    with pytest.raises(ValueError, match="score 'nothing' is no column of scores.parquet; it has sample_id, distance"):
        prepare(wrong)


def test_generation_can_be_balanced_instead(copy):
    generate(change(copy, generate={"labels": "balanced", "num_samples": 20}), "dmd2")
    assert store.open_stored_images("data/fake/dmd2").labels.tolist() == list(range(10)) * 2


def test_masks_that_are_not_stored_can_be_recomputed(copy):
    generate(
        change(copy, generators={"dmd2": {**load().generators["dmd2"].model_dump(), "masks": "recomputed"}}), "dmd2"
    )
    assert set(store.open_stored_images("data/fake/dmd2").manifest["arrays"]) == {"images"}


def look_at(copy, **changes):
    settings = load()
    view = settings.views["default"].model_dump() | changes
    return change(copy, views={"default": view})


def test_several_noise_levels_lie_side_by_side(copy):
    capture(look_at(copy, sigma=[0.4, 1.0]), "default", "real")
    acts = store.open_activations("data/activations/default/real")
    assert acts.layers == ("encoder_bottleneck@0.4", "midblock@0.4", "encoder_bottleneck@1", "midblock@1")
    assert acts.table["sigma"].isna().all()


def test_means_over_space_are_kept_where_asked_for(copy):
    full = store.open_activations("data/activations/default/real")[None, "midblock"]
    capture(look_at(copy, keep="mean"), "default", "real")
    mean = store.open_activations("data/activations/default/real")[None, "midblock"]
    assert mean.shape == (1797, full.shape[1], 1, 1)
    assert np.allclose(mean[..., 0, 0], full.mean((2, 3)), atol=1e-5)


def test_principal_components_are_projected_while_they_stream_and_the_map_is_made_of_them(copy):
    full = store.open_activations("data/activations/default/dmd2").features()
    settings = look_at(copy, keep="pca")
    settings = change(copy, capture={"basis": {"components": 60, "rows": 500}})
    for source in ("real", "dmd2"):
        capture(settings, "default", source)
    acts = store.open_activations("data/activations/default/dmd2")
    assert (acts.layers, acts.matrix.shape, acts.standardised) == (("pca",), (150, 61), True)
    basis, widths = components.load(Path("data/activations/default/real/basis.safetensors"))
    assert list(widths) == ["encoder_bottleneck", "midblock"]
    assert np.allclose(acts.features()[:, :-1], basis.project(full), rtol=1e-3, atol=1e-3)
    fit(settings, "default")
    project(settings, "default", "dmd2")
    evaluate(settings, "default", "dmd2")
    points = store.read_map(Path("data/maps/default/dmd2.parquet"), acts.ids)
    assert np.isfinite(points).all()


def test_a_basis_stays_when_a_seeded_selection_grows(copy):
    basis = Path("data/activations/default/real/basis.safetensors")
    settings = look_at(copy, keep="pca")
    change(copy, capture={"basis": {"components": 20, "rows": 50}})
    found = []
    for n in (100, 200):
        settings = change(copy, real={"num_samples": n})
        prepare(settings)
        capture(settings, "default", "real")
        found.append((basis.read_bytes(), store.open_activations("data/activations/default/real").features()[:100]))
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1], found[1][1])


def test_reconstructions_lie_beside_the_activations(copy):
    capture(change(copy, capture={"reconstructions": True}), "default", "dmd2")
    acts = store.open_activations("data/activations/default/dmd2")
    assert acts.layers == ("encoder_bottleneck", "midblock")
    assert acts.take(np.arange(3), "x0").shape == (3, 1, 8, 8)
    assert acts.take(np.arange(3), "x0").dtype == np.uint8


def test_activations_can_be_recorded_while_a_generator_samples(copy):
    settings = look_at(
        copy, protocol="sampling", real_protocol="scaled", sigma=80.0, network="data/checkpoints/dmd2.safetensors"
    )
    for source in ("real", "dmd2"):
        capture(settings, "default", source)
    real, fake = (store.open_activations(f"data/activations/default/{s}") for s in ("real", "dmd2"))
    assert (real.table["protocol"][0], fake.table["protocol"][0]) == ("scaled", "sampling")
    store.check_same_view(real, fake)
    recorded = store.open_stored_images("data/fake/dmd2").take(np.arange(150), "midblock")
    assert np.allclose(fake[None, "midblock"], recorded, atol=1e-4)


def test_sampling_views_say_what_real_images_and_other_networks_lack(copy):
    settings = look_at(copy, protocol="sampling", sigma=80.0)
    with pytest.raises(ValueError, match="no sampling pass makes a real image; name what the real side goes through"):
        capture(settings, "default", "real")
    with pytest.raises(ValueError, match="activations of two networks do not compare"):
        capture(settings, "default", "dmd2")


def test_a_view_of_a_one_step_network_at_low_noise_is_warned_of(copy, caplog):
    capture(look_at(copy, network="data/checkpoints/dmd2.safetensors"), "default", "real")
    assert "trained at sigma 80 alone" in caplog.text


def test_views_take_any_layer_by_its_module_path(copy):
    path = load_generator("data/checkpoints/teacher.safetensors").layers["decoder_block_1"]
    capture(look_at(copy, layers=[path]), "default", "real")
    assert store.open_activations("data/activations/default/real").layers == (path,)


SCRIPT = {"resolution": 12, "resize": "bilinear", "low": -1.0, "high": 1.0, "mean": None, "std": None}
SPACES = {
    "pixels": {"network": "data/real", "preprocessing": None},
    "torchscript": {"network": "net.pt", "preprocessing": SCRIPT},
}


def look_through(copy, family, **changes):
    """The project with fewer real images and one view of the family."""
    torch.manual_seed(0)
    exported(copy / "net.pt", torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=2), torch.nn.ReLU()).eval())
    clean = {"family": family, "layers": ["features"], "protocol": "clean", "sigma": None, **SPACES[family], **changes}
    settings = change(copy, real={"num_samples": 200}, views={"default": load().views["default"].model_dump() | clean})
    prepare(settings)
    return settings


@pytest.mark.parametrize("family", SPACES)
def test_feature_networks_of_clean_images_go_through_every_stage(copy, family, capsys):
    settings = look_through(copy, family)
    generate(settings, "dmd2")
    for source in ("real", "dmd2"):
        capture(settings, "default", source)
    fit(settings, "default")
    project(settings, "default", "dmd2")
    evaluate(settings, "default", "dmd2")
    acts = store.open_activations("data/activations/default/dmd2")
    assert acts.layers == ("features",)
    assert acts.matrix.shape == (150, {"pixels": 64, "torchscript": 8 * 5 * 5}[family])
    assert acts.table["sigma"].isna().all()
    assert (acts.table["protocol"] == "clean").all()
    if family == "pixels":
        images = store.open_stored_images("data/fake/dmd2").read(np.arange(150))
        assert np.allclose(acts.features(), images.reshape(150, -1) / 127.5 - 1, atol=1e-6)
    scores = files.read_json(Path("metrics/default/dmd2.json"))
    assert 0 <= scores["coverage"] <= 1
    assert (scores["protocol"], scores["sigma"]) == ("clean", None)
    table = files.read_table(Path("metrics/default/dmd2.classes.csv"))  # such features do not know the class
    assert table[["agreement", "real_agreement", "first", "real_first"]].apply(lambda c: c.between(0, 1)).all(axis=None)
    assert table["real_agreement"].mean() > 0.5
    assert np.isfinite(store.read_map(Path("data/maps/default/dmd2.parquet"), acts.ids)).all()
    planned([])
    table = capsys.readouterr().out
    assert [line.split()[3:5] for line in table.splitlines() if line.startswith("capture default dmd2")] == [
        ["150", "150"]
    ]


def test_the_plan_of_a_torchscript_view_counts_its_work_and_bytes(copy):
    settings = look_through(copy, "torchscript")
    assert planned(["--no-measure"]) == 0
    chosen = datasets.choose(settings.real, settings.seed)
    steps = {work.step: work for work in plan.works(settings, chosen, Path("data"), runtime.start("cpu", 1))}
    network = load_generator("net.pt", "torchscript", SCRIPT, "cpu")
    work = steps["capture default real"]
    cost = plan.cost_of(work, replace(network, latent_shape=(1, 8, 8)), {})
    assert cost.flops == 2 * 25 * 8 * 3 * 16  # 5 x 5 places, 8 filters over 3 channels of 4 x 4
    assert cost.row_bytes == 8 * 5 * 5 * 4
    assert work.evaluations[0][1].batch * cost.row_bytes < cost.memory < 100e6


def test_clean_views_keep_components_as_any_other(copy):
    settings = look_through(copy, "pixels", keep="pca")
    settings = change(copy, capture={"basis": {"components": 10, "rows": 60}, "reconstructions": True})
    capture(settings, "default", "real")
    acts = store.open_activations("data/activations/default/real")
    assert (acts.layers, acts.matrix.shape) == (("pca",), (200, 11))
    assert set(acts.manifest["arrays"]) == {"pca"}  # the images themselves are there already


def test_the_precision_of_generation_and_the_switches_of_a_run_are_part_of_what_was_made(copy):
    before = store.open_stored_images("data/fake/dmd2")
    one = before.read(np.arange(20)).astype(int)
    assert before.config["precision"] == "float32"
    assert "channels_last" not in before.config["runtime"]
    settings = change(copy, generate={"precision": "bfloat16", "num_samples": 20}, runtime={"channels_last": True})
    generate(settings, "dmd2")
    after = store.open_stored_images("data/fake/dmd2")
    assert after.config["precision"] == "bfloat16"
    assert after.config["runtime"]["channels_last"] is True
    assert {"device", "threads", "torch"} <= after.config["runtime"].keys()
    assert after.manifest["config_hash"] != before.manifest["config_hash"]
    assert 0 < np.abs(after.read(np.arange(20)).astype(int) - one).mean() < 8  # of 255


def test_a_captured_row_keeps_its_bits_under_every_switch_when_more_are_asked_for(copy):
    settings = change(copy, runtime={"channels_last": True, "deterministic": True}, generate={"num_samples": 70})
    found = []
    for n in (70, 90):
        settings = change(copy, generate={"num_samples": n})
        generate(settings, "dmd2")
        capture(settings, "default", "dmd2")
        found.append(store.open_activations("data/activations/default/dmd2").features()[:64])
    runtime.start("cpu", 1)
    assert np.array_equal(*found)
