"""Images of one generator, seeded per sample, with the mask values of its sampling step => data/fake/<generator>."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from modescope import runtime, sampling, store
from modescope.generators import Generator, load_generator
from modescope.params import GeneratorParams, Params
from modescope.taps import capture
from stages import DATA, progress, run


@contextmanager
def capturing(generator: Generator, paths: Mapping[str, str]) -> Iterator[Mapping[str, Tensor]]:
    if not paths:
        yield {}
        return
    with capture(generator.network, paths.values()) as acts:
        yield acts


def batches(
    generator: Generator, how: GeneratorParams, starts: range, total: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Fixed batches, the last one padded: {"images": ..., layer: mask values of the last step}."""
    paths = generator.module_paths(how.mask_layers)
    steps = sampling.sampler(how.sampler, steps=how.steps, sigma_max=generator.sigma_max)
    for start in progress(starts, "generated images", "batch"):
        indices = np.arange(start, start + starts.step)
        noise = sampling.latents(seed, indices, generator.latent_shape).to(generator.device)
        rows = generator.rows(sampling.balanced_labels(indices, generator.num_classes))
        with capturing(generator, paths) as acts:
            x0 = sampling.last(steps(generator.denoise, noise, rows))
        keep = slice(0, min(starts.step, total - start))
        masks = {name: acts[path][keep].cpu().numpy() for name, path in paths.items()}
        yield {"images": generator.decode(x0)[keep], **masks}


def generate(params: Params, name: str) -> None:
    how, total, width = params.generator(name), params.generate.num_samples, params.generate.batch_size
    machine = runtime.start(params.runtime.device, params.runtime.threads)
    generator = load_generator(how.checkpoint, how.family, device=machine.device)
    real = store.open_stored_images(DATA / "real")
    classes, synsets = real.config["classes"], real.config["synsets"]
    labels = sampling.balanced_labels(np.arange(total), generator.num_classes)
    ids = [f"fake/{name}/{i}" for i in range(total)]
    table = store.sample_table(
        ids,
        labels,
        batch_index=np.arange(total) // width,
        class_name=[classes[c] for c in labels],
        synset_id=[synsets[c] for c in labels] if synsets else None,
        source=name,
        seed=params.seed,
        sigma=generator.sigma_max,
        protocol="sampling",
    )
    made = batches(generator, how, range(0, total, width), total, params.seed)
    config = {
        "generator": name,
        "checkpoint_hash": generator.checkpoint_hash,
        "sampler": how.sampler,
        "steps": how.steps,
        "seed": params.seed,
        "sigma": generator.sigma_max,
        "classes": classes,
        "runtime": machine.record(),
    }
    store.write_rows(DATA / "fake" / name, made, table, kind="images", config=config)


if __name__ == "__main__":
    run(generate, "<generator>")
