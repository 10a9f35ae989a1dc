"""Mean and covariance from shards, and the Frechet distance to a published reference (`mu`, `sigma`)."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from modescope import files
from modescope.neighbours import Features, as_points

_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, mean and scatter (the sum of outer products of deviations) of samples, in float64.

    Shards can be merged in any order; the result then differs by rounding alone.
    """

    count: int
    mean: Float64[np.ndarray, " D"]
    scatter: Float64[np.ndarray, "D D"]

    @classmethod
    def of(cls, features: Features, name: str = "features") -> Moments:
        """Features (N, D) => their moments; the blocks that are held in float64 are small."""
        points = as_points(features, name)
        mean = points.mean(dim=0, dtype=torch.float64)
        scatter = mean.new_zeros((points.shape[1], points.shape[1]))
        for start in range(0, len(points), _ROWS):
            centred = points[start : start + _ROWS].double() - mean
            scatter += centred.T @ centred
        return cls(count=len(points), mean=mean.cpu().numpy(), scatter=scatter.cpu().numpy())

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of samples together (Chan, Golub and LeVeque 1979)."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {len(self.mean)} and of {len(other.mean)} dimensions cannot be merged; "
                "all shards must come from one view"
            )
        count, apart = self.count + other.count, other.mean - self.mean
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(
            count=count, mean=self.mean + apart * (other.count / count), scatter=self.scatter + other.scatter + between
        )

    @property
    def gaussian(self) -> Gaussian:
        """Mean and covariance (over N - 1)."""
        if self.count < 2:
            raise ValueError("a covariance needs at least 2 samples; there is 1: add samples")
        return Gaussian(mean=self.mean, covariance=self.scatter / (self.count - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    mean: Float64[np.ndarray, " D"]
    covariance: Float64[np.ndarray, "D D"]


def frechet_of_gaussians(real: Gaussian, fake: Gaussian) -> float:
    """|mu_1 - mu_2|^2 + tr(S_1 + S_2) - 2 |S_1^(1/2) S_2^(1/2)|_*: `frechet_distance` from moments alone.

    The nuclear norm is the trace of (S_1 S_2)^(1/2); it needs no root of a product, so singular covariances (fewer
    samples than dimensions) are no exception.
    """
    if real.mean.shape != fake.mean.shape:
        raise ValueError(
            f"real has {len(real.mean)} dimensions and fake has {len(fake.mean)}; both must come from the same network"
        )
    cross = np.linalg.svd(_root(real.covariance) @ _root(fake.covariance).T, compute_uv=False).sum()
    spread = np.trace(real.covariance) + np.trace(fake.covariance) - 2 * cross
    return float(np.square(real.mean - fake.mean).sum() + max(spread, 0.0))


def frechet_to_reference(fake: Features | Moments, reference: Gaussian) -> float:
    """Frechet distance of generated samples (or their moments) to a reference, as `read_reference` gives."""
    moments = fake if isinstance(fake, Moments) else Moments.of(fake, "fake")
    return frechet_of_gaussians(reference, moments.gaussian)


def read_reference(path: Path) -> Gaussian:
    """The arrays `mu` (D,) and `sigma` (D, D) of a published .npz file; nothing in it is executed.

    ValueError when they are missing, of other shapes, not finite or not symmetric; DamagedFileError when the file is.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files if name in ("mu", "sigma")}
            held = ", ".join(archive.files)
    except ValueError as error:  # numpy's own message offers to load it unsafely
        raise ValueError(
            f"{path} holds Python objects, which are never loaded; save plain arrays `mu` and `sigma`"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise files.DamagedFileError(f"{path} cannot be read ({error}); download the reference again") from error
    missing = sorted({"mu", "sigma"} - arrays.keys())
    if missing:
        raise ValueError(
            f"{path} has no array {missing[0]!r} (it holds {held}); a Frechet reference holds `mu` and `sigma`"
        )
    return _checked(path, arrays["mu"], arrays["sigma"])


def _checked(path: Path, mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"{path} holds mu {mean.shape} and sigma {covariance.shape}; they must be (D,) and (D, D)")
    mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"{path} holds NaN or infinity; download the reference again")
    if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * np.abs(covariance).max()):
        raise ValueError(f"sigma of {path} is not symmetric, so it is no covariance; check what the file holds")
    return Gaussian(mean=mean, covariance=covariance)


def _root(covariance: Float64[np.ndarray, "D D"]) -> Float64[np.ndarray, "D D"]:
    """F with F^T F the covariance. Eigenvalues that are rounding alone become 0: their roots would not be small."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    floor = len(values) * np.finfo(np.float64).eps * np.abs(values).max()
    return np.sqrt(np.where(values > floor, values, 0))[:, None] * vectors.T
