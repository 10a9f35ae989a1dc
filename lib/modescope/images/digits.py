"""scikit-learn's handwritten digits: 1,797 grey 8 x 8 images that need no download."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64, UInt8

from modescope.images.resizing import named_filter, resize_batch, resolved, square_filter
from modescope.images.source import ImageSource

_NATIVE = 8


class Digits(ImageSource):
    """Values 0..16 become round(v * 255 / 16); one channel. `path` is not used."""

    def __init__(self, path: object = None, resolution: int | None = None) -> None:
        from sklearn.datasets import load_digits  # takes a second to import, and only this reader needs it

        digits = load_digits()
        side = resolved(resolution, _NATIVE)
        scaled = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        how = "native"
        if side != _NATIVE:
            how = square_filter(_NATIVE, side)
            scaled = resize_batch(scaled, side, named_filter(how))
        self._pixels = scaled
        super().__init__(
            source="digits",
            preprocessing=f"0..16 scaled to 0..255; {how} {side}x{side}",
            channels=1,
            resolution=side,
            labels=digits.target.astype(np.int64),
            class_names=[str(name) for name in digits.target_names],
        )

    def original_path(self, index: SupportsIndex) -> str:
        return f"sklearn.datasets.load_digits#{self._rows([int(index)])[0]}"

    def _read(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n C R R"]:
        return self._pixels[rows]
