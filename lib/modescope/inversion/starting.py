"""Where a search starts: the noise of a generated sample near the image, moved by what a linear regression expects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 0.1
"""Of the mean variance of a value of the images: what is added to each before their covariance is inverted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Noise as a linear function of images, over generated samples: images of its rows times coefficients."""

    images: Float[Tensor, "n D"]
    coefficients: Float[Tensor, "n D"]

    def move(self, wanted: Float[Tensor, "N C H W"], there: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """What to add to the noise of the images `there`, to come nearer to the images `wanted`."""
        change = (wanted - there).cpu().flatten(1)
        return (change @ self.images.T @ self.coefficients).view_as(there)


def expected(
    images: Float[Tensor, "n C H W"], noise: Float[Tensor, "n C H W"], labels: np.ndarray | None = None
) -> Expected:
    """Ridge regression of noise on images, both in the network's space, each without the mean of its class (`labels`).

    Solved among the samples, (X X' + r I)^-1 Z, so that large images need no covariance of their values.
    """
    groups = np.zeros(len(images), np.int64) if labels is None else np.asarray(labels)
    x, z = (_without_means(values.cpu().flatten(1).double(), groups) for values in (images, noise))
    gram = x @ x.T
    gram.diagonal().add_(RIDGE * gram.trace() / x.shape[1] + 1e-12)
    return Expected(images=x.float(), coefficients=torch.linalg.solve(gram, z).float())


def _without_means(values: Float[Tensor, "n D"], groups: np.ndarray) -> Float[Tensor, "n D"]:
    _, group = np.unique(groups, return_inverse=True)
    place = torch.from_numpy(group.ravel())
    sums = values.new_zeros(int(place.max()) + 1, values.shape[1]).index_add_(0, place, values)
    return values - (sums / place.bincount()[:, None])[place]
