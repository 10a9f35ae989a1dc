"""The layout of data/: what is written comes back by id, and damage is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modescope import store
from modescope.files import DamagedFileError


def write(folder, n=10, shard_rows=4, batch=3, kind="activations", config=None):
    ids = [f"real/{i}" for i in range(n)]
    a = np.arange(n * 8, dtype=np.float32).reshape(n, 2, 2, 2)
    b = -np.arange(n * 3, dtype=np.float16).reshape(n, 3, 1, 1)
    batches = ({"first": a[i : i + batch], "second": b[i : i + batch]} for i in range(0, n, batch))
    table = store.sample_table(ids, np.arange(n) % 3, sigma=0.4, protocol="noised")
    store.write_rows(folder, batches, table, kind=kind, config=config or {"x": 1}, shard_rows=shard_rows)
    return ids, a, b


def test_rows_come_back_by_id_in_the_order_asked_for(tmp_path):
    ids, a, b = write(tmp_path / "acts")
    acts = store.open_activations(tmp_path / "acts")
    wanted = ["real/7", "real/0", "real/3"]
    assert np.array_equal(acts[wanted, "first"], a[[7, 0, 3]])
    assert np.array_equal(acts[None, "second"], b)
    assert acts.layers == ("first", "second")
    assert acts.ids == tuple(ids)
    assert acts.labels.tolist() == [i % 3 for i in range(10)]
    features = np.concatenate([a.reshape(10, -1), b.reshape(10, -1)], axis=1)
    assert np.array_equal(acts.features(), features)


@settings(max_examples=25)
@given(n=st.integers(1, 20), shard_rows=st.integers(1, 25), batch=st.integers(1, 25))
def test_shards_and_batches_never_change_the_content(tmp_path_factory, n, shard_rows, batch):
    folder = tmp_path_factory.mktemp("store") / "acts"
    ids, a, _ = write(folder, n, shard_rows, batch)
    acts = store.open_activations(folder)
    assert np.array_equal(acts[ids[::-1], "first"], a[::-1])
    sizes = [s["rows"][1] - s["rows"][0] for s in acts.manifest["shards"] if s["array"] == "first"]
    assert sum(sizes) == n
    assert all(size == shard_rows for size in sizes[:-1])
    acts.verify()


def test_an_interrupted_write_keeps_the_finished_folder(tmp_path):
    _, a, _ = write(tmp_path / "acts")

    def broken():
        yield {"first": a[:3]}
        raise OSError("disk full")

    table = store.sample_table(["x"], np.zeros(1))
    with pytest.raises(OSError, match="disk full"):
        store.write_rows(tmp_path / "acts", broken(), table, kind="activations", config={})
    assert np.array_equal(store.open_activations(tmp_path / "acts")[None, "first"], a)


def test_damage_is_named_with_the_remedy(tmp_path):
    write(tmp_path / "acts")
    shard = tmp_path / "acts" / "first" / "00001.npy"
    content = shard.read_bytes()
    shard.write_bytes(content[:-5])
    with pytest.raises(DamagedFileError, match=r"00001.npy has \d+ bytes instead of \d+; .*run `dvc repro`"):
        store.open_activations(tmp_path / "acts")
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match="does not have the bytes that were written"):
        store.open_activations(tmp_path / "acts").verify()
    shard.unlink()
    with pytest.raises(DamagedFileError, match="00001.npy is missing"):
        store.open_activations(tmp_path / "acts")
    with pytest.raises(DamagedFileError, match=r"manifest.json is missing; run `dvc repro`"):
        store.open_activations(tmp_path / "nothing")


def test_another_kind_is_refused(tmp_path):
    write(tmp_path / "acts")
    with pytest.raises(DamagedFileError, match="holds activations of version 1, wanted images"):
        store.open_stored_images(tmp_path / "acts")


def test_unknown_ids_layers_and_columns_are_errors(tmp_path):
    write(tmp_path / "acts")
    acts = store.open_activations(tmp_path / "acts")
    with pytest.raises(ValueError, match=r"holds no sample 'fake/1' \(1 of 2 ids are unknown\)"):
        acts[["real/1", "fake/1"], "first"]
    with pytest.raises(ValueError, match="holds no 'third'; it holds first, second"):
        acts[None, "third"]
    with pytest.raises(ValueError, match="columns \\['colour'\\] are not in the sample table"):
        store.sample_table(["a"], np.zeros(1), colour="red")


def test_ids_and_rows_must_agree(tmp_path):
    batch = {"images": np.zeros((2, 1, 2, 2), np.uint8)}
    with pytest.raises(ValueError, match="the table has 1 rows, the batches 1 more"):
        store.write_rows(tmp_path / "a", [batch], store.sample_table(["x"], np.zeros(1)), kind="images", config={})
    with pytest.raises(ValueError, match="repeated ids"):
        store.write_rows(tmp_path / "a", [batch], store.sample_table(["x", "x"], np.zeros(2)), kind="images", config={})
    with pytest.raises(ValueError, match="was given 2 rows; it is to hold 3"):
        store.write_rows(
            tmp_path / "a", [batch], store.sample_table(list("xyz"), np.zeros(3)), kind="images", config={}
        )
    with pytest.raises(ValueError, match="array 'images': rows change from"):
        store.write_rows(
            tmp_path / "a",
            [batch, {"images": np.zeros((1, 1, 3, 3), np.uint8)}],
            store.sample_table(["x", "y", "z"], np.zeros(3)),
            kind="images",
            config={},
        )


def test_images_are_selected_with_their_labels(tmp_path):
    pixels = np.arange(5 * 4, dtype=np.uint8).reshape(5, 1, 2, 2)
    table = store.sample_table([f"real/{i}" for i in range(5)], np.array([4, 3, 2, 1, 0]))
    store.write_rows(tmp_path / "images", [{"images": pixels}], table, kind="images", config={})
    chosen = store.open_stored_images(tmp_path / "images").select(["real/3", "real/1"])
    assert chosen.labels.tolist() == [1, 3]
    assert np.array_equal(chosen.pixels, pixels[[3, 1]])


def test_maps_are_joined_by_id(tmp_path):
    points = np.array([[0, 1], [2, 3], [4, 5]], np.float32)
    store.write_map(tmp_path / "real.parquet", ["a", "b", "c"], points)
    assert np.array_equal(store.read_map(tmp_path / "real.parquet", ["c", "a"]), points[[2, 0]])
    with pytest.raises(ValueError, match="holds no sample 'd'"):
        store.read_map(tmp_path / "real.parquet", ["d"])


def test_views_must_agree(tmp_path):
    write(tmp_path / "a", config={"network_hash": "1", "view": {"sigma": 0.4}})
    write(tmp_path / "b", config={"network_hash": "1", "view": {"sigma": 1.0}})
    real, fake = (store.open_activations(tmp_path / name) for name in "ab")
    store.check_same_view(real, real)
    with pytest.raises(ValueError, match="was captured with another view"):
        store.check_same_view(real, fake)
