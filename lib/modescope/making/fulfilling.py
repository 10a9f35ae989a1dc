"""Many recipes, made one by one, watched and ended when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modescope.making.made import Made
from modescope.making.recipes import Recipe
from modescope.making.running import Cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`step` of the `steps` of image number `image` (from 0) of `images` are done."""

    image: int
    images: int
    step: int
    steps: int

    @property
    def share(self) -> float:
        """Of everything, 0 to 1."""
        return (self.image + self.step / self.steps) / self.images


@dataclass(frozen=True, kw_only=True)
class Order:
    """Sized iterable over the images of recipes, each made when it is asked for.

    Values that several of them hold alike are obtained once. `make`: as `Workshop.make`.
    """

    recipes: tuple[Recipe, ...]
    make: Callable[..., Made]
    watch: Callable[[Progress], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def __len__(self) -> int:
        return len(self.recipes)

    def __iter__(self) -> Iterator[Made]:
        memory: dict[Recipe, object] = {}
        for number, recipe in enumerate(self.recipes):
            if self.cancelled is not None and self.cancelled():
                raise Cancelled
            yield self.make(recipe, memory=memory, watch=self._watch(number, recipe), cancelled=self.cancelled)

    def _watch(self, number: int, recipe: Recipe) -> Callable[[int], None] | None:
        watch = self.watch
        if watch is None:
            return None
        steps = recipe.steps * (1 if recipe.is_free else 2)  # the free image of the same seed is made beside
        return lambda done: watch(Progress(image=number, images=len(self), step=done, steps=steps))
