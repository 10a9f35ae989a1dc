"""Are the embedded generators good enough? Judged on pixels, by a classifier and by the usual counts.

    python -m benchmarks.quality [checkpoint ...]

1,797 images of balanced labels against all 1,797 real digits, native pixels, k = 5; class agreement by scikit-learn's
SVC fitted on a seeded half of the real digits. The last line judges a random half of the real digits against the other.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from sklearn.svm import SVC

from modescope import metrics, params, runtime, sampling
from modescope.generators import load_generator
from modescope.images import open_images

K, SEED = 5, 0
TARGET = {"agreement": 0.985, "precision": 0.95, "recall": 0.85, "coverage": 0.96}


def main() -> None:
    settings = params.load()
    runtime.start("cpu", settings.runtime.threads)
    digits = open_images("digits", None)
    count = len(digits)
    real = digits.read(np.arange(count)).reshape(count, -1).astype(np.float32)
    half = np.random.default_rng(SEED).permutation(count)[: count // 2]
    judge = SVC().fit(real[half], digits.labels[half])

    rows = []
    for name, how in settings.generators.items():
        generator = load_generator(how.checkpoint, device="cpu")
        labels = sampling.balanced_labels(np.arange(count), generator.num_classes)
        noise = sampling.latents(settings.seed, np.arange(count), generator.latent_shape)
        steps = sampling.sampler(how.sampler, steps=how.steps, sigma_max=generator.sigma_max)
        pixels = generator.decode(sampling.last(steps(generator.denoise, noise, generator.rows(labels))))
        fake = pixels.reshape(count, -1).astype(np.float32)
        scores = metrics.prdc(real, fake, K)
        agreement = float((judge.predict(fake) == labels).mean())
        rows.append({"generator": name, "agreement": agreement, **{n: getattr(scores, n) for n in NAMES}})
    rest = np.setdiff1d(np.arange(count), half)
    null = metrics.prdc(real[half], real[rest], K)
    held_out = float((judge.predict(real[rest]) == digits.labels[rest]).mean())
    rows.append({"generator": "real half", "agreement": held_out, **{n: getattr(null, n) for n in NAMES}})
    rows.append({"generator": "asked of dmd2", **TARGET})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f", na_rep=""))
    print(f"coverage under equal laws: {metrics.expected_coverage(count, count, K):.3f}")
    last = next(row for row in rows if row["generator"] == "dmd2")
    missed = [name for name, value in TARGET.items() if last[name] < value]
    sys.exit(f"dmd2 misses {', '.join(missed)}" if missed else 0)


NAMES = ("precision", "recall", "density", "coverage")

if __name__ == "__main__":
    main()
