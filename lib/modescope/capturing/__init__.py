"""Images through a network under taps: activation batches, made lazily, in fixed batches so that bytes repeat.

A `Look` says how a view looks at images. `capture_batch` looks at one batch, `Captures` at any range of rows of a source,
`sampling_batch` and `SamplingCaptures` at a generator while it samples.
"""

from __future__ import annotations

from modescope.capturing.batches import Captures, SamplingCaptures, capture_batch, fit_basis, flatten, sampling_batch
from modescope.capturing.lens import Lens, SamplerStep
from modescope.capturing.look import (
    CAPTURE_VERSION,
    KEEPS,
    PCA,
    PROTOCOLS,
    RECONSTRUCTION,
    Look,
    capture_noise,
    network_input,
)

__all__ = [
    "CAPTURE_VERSION",
    "KEEPS",
    "PCA",
    "PROTOCOLS",
    "RECONSTRUCTION",
    "Captures",
    "Lens",
    "Look",
    "SamplerStep",
    "SamplingCaptures",
    "capture_batch",
    "capture_noise",
    "fit_basis",
    "flatten",
    "network_input",
    "sampling_batch",
]
