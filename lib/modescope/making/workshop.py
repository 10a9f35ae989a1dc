"""Images made to order: what is wished for becomes a recipe, a recipe an image with its place, and a record of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from modescope import masking, sampling, store
from modescope.edm import karras_sigmas
from modescope.generators import Generator
from modescope.inversion import Descent, nearest_samples
from modescope.making.holding import hold_of, sampler_of
from modescope.making.opened import Opened, number_of, source_of
from modescope.making.recipes import Aim, Held, Recipe, Samples, class_weights
from modescope.masking import Hold
from modescope.params import Params
from modescope.runtime import arithmetic
from modescope.sampling import Step
from modescope.store import Images
from modescope.taps import capture


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An image, the one of the same seed with nothing held (`free`), and the mean of the images aimed at.

    held, computed: {layer: (C, H, W)}, what went on from the held layers and what they computed themselves. features:
    standardised, of the view. distance: from the aim, in features; relative: the same over that of `free` (below 1: the
    hold steers towards the aim). These and the place are None for a view of sampling passes, where only what was sampled
    freely has a place. found: noise that was searched for, {"<number of the hold>/noise": (N, C, H, W)}.
    """

    recipe: Recipe
    image: UInt8[np.ndarray, "C H W"]
    free: UInt8[np.ndarray, "C H W"]
    mean: UInt8[np.ndarray, "C H W"]
    held: Mapping[str, np.ndarray]
    computed: Mapping[str, np.ndarray]
    features: Float[np.ndarray, " D"] | None
    place: tuple[float, ...] | None
    distance: float | None
    relative: float | None
    found: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"made/{store.config_hash(self.recipe.record())}"

    def record(self) -> dict[str, Any]:
        """What is kept beside the arrays."""
        return {
            "recipe": self.recipe.record(),
            "landed": self.place,
            "distance": self.distance,
            "relative": self.relative,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "image": self.image,
            "free": self.free,
            "mean": self.mean,
            **({} if self.features is None else {"features": self.features}),
            **{f"held/{name}": value for name, value in self.held.items()},
            **{f"computed/{name}": value for name, value in self.computed.items()},
            **{f"found/{name}": value for name, value in self.found.items()},
        }


def mean_image(images: Sequence[UInt8[np.ndarray, "C H W"]], weights: Sequence[float]) -> UInt8[np.ndarray, "C H W"]:
    """The weighted pixel mean, rounded: what a blend in image space would give, beside what the network makes."""
    return np.rint(np.average(np.stack(images), axis=0, weights=weights)).astype(np.uint8)


class Workshop:
    """Recipes and images of one project; networks are loaded on first use and stay. One thread at a time may ask."""

    def __init__(self, root: Path, params: Params, images: Mapping[str, Images] | None = None) -> None:
        self.opened = Opened(root, params, images)

    # From what is wished for to a recipe

    def aim_at(self, view: str, ids: Sequence[str], weights: Sequence[float] | None = None) -> Aim:
        """The weighted mean of samples (None: equal shares)."""
        names, shares = masking.shares(ids) if weights is None else (tuple(ids), _normalised(weights))
        return self._aim(view, names, shares, None)

    def aim_of_point(self, view: str, point: Sequence[float], inverse: str = "neighbours", k: int = 5) -> Aim:
        """A point of the map: the real samples that an inverse finds there (`neighbours`: the k nearest; `barycentric`:
        the corners of the triangle around it) and their weights.
        """
        if inverse not in ("neighbours", "barycentric"):
            raise ValueError(f"inverse {inverse!r} names no samples; use 'neighbours' or 'barycentric'")
        reducer, where = self.opened.reducer(view), np.array([point], np.float64)
        rows, weights = reducer.corners(where) if inverse == "barycentric" else reducer.neighbours(where, k)
        shares: dict[str, float] = {}
        ids = self.opened.activations(view, "real").ids
        for row, weight in zip(rows[0].tolist(), weights[0].tolist(), strict=True):
            shares[ids[row]] = shares.get(ids[row], 0.0) + weight
        shares = {name: weight for name, weight in shares.items() if weight > 0}
        aim = self._aim(view, tuple(shares), _normalised(tuple(shares.values())), inverse)
        return replace(aim, place=tuple(float(x) for x in point))

    def _aim(self, view: str, ids: tuple[str, ...], weights: tuple[float, ...], inverse: str | None) -> Aim:
        place = np.average(self.opened.places(view, ids), axis=0, weights=weights)
        return Aim(
            view=view,
            network=self.opened.network(view).checkpoint_hash,
            map=self.opened.map_hash(view),
            ids=ids,
            weights=weights,
            place=tuple(place.tolist()),
            inverse=inverse,
        )

    def hold(
        self,
        generator: str,
        aim: Aim,
        layers: Sequence[str],
        *,
        source: str = "nearest",
        away: Sequence[str] = (),
        step: int = 0,
        **how: Any,
    ) -> Held:
        """To hold the mean of an aim's samples. `how`: strength, channels, rows, columns, average (see `Held`).

        For `nearest` (and `recorded`, its other name where all samples are generated) real samples are stood for by the
        generated ones nearest in features; the source says which it was. `away`: samples to steer away from.
        """
        if source in ("nearest", "recorded", "mixed"):
            real = sum(source_of(name) == "real" for name in (*aim.ids, *away))
            source = "recorded" if not real else "nearest" if real == len(aim.ids) + len(away) else "mixed"
        searching = self.opened.params.inversion
        search = Descent(steps=searching.steps, enough=searching.enough)
        return Held(
            layers=tuple(layers),
            samples=self._samples(generator, aim.view, aim.ids, aim.weights, source),
            away=self._samples(generator, aim.view, *masking.shares(away), source) if away else None,
            add=bool(away),
            sigma=self._level(generator, step),
            step=step,
            source=source,
            batch_size=self.batch_size(generator, layers),
            search=search if source in ("inverted", "guided") else None,
            **how,
        )

    def batch_size(self, generator: str, layers: Sequence[str]) -> int | None:
        """The batches in which the pipeline stored values of these layers; None where it did not."""
        how = self.opened.params.generator(generator)
        stored = how.masks == "stored" and how.sampler == "one-step" and set(layers) <= set(how.mask_layers)
        return self.opened.params.generate.batch_size if stored else None

    def _samples(self, generator: str, view: str, ids: Sequence[str], weights: Sequence[float], source: str) -> Samples:
        if source in ("nearest", "mixed", "recorded"):
            shares: dict[str, float] = {}
            for name, weight in zip(self.opened.stand_ins(view, generator, ids), weights, strict=True):
                if source_of(name) != generator:
                    raise ValueError(f"sample {name!r} was not made by {generator}, so it has no mask values there")
                shares[name] = shares.get(name, 0.0) + weight
            ids, weights = tuple(shares), tuple(shares.values())
        elif source != "guided" and (made := [name for name in ids if source_of(name) != "real"]):
            raise ValueError(f"source {source!r} is for real samples, and {made[0]!r} is none; use 'recorded'")
        labels = tuple(self.opened.labels(ids).tolist())
        starts = self._starts(generator, ids) if source == "inverted" else ()
        return Samples(ids=tuple(ids), weights=tuple(weights), labels=labels, starts=starts)

    def _starts(self, generator: str, ids: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Generated samples near each real one: the search for its noise starts from theirs."""
        images = self.opened.images(generator)
        rows = nearest_samples(
            self.opened.pixels(ids),
            images.read(np.arange(len(images))),
            min(self.opened.params.inversion.starts, len(images)),
            labels=self.opened.labels(ids),
            made_labels=images.labels,
        )
        return tuple(tuple(number_of(images.ids[i]) for i in line) for line in rows.tolist())

    def _level(self, generator: str, step: int) -> float:
        """The noise level of a step."""
        how = self.opened.params.generator(generator)
        if how.sampler == "few-step":
            levels = sampling.few_step_sigmas(how.steps, sigma_max=how.conditioning_sigma)
        elif how.sampler == "one-step":
            levels = [how.conditioning_sigma]
        else:
            levels = karras_sigmas(how.steps, sigma_min=0.002, sigma_max=how.conditioning_sigma).tolist()
        if not 0 <= step < len(levels):
            raise ValueError(f"step is {step}; {generator} takes {len(levels)} steps, numbered from 0")
        return levels[step]

    def recipe(
        self,
        generator: str,
        aim: Aim,
        condition: tuple[tuple[int, float], ...],
        seed: int,
        holds: Sequence[Held] = (),
    ) -> Recipe:
        """All of it, with what the project says of the generator. `condition`: see `one_class`, `uniform`, `shared`; ()."""
        how, network = self.opened.params.generator(generator), self.opened.generator(generator)
        return Recipe(
            generator=generator,
            checkpoint=network.checkpoint_hash,
            family=how.family,
            sampler=how.sampler,
            steps=how.steps,
            renoise=how.noise,
            guidance=how.guidance,
            sigma_max=how.conditioning_sigma,
            precision=self.opened.params.generate.precision,
            runtime=self.opened.machine,
            root=self.opened.params.seed,
            seed=seed,
            condition=condition,
            aim=aim,
            holds=tuple(holds),
        )

    # From a recipe to an image

    def sample(self, recipe: Recipe) -> tuple[UInt8[np.ndarray, "C H W"], dict[str, np.ndarray]]:
        """The image of a recipe alone, and what was held, computed and found on the way, as arrays of a record."""
        holds, found = self._holds(recipe)
        image, values = _passed(recipe, self.opened.generator(recipe.generator), holds)
        return image, values | {f"found/{name}": value for name, value in found.items()}

    def _holds(self, recipe: Recipe) -> tuple[list[Hold], dict[str, np.ndarray]]:
        holds: list[Hold] = []
        found: dict[str, np.ndarray] = {}
        for number, held in enumerate(recipe.holds):
            hold, noise = hold_of(self.opened, recipe, held)
            holds.append(hold)
            found |= {f"{number}/{name}": value for name, value in noise.items()}
        return holds, found

    def make(self, recipe: Recipe) -> Made:
        """The image of a recipe and where it lands: captured and transformed like any other.

        Raises ValueError where the generator of the project is not the recipe's.
        """
        if differs := self.differences(recipe, decisive=True):
            raise ValueError(
                f"the recipe cannot be followed here: {'; '.join(differs)}; bring back what it names, or wish for it anew"
            )
        generator = self.opened.generator(recipe.generator)
        image, arrays = self.sample(recipe)
        free = _passed(recipe, generator, [])[0]
        landed = self._landed(recipe, np.stack([image, free]))
        return Made(
            recipe=recipe,
            image=image,
            free=free,
            mean=mean_image(list(self.opened.pixels(recipe.aim.ids)), recipe.aim.weights),
            held=_under("held/", arrays),
            computed=_under("computed/", arrays),
            found=_under("found/", arrays),
            **landed,
        )

    def _landed(self, recipe: Recipe, pixels: UInt8[np.ndarray, "2 C H W"]) -> dict[str, Any]:
        """Where an image stands, and how far from the aim, also relative to the second one, seen under the same noise."""
        aim, view = recipe.aim, recipe.aim.view
        if self.opened.params.view(view).protocol == "sampling":
            return dict.fromkeys(("features", "place", "distance", "relative"))
        label = recipe.label if recipe.label is not None else int(np.bincount(self.opened.labels(aim.ids)).argmax())
        name = f"made/{store.config_hash(recipe.record())}"
        features, places = self.opened.captured(view, [name, name], pixels, np.array([label, label]))
        target = np.average(self.opened.features(view, aim.ids), axis=0, weights=aim.weights)
        distance, base = np.linalg.norm(features - target, axis=1).tolist()
        return {
            "features": features[0],
            "place": tuple(places[0].tolist()),
            "distance": distance,
            "relative": distance / base if base else None,
        }

    def differences(self, recipe: Recipe, *, decisive: bool = False) -> list[str]:
        """In what this project and machine are not those of a recipe. `decisive`: only what makes another image."""
        here = self.recipe(recipe.generator, recipe.aim, recipe.condition, recipe.seed, recipe.holds)
        names = ["checkpoint", "family", "sampler", "steps", "renoise", "guidance", "sigma_max", "root"]
        pairs = [(name, getattr(recipe, name), getattr(here, name)) for name in names]
        pairs.append(("precision", recipe.precision, here.precision))
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


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _normalised(weights: Sequence[float]) -> tuple[float, ...]:
    w = np.asarray(weights, float)
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError(f"weights are {w.tolist()}; give each sample 0 or more, one of them above 0")
    return tuple((w / w.sum()).tolist())


def _passed(
    recipe: Recipe, generator: Generator, holds: Sequence[Hold]
) -> tuple[UInt8[np.ndarray, "C H W"], dict[str, np.ndarray]]:
    """One run of the recipe's sampler under holds => the image; {"held/<layer>" and "computed/<layer>": (C, H, W)}."""
    shape = generator.latent_shape
    rows = generator.blended(class_weights(recipe.condition, 1, generator.num_classes))
    names = {path: name for held in recipe.holds for name, path in generator.module_paths(held.layers).items()}
    values: dict[str, np.ndarray] = {}
    with arithmetic(recipe.precision), ExitStack() as stack:
        run = sampler_of(recipe, generator)
        if holds:
            computed = stack.enter_context(capture(generator.network, names))
            held = stack.enter_context(capture(generator.network, names, value="held"))
            run = _watched(run, holds, names, {"held/": held, "computed/": computed}, values)
        renoise = sampling.renoising(recipe.seed, [0], shape, "made")
        steps = masking.generate_steps(
            generator, run, masking.fresh_noise(recipe.seed, shape), rows, list(holds), renoise
        )
    return generator.decode(steps[-1].x0)[0], values


def _watched(
    run: Callable[..., Iterator[Step]],
    holds: Sequence[Hold],
    names: Mapping[str, str],
    taps: Mapping[str, Mapping[str, Tensor]],
    values: dict[str, np.ndarray],
) -> Callable[..., Iterator[Step]]:
    """A sampler that writes down, at the step of each hold, what went on from its layers and what they computed."""

    def watched(*arguments: Any) -> Iterator[Step]:
        for step in run(*arguments):
            for hold in holds:
                if math.isclose(step.sigma, hold.mask.sigma, rel_tol=1e-5):
                    values.update(
                        {
                            f"{kind}{names[p]}": tap[p][0].float().cpu().numpy()
                            for p in hold.mask.values
                            for kind, tap in taps.items()
                        }
                    )
            yield step

    return watched
