"""What a sample is asked to be, as weights over the classes of a network: float32 (N, L), one row per sample.

A family turns such weights into whatever its network is conditioned on (`Generator.blended`). Rows sum to 1, apart from
the zero row, which asks for no class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32


def check_classes(labels: np.ndarray, classes: int) -> None:
    """Raise a ValueError that names the first label outside 0..classes - 1."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise ValueError(f"class label {wrong.flat[0]} is outside 0..{classes - 1}, the classes of this network")


def one_class(labels: np.ndarray, classes: int) -> Float32[np.ndarray, "N L"]:
    """Labels (N,) => one-hot rows."""
    labels = np.asarray(labels, np.int64)
    check_classes(labels, classes)
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def every_class(count: int, classes: int) -> Float32[np.ndarray, "N L"]:
    """The same weight for every class: a network trained on one-hot rows has not seen this row."""
    return np.full((count, classes), 1 / max(classes, 1), np.float32)


def no_class(count: int, classes: int) -> Float32[np.ndarray, "N L"]:
    """The zero row: what networks trained with label dropout know as unconditional."""
    return np.zeros((count, classes), np.float32)


def blend(shares: Mapping[int, float], count: int, classes: int) -> Float32[np.ndarray, "N L"]:
    """Several classes by their shares, {class: share >= 0}, brought to a sum of 1: the same row for every sample."""
    labels, weights = np.array(list(shares), np.int64), np.array(list(shares.values()), float)
    check_classes(labels, classes)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(
            f"shares {dict(shares)} are no blend; give each class a share of 0 or more, one of them above 0"
        )
    row = np.zeros(classes)
    row[labels] = weights / weights.sum()
    return np.repeat(row[None].astype(np.float32), count, axis=0)


def of_neighbours(labels: np.ndarray, classes: int, distances: np.ndarray | None = None) -> Float32[np.ndarray, "N L"]:
    """Average row of each sample's neighbours: labels (N, K), each counted once, or by the inverse square of its distance.

    `distances` (N, K) >= 0; neighbours at distance 0 share a row among themselves.
    """
    labels = np.asarray(labels, np.int64)
    if labels.ndim != 2 or not labels.shape[1]:
        raise ValueError(f"labels have shape {labels.shape}; give the labels of K >= 1 neighbours per sample, (N, K)")
    check_classes(labels, classes)
    rows = np.zeros((len(labels), classes))
    np.add.at(rows, (np.arange(len(labels))[:, None], labels), inverse_square(labels.shape, distances))
    return rows.astype(np.float32)


def inverse_square(shape: tuple[int, ...], distances: np.ndarray | None) -> np.ndarray:
    """Weights (N, K) that sum to 1 per row: equal ones, or in proportion to 1 / distance^2."""
    if distances is None:
        return np.full(shape, 1 / shape[1])
    d = np.asarray(distances, float)
    if d.shape != tuple(shape) or not (np.isfinite(d).all() and (d >= 0).all()):
        raise ValueError(f"distances have shape {d.shape}; give one value >= 0 per neighbour, {tuple(shape)}")
    nearest = d.min(axis=1, keepdims=True)
    here = d == 0
    # Relative to the nearest, so that no square underflows.
    weights = np.where(nearest == 0, here, (nearest / np.where(here, 1, d)) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)
