"""From picked ids to a new image and its place; what was made is found again."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from dashboards.explorer.making import Studio
from dashboards.explorer.resources import EmptyProjectError, load, png
from dashboards.explorer.wishes import layer_choices
from modescope import files, masking, params, store
from modescope.generators import load_generator
from modescope.making import Kept, Picked, Wish, mean_image
from modescope.params import Params
from stages.capture import capture
from stages.fit import fit
from stages.generate import generate
from stages.project import project

BOTTLENECK = ("encoder_bottleneck",)
GENERATED = ("fake/student/3", "fake/student/13", "fake/student/23")


def wish(neighbours: tuple[str, ...] = GENERATED, seed: int = 5) -> Wish:
    return Wish(
        view="default", generator="student", label=3, layers=BOTTLENECK, target=Picked(ids=neighbours), seeds=(seed,)
    )


def make(studio: Studio, asked: Wish | None = None) -> Kept:
    (kept,) = studio.make(asked or wish()).kept
    return kept


@pytest.fixture
def studio(fresh_root: Path) -> Studio:
    return Studio(load(fresh_root))


def standardised(root: Path, source: str) -> np.ndarray:
    real = store.open_activations(root / "data/activations/default/real").features().astype(np.float64)
    other = store.open_activations(root / f"data/activations/default/{source}").features()
    spread = real.std(0)
    return (other - real.mean(0)) / np.where(spread > 0, spread, np.inf)


def test_the_neighbours_mean_is_what_goes_on_from_the_held_layer(studio: Studio) -> None:
    kept = make(studio)
    _, arrays = store.read_made(studio.project.root / "data/made/student", kept.id)
    images = store.open_stored_images(studio.project.root / "data/fake/student")
    values = images.take(images.rows_of(GENERATED), "encoder_bottleneck")
    np.testing.assert_allclose(arrays["held/encoder_bottleneck"], values.mean(0), rtol=1e-5, atol=1e-5)
    assert not np.allclose(arrays["computed/encoder_bottleneck"], values.mean(0), atol=1e-2)


def change(root: Path, **sections: dict) -> Params:
    path = root / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        for name, changes in values.items():
            raw[section][name].update(changes)
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return params.load(path)


def test_values_that_were_not_stored_are_recomputed(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, root = make(studio), studio.project.root
    monkeypatch.chdir(root)
    generate(change(root, generators={"student": {"masks": "recomputed"}}), "student")
    again = Studio(load(root))
    assert set(again.project.generators["student"].images.manifest["arrays"]) == {"images"}
    assert again.why_not("default", "student") is None
    make(again)
    held = [
        store.read_made(root / "data/made/student", kept.id)[1]["held/encoder_bottleneck"]
        for kept in again.made.values()
    ]
    np.testing.assert_allclose(held[0], held[-1], atol=1e-5)
    assert np.abs(stored.arrays["image"].astype(int) - make(again).arrays["image"].astype(int)).max() <= 1


def test_a_made_image_is_looked_at_as_its_view_looks(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that keeps principal components of two noise levels: the new image goes through the same basis."""
    root = studio.project.root
    monkeypatch.chdir(root)
    chosen = change(
        root,
        views={"default": {"sigma": [0.4, 1.0], "keep": "pca"}},
        capture={"basis": {"components": 12, "rows": 40}},
    )
    for source in ("real", "student"):
        capture(chosen, "default", source)
    fit(chosen, "default")
    project(chosen, "default", "student")
    again = Studio(load(root))
    pixels, label = again.project.pixels("real/7"), again.project.label("real/7")
    _, landed = again.workshop.opened.captured("default", ["real/7"], pixels[None], np.array([label]))
    np.testing.assert_allclose(landed, again.project.places("default", ("real/7",)), atol=1e-3)
    assert make(again).landed != tuple(landed[0])


def test_a_mask_changes_the_image_and_the_pair_shares_its_seed(studio: Studio) -> None:
    kept = make(studio)
    generator = load_generator(studio.project.checkpoint("student"), device="cpu")
    noise = masking.fresh_noise(5, generator.latent_shape)
    free = masking.generate(generator, noise, np.array([3]), None).pixels[0]
    np.testing.assert_array_equal(kept.arrays["free"], free)
    assert (kept.arrays["image"] != kept.arrays["free"]).mean() > 0.1
    neighbours = [studio.project.pixels(n) for n in GENERATED]
    np.testing.assert_array_equal(kept.arrays["mean"], mean_image(neighbours, [1, 1, 1]))


def test_the_same_wish_gives_the_same_image_and_id_and_another_seed_does_not(studio: Studio) -> None:
    first, again, other = make(studio), make(studio), make(studio, wish(seed=6))
    assert first.id == again.id != other.id
    np.testing.assert_array_equal(first.arrays["image"], again.arrays["image"])
    assert (first.arrays["image"] != other.arrays["image"]).any()
    assert [kept.id for kept in studio.history("default", "student")] == [other.id, first.id]


def test_the_aim_is_the_neighbours_centre_on_the_map(studio: Studio) -> None:
    aim = make(studio).recipe.aim.place
    table = files.read_table(studio.project.root / "data/maps/default/student.parquet").set_index("sample_id")
    np.testing.assert_allclose(aim, table.loc[list(GENERATED), ["x", "y"]].mean().to_numpy(), rtol=1e-5)


def test_real_neighbours_are_stood_for_by_their_nearest_generated_samples(studio: Studio) -> None:
    kept = make(studio, wish(neighbours=("real/1", "real/2", "fake/student/3")))
    root = studio.project.root
    real, fake = standardised(root, "real")[[1, 2]], standardised(root, "student")
    nearest = [f"fake/student/{np.linalg.norm(fake - row, axis=1).argmin()}" for row in real]
    (held,) = kept.recipe.holds
    assert set(held.samples.ids) == {*nearest, "fake/student/3"}
    assert held.source == "mixed"
    assert sum(held.samples.weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("neighbours", "source"), [(GENERATED, "recorded"), (("real/1", "real/2"), "nearest"), (("real/1",), "nearest")]
)
def test_the_record_names_where_mask_values_come_from(studio: Studio, neighbours: tuple, source: str) -> None:
    assert make(studio, wish(neighbours=neighbours)).recipe.holds[0].source == source


def test_a_second_generation_loads_nothing(studio: Studio) -> None:
    assert not studio.ready("student")
    make(studio)
    loaded = list(studio.workshop.opened.loaded)
    assert sorted(loaded) == ["map default", "student.safetensors", "teacher.safetensors"]
    assert studio.ready("student")
    make(studio, wish(seed=6, neighbours=("real/1", "real/2")))
    assert studio.workshop.opened.loaded == loaded


def test_what_was_made_is_there_after_a_restart(studio: Studio) -> None:
    kept = make(studio)
    (again,) = Studio(load(studio.project.root)).history("default", "student")
    assert (again.id, again.recipe, again.landed) == (kept.id, kept.recipe, kept.landed)
    np.testing.assert_array_equal(again.arrays["image"], kept.arrays["image"])
    assert Studio(load(studio.project.root)).history("default", "other") == ()


def test_a_damaged_record_is_passed_over(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    kept = make(studio)
    whole = make(studio, wish(seed=6))
    path = studio.project.root / f"data/made/student/{kept.id.removeprefix('made/')}.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert [k.id for k in Studio(load(studio.project.root)).history("default", "student")] == [whole.id]
    assert "cannot be shown" in caplog.text


def test_a_record_of_an_earlier_version_is_passed_over_by_name(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    folder = studio.project.root / "data/made/student"
    old = store.write_made(folder, {"recipe": {"seed": 1, "label": 3}}, {"image": np.zeros((1, 8, 8), np.uint8)})
    assert Studio(load(studio.project.root)).history("default", "student") == ()
    assert f"{old} cannot be shown" in caplog.text
    assert "is of version none" in caplog.text


def test_an_image_made_for_an_earlier_map_does_not_fit_the_present_one(studio: Studio) -> None:
    kept = make(studio)
    assert studio.fits(kept)
    other = replace(kept.recipe, aim=replace(kept.recipe.aim, map="0" * 64))
    assert not studio.fits(replace(kept, recipe=other))


@pytest.mark.parametrize("space", ["map", "features"])
def test_nearest_neighbours_equal_brute_force(studio: Studio, space: str) -> None:
    project = studio.project
    sides = [project.real, project.generators["student"]]
    names = [*project.real.ids, *project.generators["student"].ids]
    if space == "map":
        rows = np.concatenate([side.points["default"] for side in sides]).astype(np.float64)
    else:
        rows = np.concatenate([standardised(project.root, source) for source in ("real", "student")])
    distances = np.linalg.norm(rows - rows[names.index("real/7")], axis=1)
    expected = [names[i] for i in np.argsort(distances, kind="stable") if names[i] != "real/7"][:6]
    assert list(studio.nearest("default", "real/7", sides, 6, space)) == expected


def test_more_neighbours_than_samples_are_all_samples(studio: Studio) -> None:
    found = studio.nearest("default", "real/7", [studio.project.real], 500, "map")
    assert len(found) == 59
    assert "real/7" not in found


def test_generators_say_why_they_cannot_generate(fresh_root: Path) -> None:
    (fresh_root / "data/checkpoints/other.safetensors").unlink()
    studio = Studio(load(fresh_root))
    assert studio.why_not("default", "student") is None
    assert studio.why_not("default", "teacher") is None  # of several steps: with values recorded in one of them
    assert "checkpoint of the generator is missing" in (studio.why_not("default", "other") or "")
    shutil.rmtree(fresh_root / "data/maps/default/reducer")
    assert "fitted map is missing" in (studio.why_not("default", "student") or "")
    assert list(studio.project.generators) == ["teacher", "other", "student"]
    assert "data/fake/absent/manifest.json is missing" in studio.project.absent["absent"]


def test_sources_of_mask_values_say_why_they_cannot_be_had(studio: Studio) -> None:
    whys = studio.sources("default", "student")
    assert whys["nearest"] is None
    assert "does not hold what student computes" in (whys["inverse"] or "")
    assert "single step of a one-step generator" in (studio.sources("default", "student", "heun")["scaled"] or "")


def test_layers_to_hold_are_those_that_were_recorded_and_all_once_loaded(studio: Studio) -> None:
    choices = layer_choices(studio.layers("student"), {"encoder up to 4x4": ("encoder_block_2", "encoder_bottleneck")})
    assert choices["bottleneck"] == ("encoder_bottleneck",)
    assert choices["bottleneck + midblock"] == ("encoder_bottleneck", "midblock")
    assert choices["encoder up to 4x4"] == ("encoder_block_2", "encoder_bottleneck")
    assert len(choices["every encoder layer"]) == 4
    assert choices["only encoder_block_0"] == ("encoder_block_0",)
    assert "only encoder_bottleneck" not in choices  # it is the bottleneck
    before = studio.layers("student")
    studio.load("student")
    assert set(before) < set(studio.layers("student"))
    assert layer_choices((), {}) == {}


def test_classes_of_many_samples_are_counted_as_one_by_one(studio: Studio) -> None:
    ids = [
        *studio.project.real.ids,
        *studio.project.generators["student"].ids,
        make(studio).id,
        "real/999999",
        "nobody",
    ]
    known = [name for name in ids if name.startswith("made/") or studio.project.side(name)]
    assert studio.count_labels(ids) == Counter(map(studio.label, known))


@pytest.mark.parametrize(("threads", "left"), [(1, 1), (2, 1), (7, 3)])
def test_the_model_leaves_half_of_its_threads_to_the_page(fresh_root: Path, threads: int, left: int) -> None:
    path = fresh_root / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    files.write_text(path, yaml.safe_dump({**raw, "runtime": {**raw["runtime"], "threads": threads}}))
    assert Studio(load(fresh_root)).workshop.opened.params.runtime.threads == left


@pytest.mark.parametrize("missing", ["data/real", "data/maps", "data/fake"])
def test_a_project_without_data_says_what_to_run(fresh_root: Path, missing: str) -> None:
    shutil.rmtree(fresh_root / missing)
    with pytest.raises(EmptyProjectError, match=r"no map yet|on the map yet"):
        load(fresh_root)


def test_an_unknown_sample_is_refused(studio: Studio) -> None:
    with pytest.raises(ValueError, match="sample 'real/99' is not among the real or generated images"):
        studio.project.pixels("real/99")
    with pytest.raises(ValueError, match=r"sample '\.\./x' is not among"):
        studio.project.label("../x")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 4)])
def test_a_thumbnail_holds_the_very_pixels(shape: tuple[int, int, int]) -> None:
    import io

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(png(pixels))))
    np.testing.assert_array_equal(decoded.reshape(*shape[1:], shape[0]).transpose(2, 0, 1), pixels)
