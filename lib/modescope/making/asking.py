"""What can be asked for, and from what is wished for to recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modescope.making import aims, holds, landing
from modescope.making.opened import Opened
from modescope.making.recipes import Aim, Condition, Held, Recipe, Start
from modescope.making.schedules import Schedule, schedule_of
from modescope.making.wishes import Picked, Point, Wish, condition_of
from modescope.params import Params
from modescope.store import Images


class Asking:
    """Wishes and recipes of one project; networks are loaded on first use and stay. One thread at a time may ask."""

    def __init__(self, root: Path, params: Params, images: Mapping[str, Images] | None = None) -> None:
        self.opened = Opened(root, params, images)

    def ready(self, generator: str) -> bool:
        """Whether an image can be made without loading anything."""
        return self.opened.ready(generator)

    def layers(self, generator: str) -> tuple[str, ...]:
        """Every layer that can be held, in execution order."""
        return tuple(self.opened.generator(generator).layers)

    def sources(self, view: str, generator: str, sampler: str | None = None) -> dict[str, str | None]:
        """Where mask values can come from => why not, in words; None where they can."""
        return holds.sources_for(self.opened, view, generator, self.schedule(generator, sampler))

    def why_not(self, view: str, generator: str) -> str | None:
        """Which file is missing, so that nothing can be made for this view, in words; None where all are there."""
        root, how = self.opened.root, self.opened.params
        networks = {"generator": how.generator(generator).checkpoint, "feature network": how.view(view).network}
        for what, path in networks.items():
            if not (root / path).exists():
                return f"The checkpoint of the {what} is missing ({path}): run `dvc checkout`."
        if not self.opened.map_hash(view):
            return f"The fitted map is missing (data/maps/{view}/reducer): run `dvc checkout`."
        return None

    def extrapolates(self, view: str, point: Sequence[float]) -> bool:
        """Whether a point of the map lies off the data."""
        return landing.extrapolates(self.opened, view, tuple(point))

    def weighted(self, view: str, ids: Sequence[str], at: Sequence[float]) -> Picked:
        """Samples weighted by their nearness on the map to a point among them: an aim that was dragged there."""
        return aims.weighted(self.opened, view, ids, at)

    def aims(self, wish: Wish) -> tuple[Aim, ...]:
        """What a wish aims at: one aim, of a row one for every share."""
        return aims.aims_of(self.opened, wish.view, wish.target)

    def aim_at(self, view: str, ids: Sequence[str], weights: Sequence[float] | None = None) -> Aim:
        """The weighted mean of samples (None: equal shares)."""
        given = None if weights is None else tuple(weights)
        return aims.aim_at(self.opened, view, Picked(ids=tuple(ids), weights=given))

    def aim_of_point(self, view: str, point: Sequence[float], inverse: str = "neighbours", k: int = 5) -> Aim:
        """A point of the map: the real samples that an inverse finds there and their weights (see `Point`)."""
        return aims.aim_of_point(self.opened, view, Point(at=tuple(point), inverse=inverse, k=k))

    def schedule(self, generator: str, sampler: str | None = None, steps: int | None = None) -> Schedule:
        """How a generator is sampled: as params.yaml says, or otherwise."""
        return schedule_of(self.opened.params.generator(generator), sampler, steps)

    def hold(
        self,
        generator: str,
        aim: Aim,
        layers: Sequence[str],
        *,
        source: str = "nearest",
        schedule: Schedule | None = None,
        **how: Any,
    ) -> Held:
        """To hold the mean of an aim's samples (see `holds.held_of`)."""
        chosen = schedule or self.schedule(generator)
        return holds.held_of(self.opened, generator, aim, layers, chosen, source=source, **how)

    def recipe(
        self,
        generator: str,
        aim: Aim,
        condition: Condition,
        seed: int,
        holds: Sequence[Held] = (),
        schedule: Schedule | None = None,
        start: Start | None = None,
    ) -> Recipe:
        """All of it, with what the project says of the generator. `condition`: see `one_class`, `uniform`, `shared`; ()."""
        how, opened = self.opened.params.generator(generator), self.opened
        return Recipe(
            generator=generator,
            checkpoint=opened.generator(generator).checkpoint_hash,
            family=how.family,
            **asdict(schedule or self.schedule(generator)),
            precision=opened.params.generate.precision,
            runtime=opened.machine,
            root=opened.params.seed,
            seed=seed,
            condition=condition,
            aim=aim,
            holds=tuple(holds),
            start=start,
        )

    def recipes(self, wish: Wish) -> tuple[Recipe, ...]:
        """Of every image of a wish: seed after seed, of a row all shares of the first seed first. ValueError for what
        cannot be made.
        """
        schedule = self.schedule(wish.generator, wish.sampler, wish.steps)
        self._check(wish, schedule)
        found = [(aim, self._condition(wish, aim), self._held(wish, aim, schedule)) for aim in self.aims(wish)]
        recipes = [
            self.recipe(wish.generator, aim, condition, seed, held, schedule, self._start(wish, aim, seed))
            for seed in wish.seeds
            for aim, condition, held in found
        ]
        if self.opened.params.view(wish.view).protocol != "sampling":
            for recipe in recipes[: len(found)]:
                landing.seen_as(self.opened, recipe)  # or a ValueError, before anything is made
        return tuple(recipes)

    def _check(self, wish: Wish, schedule: Schedule) -> None:
        why_not = holds.sources_for(self.opened, wish.view, wish.generator, schedule)
        for what, chosen, instead in (("source", wish.source, "'nearest'"), ("begin", wish.begin, "'seed'")):
            if chosen is not None and why_not.get(chosen) is not None:
                raise ValueError(f"{what} {chosen!r} cannot be had: {why_not[chosen]}; use {what} {instead}")
        if wish.source is not None:
            self.opened.generator(wish.generator).module_paths(wish.layers)

    def _condition(self, wish: Wish, aim: Aim) -> Condition:
        labels = self.opened.labels(aim.ids) if aim.ids else ()
        classes = self.opened.generator(wish.generator).num_classes
        return condition_of(wish.condition, wish.label, labels, aim.weights, classes)

    def _held(self, wish: Wish, aim: Aim, schedule: Schedule) -> tuple[Held, ...]:
        if wish.source is None:
            return ()
        first = self.hold(
            wish.generator,
            aim,
            wish.layers,
            source=wish.source,
            schedule=schedule,
            step=wish.held_steps[0],
            strength=wish.strength,
        )
        return tuple(replace(first, step=step, sigma=schedule.level(step)) for step in wish.held_steps)

    def _start(self, wish: Wish, aim: Aim, seed: int) -> Start | None:
        return None if wish.begin == "seed" else holds.start_for(self.opened, wish.generator, aim, wish.begin, seed)
