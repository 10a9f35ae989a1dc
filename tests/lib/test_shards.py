"""Shards: computed once, in any order, by anybody; a larger run finds what a smaller one left, to the byte."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modescope import store
from modescope.files import DamagedFileError, sha256
from modescope.records import Span
from modescope.store import Shards

BATCH, LENGTH = 4, 8


def value(row):
    return np.float32(row) * np.arange(6, dtype=np.float32).reshape(1, 2, 3)


def batches(span, made=None):
    """What a job would compute: a pure function of the row; `made` collects the rows."""
    for start in range(span.start, span.stop, BATCH):
        rows = range(start, min(start + BATCH, span.stop))
        if made is not None:
            made.extend(rows)
        yield {"a": np.stack([value(r) for r in rows]), "b": np.array([[r] for r in rows], np.uint8)}


def shards_of(root, n, config=None, ids=None, shard_rows=LENGTH):
    ids = ids or [f"real/{i}" for i in range(n)]
    return Shards(root, config or {"x": 1}, ids=ids, labels=np.arange(n) % 3, batch_size=BATCH, shard_rows=shard_rows)


def table_of(n):
    return store.sample_table([f"real/{i}" for i in range(n)], np.arange(n) % 3)


def run(root, folder, n, made=None, order=1, **options):
    shards = shards_of(root, n, **options)
    for span in shards.missing()[::order]:
        shards.write(span, batches(span, made))
    shards.finish(folder, table_of(n), kind="activations", config={"about": "test"})
    return shards


def content(folder):
    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_finished_rows_come_back_by_id(tmp_path):
    run(tmp_path / "shards", tmp_path / "acts", 19)
    acts = store.open_activations(tmp_path / "acts")
    assert np.array_equal(acts[["real/17", "real/3"], "a"], np.stack([value(17), value(3)]))
    assert acts.layers == ("a", "b")
    assert acts.config["about"] == "test"
    acts.verify()


def test_a_finished_shard_is_never_computed_twice(tmp_path):
    run(tmp_path / "shards", tmp_path / "acts", 19)
    made = []
    run(tmp_path / "shards", tmp_path / "again", 19, made)
    assert made == []
    assert content(tmp_path / "acts") == content(tmp_path / "again")


@settings(max_examples=30)
@given(first=st.integers(1, 30), more=st.integers(0, 30))
def test_growth_computes_missing_batches_alone_and_gives_the_bytes_of_one_run(tmp_path_factory, first, more):
    root = tmp_path_factory.mktemp("grow")
    run(root / "shards", root / "acts", first)
    made = []
    run(root / "shards", root / "acts", first + more, made, order=-1)
    expected = list(range(first // BATCH * BATCH, first + more)) if more else []
    assert sorted(made) == expected
    run(root / "other", root / "fresh", first + more)
    assert content(root / "acts") == content(root / "fresh")


def test_a_smaller_run_after_a_larger_one_takes_its_rows_and_loses_nothing(tmp_path):
    run(tmp_path / "shards", tmp_path / "large", 19)
    made = []
    run(tmp_path / "shards", tmp_path / "small", 10, made)
    run(tmp_path / "shards", tmp_path / "again", 19, made)
    assert made == []
    run(tmp_path / "other", tmp_path / "fresh", 10)
    assert content(tmp_path / "small") == content(tmp_path / "fresh")
    assert content(tmp_path / "large") == content(tmp_path / "again")


def test_an_interrupted_shard_is_missing_and_the_others_stay(tmp_path):
    shards = shards_of(tmp_path, 19)
    spans = shards.missing()
    shards.write(spans[0], batches(spans[0]))

    def broken():
        yield next(batches(spans[1]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write(spans[1], broken())
    assert shards.missing() == spans[1:]
    assert not list(tmp_path.rglob("*.part"))
    with pytest.raises(ValueError, match="shard 1 is not finished; run the same command again"):
        shards.finish(tmp_path / "acts", table_of(19), kind="activations", config={})


def test_other_samples_or_another_config_find_nothing_of_this_one(tmp_path):
    run(tmp_path / "shards", tmp_path / "acts", 16)
    assert shards_of(tmp_path / "shards", 16, config={"x": 2}).missing() != []
    others = [f"real/{i}" for i in range(15)] + ["real/99"]
    changed = shards_of(tmp_path / "shards", 16, ids=others)
    assert changed.missing() == [Span(number=1, start=12, stop=16)]


def test_samples_replaced_under_one_name_are_never_mixed(tmp_path):
    """Killed between the rows and their record, nobody vouches for the shard."""
    run(tmp_path, tmp_path / "acts", 8)
    others = shards_of(tmp_path, 8, ids=[f"real/{i + 100}" for i in range(8)])
    (span,) = others.missing()
    with pytest.raises(KeyboardInterrupt):
        others.write(span, iter_then_die(span))
    assert shards_of(tmp_path, 8).missing() == [span]


def iter_then_die(span):
    yield from batches(Span(number=span.number, start=span.start, stop=span.stop - BATCH))
    raise KeyboardInterrupt


@pytest.mark.parametrize("damage", ["truncate", "remove", "record"])
def test_a_damaged_shard_is_computed_again(tmp_path, damage):
    shards = run(tmp_path / "shards", tmp_path / "acts", 19)
    array = shards.folder / "a" / f"00001-{LENGTH}.npy"
    if damage == "truncate":
        content_of = array.read_bytes()
        array.unlink()
        array.write_bytes(content_of[:-4])
    elif damage == "remove":
        array.unlink()
    else:
        (shards.folder / "00001.json").write_text("{")
    assert [span.number for span in shards.missing()] == [1]


def test_a_record_of_another_configuration_is_refused(tmp_path):
    shards = run(tmp_path / "shards", tmp_path / "acts", 8)
    other = shards_of(tmp_path / "shards", 8, config={"x": 2})
    shutil.copytree(shards.folder, other.folder)
    assert len(other.missing()) == 1


def test_the_manifest_alone_can_be_tracked(tmp_path):
    shards = shards_of(tmp_path / "shards", 19)
    for span in shards.missing():
        shards.write(span, batches(span))
    shards.finish(tmp_path / "out/acts", table_of(19), kind="activations", config={}, track="manifest")
    assert sorted(p.name for p in (tmp_path / "out/acts").iterdir()) == ["manifest.json", "samples.parquet"]
    acts = store.open_activations(tmp_path / "out/acts")
    assert np.array_equal(acts[["real/18"], "a"][0], value(18))
    acts.verify()
    shutil.rmtree(tmp_path / "shards")
    with pytest.raises(DamagedFileError, match="is missing"):
        store.open_activations(tmp_path / "out/acts")


def test_a_manifest_of_fewer_rows_reads_them_from_a_longer_shard(tmp_path):
    run(tmp_path / "shards", tmp_path / "acts", 19)
    shards = shards_of(tmp_path / "shards", 10)
    shards.finish(tmp_path / "few", table_of(10), kind="activations", config={}, track="manifest")
    assert np.array_equal(store.open_activations(tmp_path / "few")[None, "b"].ravel(), np.arange(10))


def test_files_of_a_stages_own_lie_beside_the_manifest(tmp_path):
    shards = shards_of(tmp_path / "shards", 4)
    for span in shards.missing():
        shards.write(span, batches(span))

    def write(folder):
        (folder / "basis.txt").write_text("basis")

    shards.finish(tmp_path / "acts", table_of(4), kind="activations", config={}, write=write)
    assert (tmp_path / "acts/basis.txt").read_text() == "basis"


def test_a_shard_is_whole_batches(tmp_path):
    shards = shards_of(tmp_path, 20, shard_rows=5)
    assert [(s.start, s.stop) for s in shards.missing()] == [(0, 8), (8, 16), (16, 20)]


def test_batches_that_change_their_arrays_or_shape_are_errors(tmp_path):
    shards = shards_of(tmp_path, 8)
    (span,) = shards.missing()
    a = np.zeros((4, 2), np.float32)
    with pytest.raises(ValueError, match="arrays change from a to b"):
        shards.write(span, iter([{"a": a}, {"b": a}]))
    with pytest.raises(ValueError, match=r"array 'a': rows change from float32 \(2,\) to float32 \(3,\)"):
        shards.write(span, iter([{"a": a}, {"a": np.zeros((4, 3), np.float32)}]))
    with pytest.raises(ValueError, match="was given 4 rows; it is to hold 8"):
        shards.write(span, iter([{"a": a}]))
    with pytest.raises(ValueError, match="no batch to write"):
        shards.write(span, iter([]))
    assert shards.missing() == [span]


def test_a_shard_that_cannot_fit_the_disk_is_refused_before_it_is_begun(tmp_path):
    rows = 2**40
    shards = Shards(tmp_path, {}, ids=["real/0"], labels=np.zeros(1, int), batch_size=rows, shard_rows=rows)
    shards.rows, shards._marks = rows, [""]
    huge = np.broadcast_to(np.float32(0), (1, 2**16))
    with pytest.raises(ValueError, match="GB are free; make room"):
        shards.write(Span(number=0, start=0, stop=rows), iter([{"a": huge}]))


def test_shards_that_nobody_uses_are_pruned(tmp_path):
    kept = run(tmp_path / "shards", tmp_path / "acts", 8)
    stale = shards_of(tmp_path / "shards", 8, config={"x": 2})
    for span in stale.missing():
        stale.write(span, batches(span))
    used = json.loads((tmp_path / "acts/manifest.json").read_text())["shards_of"]
    assert store.prune(tmp_path / "shards", {used}) == [stale.folder]
    assert kept.missing() == []
