"""Images made to order: recipes, mask values by name of their source, replay, scripts, the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from modescope import files, making, masking, params, store
from modescope.inversion import Descent
from modescope.making import Aim, Held, Recipe, Samples, Workshop, one_class, shared, uniform
from modescope.making.__main__ import main
from modescope.runtime import Runtime
from stages.capture import capture
from stages.fit import fit
from tests.dashboards.conftest import project_root  # noqa: F401 - a fixture
from tests.lib.workshops import workshop_in

REAL = ("real/1", "real/2", "real/12")
FAKE = ("fake/student/3", "fake/student/13", "fake/student/23")
LAYER = ["encoder_bottleneck"]


@pytest.fixture(scope="module")
def workshop(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:  # noqa: F811
    return workshop_in(tmp_path_factory.mktemp("making") / "project", project_root)


@pytest.fixture(scope="module")
def root(workshop: Workshop) -> Path:
    return workshop.opened.root


def wished(workshop: Workshop, ids: tuple[str, ...] = FAKE, seed: int = 5, **how: object) -> Recipe:
    aim = workshop.aim_at("default", ids)
    return workshop.recipe("student", aim, one_class(3), seed, [workshop.hold("student", aim, LAYER, **how)])


def a_recipe(**changes: object) -> Recipe:
    """A recipe by hand, of every kind of field."""
    samples = Samples(ids=("fake/g/1",), weights=(1.0,), labels=(2,), starts=((4, 5),))
    held = Held(layers=("a", "b"), samples=samples, away=samples, add=True, sigma=80.0, rows=(0, 2), search=Descent())
    aim = Aim(view="v", network="n", map="m", ids=("real/1",), weights=(1.0,), place=(0.5, 1.5))
    fields = dict(
        generator="g",
        checkpoint="c",
        family="edm",
        sampler="one-step",
        steps=1,
        renoise="fresh",
        guidance=None,
        sigma_max=80.0,
        precision="float32",
        runtime=Runtime(device="cpu", threads=1, torch="2"),
        root=0,
        seed=1,
        condition=shared({2: 3, 1: 1}),
        aim=aim,
        holds=(held,),
    )
    return Recipe(**{**fields, **changes})


class TestRecipes:
    def test_a_recipe_goes_through_json_and_comes_back_equal(self) -> None:
        recipe = a_recipe()
        assert Recipe.read(json.loads(json.dumps(recipe.record()))) == recipe

    def test_conditions_are_shares_that_sum_to_one(self) -> None:
        assert one_class(3) == ((3, 1.0),)
        assert shared({2: 3, 1: 1}) == ((1, 0.25), (2, 0.75))
        assert sum(share for _, share in uniform(7)) == pytest.approx(1)
        np.testing.assert_array_equal(making.class_weights((), 2, 3), np.zeros((2, 3)))
        np.testing.assert_allclose(making.class_weights(shared({2: 3, 1: 1}), 1, 4), [[0, 0.25, 0.75, 0]])
        with pytest.raises(ValueError, match=r"shares \{1: 0\} are no blend"):
            shared({1: 0})

    def test_the_label_is_the_class_with_the_largest_share_and_the_smaller_one_of_two(self) -> None:
        assert a_recipe().label == 2
        assert a_recipe(condition=((4, 0.5), (1, 0.5))).label == 1
        assert a_recipe(condition=()).label is None

    @pytest.mark.parametrize("version", [None, 0, 99])
    def test_another_version_is_refused_by_name(self, version: int | None) -> None:
        with pytest.raises(ValueError, match="cannot be replayed: make the image again"):
            Recipe.read({**a_recipe().record(), "version": version})

    def test_a_damaged_recipe_is_said_to_be_one(self) -> None:
        record = a_recipe().record()
        with pytest.raises(ValueError, match="the recipe is damaged"):
            Recipe.read({**record, "surplus": 1})
        del record["aim"]
        with pytest.raises(ValueError, match="the recipe is damaged"):
            Recipe.read(record)

    def test_what_cannot_be_held_is_refused(self) -> None:
        samples = Samples(ids=("fake/g/1",), weights=(1.0,), labels=(2,))
        with pytest.raises(ValueError, match="source 'guessed' is unknown"):
            Held(layers=("a",), samples=samples, sigma=80.0, source="guessed")
        with pytest.raises(ValueError, match="average 'mode' is unknown"):
            Held(layers=("a",), samples=samples, sigma=80.0, average="mode")
        with pytest.raises(ValueError, match="layers is empty"):
            Held(layers=(), samples=samples, sigma=80.0)
        with pytest.raises(ValueError, match="a difference of samples is added"):
            Held(layers=("a",), samples=samples, sigma=80.0, add=True)
        with pytest.raises(ValueError, match="there are 1 ids, 2 weights and 1 labels"):
            Samples(ids=("fake/g/1",), weights=(1.0, 2.0), labels=(2,))


class TestMaking:
    def test_every_source_of_values_holds_something_else_and_replays_to_the_bit(self, workshop: Workshop) -> None:
        images = {}
        for source in ("nearest", "scaled", "inverted", "guided"):
            kept = making.read_kept(workshop, workshop.keep(workshop.make(wished(workshop, REAL, source=source))))
            assert kept.recipe.holds[0].source == source
            again = making.replay(workshop, kept)
            assert again.equal
            assert (str(again), again.differs) == ("equal", ())
            images[source] = kept.arrays["held/encoder_bottleneck"].tobytes()
        assert len(set(images.values())) == 4

    def test_recorded_values_are_averaged_by_weight(self, workshop: Workshop) -> None:
        aim = workshop.aim_at("default", FAKE, (1.0, 2.0, 5.0))
        made = workshop.make(workshop.recipe("student", aim, one_class(3), 5, [workshop.hold("student", aim, LAYER)]))
        images = workshop.opened.images("student")
        values = images.take(images.rows_of(FAKE), "encoder_bottleneck")
        expected = np.average(values, axis=0, weights=(1, 2, 5))
        np.testing.assert_allclose(made.held["encoder_bottleneck"], expected, rtol=1e-5, atol=1e-5)
        assert not np.allclose(made.computed["encoder_bottleneck"], expected, atol=1e-2)

    def test_stored_values_and_those_made_again_in_the_pipelines_batches_have_the_same_bits(
        self, workshop: Workshop, root: Path, tmp_path: Path
    ) -> None:
        bare = tmp_path / "bare"
        shutil.copytree(root, bare)
        stored = bare / "data/fake/student"
        manifest = files.read_json(stored / "manifest.json")
        del manifest["arrays"]["encoder_bottleneck"]
        manifest["shards"] = [shard for shard in manifest["shards"] if shard["array"] != "encoder_bottleneck"]
        files.write_json(stored / "manifest.json", manifest)
        recipe = wished(workshop)
        other = Workshop(bare, workshop.opened.params)
        assert recipe.holds[0].batch_size == 30
        np.testing.assert_array_equal(
            other.make(recipe).held["encoder_bottleneck"], workshop.make(recipe).held["encoder_bottleneck"]
        )

    def test_a_difference_is_added_to_a_part_of_a_layer(self, workshop: Workshop) -> None:
        made = workshop.make(wished(workshop, away=FAKE[:1], strength=2.0, channels=(1,), rows=(0, 2)))
        images = workshop.opened.images("student")
        values = images.take(images.rows_of(FAKE), "encoder_bottleneck")
        change = made.held["encoder_bottleneck"] - made.computed["encoder_bottleneck"]
        expected = np.zeros_like(change)
        expected[1, :2] = 2 * (values.mean(0) - values[0])[1, :2]
        np.testing.assert_allclose(change, expected, atol=1e-4)

    def test_without_a_hold_the_image_is_the_free_one(self, workshop: Workshop) -> None:
        aim = workshop.aim_at("default", FAKE)
        made = workshop.make(workshop.recipe("student", aim, one_class(3), 5))
        np.testing.assert_array_equal(made.image, made.free)
        assert made.relative == pytest.approx(1)
        generator = workshop.opened.generator("student")
        noise = masking.fresh_noise(5, generator.latent_shape)
        np.testing.assert_array_equal(made.free, masking.generate(generator, noise, np.array([3]), None).pixels[0])

    def test_distance_is_from_the_weighted_mean_of_the_aims_features(self, workshop: Workshop) -> None:
        made = workshop.make(wished(workshop))
        aim = workshop.opened.features("default", FAKE).mean(0)
        assert made.distance == pytest.approx(float(np.linalg.norm(made.features - aim)), rel=1e-5)

    def test_a_step_of_a_multi_step_sampler_is_held_and_no_other(self, workshop: Workshop) -> None:
        ids = ("fake/teacher/5", "fake/teacher/9")
        aim = workshop.aim_at("default", ids)
        held = workshop.hold("teacher", aim, LAYER, step=1)
        made = workshop.make(workshop.recipe("teacher", aim, uniform(10), 3, [held]))
        assert held.sigma == pytest.approx(0.002)
        assert making.replay(workshop, making.read_kept(workshop, workshop.keep(made))).equal
        with pytest.raises(ValueError, match="step is 2; heun takes 2 steps here"):
            workshop.hold("teacher", aim, LAYER, step=2)
        real = workshop.aim_at("default", REAL)
        recipe = workshop.recipe("teacher", real, (), 3, [workshop.hold("teacher", real, LAYER, source="scaled")])
        with pytest.raises(ValueError, match="source 'scaled' gives values of the single step"):
            workshop.make(recipe)

    @pytest.mark.parametrize("inverse", ["neighbours", "barycentric"])
    def test_a_point_of_the_map_is_aimed_at_through_the_samples_that_the_inverse_finds(
        self, workshop: Workshop, inverse: str
    ) -> None:
        points = workshop.opened.places("default", REAL)
        aim = workshop.aim_of_point("default", points[0].tolist(), inverse)
        assert aim.ids[int(np.argmax(aim.weights))] == "real/1"
        assert max(aim.weights) > 0.999
        assert (aim.inverse, sum(aim.weights)) == (inverse, pytest.approx(1))
        held = workshop.hold("student", aim, LAYER)
        assert held.source == "nearest"
        assert all(name.startswith("fake/student/") for name in held.samples.ids)
        with pytest.raises(ValueError, match="inverse 'umap' names no samples"):
            workshop.aim_of_point("default", points[0].tolist(), "umap")

    def test_values_of_the_inverse_itself_are_refused_where_the_protocols_differ(self, workshop: Workshop) -> None:
        with pytest.raises(ValueError, match="nothing of the inverse can be held; hold recorded values"):
            workshop.make(wished(workshop, REAL, source="inverse"))

    def test_where_view_and_sampling_pass_are_the_same_the_inverse_itself_is_held(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy = tmp_path / "sampling"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns("made"))
        monkeypatch.chdir(copy)
        raw = yaml.safe_load(Path("params.yaml").read_text())
        raw["views"]["default"] |= {"protocol": "sampling", "real_protocol": "scaled", "sigma": 80.0, "layers": LAYER}
        raw["views"]["default"]["network"] = raw["generators"]["student"]["checkpoint"]
        Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        chosen = params.load()
        capture(chosen, "default", "real")
        fit(chosen, "default")
        workshop = Workshop(copy, chosen)
        made = workshop.make(wished(workshop, REAL, source="inverse"))
        values = workshop.opened.activations("default", "real")[REAL, LAYER[0]]
        np.testing.assert_allclose(made.held[LAYER[0]], values.mean(0), rtol=1e-5, atol=1e-5)
        assert (made.image != made.free).any()
        kept = making.read_kept(workshop, workshop.keep(made))
        assert kept.landed is made.distance is None
        assert making.replay(workshop, kept).equal

    def test_samples_that_have_no_values_are_refused(self, workshop: Workshop) -> None:
        with pytest.raises(ValueError, match="was not made by student"):
            wished(workshop, ("fake/other/1",))
        with pytest.raises(ValueError, match="source 'scaled' is for real samples"):
            wished(workshop, FAKE, source="scaled")
        with pytest.raises(ValueError, match="'real/99' is not among the images of real"):
            wished(workshop, ("real/99",))
        with pytest.raises(ValueError, match="is no real or generated one"):
            wished(workshop, ("made/abc",))

    def test_a_recipe_of_another_checkpoint_is_not_made_and_its_replay_says_so(self, workshop: Workshop) -> None:
        kept = making.read_kept(workshop, workshop.keep(workshop.make(wished(workshop))))
        other = replace(kept.recipe, checkpoint="0" * 64, runtime=replace(kept.recipe.runtime, torch="1.0"))
        with pytest.raises(ValueError, match="cannot be followed here: checkpoint was 000000000000 and is"):
            workshop.make(other)
        wrong = replace(kept, recipe=other, arrays={"image": 255 - kept.arrays["image"]})
        again = making.replay(workshop, wrong)
        assert not again.equal
        assert "differs by up to" in str(again)
        assert "checkpoint was 000000000000" in str(again)
        assert "torch was 1.0" in str(again)


def exported(workshop: Workshop, recipe: Recipe, out: Path) -> tuple[str, np.ndarray]:
    """The script of a recipe that was made and kept, writing to `out`, and the pixels that it should give."""
    made = workshop.make(recipe)
    name, root = workshop.keep(made).removeprefix("made/"), workshop.opened.root
    code = making.script(
        recipe,
        checkpoint=str(root / workshop.opened.params.generator(recipe.generator).checkpoint),
        record=str(root / f"data/made/{recipe.generator}/{name}.safetensors"),
        output=str(out),
    )
    return code, made.image


class TestScripts:
    def test_a_script_run_by_itself_makes_the_same_pixels(self, workshop: Workshop, tmp_path: Path) -> None:
        code, image = exported(workshop, wished(workshop), tmp_path / "again.png")
        environment = {**os.environ, "PYTHONPATH": str(Path(making.__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "again.png")), image[0])

    @pytest.mark.parametrize("source", ["away", "scaled", "inverted", "guided", "teacher"])
    def test_scripts_of_every_source_do(
        self, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        monkeypatch.chdir(workshop.opened.root)
        if source == "teacher":
            aim = workshop.aim_at("default", ("fake/teacher/5", "fake/teacher/9"))
            recipe = workshop.recipe("teacher", aim, (), 3, [workshop.hold("teacher", aim, LAYER)])
        elif source == "away":
            recipe = wished(workshop, away=FAKE[:1], strength=1.5, columns=(0, 1))
        else:
            recipe = wished(workshop, REAL, source=source)
        code, image = exported(workshop, recipe, tmp_path / "again.png")
        exec(compile(code, "script", "exec"), {"__name__": "__main__"})
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "again.png")), image[0])

    def test_values_that_no_script_can_carry_are_refused(self) -> None:
        held = replace(a_recipe().holds[0], source="inverse")
        with pytest.raises(ValueError, match="no script can carry"):
            making.script(a_recipe(holds=(held,)), checkpoint="c", record="r", output="o")


class TestCommandLine:
    @pytest.fixture
    def here(self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        copy = tmp_path / "here"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns("made"))
        monkeypatch.chdir(copy)
        return copy

    def test_list_show_replay_and_script(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["list"]) == 0
        assert "nothing was made yet" in capsys.readouterr().out
        workshop = Workshop(here, params.load())
        made = workshop.make(wished(workshop))
        name = workshop.keep(made).removeprefix("made/")
        assert main(["list"]) == main(["show", name]) == main(["script", f"made/{name}"]) == 0
        said = capsys.readouterr().out
        assert f"made/{name}  student, class 3, seed 5, held: encoder_bottleneck, view default" in said
        assert '"seed": 5' in said
        assert f"save('{name}.png')" in said
        assert main(["replay", name, "--out", "x.png"]) == 0
        assert f"made/{name}  equal" in capsys.readouterr().out
        np.testing.assert_array_equal(np.asarray(Image.open(here / "x.png")), made.image[0])

    def test_records_that_cannot_be_replayed_are_said_and_the_rest_is(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        workshop = Workshop(here, params.load())
        workshop.keep(workshop.make(wished(workshop)))
        image = {"image": np.zeros((1, 8, 8), np.uint8)}
        old = store.write_made(workshop.folder("student"), {"recipe": {"label": 1}}, image)
        assert main(["replay", "--all"]) == 1
        said = capsys.readouterr().out
        assert f"{old}  cannot be replayed: " in said
        assert "of version none" in said
        assert "  equal" in said

    def test_an_unknown_id_and_no_id_say_what_to_do(self, here: Path) -> None:
        with pytest.raises(SystemExit, match="'made/nobody' is not among the made images"):
            main(["show", "nobody"])
        with pytest.raises(SystemExit, match="2"):
            main(["replay"])


def test_noise_is_steered_only_by_a_view_that_has_slopes(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    look = replace(workshop.opened.look("default"), keep="mean")
    monkeypatch.setitem(workshop.opened._looks, "default", look)
    with pytest.raises(ValueError, match="noise is steered by a view with protocol noised"):
        making.seen_by(workshop.opened, "default", ["made/0"], np.array([0]))


def test_steered_features_are_those_of_a_capture(workshop: Workshop) -> None:
    opened = workshop.opened
    pixels, labels = opened.pixels(REAL), opened.labels(REAL)
    see = making.seen_by(opened, "default", list(REAL), labels)
    with torch.no_grad():
        seen = see(opened.network("default").encode(pixels)).numpy()
    np.testing.assert_allclose(seen, opened.features("default", REAL), atol=2e-3)
