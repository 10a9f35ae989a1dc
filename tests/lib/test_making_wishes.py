"""What can be asked for, as values: conditions, rows between two ends, groups of real samples, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modescope import making, masking
from modescope.making import Aim, Picked, Point, Progress, Row, Wish
from modescope.making.schedules import Schedule
from modescope.making.wishes import between, condition_of
from modescope.sampling import sampler

ENDS = Picked(ids=("real/1",)), Picked(ids=("real/2",))


def wish(**changes: object) -> Wish:
    fields = dict(view="v", generator="g", target=ENDS[0], label=3, layers=("a",))
    return Wish(**{**fields, **changes})


class TestConditions:
    def test_each_by_its_name(self) -> None:
        labels, weights = [2, 4, 2], (0.5, 0.25, 0.25)
        assert condition_of("class", 7, labels, weights, 10) == ((7, 1.0),)
        assert condition_of("none", 7, labels, weights, 10) == ()
        assert condition_of("neighbours", 7, labels, weights, 10) == ((2, 0.75), (4, 0.25))
        uniform = condition_of("uniform", None, labels, weights, 4)
        assert [label for label, _ in uniform] == [0, 1, 2, 3]
        assert {share for _, share in uniform} == {0.25}

    @pytest.mark.parametrize("mode", making.CONDITIONS)
    def test_a_network_without_classes_has_none(self, mode: str) -> None:
        assert condition_of(mode, None, [0], (1.0,), 0) == ()

    def test_a_class_that_is_not_there_is_refused(self) -> None:
        for label in (10, -1, None):
            with pytest.raises(ValueError, match=f"class {label} is not there; choose one from 0 to 9"):
                condition_of("class", label, [], (), 10)
        with pytest.raises(ValueError, match="a neighbour is of class 12, and the generator knows 0 to 9"):
            condition_of("neighbours", None, [12], (1.0,), 10)

    def test_neighbours_are_needed_to_share_their_classes(self) -> None:
        with pytest.raises(ValueError, match="shares the classes of neighbours, and there are none"):
            condition_of("neighbours", None, [], (), 10)

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="condition 'most' is unknown; use one of class, uniform"):
            condition_of("most", None, [], (), 10)
        with pytest.raises(ValueError, match="condition 'most' is unknown; use one of class, uniform"):
            wish(condition="most")


class TestWishes:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"layers": ()}, "no layer is to be held; choose at least one"),
            ({"target": None}, "nothing to take mask values from; pick neighbours"),
            ({"target": None, "source": None, "begin": "inverted"}, "nothing to search noise for; pick neighbours"),
            ({"source": "guessed"}, "source 'guessed' is unknown; use one of recorded"),
            ({"begin": "guessed"}, "begin 'guessed' is unknown; use one of seed"),
            ({"strength": 1.5}, r"strength is 1.5; give 0 \(as computed\) to 1"),
            ({"seeds": ()}, r"seeds are \[\]; give at least one"),
            ({"seeds": (-1,)}, r"seeds are \[-1\]; give at least one, each 0 or more"),
            ({"held_steps": (1, 1)}, r"held_steps are \[1, 1\]; name at least one step, each once"),
            ({"source": "guided", "condition": "uniform"}, "condition 'uniform' has none that is larger"),
            ({"target": Row(first=ENDS[0], last=ENDS[1], shares=(0.5,)), "begin": "inverted"}, "a row has two ends"),
        ],
    )
    def test_what_cannot_be_made_is_refused_with_a_remedy(self, changes: dict, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            wish(**changes)

    def test_targets_that_are_none_are_refused(self) -> None:
        with pytest.raises(ValueError, match="there are no neighbours to aim at; pick at least one sample"):
            Picked(ids=())
        with pytest.raises(ValueError, match="there are 1 ids and 2 weights"):
            Picked(ids=("real/1",), weights=(1.0, 2.0))
        with pytest.raises(ValueError, match="inverse 'umap' names no samples"):
            Point(at=(0.0, 0.0), inverse="umap")
        with pytest.raises(ValueError, match=r"shares are \[1.5\]; give at least one, each from 0 to 1"):
            Row(first=ENDS[0], last=ENDS[1], shares=(1.5,))
        with pytest.raises(ValueError, match="count is 1; a row has both of its ends"):
            making.evenly(1)

    def test_there_is_an_image_for_every_seed_and_share(self) -> None:
        row = Row(first=ENDS[0], last=ENDS[1], shares=making.evenly(5))
        assert row.shares == (0, 0.25, 0.5, 0.75, 1)
        assert wish().count == 1
        assert wish(seeds=making.seeds_from(4, 3)).seeds == (4, 5, 6)
        assert wish(seeds=(4, 5, 6), target=row).count == 15
        assert wish(layers=(), target=None, source=None).count == 1

    def test_every_way_towards_real_samples_takes_their_class_and_another_seed(self) -> None:
        members = (("real/1", "real/2"), ("real/1",))
        masked = making.towards(wish(seeds=(7,)), "mask", members, np.array([1, 4]), np.array([0, 1]))
        assert [each.target for each in masked] == [Picked(ids=ids) for ids in members]
        assert [(each.label, each.seeds, each.source, each.begin) for each in masked] == [
            (1, (7,), "nearest", "seed"),
            (4, (8,), "nearest", "seed"),
        ]
        found = making.towards(wish(), "inversion", members, [1, 4], [0, 1])
        assert [(each.seeds, each.source, each.begin) for each in found] == [
            ((0,), None, "inverted"),
            ((1,), None, "inverted"),
        ]
        with pytest.raises(ValueError, match="way 'luck' is unknown; use one of mask, inversion, guided"):
            making.towards(wish(), "luck", members, [1, 4], [0, 1])

    def test_progress_is_a_share_of_everything(self) -> None:
        assert Progress(image=0, images=4, step=0, steps=18).share == 0
        assert Progress(image=2, images=4, step=9, steps=18).share == pytest.approx(0.625)
        assert Progress(image=3, images=4, step=18, steps=18).share == 1


class TestBetween:
    @staticmethod
    def aim(ids: tuple[str, ...], weights: tuple[float, ...], place: tuple[float, ...]) -> Aim:
        return Aim(view="v", network="n", map="m", ids=ids, weights=weights, place=place, inverse="neighbours")

    def test_weights_and_places_go_from_one_to_the_other(self) -> None:
        first, last = self.aim(("a", "b"), (0.5, 0.5), (0.0, 0.0)), self.aim(("b", "c"), (0.25, 0.75), (4.0, 8.0))
        found = between(first, last, 0.25)
        assert dict(zip(found.ids, found.weights, strict=True)) == {"a": 0.375, "b": 0.4375, "c": 0.1875}
        assert (found.place, found.inverse) == ((1.0, 2.0), None)
        assert between(first, last, 0) == first
        assert between(first, last, 1) == last

    def test_the_mean_of_the_weights_between_is_the_interpolated_mask(self) -> None:
        rng = np.random.default_rng(0)
        values = {name: rng.normal(size=(2, 3, 3)).astype(np.float32) for name in "abc"}
        first, last = self.aim(("a", "b"), (0.5, 0.5), (0.0,)), self.aim(("b", "c"), (0.25, 0.75), (1.0,))

        def mask(aim: Aim) -> masking.Mask:
            stacked = {"layer": np.stack([values[name] for name in aim.ids])}
            return masking.mean_mask(stacked, aim.ids, source="recorded", sigma=80.0, weights=aim.weights)

        for share in making.evenly(4):
            expected = masking.interpolated(mask(first), mask(last), share).values["layer"].numpy()
            np.testing.assert_allclose(mask(between(first, last, share)).values["layer"].numpy(), expected, atol=1e-6)


class TestSchedules:
    @staticmethod
    def schedule(name: str, steps: int) -> Schedule:
        return Schedule(sampler=name, steps=steps, renoise="none", guidance=None, sigma_max=80.0)

    @pytest.mark.parametrize(("name", "steps"), [("one-step", 1), ("few-step", 3), ("heun", 4), ("euler", 4)])
    def test_levels_are_those_at_which_the_sampler_steps(self, name: str, steps: int) -> None:
        run = sampler(name, steps=steps, noise="none")
        made = list(run(lambda x, sigma, rows: torch.zeros_like(x), torch.ones(1, 1, 2, 2), None))
        assert self.schedule(name, steps).levels == pytest.approx([step.sigma for step in made], rel=1e-6)

    def test_steps_that_there_are_not_are_refused(self) -> None:
        with pytest.raises(ValueError, match="step is 3; few-step takes 3 steps here, numbered from 0"):
            self.schedule("few-step", 3).level(3)
        with pytest.raises(ValueError, match="steps is 2 for sampler one-step; one-step takes 1"):
            self.schedule("one-step", 2)
        with pytest.raises(ValueError, match="steps is 0 for sampler heun"):
            self.schedule("heun", 0)
        with pytest.raises(ValueError, match="sampler 'ddpm' is unknown; use one of one-step"):
            self.schedule("ddpm", 2)
