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

from modescope import files, metrics, params, store
from modescope.edm import EDMPrecond
from modescope.selection import histogram_labels
from stages.compare import compare
from stages.evaluate import evaluate
from stages.generate import generate
from stages.track import PICTURES, curve, flat, numbers, result, shown
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
    assert all((Path("plots/default") / f"dmd2.{kind}.png").stat().st_size > 2000 for kind in PICTURES)


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


# Evaluate, compare, track: tables beside the scores, and bad input


def test_every_table_stands_beside_the_scores(here):
    scores = files.read_json(Path("metrics/default/dmd2.json"))
    curve_of_k = files.read_table(Path("metrics/default/dmd2.curve.csv")).set_index("k")
    assert curve_of_k.index.tolist() == [1, 2, 3, 5, 10, 20]
    for name in ("precision", "recall", "density", "coverage"):
        assert curve_of_k.loc[5, name] == scores[name]
    assert curve_of_k.loc[5, "expected_coverage"] == scores["equal_laws"]["coverage"]
    channels = files.read_table(Path("metrics/default/dmd2.channels.csv"))
    assert channels.groupby("layer").size().to_dict() == {"encoder_bottleneck": 64, "midblock": 64}
    assert channels["distance"].is_monotonic_decreasing
    classes = files.read_table(Path("data/scores/default/dmd2.classes.parquet"))
    assert classes["missing_mass"].sum() == pytest.approx(scores["missing_mass"], abs=1e-5)
    assert ((classes["coverage_low"] <= classes["coverage"]) & (classes["coverage"] <= classes["coverage_high"])).all()
    assert scores["held_out"]["n"] == SAMPLES
    assert set(scores["held_out"]["real"]) >= {"precision", "recall", "density", "coverage", "frechet"}
    assert 0 <= scores["mode_coverage_map"] <= 1


def test_differences_of_the_generators_are_told_with_their_noise(here):
    table = files.read_table(Path("metrics/default.differences.csv")).set_index("score")
    assert (set(table["a"]), set(table["b"])) == ({"teacher"}, {"dmd2"})
    of = {name: files.read_json(Path(f"metrics/default/{name}.json")) for name in ("teacher", "dmd2")}
    for score in ("precision", "recall", "coverage"):
        line = table.loc[score]
        assert line["difference"] == pytest.approx(of["teacher"][score] - of["dmd2"][score], abs=2e-4)
        assert line["within_noise"] == (line["low"] <= 0 <= line["high"])


def test_the_comparison_tells_what_was_reached_and_what_can_be_inverted_where_that_is_known(copy):
    files.write_json(copy / "metrics/default/dmd2.reach.json", {"regions": 15, "aimed": 13, "reached": 9})
    files.write_json(copy / "metrics/inversion/dmd2.json", {"real": {"made": 0.25}})
    compare(params.load(), "default")
    table = files.read_table(Path("metrics/default.csv")).set_index("generator")
    assert table.loc["dmd2", ["reached", "invertible"]].tolist() == ["9 of 13", 0.25]
    assert table.loc["teacher", ["reached", "invertible"]].isna().all()


def test_the_printed_comparison_marks_what_noise_may_have_put_below_the_best():
    table = pd.DataFrame(
        {
            "generator": ["a", "b", "c"],
            "recall": [0.91, 0.9, 0.5],
            "density": [1.0, 1.01, 2.0],
            "reached": [None, "1 of 2", None],
        }
    )
    lines = [("a", "b", True), ("a", "c", False), ("b", "c", False)]
    pairs = pd.DataFrame(
        [{"score": s, "a": a, "b": b, "within_noise": w} for s in ("recall", "density") for a, b, w in lines]
    )
    text = shown(table, pairs)
    assert text.loc["recall"].tolist() == ["0.9100 ", "0.9000=", "0.5000 "]
    assert text.loc["density"].tolist() == ["1.0000 ", "1.0100 ", "2.0000 "]  # the largest is not the best
    assert text.loc["reached"].tolist() == [" ", "1 of 2 ", " "]


def test_numbers_for_tracking_hold_ends_of_intervals_and_no_settings_or_missing_values(here):
    scores = files.read_json(Path("metrics/default/dmd2.json"))
    found = numbers({**scores, "kernel": float("nan")})
    assert found["interval95.recall.low"] == scores["interval95"]["recall"][0]
    assert found["held_out.real.recall"] == scores["held_out"]["real"]["recall"]
    assert found["gaps"] == scores["gaps"]
    assert not {"kernel", "view", "layers", "k", "real"} & set(found)
    assert len(found) < 100
    over_k = curve(Path("metrics/default/dmd2.curve.csv"))
    assert over_k["over_k.recall"][3] == (5, scores["recall"])


def changed(path, **config):
    manifest = files.read_json(path / "manifest.json")
    manifest["config"] |= config
    files.write_json(path / "manifest.json", manifest)


@pytest.mark.parametrize(
    ("config", "what"),
    [({"network_hash": "0" * 64}, "another network hash"), ({"view": {"sigma": 1.0}}, "another view")],
)
def test_sides_of_different_networks_or_protocols_are_not_compared(config, what, copy):
    changed(copy / "data/activations/default/dmd2", **config)
    with pytest.raises(ValueError, match=f"data/activations/default/dmd2 was captured with {what}"):
        evaluate(params.load(), "default", "dmd2")


def test_a_value_that_is_no_number_is_named_with_its_row_and_folder(copy):
    shard = next((copy / "data/activations/default/dmd2").glob("midblock/*.npy"))
    values = np.load(shard)
    values[7, 0] = np.nan
    np.save(shard, values)
    with pytest.raises(ValueError, match=r"data/activations/default/dmd2: features has NaN .* in row 7; every value"):
        evaluate(params.load(), "default", "dmd2")


def test_a_k_that_the_samples_do_not_suffice_for_is_refused(here):
    many = here.model_copy(update={"metrics": here.metrics.model_copy(update={"k": SAMPLES - 1})})
    with pytest.raises(
        ValueError, match=r"metrics.k is 149 and data/activations/default/dmd2 holds 150 .* at most 148"
    ):
        evaluate(many, "default", "dmd2")


def test_a_class_that_was_never_generated_is_missing_in_the_table_and_not_zero(copy):
    path = Path("data/activations/default/dmd2/samples.parquet")
    samples = files.read_table(path)
    files.write_table(path, samples.assign(class_id=samples["class_id"].replace(3, 4)))
    evaluate(params.load(), "default", "dmd2")
    classes = files.read_table(Path("metrics/default/dmd2.classes.csv")).set_index("class_id")
    assert classes.loc[3, "fake"] == 0
    assert classes.loc[3, ["precision", "density", "spread_ratio"]].isna().all()
    assert classes["coverage"].notna().all()


def test_an_evaluation_that_was_stopped_keeps_its_distances_and_goes_on(here, copy, monkeypatch):
    wanted = Path("metrics/default/dmd2.json").read_bytes()
    Path("data/neighbours/default.safetensors").unlink()
    monkeypatch.setattr("stages.evaluate.BAR_FROM", 1)

    def stop(*_, **__):
        raise KeyboardInterrupt

    def visited(*_):
        raise AssertionError("a block was visited again")

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "gaps", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate(here, "default", "dmd2")
        kept = {path.name for path in Path("data/neighbours").glob("*/*.safetensors")}
        assert kept == {"real.safetensors", "fake.safetensors", "across.safetensors"}
        patch.setattr(metrics, "estimate", lambda *_, **__: "which runs a small comparison")
        patch.setattr("modescope.neighbours.passes.visit_block", visited)
        with pytest.raises(KeyboardInterrupt):
            evaluate(here, "default", "dmd2")
    evaluate(here, "default", "dmd2")
    assert Path("metrics/default/dmd2.json").read_bytes() == wanted
    assert not list(Path("data/neighbours").glob("*/*.safetensors"))
