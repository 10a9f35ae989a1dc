"""Folders of the original visualizer: what is exported comes back, what is imported means what it said."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modescope import classes, datasets, store
from modescope.exchange import export_jobs, import_jobs
from modescope.exchange import labels as reading
from modescope.exchange.__main__ import main
from modescope.exchange.arrays import layer_shapes
from modescope.images import open_images
from modescope.records import RECONSTRUCTION

TENCH, COCK, BRAMBLING = 0, 7, 10
INDICES = np.array([TENCH, COCK, BRAMBLING, TENCH, COCK])
PACKED = np.array([classes.by_index(int(i)).npz_label for i in INDICES])


def quiet(iterable, what):
    assert len(iterable) > 0
    return iterable


def run(jobs):
    for job in jobs:
        job.write(quiet)


def pixels(n, channels=3, side=4):
    return np.random.default_rng(n).integers(0, 256, (n, channels, side, side), np.uint8)


# A run of modescope: real images, their activations with denoised images, a map.


def ours(root, n=7, channels=3, name="real"):
    ids = [f"real/{i * 3}" if name == "real" else f"fake/{name}/{i}" for i in range(n)]
    labels = np.arange(n) % 3
    named = dict(class_name=[f"c{i}" for i in labels], source="digits", original_path=[f"digits#{i}" for i in range(n)])
    images = store.sample_table(ids, labels, **named)
    config = {"classes": ["c0", "c1", "c2"], "synsets": None, "identity": {"fingerprint": "f"}}
    store.write_rows(root / name, [{"images": pixels(n, channels)}], images, kind="images", config=config)
    acts = {
        "midblock": np.random.default_rng(1).normal(size=(n, 2, 3, 4)).astype(np.float32),
        "encoder_bottleneck": np.random.default_rng(2).normal(size=(n, 5, 1, 2)).astype(np.float16),
        RECONSTRUCTION: pixels(n, channels)[::-1].copy(),
    }
    captured = store.sample_table(ids[::-1], labels[::-1], **{**named, "class_name": named["class_name"][::-1]})
    captured = captured.assign(seed=0, sigma=0.4, protocol="noised")
    folder = root / "activations" / "default" / name
    store.write_rows(folder, [acts], captured, kind="activations", config={"network_hash": "h", "view": {"sigma": 0.4}})
    store.write_map(root / "maps" / "default" / f"{name}.parquet", ids, np.random.default_rng(3).normal(size=(n, 2)))
    return root / name, folder, root / "maps" / "default" / f"{name}.parquet"


@pytest.mark.parametrize(("channels", "name"), [(3, "real"), (1, "dmd2")])
def test_what_is_exported_comes_back_the_same(tmp_path, channels, name):
    given_images, given_acts, given_map = ours(tmp_path / "data", channels=channels, name=name)
    run(export_jobs([given_images, given_acts, given_map], tmp_path / "out", batch_rows=3))
    run(import_jobs(tmp_path / "out", tmp_path / "back"))
    place = "real" if name == "real" else f"fake/{name}"
    images, back = store.open_stored_images(given_images), store.open_stored_images(tmp_path / "back" / place)
    assert back.ids == images.ids
    assert back.labels.tolist() == images.labels.tolist()
    assert np.array_equal(back.read(np.arange(7)), images.read(np.arange(7)))
    assert back.config == images.config
    back.verify()
    columns = ["class_name", "source", "original_path", "seed", "sigma", "protocol"]
    assert back.table[columns].equals(images.table[columns])
    acts = store.open_activations(given_acts)
    got = store.open_activations(tmp_path / "back" / "activations" / "default" / name)
    assert got.layers == acts.layers == ("midblock", "encoder_bottleneck")
    for array in (*acts.layers, RECONSTRUCTION):
        assert got[list(images.ids), array].dtype == acts[list(images.ids), array].dtype
        assert np.array_equal(got[list(images.ids), array], acts[list(images.ids), array])
    assert got.config == acts.config
    assert set(got.table["sigma"]) == {0.4}
    assert set(got.table["protocol"]) == {"noised"}
    assert pd.read_parquet(tmp_path / "back" / "maps" / "default" / f"{name}.parquet").equals(
        pd.read_parquet(given_map)
    )


def test_an_export_reads_as_the_original_reads_its_own_sets(tmp_path):
    """Activations by path and row of the metadata, layers in the order of their names, images by path."""
    given_images, given_acts, given_map = ours(tmp_path / "data")
    out = tmp_path / "out"
    run(export_jobs([given_images, given_acts, given_map], out, batch_rows=3))
    info = json.loads((out / "metadata" / "real" / "dataset_info.json").read_text())
    images, acts = store.open_stored_images(given_images), store.open_activations(given_acts)
    for number, sample in enumerate(info["samples"]):
        with np.load((out / sample["activation_path"]).with_suffix(".npz")) as arrays:
            row = np.concatenate([arrays[name][sample["batch_index"]] for name in sorted(arrays)])
        expected = [acts[[sample["sample_id"]], layer].ravel() for layer in sorted(acts.layers)]
        assert np.array_equal(row, np.concatenate(expected))
        with Image.open(out / sample["image_path"]) as image:
            assert np.array_equal(np.asarray(image), images.read(np.array([number]))[0].transpose(1, 2, 0))
        assert sample["image_path"] == f"images/real/sample_{number:06d}.png"
        assert sample["class_label"] == sample["class_id"] == images.labels[number]
    assert sorted(path.name for path in (out / "activations" / "real").glob("*.npz")) == [
        f"batch_{i:06d}.npz" for i in range(3)
    ]
    table = pd.read_csv(out / "embeddings" / "real.csv")
    points = pd.read_parquet(given_map)
    assert table["sample_id"].tolist() == points["sample_id"].tolist()
    assert table[["umap_x", "umap_y"]].to_numpy(np.float32).tolist() == points[["x", "y"]].to_numpy().tolist()
    assert {"image_path", "class_label", "class_name", "activation_path", "batch_index"} <= set(table)


def test_images_alone_and_under_another_name(tmp_path):
    images, acts, _ = ours(tmp_path / "data", name="dmd2")
    run(export_jobs([images], tmp_path / "out", name="imagenet_real"))
    assert not (tmp_path / "out" / "activations").exists()
    run(import_jobs(tmp_path / "out", tmp_path / "back"))
    assert store.open_stored_images(tmp_path / "back" / "fake" / "dmd2").ids == store.open_stored_images(images).ids
    run(export_jobs([acts], tmp_path / "acts"))
    run(import_jobs(tmp_path / "acts", tmp_path / "acts_back"))
    assert len(store.open_activations(tmp_path / "acts_back" / "activations" / "default" / "dmd2")) == 7


def test_images_that_lie_in_their_source_are_exported_with_their_pixels(tmp_path):
    digits, rows = open_images("digits"), np.array([5, 3])
    opened = {"kind": "digits", "path": None, "resolution": None, "options": {}}
    config = {"identity": {"fingerprint": digits.fingerprint}, "classes": digits.class_names, "synsets": None}
    chosen = datasets.Chosen(source=digits, rows=rows, opened=opened, stored=False)
    datasets.write_set(tmp_path / "real", chosen, config=config, batches=iter(()))
    run(export_jobs([tmp_path / "real"], tmp_path / "out"))
    run(import_jobs(tmp_path / "out", tmp_path / "back"))
    back = datasets.open_set(tmp_path / "back" / "real")
    assert back.ids == ("real/5", "real/3")
    assert back.config == config
    assert np.array_equal(store.open_stored_images(back.folder).read(np.arange(2)), digits.read(rows))


def test_the_folder_of_a_view_gives_all_its_maps(tmp_path):
    ours(tmp_path / "data")
    ours(tmp_path / "data", name="dmd2")
    sources = [tmp_path / "data" / part for part in ("real", "dmd2", "maps/default")]
    run(export_jobs(sources, tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out" / "embeddings").glob("*.csv")} == {"real.csv", "dmd2.csv"}


def test_exports_that_cannot_be_are_refused(tmp_path):
    images, acts, chart = ours(tmp_path / "data")
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="is no folder of images or activations"):
        export_jobs([tmp_path / "nothing"], out)
    with pytest.raises(ValueError, match="comes without its samples; give the images"):
        export_jobs([chart], out)
    with pytest.raises(ValueError, match="are the same part of one set"):
        export_jobs([images, images], out)
    with pytest.raises(ValueError, match="batch_rows 0 must be at least 1"):
        export_jobs([images], out, batch_rows=0)
    other, _, other_map = ours(tmp_path / "other", n=5)
    with pytest.raises(ValueError, match=r"\(7 samples\) and .* \(5\) hold different samples"):
        export_jobs([other, acts], out)
    with pytest.raises(ValueError, match=r"holds sample 'real/15', which its set does not \(2 of 7\)"):
        export_jobs([other, chart], out)
    with pytest.raises(ValueError, match="have one name; export them to two targets"):
        export_jobs([images, chart, other_map], out)
    run(export_jobs([images], out))
    with pytest.raises(ValueError, match=r"out/images/real exists already and is not replaced"):
        export_jobs([images], out)


def test_an_export_that_fails_leaves_nothing_behind(tmp_path):
    images, acts, _ = ours(tmp_path / "data")
    (job,) = export_jobs([images, acts], tmp_path / "out")

    def broken(iterable, what):
        if what.startswith("activations"):
            raise OSError("disk full")
        return iterable

    with pytest.raises(OSError, match="disk full"):
        job.write(broken)
    assert list((tmp_path / "out").iterdir()) == []
    job.write(quiet)


def test_images_of_two_channels_cannot_be_png(tmp_path):
    images, *_ = ours(tmp_path / "data", channels=2)
    with pytest.raises(ValueError, match="an image has 2 channels"):
        run(export_jobs([images], tmp_path / "out"))


# The original's own folders.


def original(
    root, name="imagenet_real", *, label=None, synsets="as-class", source="imagenet_real_npz", rows=None, batch=2
):
    """A set as the original writes it: batches of flattened rows, shapes nowhere."""
    label = INDICES if label is None else np.asarray(label)
    n = len(label)
    rows = range(n) if rows is None else rows
    folders = {part: root / part / name for part in ("images", "activations", "metadata")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (root / "images" / f"{name}_reconstructed").mkdir()
    images, entries = pixels(n), []
    values = np.random.default_rng(5).normal(size=(n, 24)).astype(np.float32)
    table = [classes.by_index(int(i)) if 0 <= i < 1000 else None for i in label]
    for start in range(0, n, batch):
        path, batch_entries = folders["activations"] / f"batch_{start // batch:06d}", []
        for i in range(start, min(start + batch, n)):
            sample = f"sample_{i:06d}"
            entry = {"class_label": int(label[i]), "batch_index": i - start, "original_path": f"npz_sample_{rows[i]}"}
            if synsets:
                entry |= {"synset_id": table[i].synset if table[i] else f"unknown_{label[i]}"}
                entry |= {"class_name": table[i].name if table[i] else "unknown"}
            inner = {key: value for key, value in entry.items() if key != "class_label"}
            batch_entries.append({**inner, "class_id": entry["class_label"]})
            for part in (name, f"{name}_reconstructed"):
                Image.fromarray(images[i].transpose(1, 2, 0)).save(root / "images" / part / f"{sample}.png")
            paths = {"image_path": f"images/{name}/{sample}.png", "activation_path": str(path.relative_to(root))}
            paths["reconstructed_path"] = f"images/{name}_reconstructed/{sample}.png"
            entries.append({"sample_id": sample, **entry, **paths, "source": source, "conditioning_sigma": 80.0})
        np.savez_compressed(path.with_suffix(".npz"), midblock=values[start : start + batch])
        described = {"batch_size": len(batch_entries), "layers": ["midblock"], "samples": batch_entries}
        path.with_suffix(".json").write_text(json.dumps(described))
    info = {"model_type": name, "num_samples": n, "layers": ["midblock"], "seed": 10, "samples": entries}
    (folders["metadata"] / "dataset_info.json").write_text(json.dumps(info))
    return images, values.reshape(n, 2, 3, 4)


def edit(path, change):
    """Apply `change` to the JSON of a file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


SHAPE = {"midblock": (2, 3, 4)}
INFO = "metadata/imagenet_real/dataset_info.json"


def imported(root, **options):
    """Images of an import of `root`."""
    run(import_jobs(root, root / "back", **{"shapes": SHAPE, **options}))
    return store.open_stored_images(root / "back" / "real")


def test_a_set_of_the_original_gets_ids_and_says_what_it_is(tmp_path):
    drawn, values = original(tmp_path, source="imagenet_real", label=INDICES)
    edit(
        tmp_path / INFO,
        lambda info: [sample.update(original_path=f"/imagenet/{i}.JPEG") for i, sample in enumerate(info["samples"])],
    )
    images = imported(tmp_path)
    assert images.ids == tuple(f"real/{i}" for i in range(5))
    assert np.array_equal(images.read(np.arange(5)), drawn)
    assert images.table["synset_id"].tolist() == [classes.by_index(int(i)).synset for i in INDICES]
    assert len(images.config["classes"]) == len(images.config["synsets"]) == 1000
    acts = store.open_activations(tmp_path / "back" / "activations" / "imported" / "real")
    assert np.array_equal(acts[list(images.ids), "midblock"], values)
    assert np.array_equal(acts[list(images.ids), RECONSTRUCTION], drawn)
    assert acts.table["batch_index"].tolist() == [0, 0, 1, 1, 2]
    assert set(acts.table["protocol"]) == {"scaled"}
    assert set(acts.table["sigma"]) == {80.0}
    assert acts.config["view"] == {"layers": ["midblock"], "protocol": "scaled", "sigma": 80.0}


def test_a_generated_set_of_the_original_keeps_its_classes(tmp_path):
    original(tmp_path, "imagenet", synsets=None, source=None)

    def generated(info):
        info["conditioning_sigma"] = 80.0
        for sample in info["samples"]:
            del sample["original_path"], sample["source"], sample["conditioning_sigma"]

    edit(tmp_path / "metadata" / "imagenet" / "dataset_info.json", generated)
    for beside in (tmp_path / "activations").rglob("*.json"):
        beside.unlink()
    run(import_jobs(tmp_path, tmp_path / "back", shapes=SHAPE))
    images = store.open_stored_images(tmp_path / "back" / "fake" / "imagenet")
    assert images.ids == tuple(f"fake/imagenet/{i}" for i in range(5))
    assert images.labels.tolist() == INDICES.tolist()
    assert images.table["class_name"][0] == "tench"
    assert set(images.table["seed"]) == {10}
    acts = store.open_activations(tmp_path / "back" / "activations" / "imported" / "imagenet")
    assert set(acts.table["protocol"]) == {"sampling"}
    assert set(acts.table["seed"]) == {10}


def test_shapes_and_metadata_are_understood_without_paths_too(tmp_path):
    _, values = original(tmp_path, source="photos")

    def bare(info):
        info["layers"] = {"midblock": [2, 3, 4]}
        info["source"] = "photos"
        for sample in info["samples"]:
            sample["class_id"] = sample.pop("class_label")
            for key in ("activation_path", "image_path", "reconstructed_path", "original_path", "source"):
                del sample[key]

    edit(tmp_path / INFO, bare)
    images = imported(tmp_path, shapes={})
    acts = store.open_activations(tmp_path / "back" / "activations" / "imported" / "real")
    assert np.array_equal(acts[list(images.ids), "midblock"], values)


# Labels.


def packed_shards(folder, *labels):
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(labels, 1):
        data = np.zeros((len(each), 3 * 8 * 8), np.uint8)
        np.savez(folder / f"train_data_batch_{number}.npz", data=data, labels=np.asarray(each, np.int64))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30))
@settings(max_examples=30)
def test_both_misreadings_are_undone(packed):
    truth = np.array([classes.by_npz_label(label).index for label in packed])
    assert reading.standard(np.array(packed), "npz-as-index").tolist() == truth.tolist()
    assert reading.standard(np.array(packed) - 1, "npz-minus-one").tolist() == truth.tolist()
    assert reading.standard(truth, "standard").tolist() == truth.tolist()


def test_a_set_whose_labels_could_have_been_translated_or_not_is_refused(tmp_path):
    original(tmp_path, label=PACKED - 1)
    with pytest.raises(
        ValueError, match=r"dataset_info.json: its labels come from packed ImageNet.*--npz-dir.*npz-minus-one"
    ):
        imported(tmp_path)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("choice", "stored"), [("npz-as-index", PACKED), ("npz-minus-one", PACKED - 1), ("standard", INDICES)]
)
def test_told_what_the_labels_are_they_become_standard_indices(tmp_path, choice, stored):
    original(tmp_path, label=stored)
    images = imported(tmp_path, labels=choice)
    assert images.labels.tolist() == INDICES.tolist()
    assert images.table["synset_id"].tolist() == [classes.by_index(int(i)).synset for i in INDICES]
    assert images.table["class_name"].tolist() == [classes.by_index(int(i)).name for i in INDICES]
    assert images.config["labels"] == f"labels {choice}: as told"


@pytest.mark.parametrize(
    ("choice", "stored"), [("npz-as-index", PACKED), ("npz-minus-one", PACKED - 1), ("standard", INDICES)]
)
@pytest.mark.parametrize("order", ["numbers", "names"])
def test_the_packed_files_decide(tmp_path, choice, stored, order):
    """Eleven files of one image: by number the third is train_data_batch_3, by name it is train_data_batch_11."""
    rows = [0, 1, 2, 3, 10]
    by_number = list(range(1, 12))
    by_name = sorted(by_number, key=str)
    labels = {number: 1 + number for number in by_number}
    for row, label in zip(rows, PACKED, strict=True):
        labels[(by_number if order == "numbers" else by_name)[row]] = int(label)
    packed_shards(tmp_path / "npz", *([labels[number]] for number in by_number))
    original(tmp_path, label=stored, rows=rows)
    images = imported(tmp_path, npz_dir=tmp_path / "npz")
    assert images.labels.tolist() == INDICES.tolist()
    assert images.config["labels"].startswith(f"labels {choice}: all 5 agree with")
    assert images.config["labels"].endswith(f"in the order of their {order}")
    assert len(list((tmp_path / "npz").iterdir())) == 11


def test_packed_files_that_contradict_are_an_error(tmp_path):
    original(tmp_path, label=INDICES)
    packed_shards(tmp_path / "npz", PACKED)
    with pytest.raises(ValueError, match=r"--labels npz-minus-one contradicts the packed files: labels standard"):
        imported(tmp_path, npz_dir=tmp_path / "npz", labels="npz-minus-one")
    packed_shards(tmp_path / "npz", PACKED[:3])
    with pytest.raises(ValueError, match=r"holds 3 images, .* refers to npz_sample_4"):
        imported(tmp_path, npz_dir=tmp_path / "npz")
    packed_shards(tmp_path / "npz", [*PACKED[:4], 1000])
    with pytest.raises(ValueError, match=r"no reading of its labels agrees .* throughout \(.*standard 80.0%\)"):
        imported(tmp_path, npz_dir=tmp_path / "npz")
    edit(tmp_path / INFO, lambda info: info["samples"][2].update(original_path="elsewhere"))
    with pytest.raises(ValueError, match="original_path 'elsewhere' is not npz_sample_<i>"):
        imported(tmp_path, npz_dir=tmp_path / "npz")


def test_evidence_that_proves_a_reading_is_taken():
    entries = [classes.by_index(i) for i in (TENCH, COCK)]
    synsets, nothing = [e.synset for e in entries], [None, None]
    packed = np.array([e.npz_label for e in entries])
    verdict = reading.by_evidence(packed - 1, synsets, nothing, "x")
    assert (verdict.reading, verdict.reason) == (
        "npz-minus-one",
        "each synset is that of the packed label class_id + 1",
    )
    assert reading.by_evidence(packed, synsets, nothing, "x").reading == "npz-as-index"
    assert reading.by_evidence(packed, nothing, [e.name for e in entries], "x").reading == "npz-as-index"
    assert reading.by_evidence(np.array([1000, 5]), nothing, nothing, "x").reading == "npz-as-index"
    assert reading.by_evidence(np.array([0, 5]), nothing, nothing, "x").reading == "npz-minus-one"
    assert reading.by_evidence(np.array([0, 5]), ["unknown_0", "unknown_5"], nothing, "x").reading == "npz-minus-one"
    with pytest.raises(ValueError, match="x: .*no synset, no class 0 and no class 1000 occurs"):
        reading.by_evidence(np.array([4, 5]), nothing, nothing, "x")
    with pytest.raises(ValueError, match="class 7 stands beside n01440764 .*mixes several readings"):
        reading.by_evidence(np.array([TENCH, COCK]), [entries[0].synset, entries[0].synset], nothing, "x")


def test_a_class_of_1000_or_an_export_of_ours_needs_no_telling(tmp_path):
    original(tmp_path / "one", label=[1000, *PACKED[1:]])
    images = imported(tmp_path / "one")
    assert images.labels.tolist() == [classes.by_npz_label(1000).index, *INDICES[1:].tolist()]
    assert "counting starts at 1" in images.config["labels"]
    original(tmp_path / "ours", label=INDICES)
    edit(tmp_path / "ours" / INFO, lambda info: info.update(label_order="standard"))
    assert imported(tmp_path / "ours").labels.tolist() == INDICES.tolist()


def test_labels_that_a_reading_cannot_hold_are_named(tmp_path):
    original(tmp_path, label=[0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"read as npz-as-index: npz label 0 \(row 0\) is outside 1..1000"):
        imported(tmp_path, labels="npz-as-index")
    with pytest.raises(ValueError, match="labels 'guess' is unknown; use npz-as-index"):
        imported(tmp_path, labels="guess")
    with pytest.raises(ValueError, match="class 1000 is no standard index"):
        reading.standard(np.array([1000]), "standard")
    with pytest.raises(ValueError, match="labels 'guess' is unknown"):
        reading.standard(np.array([1]), "guess")


def test_classes_and_synsets_of_other_sources_must_agree(tmp_path):
    original(tmp_path, source="imagenet_real")

    def change(info):
        for sample in info["samples"]:
            sample["original_path"] = "/a.JPEG"
        info["samples"][1]["synset_id"] = "n01440764"

    edit(tmp_path / INFO, change)
    with pytest.raises(ValueError, match="'sample_000001' has class 7, which is n01514668, and synset n01440764"):
        imported(tmp_path)


# Damage.


def refused(root, match, **options):
    with pytest.raises(ValueError, match=match):
        run(import_jobs(root, root / "back", **{"shapes": SHAPE, "labels": "standard", **options}))


def test_damaged_images_are_named(tmp_path):
    original(tmp_path)
    path = tmp_path / "images" / "imagenet_real" / "sample_000003.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(tmp_path, r"sample_000003.png cannot be read as an image", parts=["images"])
    path.unlink()
    refused(tmp_path, r"sample_000003.png is missing; copy it", parts=["images"])
    Image.new("RGBA", (4, 4)).save(path)
    refused(tmp_path, r"sample_000003.png has the mode RGBA; images are grey", parts=["images"])
    Image.new("RGB", (5, 4)).save(path)
    refused(tmp_path, r"sample_000003.png is \(3, 4, 5\) .*sample_000000.png \(3, 4, 4\)", parts=["images"])
    assert not (tmp_path / "back" / "real").exists()


def test_damaged_batches_are_named_and_finished_images_stay(tmp_path):
    original(tmp_path)
    path = tmp_path / "activations" / "imagenet_real" / "batch_000001.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    refused(tmp_path, r"batch_000001.npz cannot be read as .npz")
    assert len(store.open_stored_images(tmp_path / "back" / "real")) == 5
    assert not (tmp_path / "back" / "activations" / "imported" / "real").exists()
    refused(tmp_path, r"back/real exists already and is not replaced; .* --parts")
    acts = {"parts": ["activations"]}
    np.savez(path, midblock=np.array([{}, {}], object))
    refused(tmp_path, r"batch_000001.npz holds Python objects, which are never loaded", **acts)
    np.savez(path, midblock=np.ones((3, 24), np.float32))
    refused(tmp_path, r"batch_000001.npz: midblock has 3 rows, the metadata 2 samples", **acts)
    np.savez(path, midblock=np.ones((2, 23), np.float32))
    refused(tmp_path, r"batch_000001.npz: midblock is float32 \(2, 23\), its shape \(2, 3, 4\) needs", **acts)
    np.savez(path, midblock=np.full((2, 24), np.nan, np.float32))
    refused(
        tmp_path, r"batch_000001.npz: midblock holds values that are not finite, as captures at noise level 0", **acts
    )
    np.savez(path, other=np.ones((2, 24), np.float32))
    refused(tmp_path, r"batch_000001.npz holds no layer 'midblock'", **acts)
    np.savez(path, midblock=np.ones((2, 24), np.float32), labels=np.array([1, 1]))
    refused(tmp_path, r"batch_000001.npz: its array `labels` and the classes of dataset_info.json differ", **acts)
    path.unlink()
    refused(tmp_path, r"batch_000001.npz is missing, .*dataset_info.json refers to it", **acts)
    path.write_bytes(whole)
    run(import_jobs(tmp_path, tmp_path / "back", shapes=SHAPE, labels="standard", **acts))


def test_metadata_that_disagree_are_named(tmp_path):
    original(tmp_path)
    info, beside = tmp_path / INFO, tmp_path / "activations" / "imagenet_real" / "batch_000000.json"
    kept = info.read_text(), beside.read_text()

    def wrong(path, change, match):
        edit(path, change)
        refused(tmp_path, match)
        info.write_text(kept[0])
        beside.write_text(kept[1])

    wrong(beside, lambda d: d.update(batch_size=3), "batch_000000.json says batch_size 3 and lists 2 samples")
    wrong(beside, lambda d: d.update(samples=3), "batch_000000.json: `samples` is no list")
    wrong(
        beside, lambda d: d["samples"][1].update(class_id=3), "gives row 1 the class 3, .*'sample_000001' the class 7"
    )
    wrong(info, lambda d: d.update(num_samples=9), "dataset_info.json says num_samples 9 and lists 5 samples")
    wrong(info, lambda d: d.update(samples=[]), "dataset_info.json has no list `samples`")
    wrong(info, lambda d: d["samples"][1].update(sample_id="sample_000000"), "each sample needs a sample_id of its own")
    wrong(info, lambda d: d["samples"][1].update(class_label=-1), "'sample_000001' has the class -1; a class_id")
    wrong(info, lambda d: d["samples"][1].update(image_path="../x.png"), "points outside its root")
    wrong(
        info, lambda d: d["samples"][1].update(activation_path=None), "'sample_000001' has no activation_path, others"
    )
    wrong(
        info,
        lambda d: d["samples"][1].update(batch_index=None),
        "'sample_000001' has no whole number as batch_index",
    )
    wrong(info, lambda d: d["samples"][1].update(batch_index=2), "'sample_000001' is row 2 of .*, which has 2 samples")
    wrong(info, lambda d: d["samples"][1].update(batch_index=0), "are both row 0 of .*; a resumed run")
    wrong(info, lambda d: d["samples"][1].update(original_path=7), "original_path 7 is no text")
    info.write_text("{")
    refused(tmp_path, "dataset_info.json cannot be read as JSON")
    info.write_text("[]")
    refused(tmp_path, "dataset_info.json holds a list; the original writes an object")
    info.unlink()
    refused(tmp_path, "holds no metadata/<set>/dataset_info.json")


def test_batches_without_paths_must_add_up(tmp_path):
    original(tmp_path)
    edit(tmp_path / INFO, lambda info: [sample.pop("activation_path") for sample in info["samples"]])
    folder = tmp_path / "activations" / "imagenet_real"
    (folder / "batch_000002.npz").unlink()
    refused(tmp_path, "holds 4 rows in 2 files, .* lists 5 samples")
    for path in folder.glob("*.npz"):
        path.unlink()
    refused(tmp_path, "holds no batch_<n>.npz")


def test_one_file_per_sample_is_read_where_it_holds_one_row(tmp_path):
    _, values = original(tmp_path, batch=1)
    edit(tmp_path / INFO, lambda info: [sample.pop("batch_index") for sample in info["samples"]])
    imported(tmp_path, labels="standard")
    acts = store.open_activations(tmp_path / "back" / "activations" / "imported" / "real")
    assert np.array_equal(acts[[f"real/{i}" for i in range(5)], "midblock"], values)


def test_a_shape_is_told_or_known_and_never_guessed(tmp_path):
    original(tmp_path)
    refused(tmp_path, r"midblock has rows of 24 values and no shape .* give --shape midblock=C,H,W", shapes={})
    refused(tmp_path, r"rows of 24 values, which the shape \(2, 3, 3\) does not hold", shapes={"midblock": (2, 3, 3)})
    path = tmp_path / "b.npz"
    wide = np.zeros((1, 768 * 8 * 8), np.float32)
    np.savez(path, midblock=wide, encoder_bottleneck=wide, mid_block=np.zeros((1, 2, 3, 4), np.float32))
    found = layer_shapes(path, {}, {}, imagenet=True)
    assert found == {"encoder_bottleneck": (768, 8, 8), "midblock": (768, 8, 8), "mid_block": (2, 3, 4)}
    assert list(found) == ["encoder_bottleneck", "midblock", "mid_block"]
    with pytest.raises(ValueError, match="which is not guessed"):
        layer_shapes(path, {}, {}, imagenet=False)
    np.savez(path, labels=np.zeros(3))
    with pytest.raises(ValueError, match="holds no layer"):
        layer_shapes(path, {}, {}, imagenet=True)


# Maps, sets, parts.


def write_csv(root, name, ids, **columns):
    (root / "embeddings").mkdir(exist_ok=True)
    table = pd.DataFrame({"sample_id": ids, "umap_x": np.arange(len(ids)) / 2, "umap_y": 1.0, **columns})
    table.to_csv(root / "embeddings" / f"{name}.csv", index=False)


def test_maps_of_the_original_find_their_set(tmp_path):
    original(tmp_path)
    ids = [f"sample_{i:06d}" for i in range(4)]
    write_csv(tmp_path, "imagenet_real_umap_n15_d0.1", ids)
    jobs = {"labels": "standard", "parts": ["maps"]}
    run(import_jobs(tmp_path, tmp_path / "one", **jobs))
    path = tmp_path / "one" / "maps" / "imported" / "real.parquet"
    assert store.read_map(path, ["real/3", "real/0"]).tolist() == [[1.5, 1.0], [0.0, 1.0]]
    write_csv(tmp_path, "other", ids, image_path=[f"images/imagenet_real/{name}.png" for name in ids])
    run(import_jobs(tmp_path, tmp_path / "two", view="v", **jobs))
    assert {p.stem for p in (tmp_path / "two/maps/v").iterdir()} == {"imagenet_real_umap_n15_d0.1", "other"}


def test_maps_that_fit_no_sample_are_refused(tmp_path):
    original(tmp_path)
    write_csv(tmp_path, "a", ["sample_000009"])
    refused(tmp_path, r"a.csv holds sample 'sample_000009' .* which the metadata do not \(1 of 1\)", parts=["maps"])
    write_csv(tmp_path, "a", ["sample_000001"], image_path=["images/foreign/sample_000001.png"])
    refused(tmp_path, "a.csv belongs to no set of", parts=["maps"])
    write_csv(tmp_path, "a", ["sample_000001"], umap_z=[np.inf])
    refused(tmp_path, "a.csv holds coordinates that are not finite", parts=["maps"])
    (tmp_path / "embeddings" / "a.csv").write_text("sample_id,x\n1,2\n")
    refused(tmp_path, "a.csv has no columns sample_id, umap_x, umap_y", parts=["maps"])
    (tmp_path / "embeddings" / "a.csv").write_text("")
    refused(tmp_path, "a.csv cannot be read as CSV", parts=["maps"])


def test_sets_and_parts_are_chosen_by_name(tmp_path):
    original(tmp_path)
    refused(tmp_path, "part 'colours' is unknown", parts=["colours"])
    refused(tmp_path, "set 'x' is not in .*; there: imagenet_real", sets=["x"])
    refused(tmp_path, "holds nothing of maps", parts=["maps"])
    original(tmp_path, "imagenet_real_2")
    refused(tmp_path, r"several sets of real images \(imagenet_real, imagenet_real_2\)")
    run(
        import_jobs(tmp_path, tmp_path / "back", sets=["imagenet_real_2"], parts=["reconstructions"], labels="standard")
    )
    assert len(store.open_stored_images(tmp_path / "back" / "reconstructions" / "imagenet_real_2")) == 5


def test_the_command_exports_imports_and_says_what_stands(tmp_path, capsys):
    images, acts, chart = ours(tmp_path / "data")
    out, back = str(tmp_path / "out"), str(tmp_path / "back")
    assert main(["export", str(images), str(acts), str(chart), out]) == 0
    assert main(["import", out, back]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"set real: 7 rows to {out}/metadata/real"
    assert said[-1] == f"map real: 7 rows to {back}/maps/default/real.parquet"
    assert main(["import", out, back]) == 2
    assert f"error: {back}/real exists already" in capsys.readouterr().err
    assert main(["import", out, back, "--shape", "midblock"]) == 2
    assert "--shape 'midblock' is not LAYER=C,H,W" in capsys.readouterr().err
