"""Wishes fulfilled in a project: targets, conditions, samplers, progress and cancelling, trajectories, gaps, bundles."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from modescope import making, masking, reaching
from modescope.making import Cancelled, Made, Picked, Point, Progress, Row, Wish, Workshop
from modescope.reaching import Region
from tests.dashboards.conftest import project_root  # noqa: F401 - a fixture
from tests.lib.workshops import workshop_in

REAL, OTHERS = ("real/1", "real/2", "real/12"), ("real/5", "real/7")
FAKE = ("fake/student/3", "fake/student/13", "fake/student/23")


@pytest.fixture(scope="module")
def workshop(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:  # noqa: F811
    return workshop_in(tmp_path_factory.mktemp("orders") / "project", project_root)


def wish(**changes: object) -> Wish:
    fields = dict(view="default", generator="student", target=Picked(ids=REAL), label=3, layers=("encoder_bottleneck",))
    return Wish(**{**fields, **changes})


def one(workshop: Workshop, **changes: object) -> Made:
    (made,) = workshop.fulfil(wish(**changes))
    return made


FREE = dict(target=None, source=None, layers=())


class TestOrders:
    def test_an_order_makes_what_the_single_recipes_make_to_the_bit(self, workshop: Workshop) -> None:
        order = workshop.fulfil(wish(seeds=(5, 6)))
        assert len(order) == 2
        for made, seed in zip(order, (5, 6), strict=True):
            aim = workshop.aim_at("default", REAL)
            held = workshop.hold("student", aim, ["encoder_bottleneck"])
            recipe = workshop.recipe("student", aim, making.one_class(3), seed, [held])
            assert made.recipe == recipe
            np.testing.assert_array_equal(made.image, workshop.make(recipe).image)
            np.testing.assert_array_equal(
                made.held["encoder_bottleneck"], workshop.make(recipe).held["encoder_bottleneck"]
            )

    def test_it_makes_nothing_before_it_is_asked_and_obtains_alike_values_once(
        self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[int] = []
        plain = workshop.prepared
        monkeypatch.setattr(workshop, "prepared", lambda recipe: (asked.append(recipe.seed), plain(recipe))[1])
        order = workshop.fulfil(wish(seeds=(5, 6, 7)))
        assert asked == []
        next(iter(order))
        assert asked == [5]
        list(order)
        assert asked == [5, 5]
        list(workshop.fulfil(wish(seeds=(5, 6), source="guided")))
        assert asked == [5, 5, 5, 6]

    def test_several_wishes_are_one_order(self, workshop: Workshop) -> None:
        order = workshop.fulfil([wish(seeds=(1,)), wish(target=Picked(ids=OTHERS), seeds=(2, 3))])
        assert [(made.recipe.seed, made.recipe.aim.ids) for made in order] == [(1, REAL), (2, OTHERS), (3, OTHERS)]

    def test_progress_goes_from_step_to_step_and_image_to_image(self, workshop: Workshop) -> None:
        told: list[Progress] = []
        list(workshop.fulfil(wish(seeds=(1, 2)), watch=told.append))
        assert [(each.image, each.step, each.steps) for each in told] == [(0, 1, 2), (0, 2, 2), (1, 1, 2), (1, 2, 2)]
        assert [each.share for each in told] == [0.25, 0.5, 0.75, 1]
        told.clear()
        list(workshop.fulfil(wish(generator="teacher", **FREE), watch=told.append))
        assert [(each.step, each.steps) for each in told] == [(1, 2), (2, 2)]

    def test_it_ends_when_asked_and_leaves_the_network_as_it_was(self, workshop: Workshop) -> None:
        made: list[Made] = []
        with pytest.raises(Cancelled):
            made.extend(workshop.fulfil(wish(seeds=(1, 2, 3)), cancelled=lambda: True))
        assert made == []
        images = iter(workshop.fulfil(wish(seeds=(1, 2, 3)), cancelled=lambda: bool(made)))
        made.append(next(images))
        with pytest.raises(Cancelled):
            next(images)
        assert [each.recipe.seed for each in made] == [1]
        assert one(workshop, seeds=(1,)).recipe.seed == 1
        assert not workshop.opened.generator("student").network._forward_pre_hooks

    def test_it_ends_inside_of_a_search_for_noise(self, workshop: Workshop) -> None:
        asked: list[int] = []

        def cancelled() -> bool:
            asked.append(len(asked))
            return len(asked) > 3

        with pytest.raises(Cancelled):
            list(workshop.fulfil(wish(source="inverted"), cancelled=cancelled))
        assert len(asked) == 4

    def test_what_cannot_be_made_is_said_before_anything_is(self, workshop: Workshop) -> None:
        with pytest.raises(ValueError, match="layer 'encoder_bottlenek' is not in this network; its layers"):
            workshop.fulfil(wish(layers=("encoder_bottlenek",)))
        with pytest.raises(ValueError, match="class 11 is not there; choose one from 0 to 9"):
            workshop.fulfil(wish(label=11))
        with pytest.raises(ValueError, match="source 'scaled' cannot be had: its values are of the single step"):
            workshop.fulfil(wish(generator="teacher", source="scaled"))
        with pytest.raises(ValueError, match="begin 'inverted' cannot be had: its values are of the single step"):
            workshop.fulfil(wish(generator="teacher", begin="inverted", source=None))
        with pytest.raises(ValueError, match="step is 1; one-step takes 1 steps here"):
            workshop.fulfil(wish(held_steps=(0, 1)))
        with pytest.raises(ValueError, match="has neither a class nor samples that it is aimed at; ask for a class"):
            workshop.fulfil(wish(condition="none", **FREE))
        many = Picked(ids=workshop.opened.images("real").ids)
        small = workshop.opened.params.inversion.model_copy(update={"batch_size": 8})
        params = workshop.opened.params.model_copy(update={"inversion": small})
        with pytest.raises(ValueError, match="searches noise for each of 60 samples, and inversion.batch_size is 8"):
            Workshop(workshop.opened.root, params).fulfil(wish(target=many, source="inverted"))


class TestTargets:
    def test_a_row_holds_means_at_equal_steps_between_its_ends(self, workshop: Workshop) -> None:
        row = Row(first=Picked(ids=FAKE[:1]), last=Picked(ids=FAKE[1:]), shares=making.evenly(3))
        made = list(workshop.fulfil(wish(target=row, condition="neighbours", seeds=(4,))))
        held = [each.held["encoder_bottleneck"] for each in made]
        np.testing.assert_allclose(held[1], (held[0] + held[2]) / 2, atol=1e-5)
        alone = one(workshop, target=Picked(ids=FAKE[:1]), condition="neighbours", seeds=(4,))
        assert made[0].id == alone.id
        np.testing.assert_allclose(
            np.array(made[1].recipe.aim.place), np.mean([m.recipe.aim.place for m in made], 0), rtol=1e-5
        )
        labels = workshop.opened.labels(FAKE)
        shares = np.bincount(labels, weights=(0.5, 0.25, 0.25))
        assert dict(made[1].recipe.condition) == {
            label: pytest.approx(shares[label]) for label in np.flatnonzero(shares)
        }

    def test_a_row_of_several_seeds_is_a_row_for_each(self, workshop: Workshop) -> None:
        point = Point(at=tuple(workshop.opened.places("default", OTHERS)[0].tolist()))
        row = Row(first=Picked(ids=REAL), last=point, shares=(0, 0.5))
        recipes = workshop.fulfil(wish(target=row, seeds=(1, 2))).recipes
        assert [recipe.seed for recipe in recipes] == [1, 1, 2, 2]
        assert recipes[0].aim.ids == recipes[2].aim.ids == REAL
        assert set(REAL) < set(recipes[1].aim.ids)

    def test_a_point_off_the_data_is_said_to_be_one(self, workshop: Workshop) -> None:
        here = tuple(workshop.opened.places("default", REAL)[0].tolist())
        far = (here[0] + 1e3, here[1])
        assert not workshop.extrapolates("default", here)
        assert workshop.extrapolates("default", far)
        near, off = (one(workshop, target=Point(at=place)) for place in (here, far))
        assert (near.extrapolated, off.extrapolated, one(workshop).extrapolated) == (False, True, None)
        assert off.record()["extrapolated"] is True
        assert off.recipe.aim.place == pytest.approx(far)

    def test_an_aim_is_dragged_by_the_weights_of_its_neighbours(self, workshop: Workshop) -> None:
        places = workshop.opened.places("default", REAL)
        at_one = workshop.weighted("default", REAL, places[1].tolist())
        assert at_one.weights == (0, 1, 0)
        between = places[0] * 0.9 + places[1] * 0.1
        weights = workshop.weighted("default", REAL, between.tolist()).weights
        distance = np.linalg.norm(places - between, axis=1)
        np.testing.assert_allclose(weights, distance**-2 / (distance**-2).sum(), rtol=1e-4)
        assert one(workshop, target=Picked(ids=REAL, weights=weights)).recipe.aim.weights == pytest.approx(weights)

    def test_without_a_target_class_and_seed_alone_decide(self, workshop: Workshop) -> None:
        made = one(workshop, seeds=(4,), **FREE)
        generator = workshop.opened.generator("student")
        noise = masking.fresh_noise(4, generator.latent_shape)
        np.testing.assert_array_equal(made.image, masking.generate(generator, noise, np.array([3]), None).pixels[0])
        assert made.mean is made.distance is made.relative is made.extrapolated is None
        assert made.place == made.free_place
        kept = making.read_kept(workshop, workshop.keep(made))
        assert "mean" not in kept.arrays
        assert making.replay(workshop, kept).equal

    @pytest.mark.parametrize(("condition", "label"), [("uniform", 1), ("none", 1), ("class", 3)])
    def test_an_image_is_looked_at_as_of_its_class_or_else_of_its_neighbours(
        self, workshop: Workshop, condition: str, label: int
    ) -> None:
        target = Picked(ids=("real/2", "real/1"), weights=(1.0, 3.0))
        assert workshop.opened.labels(["real/1"]).tolist() == [1]
        made = one(workshop, condition=condition, target=target)
        seen, _ = workshop.opened.captured("default", [made.id], made.image[None], np.array([label]))
        np.testing.assert_allclose(made.features, seen[0], atol=1e-4)


class TestSamplers:
    @pytest.mark.parametrize(("sampler", "steps"), [("one-step", 1), ("few-step", 4), ("heun", 18), ("euler", 18)])
    def test_another_sampler_is_the_recipes_own_and_replays(self, workshop: Workshop, sampler: str, steps: int) -> None:
        made = one(workshop, sampler=sampler, generator="teacher", **FREE)
        assert (made.recipe.sampler, made.recipe.steps) == (sampler, steps if sampler != "heun" else 2)
        again = making.replay(workshop, making.read_kept(workshop, workshop.keep(made)))
        assert (again.equal, again.differs) == (True, ())

    def test_a_mask_is_held_in_the_steps_that_are_named(self, workshop: Workshop) -> None:
        made = one(workshop, sampler="few-step", steps=3, held_steps=(0, 2), target=Picked(ids=FAKE))
        levels = made.recipe.schedule.levels
        assert [held.sigma for held in made.recipe.holds] == [levels[0], levels[2]]
        first = one(workshop, sampler="few-step", steps=3, target=Picked(ids=FAKE))
        assert (made.image != first.image).any()
        assert (made.image != made.free).any()
        # The first step of several is the single step of a one-step generator.
        alone = one(workshop, target=Picked(ids=FAKE))
        np.testing.assert_allclose(first.held["encoder_bottleneck"], alone.held["encoder_bottleneck"], atol=1e-4)

    def test_what_can_be_chosen_is_told_with_the_reason_why_not(self, workshop: Workshop) -> None:
        there = workshop.sources("default", "student")
        assert [name for name, why_not in there.items() if why_not is None] == [
            "nearest",
            "scaled",
            "inverted",
            "guided",
        ]
        assert "that takes protocol sampling, keep full" in str(there["inverse"])
        several = workshop.sources("default", "student", "heun")
        assert [name for name, why_not in several.items() if why_not is None] == ["nearest"]
        assert "this is sampled by heun" in str(several["inverted"])
        assert workshop.layers("student")[-1].startswith("decoder_block")
        assert workshop.why_not("default", "student") is None
        assert "data/checkpoints/absent.safetensors" in str(workshop.why_not("default", "absent"))

    def test_a_view_without_its_map_says_so(self, workshop: Workshop, tmp_path: Path) -> None:
        copy = tmp_path / "bare"
        (copy / "data").mkdir(parents=True)
        (copy / "data/checkpoints").symlink_to(workshop.opened.root / "data/checkpoints")
        assert "The fitted map is missing (data/maps/default/reducer)" in str(
            Workshop(copy, workshop.opened.params).why_not("default", "student")
        )


class TestStarts:
    def test_noise_that_was_found_makes_the_image_without_a_mask_and_replays(self, workshop: Workshop) -> None:
        kept = []
        for begin in ("inverted", "guided"):
            made = one(workshop, begin=begin, source=None, seeds=(2,))
            assert made.found["start"].shape == (1, 1, 8, 8)
            assert made.recipe.layers == ()
            assert (made.image != made.free).any()
            generator = workshop.opened.generator("student")
            noise = torch.from_numpy(made.found["start"])
            expected = masking.generate(generator, noise, np.array([3]), None)
            np.testing.assert_array_equal(made.image, expected.pixels[0])
            found = making.read_kept(workshop, workshop.keep(made))
            assert found.recipe == made.recipe
            assert making.replay(workshop, found).equal
            kept.append(found)
        assert kept[0].recipe.start.samples.ids == REAL[:1]
        assert kept[1].recipe.start.samples.ids == REAL

    def test_it_is_found_for_the_heaviest_sample_and_from_elsewhere_for_another_seed(self, workshop: Workshop) -> None:
        target = Picked(ids=REAL, weights=(1.0, 3.0, 3.0))
        first, second = workshop.recipes(wish(begin="inverted", source=None, target=target, seeds=(0, 1)))
        assert first.start.samples.ids == second.start.samples.ids == REAL[1:2]
        assert first.start.samples.starts != second.start.samples.starts

    def test_generated_samples_and_several_steps_are_refused(self, workshop: Workshop) -> None:
        with pytest.raises(ValueError, match="source 'inverted' is for real samples"):
            workshop.fulfil(wish(begin="inverted", source=None, target=Picked(ids=FAKE)))
        recipe = one(workshop, begin="inverted", source=None).recipe
        with pytest.raises(ValueError, match="student is sampled by few-step; begin with the noise of the seed"):
            workshop.make(replace(recipe, sampler="few-step", steps=2))
        with pytest.raises(ValueError, match="source 'luck' of noise is unknown; use one of inverted, guided"):
            replace(recipe.start, source="luck")
        guided = workshop.recipes(wish(begin="guided", source=None))[0].start
        with pytest.raises(ValueError, match="noise is to be found for 3 samples; an image begins with that of one"):
            replace(guided, source="inverted")

    def test_a_recipe_without_one_is_written_as_before(self, workshop: Workshop) -> None:
        assert "start" not in workshop.recipes(wish())[0].record()


class TestTrajectories:
    @pytest.mark.parametrize("generator", ["teacher", "student"])
    def test_every_step_is_seen_and_the_last_is_the_image_in_its_place(
        self, workshop: Workshop, generator: str
    ) -> None:
        made = one(workshop, generator=generator, source=None, sampler="heun", steps=4)
        told: list[int] = []
        path = workshop.trajectory(made.recipe, watch=told.append)
        assert told == [1, 2, 3, 4]
        assert path.sigmas.tolist() == pytest.approx(made.recipe.schedule.levels)
        assert path.images.shape == (4, *made.image.shape)
        np.testing.assert_array_equal(path.images[-1], made.image)
        np.testing.assert_array_equal(path.places[-1], made.place)
        assert path.distances[-1] == pytest.approx(made.distance, rel=1e-4)
        assert len({image.tobytes() for image in path.images}) > 1

    def test_a_mask_bends_it(self, workshop: Workshop) -> None:
        held, free = (
            workshop.trajectory(
                one(workshop, sampler="few-step", steps=2, target=Picked(ids=FAKE), source=source).recipe
            )
            for source in ("nearest", None)
        )
        assert (held.images[0] != free.images[0]).any()

    def test_without_an_aim_there_is_no_distance(self, workshop: Workshop) -> None:
        path = workshop.trajectory(one(workshop, generator="teacher", **FREE).recipe)
        assert path.distances is None
        assert path.places.shape == (2, 2)

    def test_that_of_a_sample_of_the_pipeline_ends_at_that_sample(self, workshop: Workshop) -> None:
        for name in ("fake/teacher/5", "fake/student/7"):
            path = workshop.trajectory_of(name, "default")
            apart = path.images[-1].astype(int) - workshop.opened.pixels([name])[0]
            assert np.abs(apart).max() <= 1
            np.testing.assert_array_equal(path.places[-1], workshop.opened.places("default", [name])[0])
            assert np.isfinite(path.places).all()
        with pytest.raises(ValueError, match="'real/3' is real: nothing sampled it"):
            workshop.trajectory_of("real/3", "default")

    def test_it_ends_when_asked(self, workshop: Workshop) -> None:
        recipe = one(workshop, generator="teacher", **FREE).recipe
        with pytest.raises(Cancelled):
            workshop.trajectory(recipe, cancelled=lambda: True)


class TestGaps:
    def test_images_towards_a_region_are_counted_by_the_rule_of_reaching(self, workshop: Workshop) -> None:
        opened = workshop.opened
        ids = opened.activations("default", "real").ids
        region = Region(rank=0, centre="real/3", ids=("real/3", "real/13", "real/23"))
        scores = pd.DataFrame(
            {"sample_id": ids, "gap": [0 if name in region.ids else -1 for name in ids], "radius": 1e9}
        )
        around = reaching.neighbourhood(opened, "default", scores)
        aims = reaching.aims_at(opened, "default", "student", [region], 4)
        wishes = making.towards(wish(target=None, source=None), "mask", aims.members, aims.labels, aims.turn)
        made = list(workshop.fulfil(wishes))

        def counts(features: np.ndarray) -> np.ndarray:
            _, rank, inside = around.landed(features)
            return (rank == region.rank) & inside

        found = making.tally(made, counts)
        assert [each.recipe.label for each in made] == aims.labels.tolist()
        real = opened.features("default", ids)
        nearest = [ids[np.linalg.norm(real - each.features, axis=1).argmin()] in region.ids for each in made]
        free = [ids[np.linalg.norm(real - each.free_features, axis=1).argmin()] in region.ids for each in made]
        assert (found.images, found.inside, found.free) == (4, sum(nearest), sum(free))

    def test_images_without_features_are_not_counted(self, workshop: Workshop) -> None:
        made = one(workshop)
        with pytest.raises(ValueError, match="of 2 images 1 have features of their view; give at least one"):
            making.tally([made, replace(made, features=None)], lambda features: np.ones(len(features)))


@pytest.fixture(scope="module")
def ids(workshop: Workshop) -> list[str]:
    order = workshop.fulfil([wish(), wish(begin="inverted", source=None), wish(**FREE)])
    return [workshop.keep(made) for made in order]


class TestBundles:
    def test_it_holds_pictures_records_scripts_and_a_list(self, workshop: Workshop, ids: list[str]) -> None:
        packed = making.bundle(workshop, ids)
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            assert archive.testzip() is None
            lines = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))
            assert [line["id"] for line in lines] == ids
            for line, sample_id in zip(lines, ids, strict=True):
                kept = making.read_kept(workshop, sample_id)
                folder = line["folder"]
                assert json.loads(archive.read(f"{folder}/record.json"))["id"] == sample_id
                assert archive.read(f"{folder}/{line['script']}").decode() == making.script_of(workshop, sample_id)
                image = np.asarray(Image.open(io.BytesIO(archive.read(f"{folder}/image.png"))))
                np.testing.assert_array_equal(image, kept.arrays["image"][0])
                assert (f"{folder}/mean.png" in archive.namelist()) == ("mean" in kept.arrays)
            assert [line["source"] for line in lines] == ["nearest", "", ""]
            assert lines[0]["neighbours"] == " ".join(REAL)
            assert lines[0]["condition"] == "3:1"

    def test_the_same_ids_give_the_same_bytes_and_each_once(self, workshop: Workshop, ids: list[str]) -> None:
        assert making.bundle(workshop, ids) == making.bundle(workshop, [*ids, ids[0]])
        assert making.bundle(workshop, ids[:1]) != making.bundle(workshop, ids[1:2])

    def test_a_script_of_noise_that_was_found_makes_the_same_pixels(
        self, workshop: Workshop, ids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(workshop.opened.root)
        code = making.script_of(workshop, ids[1])
        assert "found/start" in code
        exec(compile(code, "script", "exec"), {"__name__": "__main__"})
        made = np.asarray(Image.open(f"{ids[1].removeprefix('made/')}.png"))
        np.testing.assert_array_equal(made, making.read_kept(workshop, ids[1]).arrays["image"][0])

    def test_unknown_ids_and_none_are_refused(self, workshop: Workshop) -> None:
        with pytest.raises(ValueError, match="'made/nobody' is not among the made images"):
            making.bundle(workshop, ["made/nobody"])
        with pytest.raises(ValueError, match="ids is empty; name at least one image to pack"):
            making.bundle(workshop, [])
