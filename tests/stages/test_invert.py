"""The stage that inverts real images through a one-step generator, on a tiny project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from modescope import files, inversion, jobs, masking, params, runtime, store
from modescope.inversion import Descent, Inversions
from modescope.records import Span
from stages.invert import invert

FEW = {"images": 20, "calibration": 4, "steps": 3, "batch_size": 8, "shard_rows": 16, "enough": 0.2}


def tiny(folder, **changed):
    """The project's parameters with a small inversion."""
    raw = yaml.safe_load((folder / "params.yaml").read_text())
    raw["inversion"] |= FEW | changed
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return params.load(folder / "params.yaml")


@pytest.fixture
def inverted(copy):
    settings = tiny(copy)
    invert(settings, "dmd2")
    return settings


def arrays():
    found = store.Rows("data/inversions/dmd2", "inversions")
    return {name: found.take(np.arange(len(found)), name) for name in found.manifest["arrays"]}, found.table


def test_inversions_lie_with_their_errors_and_make_what_they_say(inverted):
    values, table = arrays()
    assert set(values) == {"made", "noise", "error", "start"}
    assert table["kind"].value_counts().to_dict() == {"real": 20, "own": 4, "shuffled": 4, "negative": 4, "noise": 4}
    np.testing.assert_array_equal(table["error"], values["error"])
    job = jobs.invert_job(inverted, "dmd2", Path("data"), runtime.start("cpu", 1))
    generator = jobs.generate_job(inverted, "dmd2", Path("data"), job.runtime).load()
    labels = table["class_id"].to_numpy()
    again = masking.generate(generator, torch.from_numpy(values["noise"]), labels, None).pixels
    assert np.abs(again.astype(int) - values["made"]).max() <= 1
    real = store.open_stored_images("data/real")
    mine = (table["kind"] == "real").to_numpy()
    wanted = real.select(list(table["sample_id"][mine]))
    np.testing.assert_array_equal(wanted.labels, labels[mine])
    off = (values["made"][mine] / 127.5 - wanted.pixels / 127.5) ** 2
    clipped = off.reshape(mine.sum(), -1).mean(1)
    assert (clipped <= values["error"][mine] + 0.02).all()  # rounding and clipping: images lie in [-1, 1]


def test_the_summary_the_ranking_and_the_picture_follow_from_the_table(inverted):
    _, table = arrays()
    told = files.read_json(Path("metrics/inversion/dmd2.json"))
    for kind in ("real", *inversion.KINDS):
        error = table.loc[table["kind"] == kind, "error"]
        assert told[kind]["images"] == len(error)
        assert told[kind]["made"] == pytest.approx((error <= 0.2).mean(), rel=1e-5)
        assert told[kind]["median"] == pytest.approx(error.median(), rel=1e-5)
    assert {"separation"} == set(told["own"]) - set(told["real"])
    hard = files.read_table(Path("metrics/inversion/dmd2.csv"))
    mine = table[table["kind"] == "real"]
    above = mine[mine["error"] > 0.2].sort_values("error", ascending=False)
    assert hard["sample_id"].tolist() == above["sample_id"].tolist()
    shares = files.read_table(Path("metrics/inversion/dmd2.classes.csv"))
    assert shares["images"].sum() == 20
    assert Path("plots/inversion/dmd2.png").stat().st_size > 2000


def test_a_part_that_was_computed_is_not_computed_again_and_repeats_its_bytes(inverted, copy):
    before, _ = arrays()
    job = jobs.invert_job(inverted, "dmd2", Path("data"), runtime.start("cpu", 1))
    rows = list(job.open()(Span(number=0, start=8, stop=16)))
    assert len(rows) == 1
    for name, values in rows[0].items():
        np.testing.assert_array_equal(values, before[name][8:16])
    shards = store.Shards(
        Path("data/shards"),
        jobs.invert_config(job, "dmd2"),
        ids=job.listed().ids,
        labels=job.listed().labels,
        batch_size=8,
        shard_rows=16,
    )
    assert shards.missing() == []
    (shards.folder / "00001.json").unlink()
    assert [(span.start, span.stop) for span in shards.missing()] == [(16, 32)]
    invert(inverted, "dmd2")
    after, _ = arrays()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    assert jobs.invert_config(job, "dmd2") != jobs.invert_config(
        jobs.invert_job(tiny(copy, steps=4), "dmd2", Path("data"), runtime.start("cpu", 1)), "dmd2"
    )


def test_a_search_starts_near_the_nearest_samples_of_its_class(inverted):
    job = jobs.invert_job(inverted, "dmd2", Path("data"), runtime.start("cpu", 1))
    listed, real = job.listed(), store.open_stored_images("data/real")
    fake = store.open_stored_images("data/fake/dmd2")
    pixels = real.read(listed.rows[-8:])
    labels = listed.labels[-8:]
    near = inversion.nearest_samples(pixels, fake.read(np.arange(len(fake))), 2, labels=labels, made_labels=fake.labels)
    np.testing.assert_array_equal(job._starts(fake, pixels, labels, classes=True), near)
    generator = jobs.generate_job(inverted, "dmd2", Path("data"), job.runtime).load()
    regression, aim = job._expected(generator), generator.encode(pixels)
    moves = [regression.move(aim, generator.encode(fake.read(column))) for column in near.T]
    (expected,) = Inversions(
        generator=generator,
        pixels=pixels,
        ids=listed.ids[-8:],
        asked=labels,
        root=inverted.seed,
        how=Descent(steps=3, enough=0.2),
        starts=near,
        moves=torch.stack(moves, dim=1),
    )
    np.testing.assert_allclose(arrays()[0]["error"][-8:], expected.error, rtol=1e-3)


def test_a_generator_of_several_steps_is_refused_by_name(copy, call):
    tiny(copy)
    done = call("invert", "teacher", cwd=copy)
    assert done.returncode == 1
    text = " ".join(done.stderr.split())
    assert "generator 'teacher' samples by heun, and noise is searched for one plain step" in text
    assert "out of inversion.generators" in text
    assert "Traceback" not in text
