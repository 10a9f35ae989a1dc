"""Image sets: pixels come by id, whether the pipeline stored them or left them where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modescope import classes, datasets, files
from modescope.images import open_images
from modescope.params import load


def shard(path, n=12, side=8, compressed=False):
    rng = np.random.default_rng(0)
    save = np.savez_compressed if compressed else np.savez
    save(path, data=rng.integers(0, 256, (n, 3 * side * side), np.uint8), labels=np.arange(n) % 1000 + 1)


def write(folder, source, rows, opened=None):
    config = {"identity": {"fingerprint": source.fingerprint}, "classes": source.class_names, "synsets": None}
    batches = iter([{"images": source.read(rows)}])
    chosen = datasets.Chosen(source=source, rows=rows, opened=opened or {}, stored=opened is None)
    datasets.write_set(folder, chosen, config=config, batches=batches)
    return datasets.open_set(folder)


@pytest.fixture
def packed(tmp_path):
    folder = tmp_path / "npz"
    folder.mkdir()
    shard(folder / "train_data_batch_1.npz")
    shard(folder / "train_data_batch_2.npz", 5)
    return folder


def opened_of(path):
    return {"kind": "imagenet-npz", "path": str(path), "resolution": None, "options": {"split": "train"}}


def test_an_index_and_stored_pixels_give_the_same_images(packed, tmp_path):
    source, rows = open_images("imagenet-npz", packed), np.array([16, 3, 8, 0])
    stored = write(tmp_path / "stored", source, rows)
    index = write(tmp_path / "index", source, rows, opened_of(packed))
    assert index.ids == stored.ids == ("real/16", "real/3", "real/8", "real/0")
    assert np.array_equal(index.read(np.array([2, 0])), source.read([8, 16]))
    assert np.array_equal(index.select(["real/3"]).pixels, stored.select(["real/3"]).pixels)
    assert np.array_equal(index.labels, source.labels[rows])
    assert not list((tmp_path / "index").glob("images"))
    assert index.table["original_path"][0].endswith("train_data_batch_2.npz#4")


def test_a_source_that_has_changed_is_an_error_and_says_what_to_run(packed, tmp_path):
    index = write(tmp_path / "index", open_images("imagenet-npz", packed), np.arange(17), opened_of(packed))
    shard(packed / "train_data_batch_2.npz", 6)
    with pytest.raises(ValueError, match="have changed since .* was made; run `dvc repro --force prepare`"):
        index.read(np.arange(3))


def test_the_table_carries_class_synset_and_origin(packed, tmp_path):
    source = open_images("imagenet-npz", packed)
    table = write(tmp_path / "index", source, np.arange(17), opened_of(packed)).table
    assert list(table["class_name"]) == [source.class_names[c] for c in source.labels]
    assert list(table["synset_id"]) == [source.synsets[c] for c in source.labels]


@pytest.mark.parametrize(
    ("packed_", "pixels", "rows", "stored"),
    [
        (False, "auto", 1797, True),
        (True, "auto", 10, False),
        (True, "stored", 10, True),
        (False, "source", 10, False),
        (False, "auto", 10**9, False),
    ],
)
def test_small_sources_are_stored_and_packed_or_huge_ones_are_not(packed_, pixels, rows, stored):
    assert datasets.worth_storing(open_images("digits"), rows, packed=packed_, pixels=pixels) is stored


def test_unreadable_numbers_are_named(tmp_path):
    source = open_images("digits")
    with pytest.raises(ValueError, match="indices holds 5000"):
        source.rows_of(np.array([5000]))


def real(**asked):
    """The section `real` of params.yaml, changed."""
    return load(Path(__file__).parents[2] / "params.yaml").real.model_copy(update=asked)


def test_the_digits_are_all_chosen_in_their_order_and_stored():
    chosen = datasets.choose(real(), 0)
    assert chosen.rows.tolist() == list(range(1797))
    assert chosen.stored
    assert chosen.opened == {"kind": "digits", "path": None, "resolution": None, "options": {}}


def test_packed_rows_are_chosen_by_class_and_stay_in_their_source(packed):
    synset = classes.by_npz_label(1).synset
    chosen = datasets.choose(real(npz_dir=str(packed), split="train", target_classes=[synset, 147]), 0)
    assert not chosen.stored
    assert sorted(chosen.rows.tolist()) == [0, 5, 12]  # label 1 begins both files, 147 is label 6
    assert chosen.opened["options"] == {"split": "train", "cache": None}
    assert chosen.opened["path"] == str(packed.resolve())


def test_rows_are_chosen_by_a_score_that_a_table_holds(tmp_path):
    table = pd.DataFrame({"sample_id": ["real/5", "real/9", "real/2", "fake/a/1"], "rarity": [1.0, 2.0, 3.0, 9.0]})
    files.write_table(tmp_path / "scores.parquet", table)
    asked = {"scores": str(tmp_path / "scores.parquet"), "score": "rarity"}
    chosen = datasets.choose(real(**asked, percentile=[50.0, 100.0]), 0)
    assert sorted(chosen.rows.tolist()) == [2, 9]
    with pytest.raises(ValueError, match=r"score 'depth' is no column of .*; it has sample_id, rarity"):
        datasets.choose(real(**asked | {"score": "depth"}, percentile=[0.0, 50.0]), 0)
