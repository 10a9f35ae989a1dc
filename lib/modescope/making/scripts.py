"""A recipe as a short Python script of public calls: everything that decides the image is written in it."""

from __future__ import annotations

from modescope.making.holding import RECORDED
from modescope.making.opened import number_of
from modescope.making.recipes import Held, Recipe, Samples

OTHERS = {"np.": "import numpy as np", "torch.": "import torch", "Image.": "from PIL import Image"}

LOADING = """\
runtime.start({device!r}, {threads}{options})
generator = load_generator({checkpoint!r}, {family!r}, device={device!r}, sigma_max={sigma_max!r})
generator = generator.prepared({precision!r}, channels_last={channels_last!r})
if generator.checkpoint_hash != {hash!r}:
    print("another checkpoint than the recipe's: expect another image")
run = sampling.sampler({sampler!r}, steps={steps}, sigma_max={sigma_max!r}, noise={renoise!r})
noise = {noise}
renoise = sampling.renoising({seed}, [0], generator.latent_shape, "made")
rows = generator.blended({condition})
holds = []
"""

MAKING = """
with runtime.arithmetic({precision!r}):
    steps = masking.generate_steps(generator, {run}, noise, rows, holds, renoise)
pixels = generator.decode(steps[-1].x0)[0].transpose(1, 2, 0)
Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save({output!r})
"""

GUIDED = """\
without = generator.unconditional()


def steered(denoise, z, rows, renoise=None):
    return run(sampling.guided(denoise, without, {weight!r}), z, rows, renoise)

"""


def script(recipe: Recipe, *, checkpoint: str, record: str, output: str) -> str:
    """A script that makes the recipe's image from its checkpoint alone and writes it to `output` (PNG).

    `checkpoint`: its path; `record`: the path of the kept arrays (`data/made/<generator>/<hash>.safetensors`), where the
    script reads noise that was searched for (`inverted` and `guided`, held or begun with). `scaled` reads the real images
    in data/real. ValueError for `inverse`, whose values lie in the view's activations.
    """
    if any(held.source == "inverse" for held in recipe.holds):
        raise ValueError(
            "source 'inverse' holds values of the view's activations, which no script can carry; replay it"
        )
    body = [_loading(recipe, checkpoint, record)]
    if recipe.guidance is not None:
        body.append(GUIDED.format(weight=recipe.guidance))
    body += [_hold(recipe, number, held, record) for number, held in enumerate(recipe.holds)]
    run = "run" if recipe.guidance is None else "steered"
    body.append(MAKING.format(precision=recipe.precision, run=run, output=output))
    code = "".join(body)
    known = ("conditioning", "datasets", "files", "masking", "runtime", "sampling")
    modules = ", ".join(name for name in known if f"{name}." in code)
    says = f'"""{recipe.generator}, seed {recipe.seed}: run it in the root of the project that made the image."""\n\n'
    standard = "from pathlib import Path\n\n" if "Path(" in code else ""
    others = [line for name, line in OTHERS.items() if name in code]
    own = f"\nfrom modescope import {modules}\nfrom modescope.generators import load_generator\n\n"
    return says + standard + "\n".join(others) + "\n" + own + code


def _loading(recipe: Recipe, checkpoint: str, record: str) -> str:
    return LOADING.format(
        noise=f"masking.fresh_noise({recipe.seed}, generator.latent_shape)"
        if recipe.start is None
        else f"torch.from_numpy(files.read_tensors(Path({record!r}))[0]['found/start'])",
        device=recipe.runtime.device,
        threads=recipe.runtime.threads,
        channels_last=recipe.runtime.channels_last,
        options="".join(f", {name}=True" for name, on in recipe.runtime.options.items() if on),
        checkpoint=checkpoint,
        family=recipe.family,
        sigma_max=recipe.sigma_max,
        precision=recipe.precision,
        hash=recipe.checkpoint,
        sampler=recipe.sampler,
        steps=recipe.steps,
        renoise=recipe.renoise,
        seed=recipe.seed,
        condition=f"conditioning.blend({dict(recipe.condition)!r}, 1, generator.num_classes)"
        if recipe.condition
        else "conditioning.no_class(1, generator.num_classes)",
    )


def _hold(recipe: Recipe, number: int, held: Held, record: str) -> str:
    lines = [f"\npaths = list(generator.module_paths({list(held.layers)!r}).values())"]
    lines += _mask("mask", recipe, held, held.samples, f"found/{number}/noise", record)
    if held.away is not None:
        lines += _mask("away", recipe, held, held.away, f"found/{number}/noise", record)
        lines.append("mask = masking.difference(mask, away)")
    where = "{}"
    if not held.channels is held.rows is held.columns is None:
        part = f"channels={held.channels!r}, rows={held.rows!r}, columns={held.columns!r}"
        where = f"{{path: masking.region(tuple(value.shape[1:]), {part}) for path, value in mask.values.items()}}"
    lines.append(f"holds.append(masking.Hold(mask=mask, strength={held.strength!r}, add={held.add!r}, where={where}))")
    return "\n".join(lines) + "\n"


def _mask(name: str, recipe: Recipe, held: Held, samples: Samples, found: str, record: str) -> list[str]:
    """Lines that bind `name` to the mask of some samples."""
    labels = f"np.array({list(samples.labels)!r})"
    ids: list[str] = list(samples.ids)
    weights = f", weights={list(samples.weights)!r}"
    if held.source in RECORDED:
        lines = [_recorded(recipe, held, f"np.array({[number_of(n) for n in ids]!r})", labels)]
    elif held.source == "scaled":
        pixels = f"datasets.open_set('data/real').select({ids!r}).pixels"
        lines = [f"values = masking.scaled_values(generator, {pixels}, {labels}, paths)"]
    else:
        rows = "rows" if held.source == "guided" else f"generator.rows({labels})"
        lines = [
            f"searched = torch.from_numpy(files.read_tensors(Path({record!r}))[0][{found!r}])",
            f"values = masking.record(generator, searched, {rows}, paths)[1]",
        ]
    if held.source == "guided":
        ids, weights = ["guided"], ""
    lines.append("values = {path: value.float() for path, value in values.items()}")
    mask = f"masking.mean_mask(values, {ids!r}, source={held.source!r}, sigma={held.sigma!r}{weights})"
    return [*lines, f"{name} = {mask}"]


def _recorded(recipe: Recipe, held: Held, numbers: str, labels: str) -> str:
    if recipe.sampler == "one-step":
        batches = f"batch_size={held.batch_size!r}"
        return f"values = masking.recomputed(generator, {numbers}, {labels}, {recipe.root}, paths, {batches})"
    run = "run" if recipe.guidance is None else "steered"
    return "\n".join(
        [
            f"numbers = {numbers}",
            f"latents = sampling.latents({recipe.root}, numbers, generator.latent_shape)",
            f"again = sampling.renoising({recipe.root}, numbers.tolist(), generator.latent_shape)",
            f"_, recorded = masking.record_steps(generator, {run}, latents, {labels}, paths, again)",
            f"values = recorded[{held.step}].values",
        ]
    )
