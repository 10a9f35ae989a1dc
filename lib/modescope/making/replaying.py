"""Kept images made again from their records, and compared with what was kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from modescope.making.keeping import Kept
from modescope.making.workshop import Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The image made again; `apart`: the largest difference to the kept one, in levels of 255; what differs from the
    recipe's checkpoint, settings and machine.
    """

    pixels: UInt8[np.ndarray, "C H W"]
    apart: int
    differs: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return self.apart == 0

    def __str__(self) -> str:
        verdict = "equal" if self.equal else f"differs by up to {self.apart} of 255 levels"
        return "; ".join([verdict, *self.differs])


def replay(workshop: Workshop, kept: Kept) -> Replayed:
    """Make a kept image again with the checkpoint and the machine that are here, and compare."""
    pixels, _ = workshop.sample(kept.recipe)
    image = kept.arrays["image"]
    if pixels.shape != image.shape:
        raise ValueError(
            f"{kept.id} has shape {image.shape} and its generator makes {pixels.shape} now; bring back the one it names"
        )
    apart = int(np.abs(pixels.astype(int) - image.astype(int)).max())
    return Replayed(pixels=pixels, apart=apart, differs=tuple(workshop.differences(kept.recipe)))
