"""From an aim to what is to be held for it: the samples that mask values come from, with all that decides these values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modescope import masking
from modescope.inversion import Descent, nearest_samples
from modescope.making.holding import ONE_STEP, RECORDED
from modescope.making.opened import Opened, number_of, source_of
from modescope.making.recipes import Aim, Held, Samples, Start
from modescope.making.schedules import Schedule
from modescope.making.steering import cannot_steer

CHOICES = ("nearest", "scaled", "inverted", "guided", "inverse")
"""Sources to choose among. `recorded` and `mixed` are what `nearest` is for samples that were generated."""

TURNS = 16
"""How many seeds search for noise from different generated samples, before the first come round again."""


def held_of(
    opened: Opened,
    generator: str,
    aim: Aim,
    layers: Sequence[str],
    schedule: Schedule,
    *,
    source: str,
    away: Sequence[str] = (),
    step: int = 0,
    **how: Any,
) -> Held:
    """To hold the mean of an aim's samples in some layers. `how`: strength, channels, rows, columns, average (see `Held`).

    For `nearest` (and `recorded`, its other name where all samples are generated) real samples are stood for by the
    generated ones nearest in features; the source says which it was. `away`: samples to steer away from.
    """
    if source in RECORDED:
        real = sum(source_of(name) == "real" for name in (*aim.ids, *away))
        source = "recorded" if not real else "nearest" if real == len(aim.ids) + len(away) else "mixed"
    searching = opened.params.inversion
    search = Descent(steps=searching.steps, enough=searching.enough)
    return Held(
        layers=tuple(layers),
        samples=_samples(opened, generator, aim.view, aim.ids, aim.weights, source),
        away=_samples(opened, generator, aim.view, *masking.shares(away), source) if away else None,
        add=bool(away),
        sigma=schedule.level(step),
        step=step,
        source=source,
        batch_size=stored_batches(opened, generator, layers) if schedule.sampler == "one-step" else None,
        search=search if source in ("inverted", "guided") else None,
        **how,
    )


def stored_batches(opened: Opened, generator: str, layers: Sequence[str]) -> int | None:
    """The batches in which the pipeline stored values of these layers; None where it did not."""
    how = opened.params.generator(generator)
    stored = how.masks == "stored" and how.sampler == "one-step" and set(layers) <= set(how.mask_layers)
    return opened.params.generate.batch_size if stored else None


def _samples(
    opened: Opened, generator: str, view: str, ids: Sequence[str], weights: Sequence[float], source: str
) -> Samples:
    if source in RECORDED:
        shares: dict[str, float] = {}
        for name, weight in zip(opened.stand_ins(view, generator, ids), weights, strict=True):
            if source_of(name) != generator:
                raise ValueError(f"sample {name!r} was not made by {generator}, so it has no mask values there")
            shares[name] = shares.get(name, 0.0) + weight
        ids, weights = tuple(shares), tuple(shares.values())
    else:
        _check_searched(opened, ids, source)
    labels = tuple(opened.labels(ids).tolist())
    starts = _starts(opened, generator, ids) if source == "inverted" else ()
    return Samples(ids=tuple(ids), weights=tuple(weights), labels=labels, starts=starts)


def _check_searched(opened: Opened, ids: Sequence[str], source: str) -> None:
    if source != "guided" and (made := [name for name in ids if source_of(name) != "real"]):
        raise ValueError(f"source {source!r} is for real samples, and {made[0]!r} is none; use 'nearest'")
    most = opened.params.inversion.batch_size
    if source == "inverted" and len(ids) > most:
        raise ValueError(
            f"source 'inverted' searches noise for each of {len(ids)} samples, and inversion.batch_size is {most}; pick "
            "fewer, or hold values of the generated samples nearest to them (source 'nearest')"
        )


def _starts(opened: Opened, generator: str, ids: Sequence[str], turn: int = 0) -> tuple[tuple[int, ...], ...]:
    """Generated samples near each real one: the search for its noise starts from theirs. `turn`: 0 for the nearest ones,
    1 for the next, and so on round the `TURNS`.
    """
    images, count = opened.images(generator), opened.params.inversion.starts
    rows = nearest_samples(
        opened.pixels(ids),
        images.read(np.arange(len(images))),
        min(count * TURNS if turn else count, len(images)),
        labels=opened.labels(ids),
        made_labels=images.labels,
    )
    chosen = np.roll(rows, -count * turn, axis=1)[:, :count]
    return tuple(tuple(number_of(images.ids[i]) for i in line) for line in chosen.tolist())


def start_for(opened: Opened, generator: str, aim: Aim, source: str, seed: int) -> Start:
    """Noise to begin with. `inverted`: of the sample with the largest weight, of equal ones the first, searched for from
    other generated samples for another seed; `guided`: towards the mean of all, from the seed's own noise.
    """
    searching = opened.params.inversion
    search = Descent(steps=searching.steps, enough=searching.enough)
    if source == "guided":
        labels = tuple(opened.labels(aim.ids).tolist())
        return Start(source=source, samples=Samples(ids=aim.ids, weights=aim.weights, labels=labels), search=search)
    first = (aim.ids[int(np.argmax(aim.weights))],)
    _check_searched(opened, first, source)
    labels, starts = tuple(opened.labels(first).tolist()), _starts(opened, generator, first, seed)
    return Start(source=source, samples=Samples(ids=first, weights=(1.0,), labels=labels, starts=starts), search=search)


def sources_for(opened: Opened, view: str, generator: str, schedule: Schedule) -> dict[str, str | None]:
    """Why a source of mask values cannot be had, in words, by name of the source (`CHOICES`); None where it can."""
    how = opened.params.view(view)
    found: dict[str, str | None] = dict.fromkeys(CHOICES)
    found["guided"] = cannot_steer(opened, view)
    if how.protocol != "sampling" or how.keep != "full" or how.network != opened.params.generator(generator).checkpoint:
        found["inverse"] = (
            f"view {view!r} does not hold what {generator} computes in its step: that takes protocol sampling, keep full, "
            "and the generator as the view's network"
        )
    if schedule.sampler != "one-step":
        why = f"its values are of the single step of a one-step generator, and this is sampled by {schedule.sampler}"
        found |= dict.fromkeys(ONE_STEP, why)
    return found
