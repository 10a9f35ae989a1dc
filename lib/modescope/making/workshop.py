"""Images made to order: what is wished for becomes a recipe, a recipe an image with its place, and a record of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modescope import store
from modescope.making import landing, steering, trajectories
from modescope.making.asking import Asking
from modescope.making.fulfilling import Order, Progress
from modescope.making.holding import hold_of
from modescope.making.made import Made, mean_image
from modescope.making.recipes import Recipe
from modescope.making.running import Prepared, interruptible, run
from modescope.making.trajectories import Trajectory
from modescope.making.wishes import Wish


class Workshop(Asking):
    """Recipes and images of one project; networks are loaded on first use and stay. One thread at a time may ask."""

    def fulfil(
        self,
        wishes: Wish | Sequence[Wish],
        *,
        watch: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Order:
        """A sized iterable over the images of wishes, made one by one as they are asked for; nothing is kept of itself.

        ValueError at once where one of them cannot be made. `cancelled` is asked before every pass of the generator;
        `Cancelled` is raised where it says so.
        """
        every = [wishes] if isinstance(wishes, Wish) else list(wishes)
        recipes = tuple(recipe for wish in every for recipe in self.recipes(wish))
        return Order(recipes=recipes, make=self.make, watch=watch, cancelled=cancelled)

    def sample(self, recipe: Recipe) -> tuple[UInt8[np.ndarray, "C H W"], dict[str, np.ndarray]]:
        """The image of a recipe alone, and what was held, computed and found on the way, as arrays of a record."""
        ready = self.prepared(recipe)
        ran = run(recipe, self.opened.generator(recipe.generator), ready.holds, ready.noise)
        return ran.image, {**ran.values, **{f"found/{name}": value for name, value in ready.found.items()}}

    def prepared(self, recipe: Recipe) -> Prepared:
        """What a recipe holds and begins with, obtained."""
        pairs = [hold_of(self.opened, recipe, held) for held in recipe.holds]
        found = {f"{number}/{name}": noise for number, (_, two) in enumerate(pairs) for name, noise in two.items()}
        noise = steering.start_of(self.opened, recipe)
        if noise is not None:
            found["start"] = noise.cpu().numpy()
        return Prepared(holds=tuple(hold for hold, _ in pairs), noise=noise, found=found)

    def make(
        self,
        recipe: Recipe,
        *,
        memory: dict[Recipe, Prepared] | None = None,
        watch: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Made:
        """The image of a recipe and where it lands: captured and transformed like any other.

        `memory`: values obtained for recipes before it. `watch` is told the steps that are done, of this image and the one
        with nothing held. ValueError where the generator of the project is not the recipe's.
        """
        if differs := self.differences(recipe, decisive=True):
            raise ValueError(
                f"the recipe cannot be followed here: {'; '.join(differs)}; bring back what it names, or wish for it anew"
            )
        generator, aim = self.opened.generator(recipe.generator), recipe.aim
        with interruptible(generator.network, cancelled):
            ready = self._remembered(recipe, {} if memory is None else memory)
            ran = run(recipe, generator, ready.holds, ready.noise, watch)
            after = None if watch is None else lambda done: watch(recipe.steps + done)
            free = ran.image if recipe.is_free else run(recipe, generator, watch=after).image
        landed = landing.landing(self.opened, recipe, np.stack([ran.image, free]))
        return Made(
            recipe=recipe,
            image=ran.image,
            free=free,
            mean=mean_image(list(self.opened.pixels(aim.ids)), aim.weights) if aim.ids else None,
            held=_under("held/", ran.values),
            computed=_under("computed/", ran.values),
            found=ready.found,
            extrapolated=landing.extrapolated(self.opened, aim),
            **_two(landed),
        )

    def _remembered(self, recipe: Recipe, memory: dict[Recipe, Prepared]) -> Prepared:
        """Values are those of what is held, whatever the seed; but noise is searched for from that of the seed."""
        searched = recipe.start is not None or any(held.source == "guided" for held in recipe.holds)
        key = recipe if searched else replace(recipe, seed=0, condition=())
        if key not in memory:
            memory[key] = self.prepared(recipe)
        return memory[key]

    def trajectory(
        self,
        recipe: Recipe,
        *,
        watch: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Trajectory:
        """Every step of a recipe's sampler: the image that it estimates there, and its place."""
        with interruptible(self.opened.generator(recipe.generator).network, cancelled):
            return trajectories.of_recipe(self.opened, recipe, self.prepared(recipe), watch)

    def trajectory_of(self, sample_id: str, view: str) -> Trajectory:
        """The same of a sample that the pipeline made."""
        return trajectories.of_sample(self.opened, sample_id, view)

    def differences(self, recipe: Recipe, *, decisive: bool = False) -> list[str]:
        """In what this project and machine are not those of a recipe. `decisive`: only what makes another image.

        The sampler is the recipe's own, whatever params.yaml says of the generator now.
        """
        here = self.recipe(recipe.generator, recipe.aim, recipe.condition, recipe.seed, recipe.holds)
        names = ["checkpoint", "family", "sigma_max", "root", "precision"]
        pairs = [(name, getattr(recipe, name), getattr(here, name)) for name in names]
        if not decisive:
            pairs += [
                (name, getattr(recipe.runtime, name), getattr(here.runtime, name))
                for name in type(recipe.runtime).__dataclass_fields__
            ]
        return [f"{name} was {_short(then)} and is {_short(now)}" for name, then, now in pairs if then != now]

    def folder(self, generator: str) -> Path:
        """Where made images are kept."""
        return self.opened.root / "data" / "made" / generator

    def keep(self, made: Made) -> str:
        """Write a made image and its record => its id."""
        return store.write_made(self.folder(made.recipe.generator), made.record(), made.arrays())


def _two(landed: landing.Landing) -> dict[str, Any]:
    """A landing of an image and of the one with nothing held, as fields of `Made`."""
    found: dict[str, Any] = dict.fromkeys(("features", "place", "distance", "relative"))
    if landed.features is not None and landed.places is not None:
        found["features"], found["free_features"] = landed.features
        found["place"], found["free_place"] = (tuple(place.tolist()) for place in landed.places)
    if landed.distances is not None:
        found["distance"], base = landed.distances.tolist()
        found["relative"] = found["distance"] / base if base else None
    return found


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
